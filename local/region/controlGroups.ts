import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmdirSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

/** The folder of all of the region's machines in each hierarchy. */
const regionGroups = "meteor-scale";

/** A hierarchy of control groups that the computer has mounted. */
export interface Hierarchy {
  path: string;
  /** All hierarchies of version 1 that are not systemd's own have controllers; version 2 has one. */
  version: 1 | 2;
  controllers: string[];
}

/** What a machine may use. */
export interface Limits {
  cores: number;
  /** Bytes; left out: as much as there is. */
  memory?: number;
  /** Microseconds of which the processes get their share; a tenth of a second by default. */
  period?: number;
}

/** @param mountInfo text of /proc/self/mountinfo */
export function hierarchies(mountInfo: string): Hierarchy[] {
  return mountInfo.split("\n").flatMap((line) => {
    const [before = "", after = ""] = line.split(" - ");
    const path = before.split(" ")[4] ?? "";
    const [type, , options = ""] = after.split(" ");
    return type === "cgroup2" || type === "cgroup"
      ? [{ path, version: type === "cgroup" ? 1 : 2, controllers: options.split(",") } as const]
      : [];
  });
}

/**
 * The files of one hierarchy that hold a machine to its limits, by name.
 *
 * CPU is a share of every period, so a machine with one core gets one core's worth of any of them.
 */
export function limitFiles(
  { version, controllers }: Hierarchy,
  { cores, memory, period = 100_000 }: Limits,
): Record<string, string> {
  const quota = Math.round(cores * period);
  if (version === 2) {
    return { "cpu.max": `${quota} ${period}`, "memory.max": String(memory ?? "max") };
  }
  return {
    ...(controllers.includes("cpu")
      ? { "cpu.cfs_period_us": String(period), "cpu.cfs_quota_us": String(quota) }
      : {}),
    ...(controllers.includes("memory") ? { "memory.limit_in_bytes": String(memory ?? -1) } : {}),
  };
}

/**
 * The files by which all machines together weigh as much as two of this computer's programs; by themselves they would
 * weigh as much as one. More would starve those who visit them.
 */
export function weightFiles({ version, controllers }: Hierarchy): Record<string, string> {
  if (version === 2) {
    return { "cpu.weight": "200" };
  }
  return controllers.includes("cpu") ? { "cpu.shares": "2048" } : {};
}

function mounted(): Hierarchy[] {
  return (
    hierarchies(readFileSync("/proc/self/mountinfo", "utf8"))
      // A cpuset has to be filled before anything can join it, and limits nothing here.
      .filter(({ controllers }) => !controllers.includes("cpuset"))
  );
}

/**
 * Makes a machine's control groups, or sets the limits of those that are there.
 *
 * @param parent the folder of all groups of this kind
 * @returns the files into which a process writes itself to join them
 */
export function createControlGroups(name: string, limits: Limits, parent = regionGroups): string[] {
  return mounted().map((hierarchy) => {
    const folder = join(hierarchy.path, parent, name);
    mkdirSync(folder, { recursive: true });
    if (hierarchy.version === 2) {
      enableControllers(hierarchy.path);
      enableControllers(join(hierarchy.path, parent));
    }
    writeFiles(join(hierarchy.path, parent), weightFiles(hierarchy));
    writeFiles(folder, limitFiles(hierarchy, limits));
    return join(folder, "cgroup.procs");
  });
}

function writeFiles(folder: string, files: Record<string, string>): void {
  for (const [file, value] of Object.entries(files)) {
    // On a computer with both versions, version 2 has no controllers and none of these files.
    if (existsSync(join(folder, file))) {
      writeFileSync(join(folder, file), value);
    }
  }
}

/**
 * The file of one hierarchy that counts the CPU time of a group, and how it is read.
 *
 * @returns undefined where the hierarchy counts none
 */
export function cpuCounter({
  version,
  controllers,
}: Hierarchy): { file: string; seconds: (text: string) => number } | undefined {
  if (version === 2) {
    return {
      file: "cpu.stat",
      seconds: (text) => Number(/^usage_usec (\d+)$/m.exec(text)?.[1]) / 1e6,
    };
  }
  return controllers.includes("cpuacct")
    ? { file: "cpuacct.usage", seconds: (text) => Number(text) / 1e9 }
    : undefined;
}

/** @returns the CPU time that a machine has used, in seconds; undefined where it has no group */
export function cpuSeconds(name: string, parent = regionGroups): number | undefined {
  for (const hierarchy of mounted()) {
    const counter = cpuCounter(hierarchy);
    const file = join(hierarchy.path, parent, name, counter?.file ?? "");
    if (counter !== undefined && existsSync(file)) {
      return counter.seconds(readFileSync(file, "utf8"));
    }
  }
  return undefined;
}

/** Lets the groups below a folder be limited, as far as version 2 is in charge of it. */
function enableControllers(folder: string): void {
  const available = readFileSync(join(folder, "cgroup.controllers"), "utf8").trim().split(" ");
  for (const controller of ["cpu", "memory"]) {
    if (available.includes(controller)) {
      writeFileSync(join(folder, "cgroup.subtree_control"), `+${controller}`);
    }
  }
}

/** Removes a machine's control groups, or those of all machines, whose processes are ending. */
export async function removeControlGroups(name = "", parent = regionGroups): Promise<void> {
  for (const { path } of mounted()) {
    for (let tries = 0; ; tries += 1) {
      try {
        removeTree(join(path, parent, name));
        break;
      } catch (error) {
        // Busy as long as the last process is not quite gone.
        if (tries === 100) {
          throw error;
        }
        await sleep(50);
      }
    }
  }
}

function removeTree(folder: string): void {
  if (!existsSync(folder)) {
    return;
  }
  for (const entry of readdirSync(folder, { withFileTypes: true })) {
    if (entry.isDirectory()) {
      removeTree(join(folder, entry.name));
    }
  }
  rmdirSync(folder);
}
