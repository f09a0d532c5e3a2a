import { type ChildProcess, execFileSync, spawn, spawnSync } from "node:child_process";
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { CreateLifecyclePolicyCommand, DLMClient } from "@aws-sdk/client-dlm";
import {
  AllocateAddressCommand,
  AssociateAddressCommand,
  AttachVolumeCommand,
  AuthorizeSecurityGroupIngressCommand,
  CreateSecurityGroupCommand,
  CreateSnapshotCommand,
  CreateSubnetCommand,
  CreateVolumeCommand,
  CreateVpcCommand,
  DeleteSnapshotCommand,
  DeleteVolumeCommand,
  DescribeImagesCommand,
  DescribeInstancesCommand,
  DescribeSnapshotsCommand,
  DetachVolumeCommand,
  EC2Client,
  ModifyVolumeCommand,
  RevokeSecurityGroupEgressCommand,
  RunInstancesCommand,
  StartInstancesCommand,
  StopInstancesCommand,
  TerminateInstancesCommand,
} from "@aws-sdk/client-ec2";
import {
  AddRoleToInstanceProfileCommand,
  CreateInstanceProfileCommand,
  CreateRoleCommand,
  IAMClient,
} from "@aws-sdk/client-iam";
import {
  ChangeResourceRecordSetsCommand,
  CreateHostedZoneCommand,
  Route53Client,
} from "@aws-sdk/client-route-53";
import {
  awsApiUrl,
  awsCredentials,
  awsRegion,
  cacheFolder,
  repositoryFolder,
} from "../../local/paths";
import type { RegionStatus, StatusOfMachine } from "../../local/region/status";
import { eventually, outcomeIn } from "./machines";

/*
 * A region of its own beside what the cache keeps: two machines without any of the product in them.
 * It needs the image that `npm run local up` makes, root, and that no region runs.
 */
jest.setTimeout(120_000);

const folder = mkdtempSync(join(tmpdir(), "region-test-"));
const client = { region: awsRegion, endpoint: awsApiUrl, credentials: awsCredentials };
const dlm = new DLMClient(client);
const ec2 = new EC2Client(client);
const iam = new IAMClient(client);
const route53 = new Route53Client(client);
const role = { RoleName: "region-test", InstanceProfileName: "region-test" };
let region: ChildProcess;

/** Ids by what the test calls them. */
const id: Record<"subnet" | "web" | "database" | "zone" | "address", string> = {
  subnet: "",
  web: "",
  database: "",
  zone: "",
  address: "",
};

function startRegion(): ChildProcess {
  return spawn(process.execPath, ["--import", "tsx", "local/region/main.ts"], {
    cwd: repositoryFolder,
    env: { ...process.env, METEOR_SCALE_CACHE: folder },
    stdio: ["ignore", "inherit", "inherit"],
  });
}

async function stopRegion(signal: "SIGTERM" | "SIGKILL"): Promise<void> {
  const ended = new Promise((resolve) => region.once("exit", resolve));
  region.kill(signal);
  await ended;
}

function machine(name: string): StatusOfMachine {
  const file = join(folder, "region", "status.json");
  const { machines } = JSON.parse(readFileSync(file, "utf8")) as RegionStatus;
  const found = machines.find((each) => each.name === name);
  if (found === undefined) {
    throw new Error(`there is no ${name}`);
  }
  return found;
}

/** What a shell command that must end well prints in a machine of this region. */
function inMachine(name: string, command: string): string {
  const { status, output } = outcomeIn(machine(name).leader, command);
  expect([status, output]).toEqual([0, output]);
  return output.trim();
}

type Run = (args: string[]) => ReturnType<typeof spawnSync>;

/** What curl gets, or the number of its error: 28 is a timeout. */
function curl(url: string, run: Run = (args) => spawnSync("curl", args)): string {
  const { status, stdout } = run(["--silent", "--max-time", "2", url]);
  return status === 0 ? String(stdout).trim() : `error ${String(status)}`;
}

function curlFrom(name: string, url: string): string {
  const { leader } = machine(name);
  const enter = ["--all", "--target", String(leader), "--", "curl"];
  return curl(url, (args) => spawnSync("nsenter", [...enter, ...args]));
}

function curlFromInternet(url: string): string {
  const enter = ["--net=/run/netns/meteor-internet", "--", "curl"];
  return curl(url, (args) => spawnSync("nsenter", [...enter, ...args]));
}

