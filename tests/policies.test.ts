import type { PolicyResource, PolicyResourceOptions, ResourceValidationArgs } from "@pulumi/policy";
import type { Resource } from "@pulumi/pulumi";
import { gzipSync } from "node:zlib";
import { declaredConfig, type MockRun, runProgram, withDefaults } from "../local/mockEngine";
import { type Rule, rules } from "../policies/rules";
import { sampleBundle } from "./sampleBundle";

const bundle = sampleBundle();

function run(values: Record<string, unknown> = {}): Promise<MockRun> {
  const address = { "aws:region": "eu-central-1", rootUrl: "https://app.example.com" };
  return runProgram("test", withDefaults({ ...address, bundle, ...values }));
}

/** A resource of a stack, to be checked. */
interface Checked {
  type: string;
  name: string;
  inputs: Record<string, unknown>;
  outputs: Record<string, unknown>;
  /** As `MockRun` has it. */
  propertyDependencies: Record<string, string[]>;
}

function stackOf({ resources, outputs }: MockRun): Checked[] {
  const stack = { type: "pulumi:pulumi:Stack", name: "meteor-scale-test", inputs: {} };
  return [
    { ...stack, outputs, propertyDependencies: {} },
    ...resources.map(({ options, ...resource }) => ({
      ...resource,
      propertyDependencies: options.propertyDependencies,
    })),
  ];
}

const options: PolicyResourceOptions = {
  protect: false,
  ignoreChanges: [],
  aliases: [],
  customTimeouts: { createSeconds: 0, updateSeconds: 0, deleteSeconds: 0 },
  additionalSecretOutputs: [],
};

/** As the engine tells of a provider that it made itself. */
const provider = {
  type: "pulumi:providers:aws",
  name: "default",
  urn: "provider",
  props: { defaultTags: JSON.stringify(declaredConfig()["aws:defaultTags"]?.value) },
};

class NotApplicable extends Error {}

const notApplicable = (reason?: string): never => {
  throw new NotApplicable(reason);
};

const noConfig = (): never => {
  throw new Error("no rule of this pack has settings");
};

function kindOf(type: string, props: object): Pick<PolicyResource, "isType" | "asType"> {
  const isType = (kind: new (...rest: never[]) => Resource): boolean =>
    (kind as { __pulumiType?: string }).__pulumiType === type;
  return {
    isType,
    asType: (kind) => (isType(kind) ? props : undefined) as never,
  };
}

/** What @pulumi/policy hands to a rule: a resource's inputs, or the outputs of all. */
async function violationsOf(rule: Rule, stack: Checked[]): Promise<string[]> {
  const found: string[] = [];
  const common = { stackTags: new Map<string, string>(), getConfig: noConfig };
  if ("validateStack" in rule) {
    const resources = new Map<string, PolicyResource>();
    for (const { type, name, outputs } of stack) {
      const urn = `${type} ${name}`;
      resources.set(urn, {
        ...{ type, name, urn, props: outputs, opts: options, provider },
        ...{ dependencies: [], propertyDependencies: {}, ...kindOf(type, outputs) },
      });
    }
    for (const { type, name, propertyDependencies } of stack) {
      const known = (urns: string[]): PolicyResource[] =>
        urns.flatMap((urn) => resources.get(urn) ?? []);
      for (const [property, urns] of Object.entries(propertyDependencies)) {
        const resource = resources.get(`${type} ${name}`);
        Object.assign(resource?.propertyDependencies ?? {}, { [property]: known(urns) });
      }
    }
    const report = (_message: string, urn = ""): void => void found.push(urn);
    const args = { ...common, resources: [...resources.values()], notApplicable };
    await rule.validateStack(args, report);
    return found;
  }
  for (const { type, name, inputs } of stack) {
    const urn = `${type} ${name}`;
    const args: ResourceValidationArgs = {
      ...{ ...common, type, name, urn, props: inputs, opts: options, provider, notApplicable },
      ...(kindOf(type, inputs) as Pick<ResourceValidationArgs, "isType" | "asType">),
    };
    for (const validate of [rule.validateResource ?? []].flat()) {
      try {
        await validate(args, () => void found.push(urn));
      } catch (error) {
        if (!(error instanceof NotApplicable)) {
          throw error;
        }
      }
    }
  }
  return found;
}

