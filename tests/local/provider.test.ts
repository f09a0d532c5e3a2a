import { createHash, createPrivateKey, X509Certificate } from "node:crypto";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import {
  CreateSnapshotCommand,
  CreateTagsCommand,
  DescribeInstancesCommand,
  DescribeSecurityGroupRulesCommand,
  DescribeTagsCommand,
  EC2Client,
  TerminateInstancesCommand,
} from "@aws-sdk/client-ec2";
import { PutParameterCommand, SSMClient } from "@aws-sdk/client-ssm";
import { awsProvider } from "../../local/provider/aws/provider";
import { startProviders } from "../../local/provider/main";
import { randomProvider } from "../../local/provider/random";
import { tlsProvider } from "../../local/provider/tls";
import { unknown, type Values } from "../../local/provider/values";
import { startAlarmsFrontDoor } from "./alarmsFrontDoor";
import { type LifecycleFrontDoor, startLifecycleFrontDoor } from "./lifecycleFrontDoor";
import { type MotoServer, startMotoServer } from "./motoServer";
import { Engine, initFailed, type Made } from "./providerEngine";
import { replacementTable } from "./replacementTable";

const region = "eu-central-1";
const folder = mkdtempSync(join(tmpdir(), "provider-"));
const archive = "the application";
const assumedBy = (service: string): string =>
  JSON.stringify({
    Version: "2012-10-17",
    Statement: [{ Effect: "Allow", Principal: { Service: service }, Action: "sts:AssumeRole" }],
  });
const assumedByEc2 = assumedBy("ec2.amazonaws.com");
const allowing = (action: string): string =>
  JSON.stringify({
    Version: "2012-10-17",
    Statement: [{ Effect: "Allow", Action: action, Resource: "*" }],
  });
const image = (name: string, date: string): object => ({
  ami_id: `ami-${createHash("sha256").update(name).digest("hex").slice(0, 17)}`,
  name,
  owner_id: "136693071363",
  architecture: "x86_64",
  root_device_name: "/dev/xvda",
  root_device_type: "ebs",
  virtualization_type: "hvm",
  hypervisor: "xen",
  image_type: "machine",
  image_location: `amazon/${name}`,
  public: true,
  state: "available",
  description: name,
  sriov: "simple",
  platform: null,
  creation_date: date,
});

interface Row {
  type: string;
  inputs: (made: (type: string, name?: string) => Made) => Values;
  name?: string;
  /** What an update in place sets. */
  change?: (made: (type: string, name?: string) => Made) => Values;
  /** Outputs that the preview of that update does not know. */
  unknownAfter?: string[];
  /** Outputs that the service leaves out here. */
  absent?: string[];
  /** How `pulumi import` names it, where not by its id; null where it can't be imported. */
  importId?: ((made: Made) => string) | null;
  /** Whether it is there until deleted, in this state only. */
  local?: boolean;
  secrets?: string[];
}

const vpc = "aws:ec2/vpc:Vpc";
const subnet = "aws:ec2/subnet:Subnet";
const route = "aws:ec2/route:Route";
const routeTable = "aws:ec2/routeTable:RouteTable";
const group = "aws:ec2/securityGroup:SecurityGroup";
const eip = "aws:ec2/eip:Eip";
const natGateway = "aws:ec2/natGateway:NatGateway";
const role = "aws:iam/role:Role";
const bucket = "aws:s3/bucket:Bucket";
const instance = "aws:ec2/instance:Instance";
const volume = "aws:ebs/volume:Volume";
const attachment = "aws:ec2/volumeAttachment:VolumeAttachment";
const zone = "aws:route53/zone:Zone";
const record = "aws:route53/record:Record";
const parameter = "aws:ssm/parameter:Parameter";
const topic = "aws:sns/topic:Topic";
const subscription = "aws:sns/topicSubscription:TopicSubscription";
const association = "aws:ec2/eipAssociation:EipAssociation";
const certificate = "tls:index/selfSignedCert:SelfSignedCert";
const privateKey = "tls:index/privateKey:PrivateKey";
const password = "random:index/randomPassword:RandomPassword";