async function launch(name: string, group: string): Promise<string> {
  const { Images } = await ec2.send(
    new DescribeImagesCommand({
      Owners: ["136693071363"],
      Filters: [{ Name: "name", Values: ["debian-12-amd64-*"] }],
    }),
  );
  const service = [
    "[Service]",
    "WorkingDirectory=/srv",
    "ExecStart=/usr/bin/python3 -m http.server 80",
    // As a draining host: the network must be there until the end.
    "ExecStop=/bin/sh -c 'sleep 1; getent ahostsv4 one.test.internal >> /srv/stopped'",
    "[Install]",
    "WantedBy=multi-user.target",
  ];
  const userData = [
    "#cloud-config",
    `hostname: ${name}`,
    "write_files:",
    "- path: /srv/index.html",
    `  content: I am ${name}`,
    "- path: /etc/systemd/system/page.service",
    `  content: ${JSON.stringify(service.join("\n"))}`,
    "runcmd:",
    "- systemctl enable --now page.service",
    '- aws --region eu-central-1 ec2 create-tags --resources $(cat /var/lib/cloud/data/instance-id) --tags "Key=ready,Value=$(cat /var/lib/cloud/data/instance-id) true"',
  ].join("\n");
  const { Instances } = await ec2.send(
    new RunInstancesCommand({
      MinCount: 1,
      MaxCount: 1,
      ImageId: Images?.[0]?.ImageId,
      InstanceType: "c7a.medium",
      SubnetId: id.subnet,
      IamInstanceProfile: { Name: role.RoleName },
      SecurityGroupIds: [group],
      UserData: Buffer.from(userData).toString("base64"),
      TagSpecifications: [{ ResourceType: "instance", Tags: [{ Key: "Name", Value: name }] }],
    }),
  );
  return Instances?.[0]?.InstanceId ?? "";
}

async function pointName(address: string): Promise<void> {
  const set = { Name: "one.test.internal", Type: "A" as const, TTL: 5 };
  const change = {
    Action: "UPSERT" as const,
    ResourceRecordSet: { ...set, ResourceRecords: [{ Value: address }] },
  };
  await route53.send(
    new ChangeResourceRecordSetsCommand({
      HostedZoneId: id.zone,
      ChangeBatch: { Changes: [change] },
    }),
  );
}

async function moveAddress(instanceId: string): Promise<void> {
  await ec2.send(
    new AssociateAddressCommand({
      AllocationId: id.address,
      InstanceId: instanceId,
      AllowReassociation: true,
    }),
  );
}

/** Attaches a volume, whose device it returns, as the first one of a machine. */
async function attach(name: string, VolumeId = ""): Promise<string> {
  const InstanceId = machine(name).instanceId;
  await ec2.send(new AttachVolumeCommand({ VolumeId, InstanceId, Device: "/dev/sdf" }));
  const device = `/dev/disk/by-id/nvme-Amazon_Elastic_Block_Store_${VolumeId.replace("-", "")}`;
  await eventually(() => inMachine(name, `test -b ${device}`));
  return device;
}

/** Takes a volume out of a machine, and out of the world. */
async function remove(name: string, VolumeId = ""): Promise<void> {
  inMachine(name, "umount /mnt");
  await ec2.send(new DetachVolumeCommand({ VolumeId, InstanceId: machine(name).instanceId }));
  await eventually(() => {
    expect(inMachine(name, "ls /dev")).not.toContain("nvme1n1");
  });
  await ec2.send(new DeleteVolumeCommand({ VolumeId }));
}

