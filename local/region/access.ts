import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import type { Options, Result } from "execa";
import { machinesFolder, regionStatusFile } from "../paths";
import type { RegionStatus, StatusOfMachine } from "./status";

/** @returns what the running region last wrote about itself */
export function readStatus(): RegionStatus {
  if (!existsSync(regionStatusFile)) {
    throw new Error("The local region is not running. `npm run local up` starts it.");
  }
  return JSON.parse(readFileSync(regionStatusFile, "utf8")) as RegionStatus;
}

/**
 * Finds a machine.
 *
 * @param name its instance id, its name, or the name's last word, such as `host1`
 * @throws Error that lists the machines there are
 */
export function findMachine(name: string): StatusOfMachine {
  const { machines } = readStatus();
  const found = machines.filter(
    (each) => each.instanceId === name || each.name === name || each.name.endsWith(`-${name}`),
  );
  // During a release two machines have one name: the newer one is meant.
  const machine = found.at(-1);
  if (machine === undefined) {
    const names = machines.map((each) => each.name.split("-").at(-1)).join(", ");
    throw new Error(`There is no machine ${name}. There are: ${names || "none"}.`);
  }
  return machine;
}

/**
 * Runs a command inside a machine, as root.
 *
 * @param name as for `findMachine`
 * @param options for execa, such as `{ stdio: "inherit" }` for a shell
 */
export async function runInMachine(
  name: string,
  [command = "", ...args]: string[],
  options: Options = {},
): Promise<Result> {
  const machine = findMachine(name);
  if (machine.leader === undefined) {
    throw new Error(`${machine.name} is ${machine.state}, so nothing can run in it.`);
  }
  const enter = ["--all", "--target", String(machine.leader), "--wd", "--"];
  // The machine's own variables, not those of whoever asks.
  const environment = [
    "env",
    "-i",
    "HOME=/root",
    `TERM=${process.env.TERM ?? "dumb"}`,
    "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
  ];
  const { execa } = await import("execa");
  return execa("nsenter", [...enter, ...environment, command, ...args], options);
}

/** @returns the folder that `journalctl --directory` reads a machine's journal from */
export function journalFolder(name: string): string {
  return join(machinesFolder, findMachine(name).instanceId, "root", "var", "log", "journal");
}