/** One lifecycle for every type, in an order in which each finds what it needs. */
const rows: Row[] = [
  {
    type: vpc,
    inputs: () => ({ cidrBlock: "10.0.0.0/16", enableDnsHostnames: true }),
    change: () => ({ enableDnsSupport: false, enableDnsHostnames: false }),
  },
  {
    type: subnet,
    inputs: (made) => ({
      vpcId: made(vpc).id,
      cidrBlock: "10.0.1.0/24",
      availabilityZone: "eu-central-1a",
    }),
    change: () => ({ mapPublicIpOnLaunch: true }),
  },
  {
    type: "aws:ec2/internetGateway:InternetGateway",
    inputs: (made) => ({ vpcId: made(vpc).id, tags: { Name: "gateway" } }),
    change: () => ({ tags: { Name: "another" } }),
  },
  {
    type: routeTable,
    inputs: (made) => ({ vpcId: made(vpc).id }),
    change: () => ({ tags: { Name: "routes" } }),
  },
  {
    type: routeTable,
    name: "second",
    inputs: (made) => ({ vpcId: made(vpc).id, tags: { Name: "second" } }),
    change: () => ({ tags: {} }),
  },
  {
    type: "aws:ec2/routeTableAssociation:RouteTableAssociation",
    inputs: (made) => ({ routeTableId: made(routeTable).id, subnetId: made(subnet).id }),
    change: (made) => ({ routeTableId: made(routeTable, "second").id }),
  },
  {
    type: eip,
    inputs: () => ({ domain: "vpc", tags: { Name: "nat" } }),
    change: () => ({ tags: { Name: "another" } }),
  },
  {
    type: natGateway,
    inputs: (made) => ({ subnetId: made(subnet).id, allocationId: made(eip).id }),
    change: () => ({ tags: { Name: "nat" } }),
  },
  {
    type: route,
    inputs: (made) => ({
      routeTableId: made(routeTable).id,
      destinationCidrBlock: "0.0.0.0/0",
      natGatewayId: made(natGateway).id,
    }),
    change: (made) => ({
      natGatewayId: undefined,
      gatewayId: made("aws:ec2/internetGateway:InternetGateway").id,
    }),
    absent: ["instanceId", "instanceOwnerId"],
    importId: ({ inputs }) => `${String(inputs["routeTableId"])}_0.0.0.0/0`,
  },
  {
    type: "aws:ec2/vpcEndpoint:VpcEndpoint",
    inputs: (made) => ({
      vpcId: made(vpc).id,
      serviceName: `com.amazonaws.${region}.s3`,
      routeTableIds: [made(routeTable).id],
    }),
    change: (made) => ({ routeTableIds: [made(routeTable, "second").id, made(routeTable).id] }),
    absent: ["prefixListId"],
  },
  {
    type: group,
    inputs: (made) => ({ vpcId: made(vpc).id, description: "a group" }),
    change: () => ({ tags: { Name: "group" } }),
  },
  {
    type: "aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule",
    inputs: (made) => ({
      securityGroupId: made(group).id,
      ipProtocol: "tcp",
      fromPort: 80,
      toPort: 80,
      cidrIpv4: "0.0.0.0/0",
    }),
    change: () => ({ fromPort: 443, toPort: 443, description: "HTTPS" }),
  },
  {
    type: "aws:vpc/securityGroupEgressRule:SecurityGroupEgressRule",
    inputs: (made) => ({
      securityGroupId: made(group).id,
      ipProtocol: "-1",
      cidrIpv4: "0.0.0.0/0",
    }),
    change: () => ({ cidrIpv4: "10.0.0.0/8" }),
  },
  {
    type: role,
    inputs: () => ({ assumeRolePolicy: assumedByEc2, description: "a role" }),
    change: () => ({ description: "another", tags: { Name: "role" } }),
  },
  {
    type: "aws:iam/rolePolicy:RolePolicy",
    inputs: (made) => ({ role: made(role).id, policy: allowing("s3:GetObject") }),
    change: () => ({ policy: allowing("s3:ListBucket") }),
  },
  {
    type: "aws:iam/rolePolicyAttachment:RolePolicyAttachment",
    inputs: (made) => ({
      role: made(role).id,
      policyArn: "arn:aws:iam::aws:policy/AmazonSSMManagedInstanceCore",
    }),
  },
  {
    type: role,
    name: "second",
    inputs: () => ({ assumeRolePolicy: assumedByEc2 }),
    change: () => ({ maxSessionDuration: 7200 }),
  },
  {
    type: "aws:iam/instanceProfile:InstanceProfile",
    inputs: (made) => ({ role: made(role).id }),
    change: (made) => ({ role: made(role, "second").id }),
  },
  {
    type: parameter,
    inputs: () => ({ name: "/stack/secret", type: "SecureString", value: "swordfish" }),
    change: () => ({ value: "bluefish" }),
    unknownAfter: ["version"],
    secrets: ["value"],
  },
  {
    type: parameter,
    name: "open",
    inputs: () => ({ name: "/stack/gate", type: "String", insecureValue: "i-1" }),
    change: () => ({ insecureValue: "i-2", description: "live" }),
    unknownAfter: ["version"],
    // Only a state knows that a value may be shown.
    importId: null,
  },
  {
    type: bucket,
    inputs: () => ({ forceDestroy: true, tags: { Name: "bucket" } }),
    change: () => ({ tags: { Name: "another" } }),
  },
  {
    type: "aws:s3/bucketPublicAccessBlock:BucketPublicAccessBlock",
    inputs: (made) => ({ bucket: made(bucket).id, blockPublicAcls: true }),
    change: () => ({ blockPublicPolicy: true }),
  },
  {
    type: "aws:s3/bucketServerSideEncryptionConfiguration:BucketServerSideEncryptionConfiguration",
    inputs: (made) => ({
      bucket: made(bucket).id,
      rules: [{ applyServerSideEncryptionByDefault: { sseAlgorithm: "AES256" } }],
    }),
    change: () => ({
      rules: [{ applyServerSideEncryptionByDefault: { sseAlgorithm: "aws:kms" } }],
    }),
  },
  {
    type: "aws:s3/bucketObjectv2:BucketObjectv2",
    inputs: (made) => ({
      bucket: made(bucket).id,
      key: "bundles/one.tar.gz",
      source: asset("archive", archive),
      serverSideEncryption: "AES256",
    }),
    change: () => ({ source: asset("another", "a newer application") }),
    unknownAfter: ["etag", "versionId"],
  },
  {
    type: volume,
    inputs: () => ({ availabilityZone: "eu-central-1a", size: 8, type: "gp3", encrypted: true }),
    change: () => ({ size: 16, tags: { Name: "data" } }),
  },
  {
    type: instance,
    inputs: (made) => ({
      ami: "ami-",
      instanceType: "t3.small",
      subnetId: made(subnet).id,
      vpcSecurityGroupIds: [made(group).id],
      iamInstanceProfile: made("aws:iam/instanceProfile:InstanceProfile").state["name"],
      userData: "#cloud-config\n# ü\n",
      userDataReplaceOnChange: true,
      metadataOptions: { httpEndpoint: "enabled", httpTokens: "required" },
      rootBlockDevice: {
        ...{ encrypted: true, volumeType: "gp3", volumeSize: 10 },
        tags: { Name: "stack-host1" },
      },
      tags: { Name: "stack-host1" },
    }),
    change: () => ({ instanceType: "t3.large", sourceDestCheck: false, tags: { Name: "renamed" } }),
    unknownAfter: ["publicDns", "publicIp"],
  },
  {
    type: instance,
    name: "second",
    inputs: (made) => ({
      ami: "ami-",
      instanceType: "c5.large",
      cpuOptions: { coreCount: 1, threadsPerCore: 1 },
      subnetId: made(subnet).id,
      sourceDestCheck: false,
      disableApiTermination: true,
    }),
    change: () => ({ sourceDestCheck: true, disableApiTermination: false }),
  },
  {
    type: route,
    name: "through a machine",
    inputs: (made) => ({
      routeTableId: made(routeTable, "second").id,
      destinationCidrBlock: "0.0.0.0/0",
      networkInterfaceId: made(instance, "second").state["primaryNetworkInterfaceId"],
    }),
    change: (made) => ({
      networkInterfaceId: made(instance).state["primaryNetworkInterfaceId"],
    }),
    absent: ["instanceId", "instanceOwnerId"],
    importId: ({ inputs }) => `${String(inputs["routeTableId"])}_0.0.0.0/0`,
  },
  {
    type: attachment,
    inputs: (made) => ({
      instanceId: made(instance).id,
      volumeId: made(volume).id,
      deviceName: "/dev/sdf",
    }),
    change: () => ({ stopInstanceBeforeDetaching: true }),
    importId: ({ inputs }) =>
      [inputs["deviceName"], inputs["volumeId"], inputs["instanceId"]].join(":"),
  },
  {
    type: eip,
    name: "balancer",
    inputs: () => ({ domain: "vpc" }),
    change: () => ({ tags: { Name: "balancer" } }),
  },
  {
    type: association,
    inputs: (made) => ({
      instanceId: made(instance).id,
      allocationId: made(eip, "balancer").id,
      allowReassociation: true,
    }),
  },
  {
    type: zone,
    inputs: (made) => ({
      name: "meteor.internal",
      vpcs: [{ vpcId: made(vpc).id }],
      forceDestroy: true,
    }),
    change: () => ({ comment: "names", tags: { Name: "zone" } }),
  },
  {
    type: record,
    inputs: (made) => ({
      zoneId: made(zone).id,
      name: "host1.meteor.internal",
      type: "A",
      ttl: 5,
      records: ["127.0.0.1"],
    }),
    change: (made) => ({ records: [made(instance).state["privateIp"]] }),
  },
  {
    type: zone,
    name: "public",
    inputs: () => ({ name: "example.org", forceDestroy: true }),
    change: () => ({ comment: "the world's names" }),
  },
  {
    type: record,
    name: "wildcard",
    inputs: (made) => ({
      zoneId: made(zone, "public").id,
      name: "*.app.example.org",
      type: "A",
      ttl: 60,
      records: ["192.0.2.1"],
    }),
    change: (made) => ({ records: [made(eip, "balancer").state["publicIp"]] }),
  },
  {
    type: "aws:cloudwatch/metricAlarm:MetricAlarm",
    inputs: (made) => ({
      namespace: "AWS/EC2",
      metricName: "StatusCheckFailed_System",
      dimensions: { InstanceId: made(instance).id },
      statistic: "Maximum",
      period: 60,
      evaluationPeriods: 2,
      comparisonOperator: "GreaterThanThreshold",
      threshold: 0,
      alarmActions: [`arn:aws:automate:${region}:ec2:recover`],
    }),
    change: () => ({ threshold: 1, tags: { Name: "alarm" } }),
  },
  {
    type: "aws:cloudwatch/metricAlarm:MetricAlarm",
    name: "of metric math",
    inputs: () => ({
      metricQueries: [
        {
          id: "up",
          metric: {
            namespace: "stack",
            metricName: "hosts_up",
            dimensions: { machine: "balancer" },
            period: 60,
            stat: "Minimum",
          },
          returnData: false,
        },
        { id: "share", expression: "up / 3", label: "share", returnData: true },
      ],
      evaluationPeriods: 1,
      comparisonOperator: "LessThanThreshold",
      threshold: 1,
    }),
    change: () => ({ evaluationPeriods: 2, datapointsToAlarm: 1 }),
  },
  {
    type: "aws:cloudwatch/dashboard:Dashboard",
    inputs: () => ({ dashboardName: "stack", dashboardBody: '{"widgets": []}' }),
    change: () => ({ dashboardBody: '{"widgets": [], "start": "-PT6H"}' }),
  },
  {
    type: "aws:cloudwatch/logGroup:LogGroup",
    inputs: () => ({ name: "/project/stack/meteor", retentionInDays: 30 }),
    change: () => ({ retentionInDays: 0, tags: { Name: "logs" } }),
  },
  {
    type: "aws:cloudwatch/logGroup:LogGroup",
    name: "with a longer name",
    inputs: () => ({ name: "/project/stack/meteor-more", tags: { Name: "logs" } }),
    change: () => ({ retentionInDays: 7, tags: { Name: "another" } }),
  },
  {
    type: topic,
    inputs: () => ({ displayName: "Alarms", tags: { Name: "alarms" } }),
    change: () => ({
      displayName: undefined,
      policy: allowing("sns:Publish"),
      tags: { Name: "another" },
    }),
  },
  {
    type: subscription,
    inputs: (made) => ({
      topic: made(topic).id,
      protocol: "sqs",
      endpoint: `arn:aws:sqs:${region}:123456789012:alarms`,
    }),
    change: () => ({ rawMessageDelivery: true, filterPolicy: '{"role": ["mongo"]}' }),
  },
  {
    type: role,
    name: "lifecycle",
    inputs: () => ({ assumeRolePolicy: assumedBy("dlm.amazonaws.com") }),
  },
  {
    type: "aws:dlm/lifecyclePolicy:LifecyclePolicy",
    inputs: (made) => ({
      description: "daily snapshots",
      executionRoleArn: made(role, "lifecycle").state["arn"],
      policyDetails: lifecycle({ cronExpression: "cron(0 3 * * ? *)" }, 7),
      tags: { Name: "backup" },
    }),
    change: () => ({
      description: "snapshots twice a day",
      policyDetails: lifecycle({ interval: 12, intervalUnit: "HOURS", times: "23:45" }, 14),
      state: "DISABLED",
      tags: { Name: "another" },
    }),
  },
  {
    type: privateKey,
    inputs: () => ({ algorithm: "ECDSA", ecdsaCurve: "P256" }),
    local: true,
    secrets: ["privateKeyPem", "privateKeyPemPkcs8"],
  },
  {
    type: privateKey,
    name: "rsa",
    inputs: () => ({ algorithm: "RSA" }),
    local: true,
    secrets: ["privateKeyPem", "privateKeyPemPkcs8"],
  },
  {
    type: certificate,
    inputs: (made) => ({
      privateKeyPem: made(privateKey).state["privateKeyPem"],
      subject: { commonName: "app.example.org", organization: "Example" },
      dnsNames: ["app.example.org"],
      validityPeriodHours: 48,
      allowedUses: ["digital_signature", "server_auth"],
    }),
    change: () => ({ earlyRenewalHours: 24 }),
    local: true,
    secrets: ["privateKeyPem"],
  },
  {
    type: certificate,
    name: "rsa",
    inputs: (made) => ({
      privateKeyPem: made(privateKey, "rsa").state["privateKeyPem"],
      subject: { commonName: "app.example.org" },
      ipAddresses: ["127.0.0.1"],
      validityPeriodHours: 48,
      earlyRenewalHours: 72,
      isCaCertificate: true,
      setSubjectKeyId: true,
      setAuthorityKeyId: true,
      allowedUses: ["cert_signing"],
    }),
    local: true,
    secrets: ["privateKeyPem"],
  },
  {
    type: password,
    inputs: () => ({ length: 32, special: false }),
    local: true,
    secrets: ["result"],
  },
  {
    type: "random:index/randomId:RandomId",
    inputs: () => ({ byteLength: 4, prefix: "p-" }),
    local: true,
  },
  {
    type: "random:index/randomBytes:RandomBytes",
    inputs: () => ({ length: 512 }),
    local: true,
    secrets: ["base64", "hex"],
  },
];