beforeAll(async () => {
  for (const kept of ["image", "tools", "certificate-authority"]) {
    symlinkSync(join(cacheFolder, kept), join(folder, kept));
  }
  mkdirSync(join(folder, "region"));
  region = startRegion();
  await eventually(() => readFileSync(join(folder, "region", "ready")));

  await iam.send(new CreateRoleCommand({ ...role, AssumeRolePolicyDocument: "{}" }));
  await iam.send(new CreateInstanceProfileCommand(role));
  await iam.send(new AddRoleToInstanceProfileCommand(role));
  const { Vpc } = await ec2.send(new CreateVpcCommand({ CidrBlock: "10.60.0.0/16" }));
  const { Subnet } = await ec2.send(
    new CreateSubnetCommand({
      VpcId: Vpc?.VpcId,
      CidrBlock: "10.60.0.0/24",
      AvailabilityZone: "eu-central-1a",
    }),
  );
  id.subnet = Subnet?.SubnetId ?? "";
  for (const group of ["web", "database"] as const) {
    const { GroupId } = await ec2.send(
      new CreateSecurityGroupCommand({ GroupName: group, Description: group, VpcId: Vpc?.VpcId }),
    );
    id[group] = GroupId ?? "";
  }
  const http = { IpProtocol: "tcp", FromPort: 80, ToPort: 80 };
  await ec2.send(
    new AuthorizeSecurityGroupIngressCommand({
      GroupId: id.web,
      IpPermissions: [{ ...http, IpRanges: [{ CidrIp: "0.0.0.0/0" }] }],
    }),
  );
  await ec2.send(
    new AuthorizeSecurityGroupIngressCommand({
      GroupId: id.database,
      IpPermissions: [{ ...http, UserIdGroupPairs: [{ GroupId: id.web }] }],
    }),
  );
  const { HostedZone } = await route53.send(
    new CreateHostedZoneCommand({
      Name: "test.internal",
      CallerReference: "test",
      HostedZoneConfig: { PrivateZone: true },
      VPC: { VPCRegion: awsRegion, VPCId: Vpc?.VpcId },
    }),
  );
  id.zone = HostedZone?.Id ?? "";
  const address = await ec2.send(new AllocateAddressCommand({ Domain: "vpc" }));
  id.address = address.AllocationId ?? "";
  await moveAddress(await launch("one", id.web));
  await launch("two", id.database);
  await pointName((await eventually(() => machine("one"))).privateAddress);
  for (const name of ["one", "two"]) {
    await eventually(() => {
      expect(machine(name).ready).toBe("true");
    });
  }
});

afterAll(async () => {
  await stopRegion("SIGTERM");
  rmSync(folder, { recursive: true });
});

test("a machine runs its user data under its own name", () => {
  expect(inMachine("one", "hostname; systemctl is-system-running --wait")).toBe("one\nrunning");
});

test("an elastic address leads to its machine, from here and from the internet", () => {
  const { elasticAddress, internetAddress } = machine("one");
  expect(curl(`http://${elasticAddress}/`)).toBe("I am one");
  expect(curlFromInternet(`http://${internetAddress}/`)).toBe("I am one");
  expect(inMachine("one", "journalctl --unit page --no-pager")).toContain("198.51.100.10 ");
  expect(curlFromInternet(`http://${internetAddress}:22/`)).toBe("error 28");
});

test("the VPC's own addresses do not exist outside it", () => {
  const { privateAddress } = machine("one");
  expect(curl(`http://${privateAddress}/`)).not.toContain("I am");
  expect(curlFromInternet(`http://${privateAddress}/`)).toBe("error 28");
});

test("security groups let through what a rule allows, and no more", async () => {
  const database = `http://${machine("two").privateAddress}/`;
  expect(curlFrom("one", database)).toBe("I am two");
  expect(curlFrom("two", `http://${machine("one").privateAddress}:81/`)).toBe("error 28");
  const leave = { IpProtocol: "-1", IpRanges: [{ CidrIp: "0.0.0.0/0" }] };
  await ec2.send(new RevokeSecurityGroupEgressCommand({ GroupId: id.web, IpPermissions: [leave] }));
  await eventually(() => {
    expect(curlFrom("one", database)).toBe("error 28");
  });
});

test("names are those of AWS and of the zone, and change at once", async () => {
  const addressOf = (name: string): string =>
    inMachine("two", `getent ahostsv4 ${name} | head -n 1 | cut -d ' ' -f 1`);
  expect(addressOf("bucket.s3.eu-central-1.amazonaws.com")).toBe("203.0.113.2");
  expect(addressOf("example.com")).toBe("");
  await pointName("10.60.0.99");
  await sleep(300);
  expect(addressOf("one.test.internal")).toBe("10.60.0.99");
});

