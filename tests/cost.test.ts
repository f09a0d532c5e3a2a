import { execFileSync } from "node:child_process";
import { join } from "node:path";
import fc from "fast-check";
import { parsedConfig, table } from "../cost/cli";
import { type CostRow, type Estimate, estimate } from "../cost/estimate";
import { pricesOf, readPrices } from "../cost/prices";
import {
  projectFolder,
  type RegisteredResource,
  runProgram,
  withDefaults,
} from "../local/mockEngine";
import { sampleBundle } from "./sampleBundle";

const list = readPrices();
const region = "us-east-1";
const base = { "aws:region": region, rootUrl: "https://app.example.com" };

function costOf(values: Record<string, unknown>): Estimate {
  const config = parsedConfig({ ...base, ...values });
  return estimate(config, pricesOf(list, config.region));
}

/** Types that cost nothing, whoever adds one has looked it up. */
const free = [
  "aws:ec2/eipAssociation:EipAssociation",
  "aws:ec2/internetGateway:InternetGateway",
  "aws:ec2/route:Route",
  "aws:ec2/routeTable:RouteTable",
  "aws:ec2/routeTableAssociation:RouteTableAssociation",
  "aws:ec2/securityGroup:SecurityGroup",
  "aws:ec2/subnet:Subnet",
  "aws:ec2/volumeAttachment:VolumeAttachment",
  "aws:ec2/vpc:Vpc",
  // A gateway endpoint; those of other kinds cost by the hour.
  "aws:ec2/vpcEndpoint:VpcEndpoint",
  "aws:iam/instanceProfile:InstanceProfile",
  "aws:iam/role:Role",
  "aws:iam/rolePolicy:RolePolicy",
  "aws:iam/rolePolicyAttachment:RolePolicyAttachment",
  // Up to 10,000 in a zone.
  "aws:route53/record:Record",
  "aws:s3/bucket:Bucket",
  // Up to 1,000 mails a month.
  "aws:sns/topic:Topic",
  "aws:sns/topicSubscription:TopicSubscription",
  "aws:s3/bucketPublicAccessBlock:BucketPublicAccessBlock",
  "aws:vpc/securityGroupEgressRule:SecurityGroupEgressRule",
  "aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule",
];

/** Types that cost by use. */
const byUse = ["aws:cloudwatch/logGroup:LogGroup", "aws:s3/bucketObjectv2:BucketObjectv2"];

/** How many metrics a dashboard shows: as many as the machines send. */
function ownMetrics(dashboardBody: string): number {
  const { widgets } = JSON.parse(dashboardBody) as {
    widgets: { properties: { metrics: unknown[][] } }[];
  };
  return widgets.flatMap(({ properties }) => properties.metrics).length;
}

/** How much of each part the program's resources need: as `CostRow` has it, count times quantity. */
function needed(resources: RegisteredResource[]): Record<string, number> {
  const ofType = (type: string): RegisteredResource[] =>
    resources.filter((resource) => resource.type === type);
  const instances = ofType("aws:ec2/instance:Instance");
  const associated = ofType("aws:ec2/eipAssociation:EipAssociation").map(
    ({ inputs }) => inputs["instanceId"],
  );
  const ownAddress = instances.filter(
    ({ name, inputs }) =>
      inputs["subnetId"] === "network-public-id" && !associated.includes(`${name}-id`),
  );
  const volumes = ofType("aws:ebs/volume:Volume");
  const gigabytes = volumes.reduce((sum, { inputs }) => sum + Number(inputs["size"]), 0);
  const [policy] = ofType("aws:dlm/lifecyclePolicy:LifecyclePolicy");
  const details = policy?.inputs["policyDetails"] as
    { schedules: { retainRule: { count: number } }[] } | undefined;
  const kept = details?.schedules[0]?.retainRule.count;
  const needs: Record<string, number> = {
    "NAT gateway": 730 * ofType("aws:ec2/natGateway:NatGateway").length,
    "public addresses": 730 * (ofType("aws:ec2/eip:Eip").length + ownAddress.length),
    "disks of machines": instances.reduce(
      (sum, { inputs }) => sum + (inputs["rootBlockDevice"] as { volumeSize: number }).volumeSize,
      0,
    ),
    "data volumes": gigabytes,
    snapshots: kept === undefined ? 0 : gigabytes * (1 + (kept - 1) * 0.02),
    alarms: ofType("aws:cloudwatch/metricAlarm:MetricAlarm").length,
    metrics: ofType("aws:cloudwatch/dashboard:Dashboard").reduce(
      (sum, { inputs }) => sum + ownMetrics(String(inputs["dashboardBody"])),
      0,
    ),
    "requests that send metrics": 730 * instances.length,
    "private DNS zone": ofType("aws:route53/zone:Zone").length,
    "secrets of over 4 KB": ofType("aws:ssm/parameter:Parameter").filter(
      ({ inputs }) => String(inputs["value"] ?? inputs["insecureValue"]).length > 4096,
    ).length,
  };
  for (const { inputs } of instances) {
    const type = String(inputs["instanceType"]);
    needs[type] = (needs[type] ?? 0) + 730;
  }
  return needs;
}

function reckoned(rows: CostRow[]): Record<string, number> {
  const sums: Record<string, number> = {};
  for (const { part, count, quantity } of rows) {
    const key = part.replace(/^.*, /, "");
    sums[key] = (sums[key] ?? 0) + count * quantity;
  }
  return sums;
}