function lifecycle(createRule: Values, count: number): Values {
  return {
    resourceTypes: ["VOLUME"],
    targetTags: { backup: "daily" },
    schedules: [
      {
        name: "daily",
        copyTags: true,
        tagsToAdd: { madeBy: "schedule" },
        createRule,
        retainRule: { count },
      },
    ],
  };
}

const definitions = [
  ...awsProvider(folder).resources,
  ...tlsProvider.resources,
  ...randomProvider.resources,
];

function asset(name: string, content: string): Values {
  writeFileSync(join(folder, name), content);
  return {
    "4dabf18193072939515e22adb298388d": "c44067f5952c0a294b673a41bacd8c17",
    path: name,
    hash: createHash("sha256").update(content).digest("hex"),
  };
}

let moto: MotoServer;
let frontDoor: LifecycleFrontDoor;
let providers: Awaited<ReturnType<typeof startProviders>>;
let engines: Record<string, Engine>;
let ec2: EC2Client;
let ssm: SSMClient;
let previews: Map<string, Values>;
let reads: Map<string, Made | undefined>;
let all: Map<string, Made>;

const labelOf = (type: string, name = "first"): string => `${type} ${name}`;
const madeOf = (type: string, name?: string): Made => {
  const made = all.get(labelOf(type, name));
  if (made === undefined) {
    throw new Error(`${labelOf(type, name)} was not made`);
  }
  return made;
};
const engineOf = (type: string): Engine => engines[type.split(":")[0] ?? ""] as Engine;
const configuration = (): Values => ({
  region,
  accessKey: "local",
  secretKey: "local",
  s3UsePathStyle: "true",
  skipCredentialsValidation: "true",
  defaultTags: JSON.stringify({ tags: { project: "meteor-scale" } }),
  ignoreTags: JSON.stringify({ keys: ["ready"] }),
  endpoints: JSON.stringify([
    Object.fromEntries(
      [
        ...["ec2", "iam", "ssm", "s3", "route53", "cloudwatch", "cloudwatchlogs", "sns"],
        ...["dlm", "sts"],
      ].map((name) => [name, frontDoor.url]),
    ),
  ]),
});