/** Which rules a stack breaks, and with what. */
async function broken(stack: Checked[]): Promise<string[]> {
  const found = await Promise.all(
    rules.map(async (rule) =>
      (await violationsOf(rule, stack)).map(
        (urn) => `${rule.name}: ${urn.slice(urn.lastIndexOf(" ") + 1)}`,
      ),
    ),
  );
  return [...new Set(found.flat())];
}

test.each<[string, Record<string, unknown>]>([
  ["by default", {}],
  ["with a NAT instance", { nat: "instance" }],
  [
    "with three members of MongoDB in three zones",
    { mongoMembers: 3, mongoZones: ["eu-central-1a", "eu-central-1b", "eu-central-1c"] },
  ],
  [
    "with a replica set of somebody else",
    {
      mongoUrl: "mongodb://user:secret-password@db.example.com/app?replicaSet=rs0",
      mongoOplogUrl: "mongodb://user:secret-password@db.example.com/local?replicaSet=rs0",
    },
  ],
  [
    "with more names, in a public zone",
    { extraDomains: ["example.com"], hostedZone: "example.com" },
  ],
  ["with a certificate of an authority", { tls: "acme", acmeEmail: "ops@example.com" }],
  ["with a type of two cores", { hostInstanceType: "m7a.large" }],
  ["open to some ranges only", { allowedCidrs: ["203.0.113.0/24", "10.0.0.0/8"] }],
  [
    "with settings, of which one is its address",
    {
      meteorSettings: { token: "a-token-that-nobody-knows", home: "https://app.example.com" },
      env: { API_KEY: "a-key-that-nobody-knows" },
    },
  ],
])("the program breaks no rule %s", async (_, values) => {
  expect(await broken(stackOf(await run(values)))).toEqual([]);
});

test("every rule is mandatory, and says what it is about", () => {
  for (const { name, description, enforcementLevel } of rules) {
    expect(name).toMatch(/^[a-z-]+$/);
    expect(description).toMatch(/^[A-Z].*\.$/);
    expect(enforcementLevel).toBe("mandatory");
  }
  expect(new Set(rules.map(({ name }) => name)).size).toBe(rules.length);
});

const host = "aws:ec2/instance:Instance meteor-host1-instance";
const balancer = "aws:ec2/instance:Instance balancer-instance";
const programs = "aws:s3/bucketObjectv2:BucketObjectv2 meteor-host1-programs";
const member = "aws:ec2/instance:Instance mongo-member1-instance";
const volume = "aws:ebs/volume:Volume mongo-member1-data";
const schedule = "aws:dlm/lifecyclePolicy:LifecyclePolicy backups-schedule";
const ingress = "aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule";
const meteorRule = `${ingress} firewall-meteor-in-meteor`;
const httpsRule = `${ingress} firewall-balancer-in-https-0.0.0.0/0`;
const mongoRule = `${ingress} firewall-mongo-in-mongo-meteor`;
const natRule = `${ingress} firewall-nat-in-anything-10.20.32.0/19`;
const securityGroup = "aws:ec2/securityGroup:SecurityGroup";
const anywhere = { cidrIpv4: "0.0.0.0/0", referencedSecurityGroupId: undefined };
const port = (number: number): Record<string, unknown> => ({ fromPort: number, toPort: number });
const cloudConfig = (content: string, more = {}): string =>
  `#cloud-config\n${JSON.stringify({ write_files: [{ path: "/etc/x", content, ...more }] })}`;
const password = "secret-of-mongo-app-1-password";
const key = "-----BEGIN RSA PRIVATE KEY-----\nMIIB\n-----END RSA PRIVATE KEY-----\n";

