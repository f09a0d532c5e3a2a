import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { regionFolder } from "../paths";

/** Every process of the region carries this variable, so that one left over can be found again. */
export const markerVariable = "METEOR_SCALE_REGION_PROCESS";
const marker = { [markerVariable]: regionFolder };

/**
 * Runs a command to its end.
 *
 * @param input text for its standard input
 * @returns its standard output
 * @throws Error that names the command and quotes its standard error
 */
export async function run(command: string, args: string[], input = ""): Promise<string> {
  // An ES module, which only a dynamic import of a CommonJS module can load.
  const { execa } = await import("execa");
  const result = await execa(command, args, { input, env: marker, reject: false });
  if (result.failed) {
    const reason = result.stderr || result.shortMessage || "";
    throw new Error(`${[command, ...args].join(" ")} failed: ${reason.trim()}`);
  }
  return result.stdout;
}

/** A long-running process of the region. */
export interface RunningProcess {
  pid: number;
  /** Resolves when it has ended, with what it ended with. */
  ended: Promise<{ exitCode?: number; signal?: string }>;
  /** Ends it, by force where it does not listen. */
  stop(): Promise<void>;
}

/**
 * Starts a process that runs on; its output goes to `region/logs/NAME.log`.
 *
 * @param logFile where its output goes instead
 */
export async function start(
  name: string,
  command: string,
  args: string[],
  { env = {}, logFile }: { env?: Record<string, string>; logFile?: string } = {},
): Promise<RunningProcess> {
  const { execa } = await import("execa");
  mkdirSync(join(regionFolder, "logs"), { recursive: true });
  const log = { file: logFile ?? join(regionFolder, "logs", `${name}.log`), append: true } as const;
  const child = execa(command, args, {
    env: { ...marker, ...env },
    reject: false,
    stdin: "ignore",
    stdout: log,
    stderr: log,
    buffer: false,
    forceKillAfterDelay: 3000,
  });
  const { pid } = child;
  if (pid === undefined) {
    throw new Error(`${[command, ...args].join(" ")} could not be started`);
  }
  const ended = child.then(({ exitCode, signal }) => ({ exitCode, signal }));
  return {
    pid,
    ended,
    async stop(): Promise<void> {
      child.kill();
      await ended;
    },
  };
}

/** Writes to the region's log. */
export function log(message: string): void {
  console.log(`${new Date().toISOString()} ${message}`);
}

/** @returns the text of whatever was thrown */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
