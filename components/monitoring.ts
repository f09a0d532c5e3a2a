import * as pulumi from "@pulumi/pulumi";
import type { CommonMachineArgs } from "../userdata/machine/commonMachine";
import * as aws from "./aws";
import { dashboardBody } from "./dashboard";
import type { Machine } from "./machine";

export interface MonitoringArgs {
  /** Start of the names that people see, such as `meteor-scale-dev`; also the metrics' namespace. */
  prefix: string;
  /** Start of the log groups' names, such as `/meteor-scale/dev`. */
  path: string;
  /** The AWS region. */
  region: string;
  /** Kinds of machines, each with a log group. */
  roles: CommonMachineArgs["role"][];
  /** How long logs are kept, in days, as CloudWatch takes them. */
  logRetention: number;
  /** Who is told of alarms, if anybody. */
  alarmEmail: string | undefined;
}

/** What is watched, once it is there. */
export interface Watched {
  machines: Machine[];
  balancer: Machine;
  /** Names of the hosts that run. */
  hosts: string[];
  /** Names of the machines of the replica set. */
  members: string[];
  /** Numbers change only when these have. */
  dependsOn: pulumi.Resource[];
}

const day = 24 * 3600;

/** A certificate that ends as soon as this, in days, is one to be told of. */
export const certificateWarningDays = 14;

/**
 * Logs, metrics and alarms in CloudWatch. Machines send the first two; who is told of the last confirms the first
 * mail of AWS.
 *
 * Cost: 0.30 USD a month for each metric (eleven for a host, seven for a member, three for a NAT instance, five for the balancer), 0.10 USD for
 * each alarm, 0.50 USD for each GB of logs; the dashboard is free where the account has no more than three.
 */
export class Monitoring extends pulumi.ComponentResource {
  readonly topicArn: pulumi.Output<string>;
  /** Machines wait for these: Telegraf makes none. */
  readonly logGroups: pulumi.Resource[];

  constructor(
    private readonly name: string,
    private readonly args: MonitoringArgs,
    options?: pulumi.ComponentResourceOptions,
  ) {
    super("meteor-scale:monitoring:Monitoring", name, {}, options);
    const topic = new aws.sns.Topic(
      `${name}-alarms`,
      { name: `${withoutDots(args.prefix)}-alarms` },
      { parent: this },
    );
    this.topicArn = topic.arn;
    if (args.alarmEmail !== undefined) {
      new aws.sns.TopicSubscription(
        `${name}-email`,
        { topic: topic.arn, protocol: "email", endpoint: args.alarmEmail },
        { parent: this },
      );
    }
    this.logGroups = args.roles.map(
      (role) =>
        new aws.cloudwatch.LogGroup(
          `${name}-${role}-logs`,
          { name: logGroupOf(args.path, role), retentionInDays: args.logRetention },
          { parent: this },
        ),
    );
    this.registerOutputs({});
  }

  /** Alarms and a dashboard for what there is by now. */
  watch(watched: Watched): void {
    this.alarm(watched, "no-host-up", {
      alarmDescription: "No host is up: visitors see an error.",
      ...this.ofBalancer("hosts_up", "Maximum"),
      comparisonOperator: "LessThanThreshold",
      threshold: 1,
      evaluationPeriods: 2,
      // The balancer does not tell any more.
      insufficientDataActions: [this.topicArn],
    });
    this.alarm(watched, "host-down", {
      alarmDescription: "A host has been down for five minutes; the others serve its visitors.",
      ...this.ofBalancer("hosts_up", "Maximum"),
      comparisonOperator: "LessThanThreshold",
      threshold: watched.hosts.length,
      evaluationPeriods: 5,
    });
    this.alarm(watched, "certificate", {
      alarmDescription: `A certificate ends in less than ${certificateWarningDays} days; then browsers refuse it.`,
      ...this.ofBalancer("certificate_expiry", "Minimum"),
      comparisonOperator: "LessThanThreshold",
      threshold: certificateWarningDays * day,
      evaluationPeriods: 2,
    });
    this.alarm(watched, "balancer", {
      alarmDescription: "The balancer fails EC2's checks: nobody reaches the application.",
      namespace: "AWS/EC2",
      metricName: "StatusCheckFailed",
      dimensions: { InstanceId: watched.balancer.instance.id },
      statistic: "Maximum",
      comparisonOperator: "GreaterThanThreshold",
      threshold: 0,
      evaluationPeriods: 2,
    });
    for (const { machine } of watched.machines) {
      this.alarm(watched, `${machine}-disk`, {
        alarmDescription: `A disk of ${machine} is over 80 % full, or (INSUFFICIENT_DATA) it tells nothing any more.`,
        ...this.ofMachine(machine, "disk_used_percent", "Maximum"),
        comparisonOperator: "GreaterThanThreshold",
        threshold: 80,
        evaluationPeriods: 5,
        // Whatever the machine is: it is off, or its Telegraf is.
        insufficientDataActions: [this.topicArn],
      });
    }
    for (const machine of watched.members) {
      this.alarm(watched, `${machine}-oplog`, {
        alarmDescription:
          `At the pace of its writes the oplog of ${machine} reaches back less than a day: a member that is away ` +
          "for longer must copy everything.",
        ...this.ofMachine(machine, "mongo_oplog_window", "Minimum"),
        comparisonOperator: "LessThanThreshold",
        threshold: 24,
        evaluationPeriods: 5,
      });
    }
    this.dashboard(watched);
  }

  private ofBalancer(metricName: string, statistic: string): MetricArgs {
    return this.ofMachine("balancer", metricName, statistic);
  }

  private ofMachine(machine: string, metricName: string, statistic: string): MetricArgs {
    return { namespace: this.args.prefix, metricName, dimensions: { machine }, statistic };
  }

  private alarm(
    { dependsOn }: Watched,
    name: string,
    args: Omit<aws.cloudwatch.MetricAlarmArgs, "alarmActions" | "name" | "okActions" | "period">,
  ): void {
    new aws.cloudwatch.MetricAlarm(
      `${this.name}-${name}`,
      {
        ...args,
        name: `${this.args.prefix}-${name}`,
        period: 60,
        alarmActions: [this.topicArn],
        okActions: [this.topicArn],
      },
      { parent: this, dependsOn },
    );
  }

  private dashboard({ machines, hosts, members, dependsOn }: Watched): void {
    const { prefix, region } = this.args;
    new aws.cloudwatch.Dashboard(
      `${this.name}-dashboard`,
      {
        dashboardName: withoutDots(prefix),
        dashboardBody: JSON.stringify(
          dashboardBody({
            namespace: prefix,
            region,
            machines: machines.map(({ machine }) => machine),
            hosts,
            members,
          }),
        ),
      },
      { parent: this, dependsOn },
    );
  }
}

type MetricArgs = Required<
  Pick<aws.cloudwatch.MetricAlarmArgs, "namespace" | "metricName" | "dimensions" | "statistic">
>;

/** A stack's name may have them; topics and dashboards may not. */
function withoutDots(name: string): string {
  return name.replaceAll(".", "-");
}

/** Name of the log group of a kind of machines. */
export function logGroupOf(path: string, role: CommonMachineArgs["role"]): string {
  return `${path}/${role}`;
}