test("a volume grows, stays while it is mounted, and outlives a restart of its machine", async () => {
  const { instanceId } = machine("two");
  const volume = await ec2.send(
    new CreateVolumeCommand({ Size: 1, AvailabilityZone: "eu-central-1a" }),
  );
  const VolumeId = volume.VolumeId ?? "";
  const attachment = { VolumeId, InstanceId: instanceId, Device: "/dev/sdf" };
  const device = `/dev/disk/by-id/nvme-Amazon_Elastic_Block_Store_${VolumeId.replace("-", "")}`;
  await ec2.send(new AttachVolumeCommand(attachment));
  await eventually(() => inMachine("two", `mkfs.xfs -q ${device} && mount ${device} /mnt`));
  inMachine("two", "echo precious > /mnt/file");

  await ec2.send(new ModifyVolumeCommand({ VolumeId, Size: 2 }));
  await eventually(() => {
    expect(inMachine("two", "blockdev --getsize64 /dev/nvme1n1")).toBe(String(2 ** 31));
  });
  inMachine("two", "systemctl reboot");
  await sleep(3000);
  await eventually(() => inMachine("two", `systemctl is-active page; mount ${device} /mnt`));
  expect(inMachine("two", "cat /mnt/file")).toBe("precious");

  await ec2.send(new DetachVolumeCommand(attachment));
  await sleep(3000);
  expect(inMachine("two", "cat /mnt/file")).toBe("precious");
  inMachine("two", "umount /mnt");
  await eventually(() => {
    expect(inMachine("two", "ls /dev")).not.toContain("nvme1n1");
  });
  await ec2.send(new DeleteVolumeCommand({ VolumeId }));
  await eventually(() => {
    expect(readdirSync(join(folder, "region", "volumes"))).toEqual([]);
  });
});

test("a snapshot's data comes back on a larger volume of another machine", async () => {
  const AvailabilityZone = "eu-central-1a";
  const { VolumeId } = await ec2.send(new CreateVolumeCommand({ Size: 1, AvailabilityZone }));
  const device = await attach("two", VolumeId);
  // What is on no disk yet but in the machine's memory is in the snapshot too.
  inMachine("two", `mkfs.xfs -q ${device} && mount ${device} /mnt && echo precious > /mnt/file`);
  const { SnapshotId } = await ec2.send(new CreateSnapshotCommand({ VolumeId }));
  inMachine("two", "timeout 10 sh -c 'echo later > /mnt/file; sync /mnt/file'");
  const restored = await ec2.send(
    new CreateVolumeCommand({ SnapshotId, Size: 2, AvailabilityZone }),
  );
  await ec2.send(new DeleteSnapshotCommand({ SnapshotId }));
  expect(readdirSync(join(folder, "region", "snapshots"))).toEqual([]);
  // The file system that it is a copy of is still in use, as on another computer.
  const another = await attach("one", restored.VolumeId);
  inMachine("one", `mount -t xfs -o noatime ${another} /mnt && xfs_growfs -d /mnt`);
  expect(inMachine("one", "cat /mnt/file")).toBe("precious");
  expect(
    Number(inMachine("one", "df --output=size -BM /mnt | tail -n 1 | tr -d M")),
  ).toBeGreaterThan(1900);
  expect(inMachine("two", "cat /mnt/file")).toBe("later");
  await remove("one", restored.VolumeId);
  await remove("two", VolumeId);
});