beforeAll(async () => {
  moto = await startMotoServer([
    image("debian-12-amd64-20250101-1", "2025-01-01T00:00:00.000Z"),
    image("debian-12-amd64-20250814-2", "2025-08-14T00:00:00.000Z"),
    image("debian-11-amd64-20250901-3", "2025-09-01T00:00:00.000Z"),
  ]);
  frontDoor = await startLifecycleFrontDoor(moto.url);
  providers = await startProviders({ aws: 0, tls: 0, random: 0 }, { directory: folder });
  engines = {
    aws: new Engine(providers.ports.aws),
    tls: new Engine(providers.ports.tls),
    random: new Engine(providers.ports.random),
  };
  const credentials = { accessKeyId: "local", secretAccessKey: "local" };
  ec2 = new EC2Client({ region, endpoint: moto.url, credentials });
  ssm = new SSMClient({ region, endpoint: moto.url, credentials });
  await engineOf("tls:").configure({});
  await engineOf("random:").configure({});
  expect(await engineOf("aws:").configure(configuration())).toEqual([]);
});

afterAll(async () => {
  Object.values(engines).forEach((engine) => {
    engine.close();
  });
  await providers.stop();
  ec2.destroy();
  ssm.destroy();
  frontDoor.stop();
  await moto.stop();
  rmSync(folder, { recursive: true });
});

describe("a lifecycle of every type", () => {
  beforeAll(async () => {
    previews = new Map();
    reads = new Map();
    all = new Map();
    const { result } = await engineOf("aws:").invoke("aws:ec2/getAmi:getAmi", {
      owners: ["136693071363"],
      mostRecent: true,
      filters: [{ name: "name", values: ["debian-12-amd64-*"] }],
    });
    for (const row of rows) {
      const engine = engineOf(row.type);
      const name = row.name ?? "first";
      const inputs = row.inputs(madeOf);
      if (row.type === instance) {
        inputs["ami"] = result["id"];
      }
      const checked = await engine.check(row.type, name, inputs);
      previews.set(
        labelOf(row.type, name),
        await engine.previewCreate(row.type, name, checked.inputs),
      );
      const made = await engine.create(row.type, name, inputs);
      all.set(labelOf(row.type, name), made);
      reads.set(labelOf(row.type, name), await engine.read(made));
    }
  }, 120_000);

  test("no type is without a row", () => {
    const types = [...new Set(rows.map(({ type }) => type))].sort();
    expect(types).toEqual(definitions.map(({ type }) => type).sort());
  });

  describe.each(rows.map((row) => [labelOf(row.type, row.name), row] as const))(
    "%s",
    (label, row) => {
      const definition = definitions.find(({ type }) => type === row.type);
      const outputs = (definition?.outputs ?? []).filter(
        (output) => !(row.absent ?? []).includes(output),
      );
      const engine = (): Engine => engineOf(row.type);

      test("has an id and every output once it is made, and none of them before", () => {
        const made = madeOf(row.type, row.name);
        const preview = previews.get(label) ?? {};
        expect(made.id).not.toBe("");
        expect(outputs.filter((output) => made.state[output] === undefined)).toEqual([]);
        expect(outputs.filter((output) => preview[output] !== unknown)).toEqual(
          definition?.tagged === true ? ["tagsAll"] : [],
        );
        expect(made.state).toMatchObject(withoutMarks(made.inputs));
      });

      test("marks its secrets", () => {
        expect(madeOf(row.type, row.name).secrets).toEqual(row.secrets ?? []);
      });

      test("a refresh finds it as it was made", async () => {
        const made = madeOf(row.type, row.name);
        const read = reads.get(label);
        if (label === labelOf(certificate, "rsa")) {
          expect(read?.state["readyForRenewal"]).toBe(true);
        } else {
          expect(read).toEqual(made);
        }
        expect(read?.inputs).toEqual(made.inputs);
        expect((await engine().diff(made, made.inputs)).changes).toEqual(
          // A certificate of two days that is to be renewed three days before its end.
          label === labelOf(certificate, "rsa") ? ["readyForRenewal"] : [],
        );
      });

      if (row.local !== true && row.importId !== null) {
        test("can be looked up by its id alone", async () => {
          const made = madeOf(row.type, row.name);
          const imported = await engine().import(row.type, row.importId?.(made) ?? made.id);
          const refreshed = await engine().read(made);
          const known = Object.keys(imported?.inputs ?? {});
          expect(imported?.state).toMatchObject(
            Object.fromEntries(
              Object.entries(refreshed?.state ?? {}).filter(([key]) => known.includes(key)),
            ),
          );
          expect(known).not.toEqual([]);
        });
      }

      if (row.change !== undefined) {
        test("is updated in place", async () => {
          const made = madeOf(row.type, row.name);
          const change = row.change?.(madeOf) ?? {};
          const news = { ...made.inputs, ...change };
          const diff = await engine().diff(made, news);
          expect(diff.changes.filter((key) => key !== "tagsAll")).toEqual(
            Object.keys(change).sort(),
          );
          expect(diff.replaces).toEqual([]);
          const preview = await engine().previewUpdate(made, news);
          expect(
            Object.keys(preview)
              .filter((key) => preview[key] === unknown)
              .sort(),
          ).toEqual(row.unknownAfter ?? []);
          const updated = await engine().update(made, news);
          expect(updated.state).toMatchObject(withoutMarks(withoutUndefined(news)));
          const read = await engine().read(updated);
          expect(read?.inputs).toEqual(withoutUndefined(news));
          expect(read?.state).toEqual(updated.state);
          expect((await engine().diff(updated, news)).changes).toEqual([]);
          all.set(label, updated);
        });
      }
    },
  );

  test("all are deleted, last first, and what is gone counts as deleted", async () => {
    for (const row of [...rows].reverse()) {
      const made = madeOf(row.type, row.name);
      const engine = engineOf(row.type);
      await engine.delete(made).catch((error: unknown) => {
        throw new Error(`${made.type} ${made.name}: ${String(error)}`);
      });
      if (row.local !== true) {
        expect([made.type, await engine.read(made)]).toEqual([made.type, undefined]);
        await engine.delete(made);
      }
    }
  }, 120_000);
});

/** A file's path says nothing of what is in the service. */
function withoutMarks(values: Values): Values {
  return Object.fromEntries(Object.entries(values).filter(([key]) => key !== "source"));
}

function withoutUndefined(values: Values): Values {
  return Object.fromEntries(Object.entries(values).filter(([, value]) => value !== undefined));
}

