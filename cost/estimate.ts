import type { StackConfig } from "../components/config";
import { rootDiskSize } from "../components/machine";
import { natInstanceType } from "../components/natInstance";
import type { RegionPrices } from "./prices";

/** A month, as AWS counts it: https://aws.amazon.com/calculator/calculator-assumptions/ */
const hoursPerMonth = 730;

/** What is assumed of snapshots: full volumes, and this part of them written between two. */
const changedPart = 0.02;

/** SSM's standard tier holds this many bytes: https://docs.aws.amazon.com/systems-manager/latest/userguide/parameter-store-advanced-parameters.html */
const standardParameterLimit = 4096;

/** One line of the bill. */
export interface CostRow {
  part: string;
  /** Type of the resources that it pays for, as Pulumi names it. */
  resource: string;
  /** How many there are. */
  count: number;
  /** How much of `unit` each needs a month. */
  quantity: number;
  unit: "h" | "GB" | "month";
  /** USD for one `unit`. */
  price: number;
  /** USD a month. */
  monthly: number;
}

/** What depends on use, by its unit's price in USD. */
export interface UsageRow {
  part: string;
  unit: string;
  price: number;
}

export interface Estimate {
  region: string;
  rows: CostRow[];
  /** USD a month, of all rows. */
  sum: number;
  /** Not part of the sum. */
  usage: UsageRow[];
}

/**
 * What a stack costs in a month in which nothing changes.
 *
 * @param prices of the stack's region
 * @throws Error if the list has no price of a machine's type
 */
export function estimate(config: StackConfig, prices: RegionPrices): Estimate {
  const row = (
    part: string,
    resource: string,
    count: number,
    quantity: number,
    unit: CostRow["unit"],
    price: number,
  ): CostRow => ({
    part,
    resource,
    count,
    quantity,
    unit,
    price,
    monthly: round(count * quantity * price),
  });
  const machines = (part: string, count: number, type: string): CostRow => {
    const price = prices.machineHour[type];
    if (price === undefined) {
      throw new Error(
        `cost/prices.yaml has no price of ${type} in ${config.region}, which this stack has (${part}). Look it up at ` +
          `https://aws.amazon.com/ec2/pricing/on-demand/ and write it under regions: ${config.region}: machineHour.`,
      );
    }
    return row(`${part}, ${type}`, "aws:ec2/instance:Instance", count, hoursPerMonth, "h", price);
  };

  const mongo = config.mongo.kind === "machines" ? config.mongo : undefined;
  const members = mongo?.zones.length ?? 0;
  const natInstances = config.nat === "instance" ? 1 : 0;
  const natGateways = config.nat === "gateway" ? 1 : 0;
  const machineCount = config.hostCount + 1 + members + natInstances;
  const advanced = parameters(config).filter(
    (value) => Buffer.byteLength(value) > standardParameterLimit,
  );

  const rows = [
    machines("hosts", config.hostCount, config.hostInstanceType),
    machines("balancer", 1, config.balancerInstanceType),
    ...(mongo === undefined ? [] : [machines("MongoDB", members, mongo.instanceType)]),
    ...(natInstances === 0 ? [] : [machines("NAT instance", natInstances, natInstanceType.name)]),
    row(
      "NAT gateway",
      "aws:ec2/natGateway:NatGateway",
      natGateways,
      hoursPerMonth,
      "h",
      prices.natGatewayHour,
    ),
    row(
      "public addresses",
      "aws:ec2/eip:Eip",
      1 + natGateways + natInstances,
      hoursPerMonth,
      "h",
      prices.publicAddressHour,
    ),
    row(
      "disks of machines",
      "aws:ec2/instance:Instance",
      machineCount,
      rootDiskSize,
      "GB",
      prices.gp3GigabyteMonth,
    ),
    row(
      "data volumes",
      "aws:ebs/volume:Volume",
      members,
      mongo?.volumeSize ?? 0,
      "GB",
      prices.gp3GigabyteMonth,
    ),
    row(
      "snapshots",
      "aws:dlm/lifecyclePolicy:LifecyclePolicy",
      mongo?.backups === undefined ? 0 : members,
      mongo === undefined ? 0 : snapshotSize(mongo.volumeSize, mongo.backups?.keep ?? 0),
      "GB",
      prices.snapshotGigabyteMonth,
    ),
    row(
      "alarms",
      "aws:cloudwatch/metricAlarm:MetricAlarm",
      // Of each machine its hardware and its disk, of a member its oplog, and four of the application.
      machineCount * 2 + members + 4,
      1,
      "month",
      prices.alarmMonth,
    ),
    row(
      "metrics",
      "aws:cloudwatch/dashboard:Dashboard",
      metricsOf(config.hostCount, members, machineCount),
      1,
      "month",
      prices.metricMonth,
    ),
    row(
      "requests that send metrics",
      "aws:ec2/instance:Instance",
      machineCount,
      hoursPerMonth,
      "h",
      prices.metricRequestsHour,
    ),
    row("private DNS zone", "aws:route53/zone:Zone", 1, 1, "month", prices.hostedZoneMonth),
    row(
      "secrets of over 4 KB",
      "aws:ssm/parameter:Parameter",
      advanced.length,
      1,
      "month",
      prices.advancedParameterMonth,
    ),
  ].filter(({ count }) => count > 0);

  return {
    region: config.region,
    rows,
    sum: round(rows.reduce((sum, { monthly }) => sum + monthly, 0)),
    usage: usage(config, prices),
  };
}

