import {
  DescribeAddressesCommand,
  DescribeInstanceAttributeCommand,
  type EC2Client,
  type Instance,
  paginateDescribeInstances,
} from "@aws-sdk/client-ec2";
import { parse } from "yaml";
import { readinessOf } from "../components/readinessGate";

/** One machine of a stack that EC2 still has. */
export interface MachineStatus {
  /** Such as `host1`; during a release two have it. */
  name: string;
  /** `meteor`, `mongo`, `balancer` or `nat`. */
  role: string;
  instanceId: string;
  type: string;
  zone: string;
  /** EC2's word, such as `running`. */
  state: string;
  /** What it tells of itself: `true`, `true: REMARK`, `starting: STEP`, `failed: STEP: REASON`; null: nothing yet. */
  ready: string | null;
  /** When it was last started. */
  launched: string;
}

/** Which machine of a stack it is; a stack whose name begins alike has others. */
const machineName = /^(balancer|nat|host\d+|mongo\d+)$/;

/**
 * The stack's machines, ordered by name, of one name the oldest first.
 *
 * @param prefix of their names, such as `meteor-scale-dev`
 */
export async function readMachines(client: EC2Client, prefix: string): Promise<MachineStatus[]> {
  const machines: MachineStatus[] = [];
  const pages = paginateDescribeInstances(
    { client },
    {
      Filters: [
        { Name: "tag:Name", Values: [`${prefix}-*`] },
        {
          Name: "instance-state-name",
          Values: ["pending", "running", "stopping", "stopped", "shutting-down"],
        },
      ],
    },
  );
  for await (const { Reservations } of pages) {
    const instances = (Reservations ?? []).flatMap(({ Instances }) => Instances ?? []);
    machines.push(...instances.map((instance) => machineOf(instance, prefix)));
  }
  return machines
    .filter(({ name }) => machineName.test(name))
    .sort(
      (a, b) =>
        a.name.localeCompare(b.name, "en", { numeric: true }) ||
        a.launched.localeCompare(b.launched),
    );
}

function machineOf(instance: Instance, prefix: string): MachineStatus {
  const { InstanceId: instanceId = "", Tags, InstanceType, Placement, State } = instance;
  const tags = Object.fromEntries((Tags ?? []).map(({ Key = "", Value = "" }) => [Key, Value]));
  return {
    name: tags["Name"]?.slice(prefix.length + 1) ?? "",
    role: tags["role"] ?? "",
    instanceId,
    type: InstanceType ?? "",
    zone: Placement?.AvailabilityZone ?? "",
    state: State?.Name ?? "",
    ready: readinessOf(instanceId, tags).ready ?? null,
    launched: instance.LaunchTime?.toISOString() ?? "",
  };
}

/** Where visitors reach a stack. */
export interface PublicAddress {
  address: string;
  /** The balancer that has it. */
  instanceId: string;
}

/** The elastic address that one of the balancers has; null: none of them. */
export async function readAddress(
  client: EC2Client,
  machines: MachineStatus[],
): Promise<PublicAddress | null> {
  const balancers = machines.filter(({ role }) => role === "balancer");
  if (balancers.length === 0) {
    return null;
  }
  const { Addresses } = await client.send(
    new DescribeAddressesCommand({
      Filters: [{ Name: "instance-id", Values: balancers.map(({ instanceId }) => instanceId) }],
    }),
  );
  const [found] = Addresses ?? [];
  return found?.PublicIp === undefined || found.InstanceId === undefined
    ? null
    : { address: found.PublicIp, instanceId: found.InstanceId };
}

/** The application's version that a host was made to run. */
export interface BundleStatus {
  /** Name and instance id of the host. */
  host: string;
  instanceId: string;
  /** `s3://BUCKET/KEY` or `https://…`. */
  address: string;
  /** Of the archive, in hexadecimal. */
  sha256: string;
}

/** What each host's user data says of its bundle. */
export async function readBundles(
  client: EC2Client,
  machines: MachineStatus[],
): Promise<BundleStatus[]> {
  const hosts = machines.filter(({ role }) => role === "meteor");
  return Promise.all(
    hosts.map(async ({ name, instanceId }) => {
      const { UserData } = await client.send(
        new DescribeInstanceAttributeCommand({ InstanceId: instanceId, Attribute: "userData" }),
      );
      const userData = Buffer.from(UserData?.Value ?? "", "base64").toString("utf8");
      const { BUNDLE = "", BUNDLE_SHA256 = "" } = machineEnvironment(userData);
      return { host: name, instanceId, address: BUNDLE, sha256: BUNDLE_SHA256 };
    }),
  );
}

/** Lines of `/etc/meteor-scale/machine.env`, as a machine's `#cloud-config` writes it; none where it writes no such file. */
export function machineEnvironment(userData: string): Record<string, string> {
  if (!userData.startsWith("#cloud-config\n")) {
    return {};
  }
  const { write_files: files = [] } = parse(userData) as {
    write_files?: { path: string; content: string }[];
  };
  const text = files.find(({ path }) => path === "/etc/meteor-scale/machine.env")?.content ?? "";
  return Object.fromEntries(
    [...text.matchAll(/^(\w+)='(.*)'$/gm)].map(([, key = "", value = ""]) => [key, value]),
  );
}