describe("what replaces a resource", () => {
  test("no property is without a row", () => {
    const known = definitions.flatMap(({ type, properties }) =>
      Object.keys(properties)
        .filter((key) => key !== "tags")
        .map((key) => `${type} ${key}`),
    );
    const rowsOf = Object.entries(replacementTable).flatMap(([type, { replaces, inPlace }]) =>
      [...replaces, ...inPlace].map(({ property }) => `${type} ${property}`),
    );
    expect([...new Set(rowsOf)].sort()).toEqual(known.sort());
  });

  test.each(Object.entries(replacementTable))("%s", async (type, { replaces, inPlace }) => {
    const result: Record<string, string> = {};
    const expected: Record<string, string> = {};
    for (const { property, old = "old", now = "now", beside = {} } of [...replaces, ...inPlace]) {
      const label = `${property}: ${JSON.stringify(old)} to ${JSON.stringify(now)}`;
      const inputs = { [property]: old, ...beside };
      const made = { type, name: "any", id: "any", inputs, state: inputs, secrets: [] };
      const diff = await engineOf(type).diff(
        { ...made, state: { ...inputs, tagsAll: { project: "meteor-scale" }, ...valid } },
        { [property]: now, ...beside },
      );
      result[label] = diff.replaces.includes(property)
        ? "replaces"
        : diff.changes.includes(property)
          ? "in place"
          : "nothing";
    }
    replaces.forEach(({ property, old = "old", now = "now" }) => {
      expected[`${property}: ${JSON.stringify(old)} to ${JSON.stringify(now)}`] = "replaces";
    });
    inPlace.forEach(({ property, old = "old", now = "now" }) => {
      expected[`${property}: ${JSON.stringify(old)} to ${JSON.stringify(now)}`] = "in place";
    });
    expect(result).toEqual(expected);
  });

  test("a value that only the update knows replaces what depends on it", async () => {
    const inputs = { instanceId: "i-1", allocationId: "eipalloc-1", allowReassociation: true };
    const made = { type: association, name: "any", id: "any", inputs, state: inputs, secrets: [] };
    const diff = await engineOf("aws:").diff(made, { ...inputs, instanceId: unknown });
    expect(diff).toEqual({ changes: ["instanceId"], replaces: ["instanceId"] });
  });

  test("another order of a set, or of a policy's keys, is no change", async () => {
    const inputs = { records: ["10.0.0.1", "10.0.0.2"] };
    const made = { type: record, name: "any", id: "any", inputs, state: inputs, secrets: [] };
    expect(await engineOf("aws:").diff(made, { records: ["10.0.0.2", "10.0.0.1"] })).toEqual({
      changes: [],
      replaces: [],
    });
    const policy = { policy: '{"a":1,"b":2}' };
    const type = "aws:iam/rolePolicy:RolePolicy";
    expect(
      await engineOf("aws:").diff(
        { type, name: "any", id: "any", inputs: policy, state: policy, secrets: [] },
        { policy: '{ "b": 2, "a": 1 }' },
      ),
    ).toEqual({ changes: [], replaces: [] });
  });

  test("white space in a dashboard is no change", async () => {
    const dashboard = { dashboardName: "stack", dashboardBody: '{"widgets":[{"x":0}]}' };
    expect(
      await engineOf("aws:").diff(
        {
          ...{ type: "aws:cloudwatch/dashboard:Dashboard", name: "any", id: "any" },
          ...{ inputs: dashboard, state: dashboard, secrets: [] },
        },
        { ...dashboard, dashboardBody: JSON.stringify({ widgets: [{ x: 0 }] }, undefined, 2) },
      ),
    ).toEqual({ changes: [], replaces: [] });
  });
});

/** A certificate that is not due for renewal. */
const valid = { validityEndTime: "2999-01-01T00:00:00Z" };

describe("what is unknown is an error that names it", () => {
  test("a type", async () => {
    await expect(engineOf("aws:").create("aws:sqs/queue:Queue", "jobs", {})).rejects.toThrow(
      /aws:sqs\/queue:Queue \(jobs\) is not known to the local region; it knows .*aws:ec2\/vpc:Vpc/,
    );
  });

  test("a property", async () => {
    const { failures } = await engineOf("aws:").check(vpc, "first", { ipv6CidrBlock: "::/0" });
    expect(failures).toEqual([
      expect.stringMatching(
        /^ipv6CidrBlock: aws:ec2\/vpc:Vpc has the property ipv6CidrBlock, which the local region does not know; it knows cidrBlock, /,
      ),
    ]);
  });

  test("a function and an argument", async () => {
    await expect(engineOf("aws:").invoke("aws:ec2/getVpc:getVpc", {})).rejects.toThrow(
      /the function aws:ec2\/getVpc:getVpc is not known/,
    );
    await expect(
      engineOf("aws:").invoke("aws:ec2/getAmi:getAmi", { uefiData: "x" }),
    ).rejects.toThrow(/aws:ec2\/getAmi:getAmi has the argument uefiData/);
  });

  test("a configuration key, and a service without an endpoint", async () => {
    const engine = new Engine(providers.ports.aws);
    expect(await engine.configure({ ...configuration(), profile: "work" })).toEqual([
      expect.stringMatching(/^aws:profile is not known to the local region/),
    ]);
    await expect(
      engine.configure({ ...configuration(), endpoints: JSON.stringify([{ ec2: moto.url }]) }),
    ).rejects.toThrow(
      /needs aws:endpoints of iam, ssm, s3, route53, cloudwatch, cloudwatchlogs, sns, dlm, sts/,
    );
    engine.close();
  });
});

describe("secrets", () => {
  test("an input that the program marks stays marked, and errors do not show it", async () => {
    const engine = engineOf("aws:");
    const inputs = { name: "a-secret-role-name", assumeRolePolicy: assumedByEc2 };
    const made = await engine.create(role, "first", inputs, ["name"]);
    expect(made.secrets).toEqual(["name"]);
    const again = engine.create(role, "second", inputs, ["name"]);
    await expect(again).rejects.toThrow(/EntityAlreadyExists.*\[secret\]/);
    await expect(again).rejects.not.toThrow(/a-secret-role-name/);
    await engine.delete(made);
  });
});

describe("tags", () => {
  const inputs = { cidrBlock: "10.9.0.0/16", tags: { Name: "mine" } };
  const tagsOf = async (id: string): Promise<Values> => {
    const { Tags } = await ec2.send(
      new DescribeTagsCommand({ Filters: [{ Name: "resource-id", Values: [id] }] }),
    );
    return Object.fromEntries((Tags ?? []).map(({ Key, Value }) => [Key ?? "", Value]));
  };
  let made: Made;
  beforeEach(async () => {
    made = await engineOf("aws:").create(vpc, "tagged", inputs);
  });
  afterEach(() => engineOf("aws:").delete(made));

  test("a stack's default tags are set too, and are not the program's own", async () => {
    expect(made.state["tags"]).toEqual({ Name: "mine" });
    expect(made.state["tagsAll"]).toEqual({ Name: "mine", project: "meteor-scale" });
    expect(await tagsOf(made.id)).toEqual({ Name: "mine", project: "meteor-scale" });
  });

  test("an ignored tag is neither drift nor taken away", async () => {
    await ec2.send(
      new CreateTagsCommand({ Resources: [made.id], Tags: [{ Key: "ready", Value: "true" }] }),
    );
    expect(await engineOf("aws:").read(made)).toEqual(made);
    made = await engineOf("aws:").update(made, { ...made.inputs, tags: { Name: "renamed" } });
    expect(await tagsOf(made.id)).toEqual({
      Name: "renamed",
      project: "meteor-scale",
      ready: "true",
    });
  });

  test("a tag that someone else added is drift, and the next update takes it away", async () => {
    await ec2.send(
      new CreateTagsCommand({ Resources: [made.id], Tags: [{ Key: "stray", Value: "1" }] }),
    );
    const read = (await engineOf("aws:").read(made)) as Made;
    expect(read.inputs["tags"]).toEqual({ Name: "mine", stray: "1" });
    expect((await engineOf("aws:").diff(read, made.inputs)).changes).toEqual(["tags", "tagsAll"]);
    await engineOf("aws:").update(read, made.inputs);
    expect(await tagsOf(made.id)).toEqual({ Name: "mine", project: "meteor-scale" });
  });

  test("other default tags update every resource", async () => {
    const engine = new Engine(providers.ports.aws);
    await engine.configure({ ...configuration(), defaultTags: { tags: { project: "other" } } });
    expect(await engine.diff(made, made.inputs)).toEqual({ changes: ["tagsAll"], replaces: [] });
    await engine.update(made, made.inputs);
    expect(await tagsOf(made.id)).toEqual({ Name: "mine", project: "other" });
    engine.close();
  });
});

