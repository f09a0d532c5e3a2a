import { setTimeout as sleep } from "node:timers/promises";
import type { TopLevelSpec } from "vega-lite";
import type { PagesArgs } from "./clients/pages";
import { type Goal, writeResult } from "./results";
import { imbalance, inTurn, spread, spreadText } from "./statistics";
import { until } from "../tests/userdata/balancerSandbox";
import { BenchSystem, type Client } from "./system";

const algorithms = ["leastconn", "roundrobin", "source", "uri"] as const;
type Algorithm = (typeof algorithms)[number];
const titles: Record<Algorithm, string> = {
  leastconn: "leastconn",
  roundrobin: "roundrobin",
  source: "source hashing",
  uri: "URL hashing",
};
/** What stands in haproxy.cfg; a hash keeps a page at its host by itself, so it has no cookie. */
const lines: Record<Algorithm, { balance: string; cookie: boolean }> = {
  leastconn: { balance: "balance leastconn", cookie: true },
  roundrobin: { balance: "balance roundrobin", cookie: true },
  source: { balance: "balance source", cookie: false },
  // As far as all requests of a SockJS session have the same: /sockjs/SERVER/SESSION
  uri: { balance: "balance uri depth 3", cookie: false },
};

const hosts = 3;
const pages = 120;
/** A third of the visitors sits in four offices, each with one address. */
const visitors = { offices: 4, inOffices: 1 / 3 };
/** How long others come and go after the host is back: one each second. */
const minuteSeconds = 60;
/** The most that is promised of leastconn. */
const promisedImbalance = 1.1;

const moments = ["before", "away", "back", "minuteLater"] as const;
type Moment = (typeof moments)[number];
const momentTitles: Record<Moment, string> = {
  before: "before",
  away: "host3 away",
  back: "host3 back",
  minuteLater: "a minute later",
};

/** Sessions on each host, in one repeat. */
interface Run {
  algorithm: Algorithm;
  counts: Record<Moment, number[]>;
}

export interface BalanceOptions {
  repeats: number;
  out: string;
}

/**
 * Compares ways to choose a host by how even the load is after a host was away; prints what comes out and writes
 * it to `out/balance.json` and `out/balance.svg`.
 */
export async function benchBalance({ repeats, out }: BalanceOptions): Promise<void> {
  const runs: Run[] = [];
  for (let repeat = 0; repeat < repeats; repeat += 1) {
    console.log(`${repeat + 1} of ${repeats}: a host goes and comes back …`);
    runs.push(...(await measure(inTurn([...algorithms], repeat))));
  }
  await writeResult(
    {
      name: "balance",
      title: `Sessions on three hosts, largest to smallest: median (least–most) of ${repeats}`,
      data: { repeats, hosts, pages, visitors, minuteSeconds, runs },
      table: balanceTable(runs),
      goals: [balanceGoal(runs)],
      picture: picture(runs),
    },
    out,
  );
}

/** All at the same time, each in a system of its own: what counts are sessions, not times. */
async function measure(order: Algorithm[]): Promise<Run[]> {
  const trials: Trial[] = [];
  try {
    for (const algorithm of order) {
      const trial = await Trial.start(algorithm);
      trials.push(trial);
      await trial.loseHost();
    }
    await Promise.all(trials.map((trial) => trial.passMinute()));
    return trials.map(({ algorithm, counts }) => ({ algorithm, counts }));
  } finally {
    for (const { system } of trials) {
      await system.stop();
    }
  }
}

/** One way to choose a host, with its visitors. */
class Trial {
  readonly counts: Run["counts"] = { before: [], away: [], back: [], minuteLater: [] };
  private readonly client: Client;

  private constructor(
    readonly algorithm: Algorithm,
    readonly system: BenchSystem,
  ) {
    const args: PagesArgs = { certificate: system.certificate.certificatePem, ...visitors };
    this.client = system.client("pages", args);
  }

  static async start(algorithm: Algorithm): Promise<Trial> {
    const system = await BenchSystem.start({
      hosts,
      edit: (path, content) =>
        path.endsWith("/haproxy.cfg") ? withAlgorithm(content, algorithm) : content,
    });
    return new Trial(algorithm, system);
  }

