import { spawn } from "node:child_process";
import { existsSync, mkdirSync, openSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { pathToFileURL } from "node:url";
import {
  cacheFolder,
  regionFolder,
  regionLogFile,
  regionPidFile,
  regionReadyFile,
  repositoryFolder,
} from "./paths";
import { cleanUp } from "./region/cleanUp";
import { UserError } from "./toolchain/step";

/** Whether a process with this id runs. */
export function isRunning(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

const regionProgram = join(repositoryFolder, "local", "region", "main.ts");

/** The process of the running region; `undefined` where there is none. */
export function regionProcess(): number | undefined {
  const pid = existsSync(regionPidFile) ? Number(readFileSync(regionPidFile, "utf8")) : 0;
  // After a restart of the computer, another program may have got its number.
  return pid > 0 && commandLine(pid).includes(join("local", "region", "main.ts")) ? pid : undefined;
}

function commandLine(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, "utf8");
  } catch {
    return "";
  }
}

/** Seconds that a region takes to start or stop at most; it takes a few. */
const patienceSeconds = 90;

/** Starts the region, which goes on when this command has ended. */
export async function startRegion(signal: AbortSignal): Promise<void> {
  mkdirSync(regionFolder, { recursive: true });
  const log = openSync(regionLogFile, "a");
  const child = spawn(
    process.execPath,
    ["--import", pathToFileURL(require.resolve("tsx")).href, regionProgram],
    { cwd: repositoryFolder, detached: true, stdio: ["ignore", log, log] },
  );
  child.unref();
  if (child.pid === undefined) {
    throw new Error(`${process.execPath} can't be started`);
  }
  writeFileSync(regionPidFile, String(child.pid));
  for (let waited = 0; !existsSync(regionReadyFile); waited += 0.1) {
    if (child.exitCode !== null || child.signalCode !== null || waited > patienceSeconds) {
      if (child.exitCode === null) {
        await stopRegion();
      }
      const last = readFileSync(regionLogFile, "utf8")
        .split("\n")
        .filter((line) => /^\d{4}-\S+Z /.test(line) && !line.endsWith("the region is down"))
        .at(-1);
      throw new UserError(
        `The local region does not start; its last words: ${last ?? "none"}\nAll of them are in ${regionLogFile}.`,
      );
    }
    await sleep(100, undefined, { signal });
  }
}

/** Ends the region, if it runs, and whatever one left behind that was killed. */
export async function stopRegion(): Promise<void> {
  const pid = regionProcess();
  if (pid !== undefined) {
    process.kill(pid, "SIGTERM");
    for (let waited = 0; isRunning(pid); waited += 0.1) {
      if (waited > patienceSeconds) {
        process.kill(pid, "SIGKILL");
      }
      await sleep(100);
    }
  }
  await cleanUp();
}

const commandLock = join(cacheFolder, "command.pid");

/** Keeps two commands from building or removing the same things at the same time. */
export async function alone<Result>(action: () => Promise<Result>): Promise<Result> {
  mkdirSync(dirname(commandLock), { recursive: true });
  for (;;) {
    try {
      writeFileSync(commandLock, String(process.pid), { flag: "wx" });
      break;
    } catch {
      const other = Number(readFileSync(commandLock, "utf8"));
      if (isRunning(other)) {
        throw new UserError(
          `Another \`npm run local\` is at work (process ${other}). Wait for it, or end it with Ctrl-C where it runs.`,
        );
      }
      rmSync(commandLock, { force: true });
    }
  }
  try {
    return await action();
  } finally {
    rmSync(commandLock, { force: true });
  }
}