describe("machines behave as on EC2", () => {
  let network: { group: Made; subnet: Made; vpc: Made };
  let ami: unknown;
  const rest: Made[] = [];
  const create = async (type: string, inputs: Values): Promise<Made> => {
    const made = await engineOf("aws:").create(type, `machine${rest.length}`, inputs);
    rest.push(made);
    return made;
  };
  const machine = (more: Values = {}): Promise<Made> =>
    create(instance, { ami, instanceType: "t3.small", subnetId: network.subnet.id, ...more });
  const stateOf = async (id: string): Promise<string | undefined> => {
    const { Reservations } = await ec2.send(new DescribeInstancesCommand({ InstanceIds: [id] }));
    return Reservations?.[0]?.Instances?.[0]?.State?.Name;
  };

  beforeAll(async () => {
    const engine = engineOf("aws:");
    const { result } = await engine.invoke("aws:ec2/getAmi:getAmi", {
      owners: ["136693071363"],
      mostRecent: true,
    });
    ami = result["id"];
    const ownVpc = await create(vpc, { cidrBlock: "10.8.0.0/16" });
    network = {
      vpc: ownVpc,
      subnet: await create(subnet, { vpcId: ownVpc.id, cidrBlock: "10.8.0.0/24" }),
      group: await create(group, { vpcId: ownVpc.id }),
    };
  });
  afterAll(async () => {
    for (const made of rest.reverse()) {
      await engineOf("aws:").delete(made);
    }
  }, 60_000);

  test("a volume can't be attached twice, nor deleted while it is attached", async () => {
    const [one, two] = [await machine(), await machine()];
    const disk = await create(volume, {
      availabilityZone: one.state["availabilityZone"],
      size: 1,
    });
    await create(attachment, {
      instanceId: one.id,
      volumeId: disk.id,
      deviceName: "/dev/sdf",
    });
    await expect(
      create(attachment, { instanceId: two.id, volumeId: disk.id, deviceName: "/dev/sdf" }),
    ).rejects.toThrow(/VolumeInUse/);
    await expect(engineOf("aws:").delete(disk)).rejects.toThrow(/VolumeInUse/);
  });

  test("a volume is detached from a stopped machine, and can't shrink", async () => {
    const one = await machine();
    const disk = await create(volume, {
      availabilityZone: one.state["availabilityZone"],
      size: 4,
    });
    const attached = await create(attachment, {
      instanceId: one.id,
      volumeId: disk.id,
      deviceName: "/dev/sdf",
      stopInstanceBeforeDetaching: true,
    });
    await engineOf("aws:").delete(attached);
    expect(await stateOf(one.id)).toBe("stopped");
    await expect(engineOf("aws:").update(disk, { ...disk.inputs, size: 2 })).rejects.toThrow(
      /New size cannot be smaller/,
    );
  });

  test("an address moves to another machine only with allowReassociation", async () => {
    const [one, two] = [await machine(), await machine()];
    const address = await create(eip, { domain: "vpc" });
    const first = await create(association, { instanceId: one.id, allocationId: address.id });
    await expect(
      create(association, { instanceId: two.id, allocationId: address.id }),
    ).rejects.toThrow(/AlreadyAssociated/);
    const second = await create(association, {
      instanceId: two.id,
      allocationId: address.id,
      allowReassociation: true,
    });
    expect(second.state["instanceId"]).toBe(two.id);
    expect((await engineOf("aws:").read(address))?.state["instance"]).toBe(two.id);
    await engineOf("aws:").delete(first);
    expect((await engineOf("aws:").read(address))?.state["instance"]).toBe(two.id);
  });

  test("a route turns from a gateway to a machine and back, and stays the same one", async () => {
    const one = await machine({ sourceDestCheck: false });
    const address = await create(eip, { domain: "vpc" });
    const gateway = await create(natGateway, {
      subnetId: network.subnet.id,
      allocationId: address.id,
    });
    const table = await create(routeTable, { vpcId: network.vpc.id });
    const toGateway = {
      routeTableId: table.id,
      destinationCidrBlock: "0.0.0.0/0",
      natGatewayId: gateway.id,
    };
    const toMachine = {
      routeTableId: table.id,
      destinationCidrBlock: "0.0.0.0/0",
      networkInterfaceId: one.state["primaryNetworkInterfaceId"],
    };
    let turned = await create(route, toGateway);
    for (const [news, target] of [
      [toMachine, { networkInterfaceId: toMachine.networkInterfaceId }],
      [toGateway, { natGatewayId: gateway.id, networkInterfaceId: "" }],
    ] as const) {
      expect((await engineOf("aws:").diff(turned, news)).replaces).toEqual([]);
      turned = await engineOf("aws:").update(turned, news);
      expect(turned.state).toMatchObject(target);
      expect(await engineOf("aws:").read(turned)).toEqual(turned);
      expect((await engineOf("aws:").diff(turned, news)).changes).toEqual([]);
    }
  });

  test("a volume is made of a snapshot, with its size if no other is given", async () => {
    const disk = await create(volume, { availabilityZone: "eu-central-1a", size: 4 });
    const { SnapshotId } = await ec2.send(new CreateSnapshotCommand({ VolumeId: disk.id }));
    const inputs = { availabilityZone: "eu-central-1a", snapshotId: SnapshotId };
    const restored = await create(volume, inputs);
    expect(restored.state).toMatchObject({ snapshotId: SnapshotId, size: 4 });
    const diffOf = (news: Values): ReturnType<Engine["diff"]> =>
      engineOf("aws:").diff(restored, { ...inputs, ...news });
    expect((await diffOf({ snapshotId: "snap-another" })).replaces).toEqual(["snapshotId"]);
    expect((await diffOf({ snapshotId: undefined })).changes).toEqual([]);
  });

  test("a machine that is gone is found to be gone", async () => {
    const one = await machine();
    await ec2.send(new TerminateInstancesCommand({ InstanceIds: [one.id] }));
    expect(await engineOf("aws:").read(one)).toBeUndefined();
  });

  test("a new security group lets nothing out", async () => {
    const { SecurityGroupRules } = await ec2.send(
      new DescribeSecurityGroupRulesCommand({
        Filters: [{ Name: "group-id", Values: [network.group.id] }],
      }),
    );
    expect(SecurityGroupRules).toEqual([]);
  });

  test("user data is stopped and started with, unless it replaces", async () => {
    const one = await machine({ userData: "one" });
    const news = { ...one.inputs, userData: "two" };
    expect((await engineOf("aws:").diff(one, news)).replaces).toEqual([]);
    const updated = await engineOf("aws:").update(one, news);
    expect(updated.state["userData"]).toBe("two");
    expect(updated.id).toBe(one.id);
    expect(await stateOf(one.id)).toBe("running");
  });

  test("what fails half way is left in the state", async () => {
    const failing = engineOf("aws:").create("aws:iam/instanceProfile:InstanceProfile", "half", {
      name: "half",
      role: "there-is-none",
    });
    const error: unknown = await failing.catch((reason: unknown) => reason);
    expect(initFailed(error)?.getId()).toBe("half");
    expect(initFailed(error)?.getReasonsList()).toEqual([expect.stringMatching(/NoSuchEntity/)]);
    await engineOf("aws:").delete({
      type: "aws:iam/instanceProfile:InstanceProfile",
      name: "half",
      id: "half",
      inputs: {},
      state: {},
      secrets: [],
    });
  });
});

