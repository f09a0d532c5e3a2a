import { spawn } from "node:child_process";
import { once } from "node:events";
import { EC2Client } from "@aws-sdk/client-ec2";
import { dataVolumes, removeMembers } from "../../../backup/volumes";
import { pulumiEnvironment } from "../../../local/engine";
import { awsApiUrl, awsCredentials, awsRegion, repositoryFolder } from "../../../local/paths";
import { eventually } from "../machines";
import { addLine, instanceIds, lines, npmRun, pulumi, type Stack, upStack } from "./stack";

jest.setTimeout(400_000);

const prefix = "meteor-scale-local";
const ec2 = new EC2Client({
  region: awsRegion,
  endpoint: awsApiUrl,
  credentials: awsCredentials,
});
/** What this run's lines begin with: those of an earlier one may be there. */
const run = `${Date.now().toString(36)} `;
let stack: Stack;

beforeAll(async () => {
  stack = await upStack();
});

/** This run's lines, as a page shows them. */
async function ownLines(): Promise<string[]> {
  const all = await lines(stack);
  return all.filter((line) => line.startsWith(run)).map((line) => line.slice(run.length));
}

/** Makes a snapshot, and gives its id. */
function backup(): string {
  const { status, output } = npmRun("backup", "--", "--stack", "local");
  expect(status).toBe(0);
  const [, id = ""] =
    /^(snap-[0-9a-f]+)\s+.*\s+completed\s+meteor-scale-local-mongo1-data\s+on demand$/m.exec(
      output,
    ) ?? [];
  expect(id).not.toBe("");
  return id;
}

/** How many snapshots there are of what restores have overwritten. */
function atRestores(): number {
  const list = npmRun("backup", "--", "--stack", "local", "--list").output;
  return list.match(/^snap-.*mongo1-data\s+at a restore$/gm)?.length ?? 0;
}

async function volumeIds(): Promise<(string | undefined)[]> {
  return (await dataVolumes(ec2, prefix)).map(({ VolumeId }) => VolumeId);
}

test("what was backed up is found again after the machine and the volume are destroyed", async () => {
  await addLine(stack, `${run}a`);
  const snapshot = backup();
  await addLine(stack, `${run}b`);
  const before = instanceIds();
  const volumes = await dataVolumes(ec2, prefix);
  await removeMembers(ec2, prefix, volumes);
  expect(await volumeIds()).toEqual([]);

  const { status, output } = npmRun("restore", "--", snapshot, "--stack", "local", "--yes");
  expect([status, output]).toEqual([0, expect.stringContaining("mongo-member1-data")]);
  expect(await ownLines()).toEqual(["a"]);
  const now = instanceIds();
  expect(now["balancer"]).toBe(before["balancer"]);
  // What hosts remember of the database is not in it any more.
  for (const name of ["host1", "host2", "host3", "mongo1"]) {
    expect([name, now[name]]).not.toEqual([name, before[name]]);
  }
  const [volume] = await dataVolumes(ec2, prefix);
  expect(volume?.SnapshotId).toBe(snapshot);
  expect(pulumi("preview", "--expect-no-changes").status).toBe(0);
});

test("a restore that is killed when the volumes are gone is run again, and could be undone", async () => {
  const earlier = atRestores();
  await addLine(stack, `${run}c`);
  const snapshot = backup();
  await addLine(stack, `${run}d`);
  const restore = spawn(
    "npm",
    ["run", "--silent", "restore", "--", snapshot, "--stack", "local", "--yes"],
    {
      cwd: repositoryFolder,
      env: { ...process.env, ...pulumiEnvironment() },
      detached: true,
      stdio: "ignore",
    },
  );
  const ended = once(restore, "close");
  await eventually(async () => {
    expect(await volumeIds()).toEqual([]);
  }, 60);
  process.kill(-(restore.pid ?? 0), "SIGKILL");
  await ended;
  pulumi("cancel", "--yes");
  expect(npmRun("restore", "--", snapshot, "--stack", "local", "--yes").status).toBe(0);
  expect(await ownLines()).toEqual(["a", "c"]);
  expect(atRestores()).toBeGreaterThan(earlier);
});

test.each([
  [
    ["restore", "--", "snap-0", "--stack", "local", "--yes"],
    /snap-0 is no snapshot of local; npm run backup -- --stack local --list shows them/,
  ],
  [["restore", "--", "snap-0"], /--stack <name>' not specified/],
  [["restore", "--", "--stack", "local"], /missing required argument 'snapshot'/],
  [["backup", "--", "--stack", "nowhere"], /no stack named 'nowhere' found/],
])("npm run %j is answered with what is wrong", (args, answer) => {
  const { status, output } = npmRun(...args);
  expect(output).toMatch(answer);
  expect(output).not.toMatch(/^\s+at /m);
  expect(status).toBe(1);
});

test("nothing is restored without a yes", async () => {
  const snapshot = backup();
  const before = await volumeIds();
  const { status, output } = npmRun("restore", "--", snapshot, "--stack", "local");
  expect(output).toMatch(/All data of local becomes what it was at .*Nothing was changed\./s);
  expect(status).toBe(1);
  expect(await volumeIds()).toEqual(before);
});
