import { certificateWarningDays } from "../components/monitoring";
import {
  CloudWatchClient,
  type MetricAlarm,
  paginateDescribeAlarms,
} from "@aws-sdk/client-cloudwatch";
import { EC2Client } from "@aws-sdk/client-ec2";
import { SSMClient } from "@aws-sdk/client-ssm";
import {
  type BundleStatus,
  type MachineStatus,
  type PublicAddress,
  readAddress,
  readBundles,
  readMachines,
} from "./machines";
import { type HostStatus, type MemberStatus, readHealth } from "./metrics";
import { type CertificateStatus, readCertificates, readGates } from "./parameters";
import { deniedAction, type Stack } from "./stack";

/**
 * What `npm run status -- --json` prints. Times are ISO 8601 in UTC; null stands for what is not there, or could not
 * be read (`unread`).
 */
export interface StackStatus {
  /** As it was given. */
  stack: string;
  region: string;
  /** When all of this was read. */
  time: string;
  /** Whether there are no `problems` and nothing is `unread`. */
  well: boolean;
  /** The application's address, as the stack's config has it. */
  url: string;
  /** The IP address of the balancer that takes the traffic. */
  address: string | null;
  /** Ordered by name, of one name the oldest first; those that are terminated are not among them. */
  machines: (MachineStatus & {
    /** Whether the last update that went well has switched traffic to it. */
    inService: boolean | null;
  })[];
  hosts: HostStatus[];
  members: MemberStatus[];
  bundles: BundleStatus[];
  /** Those that the balancer serves; the first is for clients that name no site. */
  certificates: CertificateStatus[];
  /** When the first of them expires. */
  certificatesEnd: string | null;
  /** The stack's alarms whose state is not OK. */
  alarms: AlarmStatus[];
  /** A sentence on each thing that is not well. */
  problems: string[];
  unread: Unread[];
}

export interface AlarmStatus {
  name: string;
  description: string;
  /** Only `ALARM` is a problem. */
  state: "ALARM" | "INSUFFICIENT_DATA";
  /** Since when. */
  since: string | null;
  /** AWS's own words. */
  reason: string;
}

/** A part of the status that the credentials may not read. */
export interface Unread {
  part: string;
  /** The permission that is missing, such as `ssm:GetParameters`. */
  action: string;
}

/** Reads all that the AWS API knows of a stack; what its credentials may not read is left out, and listed. */
export async function readStatus(stack: Stack, now = new Date()): Promise<StackStatus> {
  const ec2 = new EC2Client(stack.clientOptions("ec2"));
  const cloudWatch = new CloudWatchClient(stack.clientOptions("cloudwatch"));
  const ssm = new SSMClient(stack.clientOptions("ssm"));
  const unread: Unread[] = [];
  const part = <Result>(
    name: string,
    action: string,
    reading: Promise<Result>,
  ): Promise<Result | undefined> =>
    reading.catch((error: unknown) => {
      const denied = deniedAction(error as Error);
      if (denied === undefined) {
        throw error;
      }
      unread.push({ part: name, action: denied === "unknown" ? action : denied });
      return undefined;
    });

  const { parameterPath, prefix } = stack;
  const machines = await part("machines", "ec2:DescribeInstances", readMachines(ec2, prefix));
  const known = machines ?? [];
  const [address, bundles, health, gates, certificates, alarms] = await Promise.all([
    part("address", "ec2:DescribeAddresses", readAddress(ec2, known)),
    part("bundles", "ec2:DescribeInstanceAttribute", readBundles(ec2, known)),
    part(
      "health of hosts and members",
      "cloudwatch:GetMetricData",
      readHealth(cloudWatch, prefix, namesOf(known), now),
    ),
    part("machines in service", "ssm:GetParameters", readGates(ssm, parameterPath)),
    part("certificates", "ssm:GetParameters", readCertificates(ssm, parameterPath, now)),
    part("alarms", "cloudwatch:DescribeAlarms", readAlarms(cloudWatch, prefix, known)),
  ]);
  const status: Omit<StackStatus, "problems" | "well"> = {
    stack: stack.name,
    region: stack.region,
    time: now.toISOString(),
    url: stack.setting("rootUrl") ?? "",
    address: address?.address ?? null,
    machines: known.map((machine) => ({
      ...machine,
      inService: inService(machine, address, gates),
    })),
    hosts: health?.hosts ?? [],
    members: health?.members ?? [],
    bundles: bundles ?? [],
    certificates: certificates ?? [],
    certificatesEnd: certificates?.map(({ ends }) => ends).sort()[0] ?? null,
    alarms: alarms ?? [],
    unread: unread.sort((a, b) => a.part.localeCompare(b.part)),
  };
  const gone = (machines && gates?.filter((id) => !isKnown(machines, id))) ?? [];
  const problems = problemsOf(status, gone);
  return { ...status, problems, well: problems.length === 0 && unread.length === 0 };
}

/** The balancer in service has the address, all others a gate. Undefined: not read. */
function inService(
  { role, instanceId }: MachineStatus,
  address: PublicAddress | null | undefined,
  gates: string[] | undefined,
): boolean | null {
  if (role === "balancer") {
    return address === undefined ? null : address?.instanceId === instanceId;
  }
  return gates?.includes(instanceId) ?? null;
}

function isKnown(machines: MachineStatus[], id: string): boolean {
  return machines.some(({ instanceId }) => instanceId === id);
}

function namesOf(machines: MachineStatus[]): { hosts: string[]; members: string[] } {
  const names = (role: string): string[] => [
    ...new Set(machines.filter((machine) => machine.role === role).map(({ name }) => name)),
  ];
  return { hosts: names("meteor"), members: names("mongo") };
}