/** A rule, what breaks it, the resource that is changed, and how. */
const breaches: [string, string, string, Record<string, unknown>][] = [
  ["encrypted-disks", "a root disk in clear", host, { rootBlockDevice: { encrypted: false } }],
  ["encrypted-disks", "a root disk that AWS decides on", host, { rootBlockDevice: undefined }],
  [
    "encrypted-disks",
    "another disk in clear",
    host,
    { ebsBlockDevices: [{ deviceName: "/dev/sdg" }] },
  ],
  ["encrypted-disks", "a data volume in clear", volume, { encrypted: false }],
  ["encrypted-disks", "a data volume that AWS decides on", volume, { encrypted: undefined }],
  [
    "encrypted-disks",
    "copies of snapshots in clear",
    schedule,
    { policyDetails: { schedules: [{ crossRegionCopyRules: [{ encrypted: false }] }] } },
  ],
  [
    "metadata-tokens",
    "IMDSv1",
    host,
    { metadataOptions: { httpTokens: "optional", httpPutResponseHopLimit: 1 } },
  ],
  [
    "metadata-tokens",
    "metadata for containers",
    host,
    { metadataOptions: { httpTokens: "required", httpPutResponseHopLimit: 2 } },
  ],
  ["metadata-tokens", "metadata as AWS has it", host, { metadataOptions: undefined }],
  ["single-core-hosts", "a host of two cores", host, { instanceType: "m7a.large" }],
  ["single-core-hosts", "a host of a burstable type", host, { instanceType: "t3.medium" }],
  [
    "single-core-hosts",
    "a host with two threads",
    host,
    { instanceType: "m7i.large", cpuOptions: { coreCount: 1, threadsPerCore: 2 } },
  ],
  ["tags", "a machine without a name", host, { tags: { role: "meteor" } }],
  ["tags", "a volume without a name", volume, { tags: { backup: "meteor-scale-test" } }],
  [
    "separate-firewall-rules",
    "a group with rules of its own",
    `${securityGroup} firewall-meteor`,
    {
      ingress: [{ protocol: "tcp", fromPort: 22, toPort: 22, cidrBlocks: ["0.0.0.0/0"] }],
    },
  ],
  ["no-ssh", "a rule for SSH", meteorRule, port(22)],
  ["no-ssh", "a rule for many ports", meteorRule, { fromPort: 0, toPort: 3000 }],
  ["no-ssh", "a rule for all protocols", meteorRule, { ipProtocol: "-1" }],
  ["no-ssh", "SSH by the protocol's number", meteorRule, { ipProtocol: "6", ...port(22) }],
  ["no-ssh", "a NAT machine's rule for SSH", natRule, { ipProtocol: "tcp", ...port(22) }],
  ["no-ssh", "a key pair", host, { keyName: "mine" }],
  ["two-ports-from-outside", "a third port from outside", httpsRule, port(8443)],
  ["two-ports-from-outside", "a range of ports from outside", httpsRule, { fromPort: 80 }],
  ["two-ports-from-outside", "a host that is open", meteorRule, { ...anywhere, ...port(443) }],
  ["two-ports-from-outside", "another protocol from outside", httpsRule, { ipProtocol: "udp" }],
  [
    "two-ports-from-outside",
    "a host that is open by IPv6",
    meteorRule,
    { cidrIpv6: "::/0", referencedSecurityGroupId: undefined },
  ],
  [
    "two-ports-from-outside",
    "a host that is open to a list of ranges",
    meteorRule,
    { prefixListId: "pl-0123456789abcdef0", referencedSecurityGroupId: undefined },
  ],
  ["no-public-address", "a host with a public address", host, { associatePublicIpAddress: true }],
  ["no-secret-in-user-data", "a password", host, { userData: cloudConfig(`PASSWORD=${password}`) }],
  [
    "no-secret-in-user-data",
    "a password in YAML's escapes",
    host,
    {
      userData: cloudConfig(password).replace("secret", "\\u0073ecret"),
    },
  ],
  [
    "no-secret-in-user-data",
    "a password in base64",
    host,
    {
      userData: cloudConfig(Buffer.from(`the ${password}`).toString("base64")),
    },
  ],
  [
    "no-secret-in-user-data",
    "a password in a compressed file",
    host,
    {
      userData: cloudConfig(gzipSync(`the ${password}`).toString("base64"), { encoding: "gz+b64" }),
    },
  ],
  [
    "no-secret-in-user-data",
    "a password in user data that is not text",
    host,
    {
      userData: undefined,
      userDataBase64: gzipSync(cloudConfig(password)).toString("base64"),
    },
  ],
  [
    "no-secret-in-user-data",
    "a part of the settings",
    host,
    {
      userData: cloudConfig("a-token-that-nobody-knows"),
    },
  ],
  ["no-secret-in-user-data", "a password in a program", programs, { content: password }],
  ["no-secret-in-user-data", "a private key of somebody", balancer, { userData: cloudConfig(key) }],
  [
    "no-secret-in-user-data",
    "an AWS key of somebody",
    host,
    {
      userData: "#!/bin/sh\nexport AWS_ACCESS_KEY_ID=AKIAIOSFODNN7EXAMPLE\n",
    },
  ],
  [
    "no-secret-in-user-data",
    "an address with a password",
    host,
    {
      userData: cloudConfig("MONGO_URL=mongodb://user:password@db.example.com/app"),
    },
  ],
];