test("a lifecycle policy makes a snapshot of a machine's volume at its time", async () => {
  const AvailabilityZone = "eu-central-1a";
  const tags = [{ Key: "backup", Value: "daily" }];
  const { VolumeId = "" } = await ec2.send(
    new CreateVolumeCommand({
      Size: 1,
      AvailabilityZone,
      TagSpecifications: [{ ResourceType: "volume", Tags: tags }],
    }),
  );
  const device = await attach("two", VolumeId);
  inMachine("two", `mkfs.xfs -q ${device} && mount ${device} /mnt && echo precious > /mnt/file`);
  const lifecycle = { RoleName: "lifecycle" };
  const trust = {
    Effect: "Allow",
    Action: "sts:AssumeRole",
    Principal: { Service: "dlm.amazonaws.com" },
  };
  const { Role } = await iam.send(
    new CreateRoleCommand({
      ...lifecycle,
      AssumeRolePolicyDocument: JSON.stringify({ Version: "2012-10-17", Statement: [trust] }),
    }),
  );
  // The next minute that does not begin at once.
  const time = new Date(Date.now() + 65_000);
  await dlm.send(
    new CreateLifecyclePolicyCommand({
      Description: "backups",
      ExecutionRoleArn: Role?.Arn,
      State: "ENABLED",
      PolicyDetails: {
        ResourceTypes: ["VOLUME"],
        TargetTags: tags,
        Schedules: [
          {
            Name: "daily",
            CreateRule: {
              CronExpression: `cron(${time.getUTCMinutes()} ${time.getUTCHours()} * * ? *)`,
            },
            RetainRule: { Count: 1 },
          },
        ],
      },
    }),
  );
  const SnapshotId = await eventually(async () => {
    const Filters = [{ Name: "volume-id", Values: [VolumeId] }];
    const { Snapshots } = await ec2.send(new DescribeSnapshotsCommand({ Filters }));
    expect(Snapshots).toEqual([expect.objectContaining({ State: "completed" })]);
    return Snapshots?.[0]?.SnapshotId;
  }, 80);
  const restored = await ec2.send(new CreateVolumeCommand({ SnapshotId, AvailabilityZone }));
  const another = await attach("one", restored.VolumeId);
  inMachine("one", `mount ${another} /mnt`);
  expect(inMachine("one", "cat /mnt/file")).toBe("precious");
  await remove("one", restored.VolumeId);
  await remove("two", VolumeId);
}, 180_000);

test("a machine that is stopped ends its services first, and starts again as it was", async () => {
  const InstanceIds = [machine("two").instanceId];
  await pointName("10.60.0.77");
  await ec2.send(new StopInstancesCommand({ InstanceIds }));
  expect(machine("two").state).toBe("off");
  await ec2.send(new StartInstancesCommand({ InstanceIds }));
  await eventually(() => inMachine("two", "systemctl is-active page"));
  // Its network answered as long as there was a service to end.
  expect(inMachine("two", "cat /srv/stopped")).toContain("10.60.0.77");
});

test("a machine that crashes comes back, one that is switched off from inside stays off", async () => {
  const { instanceId, leader = 0 } = machine("two");
  process.kill(leader, "SIGKILL");
  await eventually(() => {
    expect(machine("two").leader).not.toBe(leader);
    inMachine("two", "systemctl is-active page && systemctl poweroff");
  });
  await eventually(() => {
    expect(machine("two").state).toBe("off");
  });
  await sleep(3000);
  const { Reservations } = await ec2.send(
    new DescribeInstancesCommand({ InstanceIds: [instanceId] }),
  );
  expect(Reservations?.[0]?.Instances?.[0]?.State?.Name).toBe("stopped");
  expect(machine("two").state).toBe("off");
});

test("an elastic address that moves takes its connections along", async () => {
  const { instanceId, elasticAddress } = machine("one");
  const three = await launch("three", id.web);
  await eventually(() => inMachine("three", "systemctl is-active page"));
  const open = spawn("bash", ["-c", `exec 3<>/dev/tcp/${elasticAddress}/80; cat <&3`]);
  const ended = new Promise((resolve) => open.once("exit", resolve));
  await sleep(500);
  await moveAddress(three);
  await ended;
  await eventually(() => {
    expect(curl(`http://${elasticAddress}/`)).toBe("I am three");
  });
  await ec2.send(new TerminateInstancesCommand({ InstanceIds: [instanceId] }));
  await eventually(() => {
    expect(readdirSync(join(folder, "region", "machines"))).not.toContain(instanceId);
  });
});

test("what a killed region leaves behind is removed by the next one's start", async () => {
  await stopRegion("SIGKILL");
  expect(readdirSync("/run/netns").filter((name) => name.startsWith("meteor-i-"))).not.toEqual([]);
  rmSync(join(folder, "region", "ready"));
  region = startRegion();
  await eventually(() => readFileSync(join(folder, "region", "ready")));
  expect(readdirSync("/run/netns").filter((name) => name.startsWith("meteor-i-"))).toEqual([]);
  for (const gone of ["machines", "snapshots"]) {
    expect(existsSync(join(folder, "region", gone))).toBe(false);
  }
  expect(readFileSync("/proc/self/mounts", "utf8")).not.toContain(folder);
  expect(readdirSync("/run/systemd/nspawn", { recursive: true }).sort()).toEqual([
    "locks",
    "propagate",
  ]);
  expect(execFileSync("losetup", ["--list"], { encoding: "utf8" })).not.toContain(folder);
});
