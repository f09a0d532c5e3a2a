import { once } from "node:events";
import { copyFileSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline/promises";
import { EC2Client, type Snapshot } from "@aws-sdk/client-ec2";
import { Command } from "commander";
import { UserError } from "../local/toolchain/step";
import { configFileOf, openStack, pulumi, runCommand, type Stack } from "../operation/stack";
import {
  dataVolumes,
  memberMachines,
  nameOf,
  removeMembers,
  snapshotAll,
  snapshots,
  stopMembers,
} from "./volumes";

/** Else the program leaves older data alone. */
const restores = { METEOR_SCALE_RESTORE: "true" };

interface Target extends Stack {
  client: EC2Client;
}

async function open(name: string): Promise<Target> {
  const stack = await openStack(name);
  return { ...stack, client: new EC2Client(stack.clientOptions("ec2")) };
}

function print(list: Snapshot[]): void {
  for (const snapshot of list) {
    const time = snapshot.StartTime?.toISOString().slice(0, 16).replace("T", " ") ?? "";
    console.log(
      `${String(snapshot.SnapshotId)}  ${time}  ${String(snapshot.State)}  ${nameOf(snapshot)}  ${snapshot.Description ?? ""}`,
    );
  }
}

async function confirmed(target: Target, snapshot: Snapshot): Promise<boolean> {
  console.log(
    `All data of ${target.name} becomes what it was at ${String(snapshot.StartTime?.toISOString())}, as ${nameOf(snapshot)} had it. ` +
      "What is there now is kept in new snapshots first. The application has no database meanwhile.",
  );
  const reader = createInterface({ input: process.stdin, output: process.stdout });
  const answer = await Promise.race([
    reader.question(`Type the stack's name to go on: `),
    // The end of what is typed.
    once(reader, "close").then(() => ""),
  ]);
  reader.close();
  return answer.trim() === target.name;
}

async function backup({ stack, list }: { stack: string; list?: boolean }): Promise<void> {
  const { client, prefix } = await open(stack);
  if (list === true) {
    print(await snapshots(client, prefix));
    return;
  }
  await snapshotAll(client, prefix, "on demand");
  print((await snapshots(client, prefix)).slice(0, 3));
}

async function restore(
  id: string,
  { stack, yes }: { stack: string; yes?: boolean },
): Promise<void> {
  const target = await open(stack);
  const { client, prefix } = target;
  const all = await snapshots(client, prefix);
  const snapshot = all.find(({ SnapshotId }) => SnapshotId === id);
  if (snapshot?.State !== "completed") {
    throw new UserError(
      snapshot === undefined
        ? `${id} is no snapshot of ${stack}; npm run backup -- --stack ${stack} --list shows them`
        : `${id} is ${String(snapshot.State)}; it must be completed`,
    );
  }
  const folder = mkdtempSync(join(tmpdir(), "meteor-scale-restore-"));
  try {
    const file = configWithSnapshot(target, id, folder);
    // What it would refuse later, when the machines are gone.
    const preview = pulumi(target, ["preview", "--config-file", file], "pipe", restores);
    if (preview.status !== 0) {
      throw new UserError(`${preview.stdout}${preview.stderr}\nNothing was changed.`);
    }
    if (yes !== true && !(await confirmed(target, snapshot))) {
      throw new UserError("Nothing was changed.");
    }
    await removeMembers(client, prefix, await saveAll(target));
    const args = ["up", "--refresh", "--config-file", file, "--yes", "--skip-preview"];
    if (pulumi(target, args, "inherit", restores).status !== 0) {
      throw new UserError(
        "The update failed. The machines and volumes of MongoDB are gone, their data is in snapshots: run this " +
          "command again, after pulumi cancel if the stack is locked.",
      );
    }
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** Snapshots of all that is there, down to the last write. */
async function saveAll({ client, prefix, name }: Target): Promise<Snapshot[]> {
  if ((await dataVolumes(client, prefix)).length === 0) {
    if ((await memberMachines(client, prefix)).length > 0) {
      throw new UserError(
        `The members of ${name} run, but no volume has the tag backup=${prefix}, so it is unknown what to save. Nothing was changed.`,
      );
    }
    // All of them may be what was lost.
    return [];
  }
  // The first ones take long, while the application works; the second ones have little to add.
  await snapshotAll(client, prefix, "before a restore");
  await stopMembers(client, prefix);
  return snapshotAll(client, prefix, "at a restore");
}

/** A copy of the stack's config: in its own, the snapshot would be what a volume begins with that is lost later. */
function configWithSnapshot(target: Target, snapshot: string, folder: string): string {
  const name = configFileOf(target.name);
  const file = join(folder, name);
  try {
    copyFileSync(name, file);
  } catch (error) {
    throw new UserError(`${name} can't be read: ${(error as Error).message}`);
  }
  const args = ["config", "set", "mongoSnapshot", snapshot, "--config-file", file];
  const { status, stderr } = pulumi(target, args);
  if (status !== 0) {
    throw new UserError(stderr.trim());
  }
  return file;
}

const command = new Command("npm run");
command
  .command("backup")
  .description("snapshots of MongoDB's volumes, now")
  .requiredOption("--stack <name>", "the stack, as pulumi stack ls shows it")
  .option("--list", "only list the snapshots that there are")
  .action(backup);
command
  .command("restore <snapshot>")
  .description("the data of a snapshot, in the place of what the set has now")
  .requiredOption("--stack <name>", "the stack, as pulumi stack ls shows it")
  .option("--yes", "ask nothing")
  .action(restore);

void runCommand(command);
