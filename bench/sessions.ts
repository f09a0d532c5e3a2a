import { readFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import type { TopLevelSpec } from "vega-lite";
import { barsWithSpread, type Goal, writeResult } from "./results";
import { figure, median, spread, spreadText } from "./statistics";
import { BenchSystem, type Client, fileLimit } from "./system";
import { haproxyConfig } from "../userdata/balancer/haproxyConfig";

/** Whose memory is measured. */
const parts = ["hitch", "haproxy", "kernel", "node"] as const;
type Part = (typeof parts)[number];
const titles: Record<Part, string> = {
  hitch: "balancer: Hitch",
  haproxy: "balancer: HAProxy",
  kernel: "balancer: kernel",
  node: "host: Node",
};
/** What a session takes of the balancer. */
const balancerParts = ["hitch", "haproxy", "kernel"] as const;

/** Bytes of each part with so many sessions. */
interface Level {
  sessions: number;
  bytes: Record<Part, number>;
}

/** The balancer's default machine, in GiB, and what of it is for other things than sessions. */
const machineMemory = 2;
const reserved = 0.5;

export interface SessionsOptions {
  repeats: number;
  /** The largest number of sessions. */
  most: number;
  out: string;
}

/**
 * Measures the memory of idle sessions on the balancer and on a host; prints what comes out and writes it to
 * `out/sessions.json` and `out/sessions.svg`.
 */
export async function benchSessions({ repeats, most, out }: SessionsOptions): Promise<void> {
  const runs: Level[][] = [];
  // A session takes two of HAProxy's files.
  const possible = Math.min(most, Math.floor((fileLimit - 200) / 2));
  const counts = [Math.min(1000, Math.round(most / 10)), possible];
  for (let repeat = 0; repeat < repeats; repeat += 1) {
    console.log(`${repeat + 1} of ${repeats}: ${counts.join(", then ")} sessions …`);
    runs.push(await measure(counts));
  }
  await writeResult(
    {
      name: "sessions",
      title: `Memory of idle WebSocket sessions, median (least–most) of ${repeats}, in KiB each`,
      data: { repeats, machineMemory, reserved, runs },
      table: sessionsTable(runs),
      goals: [sessionsGoal(runs, configuredLimit())],
      picture: picture(runs),
    },
    out,
  );
}

async function measure(counts: number[]): Promise<Level[]> {
  const system = await BenchSystem.start({
    hosts: 1,
    edit: (path, content) =>
      path.endsWith("/haproxy.cfg")
        ? content.replace(/^ {2}maxconn \d+$/m, `  maxconn ${(counts.at(-1) ?? 0) + 50}`)
        : content,
  });
  try {
    const clients = [1, 2, 3].map(() => system.client("idle", { url: "wss://127.0.0.1:443" }));
    // What is made for the first sessions only is not theirs.
    await grow(clients, 60);
    const levels = [await level(system, 60)];
    for (const count of counts) {
      await grow(clients, count);
      levels.push(await level(system, count));
    }
    return levels;
  } finally {
    await system.stop();
  }
}

/** @throws Error if not all sessions are open then */
async function grow(clients: Client[], count: number): Promise<void> {
  const shares = clients.map((_, index) =>
    Math.floor((count + clients.length - 1 - index) / clients.length),
  );
  const open = await Promise.all(
    clients.map((client, index) => {
      client.tell(String(shares[index]));
      return client.answer<number>();
    }),
  );
  const sum = open.reduce((total, one) => total + one, 0);
  if (sum !== count) {
    throw new Error(`of ${count} sessions ${sum} are open`);
  }
}

async function level(system: BenchSystem, sessions: number): Promise<Level> {
  // Until what was allocated while they were opened is given back, as far as it is.
  await sleep(8000);
  const ids = (program: string): string[] => system.processesOf(program);
  const bytes = {
    hitch: memoryOf(system, ids("hitch")),
    haproxy: memoryOf(system, ids("haproxy")),
    node: memoryOf(system, [system.processOf("host1")]),
    // Of the six ends of a session's connections four are on a balancer: the client's and the host's are not.
    kernel: (kernelMemory(readFileSync("/proc/meminfo", "utf8")) * 4) / 6,
  };
  return { sessions, bytes };
}

function memoryOf(system: BenchSystem, ids: string[]): number {
  return ids.reduce(
    (sum, id) => sum + proportionalSize(system.sandbox.run("cat", `/proc/${id}/smaps_rollup`)),
    0,
  );
}

/** @returns bytes, with its share of what it has together with others; of a text of /proc/PID/smaps_rollup */
export function proportionalSize(text: string): number {
  const [, kibibytes] = /^Pss: +(\d+) kB$/m.exec(text) ?? [];
  if (kibibytes === undefined) {
    throw new Error(`this has no proportional set size: ${text.slice(0, 200)}`);
  }
  return 1024 * Number(kibibytes);
}

/** @returns bytes of the kernel's own objects, sockets among them; of a text of /proc/meminfo */
export function kernelMemory(text: string): number {
  const [, kibibytes] = /^SUnreclaim: +(\d+) kB$/m.exec(text) ?? [];
  if (kibibytes === undefined) {
    throw new Error("/proc/meminfo does not tell the kernel's own memory (SUnreclaim)");
  }
  return 1024 * Number(kibibytes);
}

/** Bytes for each session more: between two levels of each run. */
export function perSession(runs: Level[][], part: Part, from: number, to: number): number[] {
  return runs.map((levels) => {
    const [low, high] = [levels[from], levels[to]];
    if (low === undefined || high === undefined) {
      throw new Error(`a run has ${levels.length} levels, and not ${from} and ${to}`);
    }
    return (high.bytes[part] - low.bytes[part]) / (high.sessions - low.sessions);
  });
}

function ofBalancer(runs: Level[][], from: number, to: number): number[] {
  return runs.map((run) =>
    balancerParts.reduce((sum, part) => sum + median(perSession([run], part, from, to)), 0),
  );
}

const inKibibytes = (values: number[]): string =>
  spreadText(spread(values.map((value) => value / 1024)));

function sessionsTable(runs: Level[][]): string[][] {
  const [low, middle, high] = runs[0] ?? [];
  const steps = [
    [0, 1],
    [1, 2],
  ] as const;
  return [
    [
      "",
      `from ${low?.sessions} to ${middle?.sessions}`,
      `from ${middle?.sessions} to ${high?.sessions}`,
    ],
    ...parts.map((part) => [
      titles[part],
      ...steps.map(([from, to]) => inKibibytes(perSession(runs, part, from, to))),
    ]),
    ["balancer, all", ...steps.map(([from, to]) => inKibibytes(ofBalancer(runs, from, to)))],
  ];
}

/** What haproxy.cfg lets in at the same time. */
export function configuredLimit(): number {
  const text = haproxyConfig({ slots: [], zone: "", meteorPort: 0, acme: false });
  return Number(/^ {2}maxconn (\d+)$/m.exec(text)?.[1]);
}

/** As many sessions as the configuration lets in must fit into the default machine's memory. */
export function sessionsGoal(runs: Level[][], limit: number): Goal {
  const each = Math.max(...ofBalancer(runs, 1, 2));
  const room = (machineMemory - reserved) * 2 ** 30;
  const held = Math.floor(room / each);
  return {
    text: `the ${limit} connections that haproxy.cfg allows fit into ${machineMemory} GiB, ${reserved} GiB of which are for the rest`,
    measured: `they take ${figure((limit * each) / 2 ** 20)} MiB, and ${held} would fit`,
    met: held >= limit,
  };
}

function picture(runs: Level[][]): TopLevelSpec {
  const values = runs.flatMap((_, run) =>
    parts.flatMap((part) =>
      perSession(runs.slice(run, run + 1), part, 1, 2).map((bytes) => ({
        part: titles[part],
        kibibytes: bytes / 1024,
      })),
    ),
  );
  return {
    data: { values },
    width: 480,
    height: 140,
    ...barsWithSpread(
      { field: "kibibytes", title: "KiB for each idle session" },
      { field: "part", sort: Object.values(titles) },
    ),
  } as TopLevelSpec;
}