describe("records of a zone", () => {
  test("of a name with * are one record, however Route 53 writes it", async () => {
    const engine = engineOf("aws:");
    const { id: zoneId } = await engine.create(zone, "wild", { name: "wild.example" });
    const inputs = { zoneId, name: "*.wild.example", type: "A", ttl: 60, records: ["192.0.2.1"] };
    const made = await engine.create(record, "wild", inputs);
    expect(made.state).toMatchObject({ name: "*.wild.example", fqdn: "*.wild.example" });
    expect((await engine.read(made))?.state).toEqual(made.state);
    // moto gives the name back as it was, Route 53 does not.
    const asTold = { ...made, state: { ...made.state, name: "\\052.wild.example." } };
    expect((await engine.diff(asTold, inputs)).replaces).toEqual([]);
    await expect(engine.create(record, "again", inputs)).rejects.toThrow(/already exists/);
    await engine.delete(made);
    expect(await engine.read(made)).toBeUndefined();
  });
});

test("a subscription by email waits for its reader, and is left to the service when deleted", async () => {
  const quiet = jest.spyOn(console, "log").mockImplementation();
  const mailing = await startAlarmsFrontDoor(moto.url);
  const engine = new Engine(providers.ports.aws);
  const [endpoints] = JSON.parse(String(configuration()["endpoints"])) as Values[];
  await engine.configure({
    ...configuration(),
    endpoints: JSON.stringify([{ ...endpoints, sns: mailing.url }]),
  });
  const news = await engine.create(topic, "news", {});
  const inputs = { topic: news.id, protocol: "email", endpoint: "ops@example.com" };
  const pending = await engine.create(subscription, "reader", inputs);
  expect(pending.state).toMatchObject({ pendingConfirmation: true, arn: pending.id });
  expect((await engine.diff(pending, pending.inputs)).changes).toEqual([]);
  await engine.delete(pending);
  expect(await engine.read(pending)).toMatchObject({ id: pending.id });
  const [mail] = mailing.mails();
  await fetch(/^http.*$/m.exec(mail?.text ?? "")?.[0] ?? "");
  const confirmed = await engine.read(pending);
  expect(confirmed?.state).toMatchObject({ pendingConfirmation: false });
  expect((await engine.diff(confirmed ?? pending, pending.inputs)).changes).toEqual([]);
  await engine.delete(pending);
  expect(await engine.read(pending)).toBeUndefined();
  await engine.delete(news);
  engine.close();
  mailing.stop();
  quiet.mockRestore();
});

describe("functions", () => {
  const invoke = (token: string, args: Values): ReturnType<Engine["invoke"]> =>
    engineOf("aws:").invoke(token, args);

  test("getAmi finds the newest, and only what is meant", async () => {
    const owners = ["136693071363"];
    const filters = [{ name: "name", values: ["debian-12-amd64-*"] }];
    const token = "aws:ec2/getAmi:getAmi";
    const { result } = await invoke(token, { owners, filters, mostRecent: true });
    expect(result).toMatchObject({ name: "debian-12-amd64-20250814-2", architecture: "x86_64" });
    await expect(invoke(token, { owners, filters })).rejects.toThrow(/2 of AMI match/);
    await expect(
      invoke(token, { owners, filters: [{ name: "name", values: ["none"] }] }),
    ).rejects.toThrow(/no AMI matches/);
  });

  test.each([
    ["c7a.medium", { defaultVcpus: 1, defaultCores: 1, memorySize: 2048 }, "x86_64"],
    ["c5.large", { defaultVcpus: 2, defaultCores: 1, memorySize: 4096 }, "x86_64"],
    ["t4g.small", { defaultVcpus: 2, memorySize: 2048 }, "arm64"],
  ])("getInstanceType knows %s", async (instanceType, facts, architecture) => {
    const { result } = await invoke("aws:ec2/getInstanceType:getInstanceType", { instanceType });
    expect(result).toMatchObject({ ...facts, instanceType });
    expect(result["supportedArchitectures"]).toContain(architecture);
    expect(result["validCores"]).toEqual(expect.any(Array));
  });

  test("getInstanceType does not know what EC2 does not", async () => {
    await expect(
      invoke("aws:ec2/getInstanceType:getInstanceType", { instanceType: "z9.huge" }),
    ).rejects.toThrow(/z9\.huge/);
  });

  test("getZone finds one zone by its id, or by its name and kind", async () => {
    const engine = engineOf("aws:");
    const token = "aws:route53/getZone:getZone";
    const { id: vpcId } = await engine.create(vpc, "names", { cidrBlock: "10.9.0.0/16" });
    const inputs = { name: "names.example", comment: "for people", tags: { ready: "1", a: "b" } };
    const open = await engine.create(zone, "open", inputs);
    const closed = await engine.create(zone, "closed", { name: inputs.name, vpcs: [{ vpcId }] });
    const found = {
      id: open.id,
      zoneId: open.id,
      name: "names.example",
      comment: "for people",
      privateZone: false,
      tags: { a: "b", project: "meteor-scale" },
    };
    for (const args of [
      { zoneId: open.id },
      { name: "names.example" },
      { name: "Names.Example.", privateZone: false },
    ]) {
      expect((await engine.invoke(token, args)).result).toMatchObject(found);
    }
    const { result } = await engine.invoke(token, { name: "names.example", privateZone: true });
    expect(result).toMatchObject({ zoneId: closed.id, privateZone: true });
    expect(result["nameServers"]).toEqual(closed.state["nameServers"]);

    await expect(engine.invoke(token, { name: "other.example" })).rejects.toThrow(
      /no matching Route 53 Hosted Zone found/,
    );
    const twin = await engine.create(zone, "twin", { name: "names.example" });
    await expect(engine.invoke(token, { name: "names.example" })).rejects.toThrow(
      /multiple Route 53 Hosted Zones matched/,
    );
    await expect(engine.invoke(token, { name: "names.example", zoneId: open.id })).rejects.toThrow(
      /only one of/,
    );
    await expect(engine.invoke(token, { zoneId: "Z0" })).rejects.toThrow(/Z0|NoSuchHostedZone/);
    for (const made of [open, closed, twin]) {
      await engine.delete(made);
    }
  });

  test("getInstance finds one machine by id or tag, without ignored tags", async () => {
    const { result: found } = await invoke("aws:ec2/getAmi:getAmi", {
      owners: ["136693071363"],
      mostRecent: true,
    });
    const made = await engineOf("aws:").create(instance, "one", {
      ami: found["id"],
      instanceType: "t3.small",
      tags: { Name: "looked-up" },
      userData: "text",
    });
    await ec2.send(
      new CreateTagsCommand({ Resources: [made.id], Tags: [{ Key: "ready", Value: "true" }] }),
    );
    const token = "aws:ec2/getInstance:getInstance";
    const expected = {
      id: made.id,
      instanceState: "running",
      privateIp: made.state["privateIp"],
      tags: { Name: "looked-up", project: "meteor-scale" },
    };
    expect((await invoke(token, { instanceId: made.id })).result).toMatchObject(expected);
    expect((await invoke(token, { instanceTags: { Name: "looked-up" } })).result["tags"]).toEqual(
      expected.tags,
    );
    const { result } = await invoke(token, {
      filters: [{ name: "tag:ready", values: ["true"] }],
      getUserData: true,
    });
    expect(result).toMatchObject({
      id: made.id,
      userDataBase64: Buffer.from("text").toString("base64"),
    });
    await engineOf("aws:").delete(made);
    await expect(invoke(token, { instanceId: made.id })).rejects.toThrow(/no EC2 instance/);
  });

  test("parameters are read as secrets", async () => {
    for (const name of ["/read/one", "/read/two", "/read/deeper/three"]) {
      await ssm.send(
        new PutParameterCommand({ Name: name, Value: `value of ${name}`, Type: "SecureString" }),
      );
    }
    const one = await invoke("aws:ssm/getParameter:getParameter", { name: "/read/one" });
    expect(one.result).toMatchObject({ value: "value of /read/one", version: 1 });
    expect(one.secrets).toEqual(["value"]);
    const token = "aws:ssm/getParametersByPath:getParametersByPath";
    const some = await invoke(token, { path: "/read" });
    expect(some.result["names"]).toEqual(["/read/one", "/read/two"]);
    expect(some.secrets).toEqual(["values"]);
    const deep = await invoke(token, { path: "/read", recursive: true });
    expect(deep.result["names"]).toHaveLength(3);
    const encrypted = await invoke(token, { path: "/read", withDecryption: false });
    expect(encrypted.result["values"]).not.toContain("value of /read/one");
    const none = await invoke(token, { path: "/unread", recursive: true });
    expect(none.result).toMatchObject({
      id: "/unread",
      arns: [],
      names: [],
      types: [],
      values: [],
    });
    await expect(invoke("aws:ssm/getParameter:getParameter", { name: "/none" })).rejects.toThrow(
      /ParameterNotFound/,
    );
  });

  test("where and who", async () => {
    expect((await invoke("aws:index/getRegion:getRegion", {})).result).toMatchObject({
      name: region,
      region,
    });
    expect(
      (await invoke("aws:index/getCallerIdentity:getCallerIdentity", {})).result,
    ).toMatchObject({ accountId: "123456789012" });
  });
});