/** By what they watch: those of a machine's hardware have names of Pulumi's own. */
async function readAlarms(
  client: CloudWatchClient,
  prefix: string,
  machines: MachineStatus[],
): Promise<AlarmStatus[]> {
  const watches = ({ Namespace, Dimensions }: MetricAlarm): boolean =>
    Namespace === prefix ||
    (Dimensions ?? []).some(
      ({ Name, Value = "" }) => Name === "InstanceId" && isKnown(machines, Value),
    );
  const alarms: AlarmStatus[] = [];
  for (const state of ["ALARM", "INSUFFICIENT_DATA"] as const) {
    for await (const page of paginateDescribeAlarms({ client }, { StateValue: state })) {
      alarms.push(
        ...(page.MetricAlarms ?? []).filter(watches).map((alarm) => ({
          name: alarm.AlarmName ?? "",
          description: alarm.AlarmDescription ?? "",
          state,
          since: alarm.StateUpdatedTimestamp?.toISOString() ?? null,
          reason: alarm.StateReason ?? "",
        })),
      );
    }
  }
  return alarms;
}

/** How long a machine may be there before its metrics are; in milliseconds. */
const quietStart = 5 * 60_000;

const day = 24 * 3600_000;

/**
 * A sentence on each thing that is not well.
 *
 * @param gone ids of instances that should be there
 */
export function problemsOf(
  status: Omit<StackStatus, "problems" | "well">,
  gone: string[] = [],
): string[] {
  const isUnread = (part: string): boolean => status.unread.some((one) => one.part === part);
  const noMachine = status.machines.length === 0 && !isUnread("machines");
  return [
    ...(noMachine ? ["No machine is there: pulumi up makes them."] : []),
    ...gone.map((id) => `${id} was in service and is gone: pulumi up --refresh makes another.`),
    ...status.machines.flatMap(machineProblems),
    ...(noMachine || status.address !== null || isUnread("machines") || isUnread("address")
      ? []
      : ["No balancer has an elastic address, so nobody can come."]),
    ...healthProblems(status),
    ...bundleProblems(status),
    ...certificateProblems(status, !noMachine && !isUnread("certificates")),
    ...status.alarms
      .filter(({ state }) => state === "ALARM")
      .map(({ name, reason }) => `The alarm ${name}: ${reason}`),
  ];
}

function machineProblems(machine: StackStatus["machines"][number]): string[] {
  const { name, instanceId, state, ready, inService } = machine;
  const label = `${name} (${instanceId})`;
  if (state !== "running" && state !== "pending") {
    // One that was replaced may go.
    return inService === false ? [] : [`${label} is ${state}.`];
  }
  if (ready === "true") {
    return [];
  }
  const words = (ready ?? "").split(": ").slice(1).join(": ").replaceAll("|", "\n  ");
  if (ready?.startsWith("true:")) {
    return [`${label} is ready, but: ${words}`];
  }
  if (ready?.startsWith("failed:")) {
    return [`${label} failed in ${words}`];
  }
  return [`${label} is not ready yet: ${words || "it has told nothing so far"}`];
}

/** Of hosts and members, unless they are too young to have metrics. */
function healthProblems({ machines, hosts, members, time }: HealthFacts): string[] {
  const young = (name: string): boolean =>
    machines
      .filter((machine) => machine.name === name)
      .some(({ launched }) => Date.parse(time) - Date.parse(launched) < quietStart);
  const silent = (name: string): string[] =>
    young(name) ? [] : [`${name} has no metrics of the last five minutes.`];
  const unknown = members.some(({ state }) => state === null);
  const leaderless = members.length > 0 && !members.some(({ state }) => state === "PRIMARY");
  return [
    ...hosts.flatMap(({ name, up }) => {
      if (up === null) {
        // It is the balancer that knows.
        return young("balancer") ? [] : silent(name);
      }
      return up ? [] : [`${name} is down, as HAProxy sees it.`];
    }),
    ...members.flatMap(({ name, state }) => {
      if (state === null) {
        return silent(name);
      }
      return fitStates.includes(state) ? [] : [`${name} is ${state}.`];
    }),
    ...(leaderless && !unknown ? ["No member of the replica set is PRIMARY."] : []),
  ];
}

const fitStates = ["PRIMARY", "SECONDARY", "ARBITER"];

type HealthFacts = Pick<StackStatus, "machines" | "hosts" | "members" | "time">;

function bundleProblems({
  machines,
  bundles,
}: Pick<StackStatus, "machines" | "bundles">): string[] {
  const serving = bundles.filter(({ instanceId }) =>
    machines.some((machine) => machine.instanceId === instanceId && machine.inService === true),
  );
  return new Set(serving.map(({ sha256 }) => sha256)).size > 1
    ? ["The hosts in service run different bundles."]
    : [];
}

function certificateProblems(
  { certificates, time }: Pick<StackStatus, "certificates" | "time">,
  needed: boolean,
): string[] {
  if (certificates.length === 0 && needed) {
    return ["There is no certificate in SSM."];
  }
  return certificates.flatMap(({ names, parameter, ends }) => {
    const left = Date.parse(ends) - Date.parse(time);
    const label = `The certificate of ${names.join(", ")} (${parameter})`;
    if (left <= 0) {
      return [`${label} has expired.`];
    }
    return left < certificateWarningDays * day
      ? [`${label} ends in ${Math.floor(left / day)} days.`]
      : [];
  });
}
