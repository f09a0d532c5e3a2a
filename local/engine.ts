import { appendFileSync, existsSync, mkdirSync, readdirSync, readFileSync } from "node:fs";
import { hostname } from "node:os";
import { delimiter, join } from "node:path";
import {
  DescribeInstancesCommand,
  EC2Client,
  TerminateInstancesCommand,
} from "@aws-sdk/client-ec2";
import {
  type EngineEvent,
  LocalWorkspace,
  type OpMap,
  PulumiCommand,
  type Stack,
} from "@pulumi/pulumi/automation";
import {
  awsApiUrl,
  awsCredentials,
  awsRegion,
  engineFolder,
  engineLogFile,
  providerPorts,
  pulumiStateFolder,
  regionFolder,
  repositoryFolder,
  stackName,
  toolsBinFolder,
} from "./paths";
import { isRunning } from "./processes";
import { UserError } from "./toolchain/step";

/** What makes `pulumi` work on the local region, in this command and in anybody's terminal. */
export function pulumiEnvironment(): Record<string, string> {
  const path = (process.env.PATH ?? "").split(delimiter).filter((part) => part !== toolsBinFolder);
  return {
    PATH: [toolsBinFolder, ...path].join(delimiter),
    PULUMI_HOME: join(regionFolder, "pulumi-home"),
    // Without files of metadata: unlike the state they are not written at once, so a killed engine would leave one
    // that is empty, for which Pulumi would refuse to load the state.
    PULUMI_BACKEND_URL: `file://${pulumiStateFolder}?metadata=skip`,
    // The state lives as long as the region and holds nothing of value.
    PULUMI_CONFIG_PASSPHRASE: "local-region",
    PULUMI_SKIP_UPDATE_CHECK: "true",
    PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION: "true",
    PULUMI_DEBUG_PROVIDERS: Object.entries(providerPorts)
      .map(([name, port]) => `${name}:${port}`)
      .join(","),
  };
}

/** The stack `local` of this repository, created if the region is new. */
export async function openStack(): Promise<Stack> {
  mkdirSync(pulumiStateFolder, { recursive: true });
  const stack = await LocalWorkspace.createOrSelectStack(
    { stackName, workDir: repositoryFolder },
    {
      pulumiCommand: await PulumiCommand.get({ root: engineFolder }),
      envVars: pulumiEnvironment(),
    },
  );
  return stack;
}

/** How an operation of the engine is watched and ended. */
export interface Watch {
  onEvent?: (event: EngineEvent) => void;
  signal: AbortSignal;
}

/** Counts of what would change, or has changed; an operation that changed nothing has none. */
export type Changes = Record<string, number>;

function changes(counts: OpMap | undefined): Changes {
  return Object.fromEntries(
    Object.entries(counts ?? {}).filter(([operation]) => operation !== "same"),
  );
}

/**
 * What an update would do. Always done first: most mistakes of a program end a preview, where they
 * can't delete anything.
 */
export async function preview(stack: Stack, watch: Watch): Promise<Changes> {
  const { changeSummary } = await watched(watch, (options) => stack.preview(options));
  return changes(changeSummary);
}

export async function update(stack: Stack, watch: Watch): Promise<Changes> {
  const { summary } = await watched(watch, (options) => stack.up(options));
  return changes(summary.resourceChanges);
}

interface OperationOptions {
  color: "never";
  signal: AbortSignal;
  onOutput: (text: string) => void;
  onError: (text: string) => void;
  onEvent: (event: EngineEvent) => void;
}

async function watched<Result>(
  watch: Watch,
  operation: (options: OperationOptions) => Promise<Result>,
): Promise<Result> {
  const errors = new Set<string>();
  const keep = (text: string): void => {
    appendFileSync(engineLogFile, text);
  };
  try {
    return await operation({
      color: "never",
      signal: watch.signal,
      onOutput: keep,
      onError: keep,
      onEvent: (event) => {
        const diagnostic = event.diagnosticEvent;
        if (diagnostic?.severity === "error") {
          errors.add(plain(diagnostic.message));
        }
        watch.onEvent?.(event);
      },
    });
  } catch (error) {
    watch.signal.throwIfAborted();
    throw new UserError(
      `${reason([...errors]) || lastLine((error as Error).message)}\nThe engine's whole output is in ${engineLogFile}.`,
    );
  }
}

/** Without the engine's own colour marks. */
function plain(text: string): string {
  return text.replaceAll(/<\{%.*?%\}>/g, "").trim();
}

/** The engine repeats at the end that something failed. */
function reason(errors: string[]): string {
  const own = errors.filter((text) => !/^(update|preview) failed$/.test(text));
  return (own.length > 0 ? own : errors).join("\n");
}

function lastLine(text: string): string {
  return text.trim().split("\n").at(-1) ?? "";
}

interface Lock {
  pid: number;
  hostname: string;
}

/**
 * Cleans up after an engine that was killed: its lock, the creations it may or may not have finished,
 * and machines that it asked for without being able to write that down.
 *
 * @returns a sentence on what was done, or nothing where nothing was to be done
 * @throws UserError while another update runs
 */
export async function recoverFromKilledEngine(
  stack: Stack,
  watch: Watch,
): Promise<string | undefined> {
  const locks = readLocks();
  if (locks.length === 0) {
    return undefined;
  }
  const alive = locks.find((lock) => lock.hostname === hostname() && isRunning(lock.pid));
  if (alive !== undefined) {
    throw new UserError(
      `Another update of the local stack is running (process ${alive.pid}). Wait for it, or end it with Ctrl-C where it runs.`,
    );
  }
  await stack.cancel();
  await watched(watch, (options) => stack.refresh({ ...options, clearPendingCreates: true }));
  const unknown = await terminateUnknownMachines(stack);
  return (
    "An earlier update was killed; its lock was removed and Pulumi's state compared with the region" +
    `${unknown > 0 ? `, and ${unknown} unknown machines removed` : ""}.`
  );
}

function readLocks(): Lock[] {
  const folder = join(pulumiStateFolder, ".pulumi", "locks");
  if (!existsSync(folder)) {
    return [];
  }
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && entry.name.endsWith(".json"))
    .map((entry) => JSON.parse(readFileSync(join(entry.parentPath, entry.name), "utf8")) as Lock);
}

interface Deployment {
  resources?: { type: string; id?: string }[];
}

/**
 * Terminates machines that the stack's state does not know, and tells how many there were: an engine that is killed
 * while a machine is created leaves it behind.
 */
export async function terminateUnknownMachines(stack: Stack): Promise<number> {
  const deployment = (await stack.exportStack()).deployment as Deployment;
  const known = new Set((deployment.resources ?? []).map(({ id }) => id));
  const client = new EC2Client({
    endpoint: awsApiUrl,
    region: awsRegion,
    credentials: awsCredentials,
  });
  const { Reservations } = await client.send(
    new DescribeInstancesCommand({
      Filters: [{ Name: "instance-state-name", Values: ["pending", "running", "stopped"] }],
    }),
  );
  const unknown = (Reservations ?? [])
    .flatMap(({ Instances }) => Instances ?? [])
    .flatMap(({ InstanceId }) =>
      InstanceId === undefined || known.has(InstanceId) ? [] : [InstanceId],
    );
  if (unknown.length > 0) {
    await client.send(new TerminateInstancesCommand({ InstanceIds: unknown }));
  }
  return unknown.length;
}
