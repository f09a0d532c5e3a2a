import { type ChildProcess, spawn } from "node:child_process";
import { mkdirSync, mkdtempSync, readdirSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import {
  AttachVolumeCommand,
  CreateSnapshotCommand,
  CreateVolumeCommand,
  type CreateVolumeCommandInput,
  DeleteSnapshotCommand,
  DescribeSnapshotsCommand,
  DescribeVolumesCommand,
  DetachVolumeCommand,
  EC2Client,
  ModifyVolumeCommand,
  RunInstancesCommand,
} from "@aws-sdk/client-ec2";
import { awsCredentials, awsRegion, repositoryFolder } from "../../local/paths";
import { installTools, outcomeOf, run } from "../tools";
import { eventually } from "./machines";
import { type MotoServer, startMotoServer } from "./motoServer";

/*
 * Volumes and snapshots as the region keeps them, without a region: in mount namespaces that stand for
 * machines. It needs root and loop devices.
 */
jest.setTimeout(120_000);

const folder = mkdtempSync(join(tmpdir(), "volumes-test-"));
const volumesFolder = join(folder, "region", "volumes");
const snapshotsFolder = join(folder, "region", "snapshots");
const copyLock = join(folder, "region", "volume-copy.lock");
const machines = {} as Record<"one" | "two", { id: string; process: ChildProcess }>;
type Name = keyof typeof machines;
const started: ChildProcess[] = [];
let moto: MotoServer;
let server: ChildProcess;
let ec2: EC2Client;

/** What a program prints first. */
async function firstLine(child: ChildProcess): Promise<string> {
  for await (const line of createInterface({ input: child.stdout ?? process.stdin })) {
    return line;
  }
  throw new Error("it ended without a word");
}

function client(endpoint: string): EC2Client {
  return new EC2Client({
    region: awsRegion,
    endpoint,
    credentials: awsCredentials,
    maxAttempts: 1,
  });
}

/** A process whose /dev and /mnt are its own, as a machine's are. */
async function startMachine(): Promise<ChildProcess> {
  const script = [
    "mount -t tmpfs tmpfs /mnt",
    "mkdir /mnt/data /mnt/dev",
    ...["null", "zero", "urandom"].map(
      (name) => `touch /mnt/dev/${name}; mount --bind /dev/${name} /mnt/dev/${name}`,
    ),
    "mount --rbind /mnt/dev /dev",
    "echo ready",
    "exec sleep infinity",
  ];
  const child = spawn("unshare", [
    "--mount",
    "--propagation=private",
    "sh",
    "-ec",
    script.join("\n"),
  ]);
  await firstLine(child);
  return child;
}

async function startServer(): Promise<void> {
  const leaders = Object.values(machines).map(({ id, process: { pid } }) => [id, pid]);
  server = spawn(process.execPath, ["--import", "tsx", "tests/local/volumeServer.ts"], {
    cwd: repositoryFolder,
    env: {
      ...process.env,
      METEOR_SCALE_CACHE: folder,
      motoUrl: moto.url,
      leaders: JSON.stringify(Object.fromEntries(leaders)),
    },
    stdio: ["ignore", "pipe", "inherit"],
  });
  ec2 = client(`http://127.0.0.1:${await firstLine(server)}`);
}

function enter(name: Name, command: string): string[] {
  return [`--mount=/proc/${machines[name].process.pid ?? 0}/ns/mnt`, "--", "bash", "-ec", command];
}

/** What a shell command that must end well prints. */
function inMachine(name: Name, command: string): string {
  return run("nsenter", enter(name, command)).trim();
}

/** Starts a shell command that goes on until it is killed, at the latest at the test's end. */
function startIn(name: Name, command: string): ChildProcess {
  const child = spawn("nsenter", enter(name, `exec ${command}`), { stdio: "ignore" });
  started.push(child);
  return child;
}

async function createVolume(input: Partial<CreateVolumeCommandInput>): Promise<string> {
  const { VolumeId = "" } = await ec2.send(
    new CreateVolumeCommand({ AvailabilityZone: `${awsRegion}a`, ...input }),
  );
  return VolumeId;
}

async function createSnapshot(VolumeId: string): Promise<string> {
  const { SnapshotId = "" } = await ec2.send(new CreateSnapshotCommand({ VolumeId }));
  return SnapshotId;
}

/** @returns the device in the machine */
async function attach(name: Name, VolumeId: string): Promise<string> {
  await ec2.send(
    new AttachVolumeCommand({ VolumeId, InstanceId: machines[name].id, Device: "/dev/sdf" }),
  );
  return `/dev/disk/by-id/nvme-Amazon_Elastic_Block_Store_${VolumeId.replace("-", "")}`;
}

async function detach(name: Name, VolumeId: string): Promise<void> {
  await eventually(() => inMachine(name, "! mountpoint --quiet /mnt/data || umount /mnt/data"));
  await ec2.send(new DetachVolumeCommand({ VolumeId, InstanceId: machines[name].id }));
}

/** A volume with a file system in a machine. */
async function newVolumeIn(name: Name): Promise<string> {
  const id = await createVolume({ Size: 1 });
  const device = await attach(name, id);
  inMachine(name, `mkfs.xfs -q ${device} && mount ${device} /mnt/data`);
  return id;
}

/** How many lines a file of a machine's volume has. */
function lines(name: Name, file: string): number {
  return Number(inMachine(name, `wc -l < /mnt/data/${file}`));
}

beforeAll(async () => {
  installTools({ "/usr/sbin/mkfs.xfs": "xfsprogs" });
  mkdirSync(join(folder, "region"));
  moto = await startMotoServer([]);
  for (const name of ["one", "two"] as const) {
    const { Instances } = await client(moto.url).send(
      new RunInstancesCommand({ ImageId: "ami-12345678", MinCount: 1, MaxCount: 1 }),
    );
    machines[name] = { id: Instances?.[0]?.InstanceId ?? "", process: await startMachine() };
  }
  await startServer();
});

afterEach(() => {
  started.forEach((child) => child.kill("SIGKILL"));
});

afterAll(async () => {
  server.kill("SIGKILL");
  Object.values(machines).forEach((machine) => machine.process.kill("SIGKILL"));
  await moto.stop();
  for (const file of readdirSync(volumesFolder)) {
    const loop = run("losetup", [
      "--noheadings",
      "--output=NAME",
      "--associated",
      join(volumesFolder, file),
    ]);
    if (loop !== "") {
      run("losetup", ["--detach", loop.trim()]);
    }
  }
  rmSync(folder, { recursive: true });
});

test("a snapshot taken while a machine writes is the volume of one moment", async () => {
  const id = await newVolumeIn("one");
  // Between the two files that are written to lies what takes long to copy.
  const room = "fallocate --keep-size --length 4M";
  inMachine(
    "one",
    `cd /mnt/data; touch left right; ${room} left; head -c 200M /dev/urandom > ballast; sync; ${room} right`,
  );
  // Each line is on the volume before the next one is written, by turns to two files.
  const program = `
    use IO::Handle;
    chdir "/mnt/data";
    open my $left, ">>", "left"; open my $right, ">>", "right";
    for (my $number = 1; ; $number++) {
      for my $file ($left, $right) { print $file "$number\\n"; $file->flush; $file->sync }
      open my $other, ">", $number; unlink $number - 50;
    }`;
  const writer = startIn("one", `perl -e '${program}'`);
  await eventually(() => {
    expect(lines("one", "right")).toBeGreaterThan(20);
  });
  for (let round = 0; round < 3; round += 1) {
    const before = lines("one", "right");
    const SnapshotId = await createSnapshot(id);
    const after = lines("one", "left");
    const copy = await createVolume({ SnapshotId });
    // Its log makes it whole, as after a crash.
    const device = await attach("two", copy);
    inMachine("two", `mount -o nouuid ${device} /mnt/data`);
    const [left = [], right = []] = ["left", "right"].map((file) =>
      inMachine("two", `cat /mnt/data/${file}`).split("\n").map(Number),
    );
    expect(left).toEqual(left.map((_, index) => index + 1));
    expect(right).toEqual(right.map((_, index) => index + 1));
    expect([0, 1]).toContain(left.length - right.length);
    expect(right.length).toBeGreaterThanOrEqual(before);
    expect(left.length).toBeLessThanOrEqual(after);
    await detach("two", copy);
    run("xfs_repair", ["-n", join(volumesFolder, copy)]);
  }
  const written = lines("one", "left");
  await eventually(() => {
    expect(lines("one", "left")).toBeGreaterThan(written);
  });
  writer.kill();
  await detach("one", id);
});

test("a volume made of a snapshot has its data, may be larger, and outlives it", async () => {
  const id = await newVolumeIn("one");
  inMachine("one", "echo precious > /mnt/data/file");
  const SnapshotId = await createSnapshot(id);
  inMachine("one", "echo later > /mnt/data/file");
  await detach("one", id);
  const copy = await createVolume({ SnapshotId, Size: 2 });
  await ec2.send(new DeleteSnapshotCommand({ SnapshotId }));
  expect(readdirSync(snapshotsFolder)).not.toContain(SnapshotId);
  const device = await attach("one", copy);
  inMachine("one", `mount ${device} /mnt/data && xfs_growfs -d /mnt/data`);
  expect(inMachine("one", "cat /mnt/data/file")).toBe("precious");
  expect(
    Number(inMachine("one", "df --output=size --block-size=1M /mnt/data | tail -n 1")),
  ).toBeGreaterThan(1900);
  await detach("one", copy);
  await expect(createVolume({ SnapshotId })).rejects.toThrow(/does not exist/);
});

test("a snapshot keeps the size that its volume had, and no smaller volume is made of it", async () => {
  const id = await newVolumeIn("one");
  await ec2.send(new ModifyVolumeCommand({ VolumeId: id, Size: 2 }));
  const SnapshotId = await createSnapshot(id);
  await ec2.send(new ModifyVolumeCommand({ VolumeId: id, Size: 3 }));
  const { Snapshots } = await ec2.send(new DescribeSnapshotsCommand({ SnapshotIds: [SnapshotId] }));
  expect(Snapshots).toEqual([
    expect.objectContaining({ SnapshotId, VolumeId: id, VolumeSize: 2, State: "completed" }),
  ]);
  const { Volumes } = await ec2.send(
    new DescribeVolumesCommand({ VolumeIds: [await createVolume({ SnapshotId })] }),
  );
  expect(Volumes?.[0]).toMatchObject({ Size: 2, SnapshotId });
  await expect(createVolume({ SnapshotId, Size: 1 })).rejects.toThrow(
    `Volume of size 1GB is smaller than snapshot '${SnapshotId}', expect size >= 2GB`,
  );
  await detach("one", id);
});

test("a volume that no machine has had yet is a blank one of its size", async () => {
  const SnapshotId = await createSnapshot(await createVolume({ Size: 1 }));
  expect(statSync(join(snapshotsFolder, SnapshotId))).toMatchObject({ size: 2 ** 30, blocks: 0 });
  const unknown = createSnapshot("vol-0123456789abcdef0");
  await expect(unknown).rejects.toThrow(/InvalidVolume.NotFound|does not exist/);
});

test("a copy that fails leaves no snapshot, no file and no file system that stands still", async () => {
  const id = await newVolumeIn("one");
  const before = readdirSync(snapshotsFolder);
  inMachine("one", "head -c 100M /dev/urandom > /mnt/data/file");
  // No room for the copy.
  run("mount", ["-t", "tmpfs", "-o", "size=10M", "tmpfs", snapshotsFolder]);
  try {
    await expect(createSnapshot(id)).rejects.toThrow();
    expect(readdirSync(snapshotsFolder)).toEqual([]);
  } finally {
    run("umount", [snapshotsFolder]);
  }
  inMachine("one", "timeout 10 sh -c 'echo works > /mnt/data/file; sync /mnt/data/file'");
  expect(readdirSync(snapshotsFolder)).toEqual(before);
  const { Snapshots } = await ec2.send(
    new DescribeSnapshotsCommand({ Filters: [{ Name: "volume-id", Values: [id] }] }),
  );
  expect(Snapshots).toEqual([]);
  await detach("one", id);
});

test("what is not a file system is copied only while nobody writes to it", async () => {
  const id = await createVolume({ Size: 1 });
  const device = await attach("one", id);
  inMachine("one", `head -c 200M /dev/urandom | dd of=${device} bs=1M conv=fsync status=none`);
  await createSnapshot(id);
  const write = `while :; do echo anything | dd of=${device} conv=notrunc,fsync status=none; done`;
  const writer = startIn("one", `bash -c '${write}'`);
  await expect(createSnapshot(id)).rejects.toThrow(/written to all the time/);
  writer.kill();
  await createSnapshot(id);
  await detach("one", id);
});

test("a file system stands still no longer than its copy takes, though the region is killed", async () => {
  const id = await newVolumeIn("one");
  inMachine("one", "head -c 500M /dev/urandom > /mnt/data/file");
  const known = readdirSync(snapshotsFolder);
  const interrupted = createSnapshot(id).catch(() => "interrupted");
  const copying = (): boolean => outcomeOf("flock", ["--nonblock", copyLock, "true"]).status !== 0;
  await eventually(() => {
    expect(copying()).toBe(true);
  });
  server.kill("SIGKILL");
  expect(await interrupted).toBe("interrupted");
  // As the next region waits before it removes what is left.
  run("flock", ["--timeout", "60", copyLock, "true"]);
  inMachine("one", "timeout 10 sh -c 'echo works > /mnt/data/file; sync /mnt/data/file'");
  expect(readdirSync(snapshotsFolder).filter((file) => !known.includes(file))).toEqual([
    expect.stringMatching(/^unfinished-/),
  ]);
});
