import { type ChildProcess, execFileSync, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { parse, stringify } from "yaml";
import { pulumiEnvironment } from "../../../local/engine";
import { fetchPage, stackCertificate } from "../../../local/page";
import { repositoryFolder, stackName } from "../../../local/paths";
import type { StatusOfMachine } from "../../../local/region/status";
import { Browser, type Site } from "../../../local/traffic/browser";
import { type LoadReport, startLoad } from "../../../local/traffic/load";
import { shortName } from "../../../local/updateProgress";
import { type Outcome, outcomeOf, run } from "../../tools";
import { readStatistic } from "../../userdata/balancerSandbox";
import { eventually, inMachine } from "../machines";

/** The stack `local` as `npm run local` makes it, and where its clients find it. */
export interface Stack extends Site {
  /** The address as the namespace that plays the internet knows it. */
  internetAddress: string;
}

/** Brings the stack up, or does nothing if it is. */
export async function upStack(): Promise<Stack> {
  localCommand("up");
  const balancer = machines().find(({ name }) => name.endsWith("-balancer"));
  const stack = {
    // As Pulumi.local.yaml has it.
    rootUrl: "https://meteor.localhost",
    address: balancer?.elasticAddress ?? "",
    internetAddress: balancer?.internetAddress ?? "",
    certificate: await stackCertificate(),
  };
  await fetchPage(stack.address, stack.rootUrl, stack.certificate);
  return stack;
}

/** What a command of `npm run local` prints, which must end well. */
export function localCommand(...args: string[]): string {
  return execFileSync("npm", ["run", "--silent", "local", "--", ...args], {
    cwd: repositoryFolder,
    encoding: "utf8",
  });
}

export function machines(): StatusOfMachine[] {
  const { machines } = JSON.parse(localCommand("status", "--json")) as {
    machines: StatusOfMachine[];
  };
  return machines;
}

const pulumiFlags = ["--stack", stackName, "--cwd", repositoryFolder, "--color", "never"];

/** Runs Pulumi in a terminal's way, with the environment that `npm run local -- env` prints. */
export function pulumi(...args: string[]): Outcome {
  return outcomeOf("pulumi", [...args, ...pulumiFlags], pulumiEnvironment());
}

/** What the engine did to a resource. */
export interface Step {
  /** Such as `create`, `update`, `create-replacement`, `delete-replaced`. */
  operation: string;
  /** Such as `meteor-host1-instance`. */
  name: string;
}

/** An update that has ended. */
export interface Update extends Outcome {
  /** What was done, in the order in which it was done, as the engine's own events tell. */
  steps: Step[];
}

/** The stack's committed config with other values, as a file for `--config-file`. */
export function configFile(
  folder: string,
  values: Record<string, unknown>,
  secrets: Record<string, string> = {},
): string {
  const file = join(folder, "config.yaml");
  const committed = readFileSync(join(repositoryFolder, `Pulumi.${stackName}.yaml`), "utf8");
  const settings = parse(committed) as { config: Record<string, unknown> };
  const changed = Object.entries(values).map(
    ([key, value]) => [`meteor-scale:${key}`, value] as const,
  );
  writeFileSync(
    file,
    stringify({ ...settings, config: { ...settings.config, ...Object.fromEntries(changed) } }),
  );
  for (const [key, input] of Object.entries(secrets)) {
    execFileSync(
      "pulumi",
      ["config", "set", "--secret", key, "--config-file", file, ...pulumiFlags],
      { env: { ...process.env, ...pulumiEnvironment() }, input },
    );
  }
  return file;
}

/** How an update of the stack differs from `pulumi up`. */
export interface UpdateOptions {
  /** Config values that are secrets. */
  secrets?: Record<string, string>;
  /** More flags of `pulumi up`. */
  flags?: string[];
  /** From when the stack is locked: sees the steps that have ended, and the process that it could kill. */
  watch?: (steps: Step[], engine: ChildProcess) => void;
}

/** Runs an update of the stack with other config values than those of Pulumi.local.yaml. */
export async function updateWith(
  values: Record<string, unknown>,
  { secrets = {}, flags = [], watch }: UpdateOptions = {},
): Promise<Update> {
  const folder = mkdtempSync(join(tmpdir(), "meteor-scale-stack-"));
  const events = join(folder, "events.json");
  const file = configFile(folder, values, secrets);
  writeFileSync(events, "");
  const engine = spawn(
    "pulumi",
    [
      ...["up", "--yes", "--skip-preview", "--config-file", file, ...flags],
      ...["--event-log", events, ...pulumiFlags],
    ],
    {
      // `--event-log` is one of the commands for debugging.
      env: { ...process.env, ...pulumiEnvironment(), PULUMI_DEBUG_COMMANDS: "true" },
      stdio: ["ignore", "pipe", "pipe"],
    },
  );
  let output = "";
  for (const stream of [engine.stdout, engine.stderr]) {
    stream.setEncoding("utf8").on("data", (text: string) => (output += text));
  }
  const timer = setInterval(() => {
    if (output.includes("@ updating")) {
      watch?.(readSteps(events), engine);
    }
  }, 50);
  try {
    const [status] = (await once(engine, "close")) as [number | null];
    if (status !== 0) {
      // A test that did not expect it shows why.
      console.log(output);
    }
    return { status, output, steps: readSteps(events) };
  } finally {
    clearInterval(timer);
    rmSync(folder, { recursive: true });
  }
}

interface EventLine {
  resOutputsEvent?: { metadata: { op: string; urn: string } };
}

function readSteps(events: string): Step[] {
  return readFileSync(events, "utf8")
    .split("\n")
    .slice(0, -1)
    .map((line) => (JSON.parse(line) as EventLine).resOutputsEvent?.metadata)
    .filter((metadata) => metadata !== undefined)
    .map(({ op, urn }) => ({ operation: op, name: urn.split("::").at(-1) ?? "" }))
    .filter(({ operation }) => !["same", "read", "refresh", "replace"].includes(operation));
}

/** Makes a change under traffic of the size that every change is tried under, and prints what visitors saw. */
export async function underTraffic<Result>(
  site: Site,
  change: () => Promise<Result>,
  print: (text: string) => void = console.log,
): Promise<{ result: Result; report: LoadReport }> {
  const load = await startLoad({ site, sessions: 50, requestsPerSecond: 20 });
  try {
    await sleep(3000);
    const result = await change();
    await sleep(3000);
    const report = await load.stop();
    print(JSON.stringify({ ...report, timeline: undefined }));
    return { result, report };
  } finally {
    load.kill();
  }
}

/**
 * No request failed, no call was lost, and no page was away for five seconds. A call may run twice only over XHR
 * polling: where a name moves between a call and the poll that would bring its answer, nothing can.
 */
export function expectUnnoticed(report: LoadReport): void {
  expect(report).toMatchObject({
    failedRequests: [],
    lostCalls: 0,
    failedCalls: [],
    repeatedCalls: { websocket: 0 },
  });
  expect(report.longWaits).toEqual([]);
}

/** Instance ids by the machines' short names; of two machines of a name the newest. */
export function instanceIds(): Record<string, string> {
  return Object.fromEntries(
    machines().map(({ name, instanceId }) => [shortName(name), instanceId]),
  );
}

/** Private addresses of the hosts that run, by their names. */
export function hostAddresses(): Record<string, string> {
  return Object.fromEntries(
    machines().flatMap(({ name, privateAddress }) => {
      const host = /-(host\d+)$/.exec(name)?.[1];
      return host === undefined ? [] : [[host, privateAddress]];
    }),
  );
}

/** A function of the region's network, in a process of its own: its module is not for Jest. */
export function network(action: "attachNamespace" | "detachNamespace", ...args: string[]): void {
  const call = `require("./local/region/network").${action}(...${JSON.stringify(args)})`;
  run(process.execPath, ["--import", "tsx", "--eval", call]);
}

/** What curl gets in the namespace that plays the internet. */
export function fromInternet(...args: string[]): Outcome {
  const { status, stdout } = spawnSync(
    "nsenter",
    ["--net=/run/netns/meteor-internet", "--", "curl", "--silent", "--max-time", "3", ...args],
    { encoding: "utf8" },
  );
  return { status, output: stdout };
}

/** HAProxy's own view of each host: a column of its statistics by the host's name. */
export function statistic(column: string): Record<string, string> {
  const table = inMachine("balancer", 'echo "show stat" | socat - /run/haproxy/admin.sock');
  return readStatistic(table, column);
}

/** One of the README's commands for a stack of any kind. */
export function npmRun(...args: string[]): Outcome {
  return outcomeOf("npm", ["run", "--silent", ...args], pulumiEnvironment());
}

/** Adds a line to the application's list, which is acknowledged. */
export async function addLine(stack: Stack, text: string): Promise<void> {
  const browser = new Browser(stack);
  const client = await browser.connect("websocket");
  await client.call("tasks.insert", text);
  browser.close();
}

/** The application's list as a page shows it that is opened now, in the order of the alphabet. */
export async function lines(stack: Stack): Promise<string[]> {
  const browser = new Browser(stack);
  try {
    const client = await browser.connect("websocket");
    client.subscribe("tasks");
    return await eventually(() => {
      const found = [...client.documents("tasks").values()].map(({ text }) => String(text));
      expect(found).not.toEqual([]);
      return found.sort();
    });
  } finally {
    browser.close();
  }
}
