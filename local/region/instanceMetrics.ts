import {
  type CloudWatchClient,
  type MetricDatum,
  PutMetricDataCommand,
} from "@aws-sdk/client-cloudwatch";
import { cpuSeconds } from "./controlGroups";
import { answersArp } from "./network";

/** A machine that EC2 wants to be running. */
export interface RunningMachine {
  instanceId: string;
  address: string;
  cores: number;
  /** Whether its systemd runs. */
  isUp: boolean;
}

/** What is looked at in a machine. */
export interface Probes {
  /** CPU time that a machine has used so far, in seconds; undefined where that is not counted. */
  cpuSeconds: (instanceId: string) => number | undefined;
  /** Whether its network interface answers an ARP request, as EC2 asks in its own check. */
  answersArp: (instanceId: string, address: string) => Promise<boolean>;
}

/** The namespace that only AWS itself writes. */
const namespace = "AWS/EC2";

/**
 * What EC2 tells CloudWatch each minute of its instances:
 * https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/viewing_metrics_with_cloudwatch.html
 */
export class InstanceMetrics {
  /** By instance: CPU seconds, and when. */
  private before = new Map<string, { used: number; time: number }>();

  /** @param cloudwatch asks moto itself */
  constructor(
    private readonly cloudwatch: CloudWatchClient,
    private readonly probes: Probes = { cpuSeconds, answersArp },
  ) {}

  /** Looks at machines and writes what it finds. */
  async publish(machines: RunningMachine[], now: Date): Promise<void> {
    const found = await Promise.all(machines.map((machine) => this.look(machine, now)));
    const there = new Set(machines.map(({ instanceId }) => instanceId));
    this.before = new Map([...this.before].filter(([id]) => there.has(id)));
    for (const MetricData of found) {
      await this.cloudwatch.send(new PutMetricDataCommand({ Namespace: namespace, MetricData }));
    }
  }

  private async look(machine: RunningMachine, now: Date): Promise<MetricDatum[]> {
    const { instanceId, address, isUp } = machine;
    const failed = Number(!isUp || !(await this.probes.answersArp(instanceId, address)));
    const usage = this.usage(machine, now);
    const of = { Dimensions: [{ Name: "InstanceId", Value: instanceId }], Timestamp: now };
    const counts = {
      StatusCheckFailed: failed,
      StatusCheckFailed_Instance: failed,
      // The computer that runs all of this is well as long as anything does.
      StatusCheckFailed_System: 0,
    };
    return [
      ...Object.entries(counts).map(([MetricName, Value]) => ({
        ...of,
        MetricName,
        Value,
        Unit: "Count" as const,
      })),
      ...(usage === undefined
        ? []
        : [{ ...of, MetricName: "CPUUtilization", Value: usage, Unit: "Percent" as const }]),
    ];
  }

  /** Percent of a machine's cores since the last look; undefined at the first one. */
  private usage({ instanceId, cores }: RunningMachine, now: Date): number | undefined {
    const used = this.probes.cpuSeconds(instanceId);
    const before = this.before.get(instanceId);
    if (used === undefined) {
      this.before.delete(instanceId);
      return undefined;
    }
    const time = now.getTime();
    this.before.set(instanceId, { used, time });
    if (before === undefined || used < before.used || time <= before.time) {
      return undefined;
    }
    const percent = ((used - before.used) / ((time - before.time) / 1000) / cores) * 100;
    return Math.min(100, percent);
  }
}