/** How many a stack's machines send: those of Telegraf's configuration files in userdata/. */
function metricsOf(hosts: number, members: number, machines: number): number {
  const [ofMachine, ofHost, ofMember, ofBalancer] = [3, 8, 4, 2];
  return machines * ofMachine + hosts * ofHost + members * ofMember + ofBalancer;
}

/** GB of a full volume's first snapshot, and of what the others add to it. */
function snapshotSize(volumeSize: number, keep: number): number {
  return volumeSize * (1 + (keep - 1) * changedPart);
}

/** Texts that become parameters and can be long. */
function parameters({ certificate, meteorSettings, mailUrl, env, mongo }: StackConfig): string[] {
  const pairs =
    certificate.kind === "pem"
      ? certificate.pairs
      : certificate.kind === "acme"
        ? certificate.standIns
        : [];
  return [
    ...pairs.flatMap(({ certificatePem, privateKeyPem }) => [certificatePem, privateKeyPem]),
    ...(mongo.kind === "external" ? [mongo.url, mongo.oplogUrl] : []),
    ...(meteorSettings === undefined ? [] : [meteorSettings]),
    ...(mailUrl === undefined ? [] : [mailUrl]),
    ...Object.values(env),
  ];
}

function usage(config: StackConfig, prices: RegionPrices): UsageRow[] {
  const zones = new Set([
    config.availabilityZone,
    ...(config.mongo.kind === "machines" ? config.mongo.zones : []),
  ]);
  const million = 1_000_000;
  const lookUps = (config.maxHosts * hoursPerMonth * 3600) / million;
  return [
    { part: "answers to visitors", unit: "GB", price: prices.internetGigabyte },
    ...(config.nat === "gateway"
      ? [{ part: "through the NAT gateway", unit: "GB", price: prices.natGatewayGigabyte }]
      : []),
    ...(zones.size > 1
      ? [
          {
            part: "between zones, in each direction",
            unit: "GB",
            price: prices.betweenZonesGigabyte,
          },
        ]
      : []),
    { part: "logs", unit: "GB", price: prices.logGigabyte },
    { part: "bundles, of all releases", unit: "GB", price: prices.s3GigabyteMonth },
    {
      // What can be read of it disagrees.
      part: `DNS queries inside the VPC, if AWS bills them: some ${Math.round(lookUps)} million`,
      unit: "million",
      price: prices.dnsMillionQueries,
    },
  ];
}

/** A row's arithmetic, as people write it. */
export function arithmetic({ count, quantity, unit, price }: CostRow): string {
  const each = unit === "month" ? "" : `${round(quantity)} ${unit} × `;
  return `${count} × ${each}${price}`;
}

function round(value: number): number {
  return Math.round(value * 100) / 100;
}