  /** Opens the pages, and takes a host away until all of them have found another. */
  async loseHost(): Promise<void> {
    await this.ask(`open ${pages}`);
    await this.note("before");
    await this.system.killHost("host3");
    await until(async () => (await this.ask("count")) === pages, 60);
    await this.note("away");
    await this.system.startHost("host3");
    await this.system.up();
    await this.note("back");
  }

  /** Lets others come and go. */
  async passMinute(): Promise<void> {
    const start = performance.now();
    for (let come = 0; come < minuteSeconds; come += 1) {
      await sleep(Math.max(0, 1000 * (come + 1) - (performance.now() - start)));
      await this.ask("replace 1");
    }
    await this.note("minuteLater");
  }

  private async ask(line: string): Promise<number> {
    this.client.tell(line);
    return this.client.answer<number>();
  }

  /** Notes the sessions on each host, as HAProxy counts them. */
  private async note(moment: Moment): Promise<void> {
    // What pages ask for beside their sessions is answered by then.
    await sleep(1000);
    const current = this.system.sandbox.statistic("scur");
    this.counts[moment] = this.system.hostNames.map((name) => Number(current[name]));
  }
}

/** @throws Error if haproxy.cfg no longer has the lines that are changed */
export function withAlgorithm(config: string, algorithm: Algorithm): string {
  const { balance, cookie } = lines[algorithm];
  const chosen = replaceOnce(config, /^ {2}balance .*$/m, `  ${balance}`);
  return cookie
    ? chosen
    : replaceOnce(chosen, /^ {2}cookie .*$/m, "").replace(/^( {2}server .*) cookie \S+$/gm, "$1");
}

function replaceOnce(text: string, pattern: RegExp, replacement: string): string {
  if (!pattern.test(text)) {
    throw new Error(`haproxy.cfg has nothing like ${String(pattern)} any more`);
  }
  return text.replace(pattern, replacement);
}

function imbalances(runs: Run[], algorithm: Algorithm, moment: Moment): number[] {
  return runs
    .filter((run) => run.algorithm === algorithm)
    .map(({ counts }) => imbalance(counts[moment]));
}

function balanceTable(runs: Run[]): string[][] {
  return [
    ["", ...moments.map((moment) => momentTitles[moment]), "sessions then, each time"],
    ...algorithms.map((algorithm) => [
      titles[algorithm],
      ...moments.map((moment) => spreadText(spread(imbalances(runs, algorithm, moment)))),
      runs
        .filter((run) => run.algorithm === algorithm)
        .map(({ counts }) => counts.minuteLater.join("/"))
        .join(" "),
    ]),
  ];
}

export function balanceGoal(runs: Run[]): Goal {
  const values = spread(imbalances(runs, "leastconn", "minuteLater"));
  return {
    text: `leastconn: at most ${promisedImbalance} within a minute`,
    measured: `it is ${spreadText(values)}`,
    met: values.median <= promisedImbalance,
  };
}

function picture(runs: Run[]): TopLevelSpec {
  const values = runs.flatMap(({ algorithm, counts }) =>
    moments.flatMap((moment) =>
      counts[moment].map((count, index) => ({
        algorithm: titles[algorithm],
        moment: momentTitles[moment],
        host: `host${index + 1}`,
        count,
      })),
    ),
  );
  return {
    data: { values },
    facet: {
      column: {
        field: "algorithm",
        title: null,
        sort: algorithms.map((algorithm) => titles[algorithm]),
      },
    },
    spec: {
      width: 170,
      height: 200,
      encoding: {
        x: {
          field: "moment",
          type: "ordinal",
          title: null,
          sort: moments.map((moment) => momentTitles[moment]),
        },
        y: { type: "quantitative", title: "sessions" },
        color: { field: "host", type: "nominal", title: null },
      },
      layer: [
        {
          mark: { type: "line", point: true },
          encoding: { y: { field: "count", aggregate: "median" } },
        },
        {
          mark: { type: "rule", opacity: 0.5 },
          encoding: {
            y: { field: "count", aggregate: "min" },
            y2: { field: "count", aggregate: "max" },
          },
        },
      ],
    },
  };
}
