import { existsSync, readdirSync, readFileSync, realpathSync, rmSync, statSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import {
  machinesFolder,
  regionFolder,
  regionReadyFile,
  regionStatusFile,
  snapshotsFolder,
  volumeCopyLock,
  volumesFolder,
} from "../paths";
import { markerVariable, run } from "./commands";
import { removeControlGroups } from "./controlGroups";
import { namespacePrefix } from "./network";

/**
 * Removes what a region left behind that was killed: processes, mounts, namespaces, loop devices,
 * control groups, machines, volumes and snapshots. Where there is nothing, it does nothing.
 */
export async function cleanUp(): Promise<void> {
  if (existsSync(volumeCopyLock)) {
    // What waits for a file system that stands still can't even be killed.
    await run("flock", ["--timeout", "120", volumeCopyLock, "true"]);
  }
  await endProcesses();
  (existsSync(machinesFolder) ? readdirSync(machinesFolder) : []).forEach(forgetMachine);
  for (const mount of mountsBelow(machinesFolder).reverse()) {
    await run("umount", ["--lazy", mount]);
  }
  for (const namespace of namespaces()) {
    await run("ip", ["netns", "delete", namespace]);
  }
  await detachLoops();
  await removeControlGroups();
  [machinesFolder, volumesFolder, snapshotsFolder, regionReadyFile, regionStatusFile].forEach(
    (path) => {
      rmSync(path, { recursive: true, force: true });
    },
  );
}

/** Where systemd-nspawn keeps what it removes itself only if it is not killed. */
const nspawnFolder = "/run/systemd/nspawn";

/** Removes that of one machine, whose root file system is still mounted if it ever was. */
export function forgetMachine(id: string): void {
  rmSync(join(nspawnFolder, "propagate", id), { recursive: true, force: true });
  const root = statSync(join(machinesFolder, id, "root"), { throwIfNoEntry: false });
  if (root !== undefined) {
    rmSync(join(nspawnFolder, "locks", `inode-${root.dev}:${root.ino}`), { force: true });
  }
}

function namespaces(): string[] {
  const folder = "/run/netns";
  return existsSync(folder)
    ? readdirSync(folder).filter((name) => name.startsWith(namespacePrefix))
    : [];
}

async function endProcesses(): Promise<void> {
  for (let tries = 0; tries < 50; tries += 1) {
    const pids = [...(await inNamespaces()), ...marked()];
    if (pids.length === 0) {
      return;
    }
    pids.forEach((pid) => {
      try {
        process.kill(pid, "SIGKILL");
      } catch {
        // It has ended by itself.
      }
    });
    await sleep(100);
  }
  throw new Error("processes of an earlier region can't be ended: " + marked().join(", "));
}

/** Machines' processes don't carry the region's mark, but live in its namespaces. */
async function inNamespaces(): Promise<number[]> {
  const lists = await Promise.all(namespaces().map((name) => run("ip", ["netns", "pids", name])));
  return lists.flatMap((list) => list.split("\n").filter(Boolean).map(Number));
}

function marked(): number[] {
  const mark = `${markerVariable}=${regionFolder}`;
  return readdirSync("/proc")
    .map(Number)
    .filter((pid) => pid > 0 && pid !== process.pid)
    .filter((pid) => {
      try {
        return readFileSync(`/proc/${pid}/environ`, "latin1").split("\0").includes(mark);
      } catch {
        return false;
      }
    });
}

function mountsBelow(folder: string): string[] {
  if (!existsSync(folder)) {
    return [];
  }
  const start = `${realpathSync(folder)}/`;
  return readFileSync("/proc/self/mounts", "utf8")
    .split("\n")
    .map((line) => line.split(" ")[1] ?? "")
    .filter((path) => path.startsWith(start));
}

async function detachLoops(): Promise<void> {
  const list = await run("losetup", ["--list", "--noheadings", "--output", "NAME,BACK-FILE"]);
  for (const line of list.split("\n")) {
    const [loop, file] = line.trim().split(/\s+/);
    if (loop && file?.startsWith(`${volumesFolder}/`)) {
      await run("losetup", ["--detach", loop]);
    }
  }
}