describe("keys and certificates", () => {
  test.each([
    { algorithm: "ECDSA", ecdsaCurve: "P256" },
    { algorithm: "ECDSA", ecdsaCurve: "P384" },
    { algorithm: "RSA", rsaBits: 2048 },
  ])("a certificate of a key %o", async (inputs) => {
    const engine = engineOf("tls:");
    const key = await engine.create(privateKey, "key", inputs);
    const made = await engine.create(certificate, "certificate", {
      privateKeyPem: key.state["privateKeyPem"],
      subject: { commonName: "app.example.org" },
      dnsNames: ["app.example.org", "www.example.org"],
      ipAddresses: ["127.0.0.1"],
      validityPeriodHours: 24,
      allowedUses: ["digital_signature", "server_auth"],
    });
    const parsed = new X509Certificate(String(made.state["certPem"]));
    expect(parsed.subject).toBe("CN=app.example.org");
    expect(parsed.subjectAltName).toBe(
      "DNS:app.example.org, DNS:www.example.org, IP Address:127.0.0.1",
    );
    expect(parsed.ca).toBe(false);
    expect(parsed.keyUsage).toEqual(["1.3.6.1.5.5.7.3.1"]);
    expect(parsed.checkPrivateKey(createPrivateKey(String(key.state["privateKeyPem"])))).toBe(true);
    expect(parsed.verify(parsed.publicKey)).toBe(true);
    const [start, end] = [Date.parse(parsed.validFrom), Date.parse(parsed.validTo)];
    expect(end - start).toBe(24 * 3600 * 1000);
    expect(Date.parse(String(made.state["validityEndTime"]))).toBe(end);
    expect(made.state["privateKeyPem"]).toBe(key.state["privateKeyPem"]);
    expect(String(key.state["privateKeyPem"])).toMatch(/^-----BEGIN (EC|RSA) PRIVATE KEY-----/);
  });

  test("a certificate is replaced when its renewal is due", async () => {
    const engine = engineOf("tls:");
    const key = await engine.create(privateKey, "key", { algorithm: "ECDSA", ecdsaCurve: "P256" });
    const made = await engine.create(certificate, "certificate", {
      privateKeyPem: key.state["privateKeyPem"],
      subject: { commonName: "app.example.org" },
      validityPeriodHours: 24,
      earlyRenewalHours: 12,
      allowedUses: [],
    });
    expect((await engine.diff(made, made.inputs)).replaces).toEqual([]);
    expect(await engine.diff(made, { ...made.inputs, earlyRenewalHours: 24 })).toEqual({
      changes: ["earlyRenewalHours", "readyForRenewal"],
      replaces: ["readyForRenewal"],
    });
  });

  test("what can't be made is an error", async () => {
    await expect(
      engineOf("tls:").create(privateKey, "key", { algorithm: "ED25519" }),
    ).rejects.toThrow(/algorithm ED25519/);
  });
});

describe("random values", () => {
  test("a password has its length, its kinds, and is never the same", async () => {
    const engine = engineOf("random:");
    const results = await Promise.all(
      Array.from({ length: 20 }, async (_, index) => {
        const made = await engine.create(password, `password${index}`, {
          length: 6,
          minNumeric: 2,
          minUpper: 2,
          overrideSpecial: "_",
          minSpecial: 1,
        });
        return String(made.state["result"]);
      }),
    );
    expect(new Set(results).size).toBe(20);
    for (const result of results) {
      expect(result).toMatch(/^[A-Za-z0-9_]{6}$/);
      expect(result.replaceAll(/\D/g, "").length).toBeGreaterThanOrEqual(2);
      expect(result.replaceAll(/[^A-Z]/g, "").length).toBeGreaterThanOrEqual(2);
      expect(result).toContain("_");
    }
    await expect(engine.create(password, "short", { length: 2, minNumeric: 3 })).rejects.toThrow(
      /a password of 2 characters/,
    );
  });

  test("bytes and ids come in several spellings of the same", async () => {
    const engine = engineOf("random:");
    const bytes = await engine.create("random:index/randomBytes:RandomBytes", "bytes", {
      length: 512,
    });
    expect(Buffer.from(String(bytes.state["base64"]), "base64").toString("hex")).toBe(
      bytes.state["hex"],
    );
    expect(String(bytes.state["hex"])).toHaveLength(1024);
    const id = await engine.create("random:index/randomId:RandomId", "id", {
      byteLength: 4,
      prefix: "p-",
    });
    const { hex, dec, b64Url } = id.state;
    expect(hex).toMatch(/^p-[0-9a-f]{8}$/);
    expect(dec).toBe(`p-${Number.parseInt(String(hex).slice(2), 16)}`);
    expect(b64Url).toBe(`p-${id.id}`);
  });
});

test("each package has the version that the program installs", async () => {
  const { dependencies } = jest.requireActual<{ dependencies: Record<string, string> }>(
    "../../package.json",
  );
  for (const name of ["aws", "tls", "random"]) {
    expect(await engineOf(`${name}:`).version()).toBe(dependencies[`@pulumi/${name}`]);
  }
});