describe("a rule is broken by", () => {
  let good: Checked[];

  beforeAll(async () => {
    good = stackOf(
      await run({
        nat: "instance",
        meteorSettings: { deep: { token: "a-token-that-nobody-knows" } },
      }),
    );
  });

  /** The good stack with one resource changed. */
  function changed(resource: string, change: (of: Checked) => Partial<Checked>): Checked[] {
    expect(good.map(({ type, name }) => `${type} ${name}`)).toContain(resource);
    return good.map((one) =>
      `${one.type} ${one.name}` === resource ? { ...one, ...change(one) } : one,
    );
  }

  const nameOf = (resource: string): string => resource.slice(resource.indexOf(" ") + 1);

  test("nothing, before anything is changed", async () => {
    expect(await broken(good)).toEqual([]);
  });

  test.each(breaches)("%s: %s", async (rule, _, resource, values) => {
    const stack = changed(resource, ({ inputs, outputs }) => ({
      inputs: { ...inputs, ...values },
      outputs: { ...outputs, ...values },
    }));
    expect(await broken(stack)).toEqual([`${rule}: ${nameOf(resource)}`]);
  });

  test.each([
    [
      "no-public-address: a host in the public subnet",
      host,
      "subnetId",
      "aws:ec2/subnet:Subnet network-public",
    ],
    [
      "no-public-address: the elastic IP of a member",
      "aws:ec2/eipAssociation:EipAssociation balancer-address-of-machine",
      "instanceId",
      member,
    ],
    [
      "mongo-behind-meteor: MongoDB for the balancer",
      mongoRule,
      "referencedSecurityGroupId",
      `${securityGroup} firewall-balancer`,
    ],
    ["mongo-behind-meteor: MongoDB for a range", mongoRule, "referencedSecurityGroupId", ""],
    [
      "two-ports-from-outside: HTTPS of hosts",
      httpsRule,
      "securityGroupId",
      `${securityGroup} firewall-meteor`,
    ],
    ["no-ssh: all ports of a host", natRule, "securityGroupId", `${securityGroup} firewall-meteor`],
  ])("%s", async (what, resource, property, origin) => {
    const stack = changed(resource, ({ propertyDependencies }) => ({
      propertyDependencies: { ...propertyDependencies, [property]: [origin] },
    }));
    expect(await broken(stack)).toEqual([`${what.split(":")[0] ?? ""}: ${nameOf(resource)}`]);
  });

  test.each<[string, string, string, object]>([
    ["encrypted-disks", "a copy of a snapshot in clear", "aws:ebs/snapshotCopy:SnapshotCopy", {}],
    [
      "separate-firewall-rules",
      "a rule of the older kind",
      "aws:ec2/securityGroupRule:SecurityGroupRule",
      {},
    ],
    [
      "separate-firewall-rules",
      "the VPC's default group",
      "aws:ec2/defaultSecurityGroup:DefaultSecurityGroup",
      { ingress: [] },
    ],
  ])("%s: %s", async (rule, _, type, inputs) => {
    const more = {
      type,
      name: "more",
      inputs: { ...inputs },
      outputs: {},
      propertyDependencies: {},
    };
    expect(await broken([...good, more])).toEqual([`${rule}: more`]);
  });

  test("tags: a project without its default tag", async () => {
    const { props } = provider;
    provider.props = { defaultTags: JSON.stringify({ tags: {} }) };
    const found = await broken(good);
    provider.props = props;
    expect(found.every((one) => one.startsWith("tags: "))).toBe(true);
    expect(found).toEqual(
      expect.arrayContaining(["tags: balancer-instance", "tags: mongo-member1-data"]),
    );
  });
});

test("a short value, such as a number, is not taken for a secret that leaked", async () => {
  expect(await broken(stackOf(await run({ env: { LIMIT: "1024", MODE: "production" } })))).toEqual(
    [],
  );
});
