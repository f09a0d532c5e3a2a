import { execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { createWriteStream, mkdirSync } from "node:fs";
import { mkdir, readFile, rm, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { createInterface } from "node:readline";
import { promisify } from "node:util";
import { cacheFolder } from "../paths";

/** What a person can act on: shown as one paragraph, without a stack trace. */
export class UserError extends Error {
  override name = "UserError";
}

/** Stands for an error that is told in full after the list of steps. */
export class StepFailed extends Error {
  constructor(cause: unknown) {
    super("see below", { cause });
  }
}

/** Runs a step so that the list of steps does not tell its error, which may be a paragraph. */
export async function attempt(action: () => Promise<void>): Promise<void> {
  try {
    await action();
  } catch (error) {
    throw new StepFailed(error);
  }
}

/** How a part of the toolchain talks to the person who waits for it. */
export interface Step {
  /** Shows what is being done now. */
  progress: (line: string) => void;
  /** Aborted when the person presses Ctrl-C. */
  signal: AbortSignal;
}

/** Where a tool's whole output goes. */
export function toolLogFile(name: string): string {
  return join(cacheFolder, "logs", `${name}.log`);
}

export interface RunOptions {
  cwd?: string;
  env?: Record<string, string>;
}

/**
 * Runs a program, its last line shown as progress and all of its output kept in a log file.
 *
 * @param name names the log file, and the step in the error
 */
export async function runLogged(
  step: Step,
  name: string,
  file: string,
  args: string[],
  options: RunOptions = {},
): Promise<void> {
  step.signal.throwIfAborted();
  const logFile = toolLogFile(name);
  mkdirSync(dirname(logFile), { recursive: true });
  const log = createWriteStream(logFile, { flags: "a" });
  log.write(`\n$ ${[file, ...args].join(" ")}\n`);
  const child = spawn(file, args, {
    cwd: options.cwd,
    env: { ...process.env, ...options.env },
    stdio: ["ignore", "pipe", "pipe"],
    signal: step.signal,
  });
  const ended = once(child, "close") as Promise<[number | null, NodeJS.Signals | null]>;
  const last: string[] = [];
  for (const stream of [child.stdout, child.stderr]) {
    createInterface({ input: stream }).on("line", (line) => {
      log.write(`${line}\n`);
      if (line.trim() !== "") {
        step.progress(line.trim());
        last.push(line.trim());
        last.splice(0, last.length - 3);
      }
    });
  }
  const outcome = await ended.then(
    ([code, signal]) => code ?? signal ?? "unknown",
    (error: unknown) => (error as Error).message,
  );
  await new Promise((resolve) => log.end(resolve));
  step.signal.throwIfAborted();
  if (outcome !== 0) {
    throw new UserError(
      `${name} could not be made: ${file} ended with ${outcome}` +
        `${last.length > 0 ? ` after "${last.join(" | ")}"` : ""}. Its whole output is in ${logFile}.`,
    );
  }
}

/** What a program prints; `undefined` if it fails or is not there. */
export async function outputOf(
  file: string,
  args: string[],
  options: RunOptions & { signal?: AbortSignal } = {},
): Promise<string | undefined> {
  const { stdout } = await promisify(execFile)(file, args, {
    ...options,
    env: { ...process.env, ...options.env },
  }).catch(() => ({ stdout: undefined }));
  return stdout;
}

/**
 * Makes a folder once. It counts as made when its stamp says what it was made of, and the stamp is
 * written last, so that an interrupted or outdated one is made anew.
 *
 * @param stamp changes whenever the folder's contents would
 * @returns whether it had to be made
 */
export async function makeOnce(
  folder: string,
  stamp: string,
  make: (folder: string) => Promise<void>,
): Promise<boolean> {
  if (await isMade(folder, stamp)) {
    return false;
  }
  await rm(folder, { recursive: true, force: true });
  await mkdir(folder, { recursive: true });
  await make(folder);
  await writeFile(join(folder, stampName), stamp);
  return true;
}

const stampName = ".made-of";

/** Whether `folder` was made of exactly this. */
export async function isMade(folder: string, stamp: string): Promise<boolean> {
  return stamp === (await readFile(join(folder, stampName), "utf8").catch(() => undefined));
}