const stacks: [string, Record<string, unknown>][] = [
  ["the default stack", {}],
  ["a NAT instance", { nat: "instance", hostCount: 1, mongoVolumeSize: 35 }],
  ["no way out", { nat: "none", amiId: "ami-0123456789abcdef0" }],
  ["three members", { mongoMembers: 3, mongoZones: ["us-east-1a", "us-east-1b"], hostCount: 8 }],
  ["other types", { hostInstanceType: "m7a.medium", mongoInstanceType: "r7a.large" }],
  ["no backups", { backups: { keep: 0 } }],
  ["long secrets", { env: { LONG: "x".repeat(4097), SHORT: "x".repeat(4096) } }],
  [
    "a set of one's own",
    { mongoUrl: "mongodb://db.example.com/app", mongoOplogUrl: "mongodb://db.example.com/local" },
  ],
];

describe.each(stacks)("the estimate of %s", (_name, values) => {
  let resources: RegisteredResource[] = [];

  beforeAll(async () => {
    const config = withDefaults({ ...base, ...values, bundle: sampleBundle() });
    resources = (await runProgram("test", config)).resources;
  });

  test("has a row for each resource that the program makes and AWS bills, and none for another", () => {
    const rows = costOf(values).rows;
    const paid = [...new Set(rows.map(({ resource }) => resource))];
    // One that neither list has: look its price up, and give it a row or a line in `free`.
    const unknown = resources
      .map(({ type }) => type)
      .filter((type) => type.startsWith("aws:") && type !== "aws:ssm/parameter:Parameter")
      .filter((type) => ![...paid, ...free, ...byUse].includes(type));
    expect([...new Set(unknown)]).toEqual([]);
    expect(resources.map(({ type }) => type)).toEqual(expect.arrayContaining(paid));
  });

  test("reckons with as many, as large and as long as there are", () => {
    const needs = Object.entries(needed(resources)).filter(([, amount]) => amount > 0);
    const sums = reckoned(costOf(values).rows);
    expect(Object.keys(sums).sort()).toEqual(needs.map(([part]) => part).sort());
    for (const [part, amount] of needs) {
      expect([part, sums[part]]).toEqual([part, expect.closeTo(amount, 6)]);
    }
  });
});

test("each row is count times quantity times price to the cent, and the sum is the rows'", () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 100 }),
      fc.constantFrom(1, 3),
      fc.integer({ min: 10, max: 16384 }),
      fc.integer({ min: 0, max: 1000 }),
      fc.constantFrom("gateway", "instance"),
      (hostCount, mongoMembers, mongoVolumeSize, keep, nat) => {
        const values = { hostCount, maxHosts: 100, mongoMembers, mongoVolumeSize, nat };
        const { rows, sum } = costOf({ ...values, backups: { keep } });
        for (const { count, quantity, price, monthly } of rows) {
          expect(Math.abs(monthly - count * quantity * price)).toBeLessThan(0.00501);
        }
        expect(sum).toBeCloseTo(
          rows.reduce((total, { monthly }) => total + monthly, 0),
          2,
        );
      },
    ),
    { numRuns: 50 },
  );
});

test("a host more costs its machine, its disk, its alarms and its metrics", () => {
  const difference = costOf({ hostCount: 4 }).sum - costOf({ hostCount: 3 }).sum;
  expect(difference).toBeCloseTo(730 * (0.05132 + 0.0006) + 10 * 0.08 + 2 * 0.1 + 11 * 0.3, 1);
});

test("traffic between zones is told where members are in more than one", () => {
  const parts = (values: Record<string, unknown>): string[] =>
    costOf(values).usage.map(({ part }) => part);
  const between = expect.stringMatching(/between zones/) as string;
  expect(parts({ mongoMembers: 3 })).not.toContainEqual(between);
  expect(parts({ mongoMembers: 3, mongoZones: ["us-east-1a", "us-east-1b"] })).toContainEqual(
    between,
  );
});

test("a type or a region without a price is an error that says where to look and to write", () => {
  expect(() => costOf({ hostInstanceType: "z9z.medium" })).toThrow(
    /no price of z9z\.medium in us-east-1.*https:.*write it under regions: us-east-1: machineHour/,
  );
  expect(() => costOf({ "aws:region": "sa-east-1" })).toThrow(
    /no prices of sa-east-1, only of us-east-1 and eu-central-1/,
  );
});

test("every region's list has the types that the defaults and the NAT instance need", () => {
  for (const name of Object.keys(list.regions)) {
    for (const nat of ["gateway", "instance"]) {
      expect(costOf({ "aws:region": name, nat }).sum).toBeGreaterThan(100);
    }
  }
});

test("the table has a line for each row, and columns that stand below each other", () => {
  const result = costOf({});
  const lines = table(result, list.date).split("\n");
  const body = lines.slice(2, 3 + result.rows.length);
  expect(lines[0]).toContain(list.date);
  expect(body.at(-1)).toMatch(new RegExp(`^sum .* ${result.sum.toFixed(2)}$`));
  expect(new Set(body.map(({ length }) => length)).size).toBe(1);
});

describe("npm run cost", () => {
  const run = (...args: string[]): string =>
    execFileSync(join(projectFolder, "node_modules/.bin/tsx"), ["cost/cli.ts", ...args], {
      cwd: projectFolder,
      encoding: "utf8",
      stdio: ["ignore", "pipe", "pipe"],
    });

  test("reads a stack's file, whose bundle need not be built", () => {
    const printed = JSON.parse(run("--stack", "dev", "--json")) as Estimate & { date: string };
    expect(printed.date).toBe(list.date);
    expect(printed).toMatchObject(costOf({ "aws:region": "eu-central-1", hostCount: 2 }));
  });

  test("tells an unknown stack in one line", () => {
    expect(() => run("--stack", "nowhere")).toThrow(/there is no Pulumi\.nowhere\.yaml[^\n]*\n$/);
  });
});
