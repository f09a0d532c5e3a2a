import { createHash } from "node:crypto";
import { parse } from "yaml";
import {
  type MockRun,
  type RegisteredResource,
  runProgram,
  withDefaults,
} from "../local/mockEngine";
import { type ConfigKey, configKeys } from "../components/config";
import { checkRunningSet } from "../components/mongoReplicaSet";
import { otherConfig } from "./otherConfig";
import { sampleBundle } from "./sampleBundle";

const bundle = sampleBundle();

/** The program's resources with these config values. */
function run(values: Record<string, unknown> = {}): Promise<MockRun> {
  const key = JSON.stringify(values);
  const result = runs.get(key) ?? start(values);
  runs.set(key, result);
  return result;
}

const runs = new Map<string, Promise<MockRun>>();

function start(values: Record<string, unknown>): Promise<MockRun> {
  return runProgram(
    "test",
    withDefaults({
      "aws:region": "eu-central-1",
      bundle,
      rootUrl: "https://app.example.com",
      ...values,
    }),
  );
}

function ofType({ resources }: MockRun, type: string): RegisteredResource[] {
  return resources.filter((resource) => resource.type === type);
}

function instances(result: MockRun): Map<string, Record<string, unknown>> {
  return new Map(
    ofType(result, "aws:ec2/instance:Instance").map(({ inputs }) => [
      String((inputs["tags"] as Record<string, string>)["Name"]).replace("meteor-scale-test-", ""),
      inputs,
    ]),
  );
}

test("the article's five machines are the default", async () => {
  expect([...instances(await run()).keys()].sort()).toEqual([
    "balancer",
    "host1",
    "host2",
    "host3",
    "mongo1",
  ]);
});

test("every machine has a gp3 disk, and is replaced when its user data changes", async () => {
  for (const inputs of instances(await run()).values()) {
    expect(inputs).toMatchObject({
      rootBlockDevice: { volumeType: "gp3" },
      userDataReplaceOnChange: true,
    });
  }
});

test("every slot of the balancer has a record; those without a host are parked", async () => {
  const records = ofType(
    await run({ hostCount: 2, maxHosts: 4 }),
    "aws:route53/record:Record",
  ).filter(({ inputs }) => String(inputs["name"]).startsWith("host"));
  expect(
    records.map(({ inputs }) => [inputs["name"], inputs["records"], inputs["ttl"]]).sort(),
  ).toEqual([
    ["host1.meteor.internal", ["10.20.32.10"], 5],
    ["host2.meteor.internal", ["10.20.32.10"], 5],
    ["host3.meteor.internal", ["127.0.0.1"], 5],
    ["host4.meteor.internal", ["127.0.0.1"], 5],
  ]);
});

test("the paths through the firewall are these and no others", async () => {
  const result = await run();
  const rules = [
    ...ofType(result, "aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule"),
    ...ofType(result, "aws:vpc/securityGroupEgressRule:SecurityGroupEgressRule"),
  ].map(({ type, inputs }) =>
    [
      type.includes("Ingress") ? "into" : "out of",
      inputs["securityGroupId"],
      inputs["cidrIpv4"] ?? inputs["referencedSecurityGroupId"],
      inputs["fromPort"] ?? "any port",
    ].join(" "),
  );
  expect(rules.sort()).toMatchSnapshot();
});

describe("a NAT instance", () => {
  const withNat = { nat: "instance", hostCount: 1 };

  test("takes the place of the gateway and its address", async () => {
    const result = await run(withNat);
    expect(ofType(result, "aws:ec2/natGateway:NatGateway")).toEqual([]);
    expect(ofType(result, "aws:ec2/eip:Eip").map(({ name }) => name)).toEqual(["balancer-address"]);
    expect([...instances(result).keys()].sort()).toEqual(["balancer", "host1", "mongo1", "nat"]);
  });

  test("is a machine of the public subnet that may pass on what others send", async () => {
    const machines = instances(await run(withNat));
    expect(machines.get("nat")).toMatchObject({
      subnetId: "network-public-id",
      vpcSecurityGroupIds: ["firewall-nat-id"],
      sourceDestCheck: false,
      instanceType: "t3.micro",
    });
    for (const name of ["balancer", "host1", "mongo1"]) {
      expect(machines.get(name)).not.toHaveProperty("sourceDestCheck");
    }
  });

  test("is reached from the private subnet only", async () => {
    const result = await run(withNat);
    const rulesOf = (type: string): unknown[] =>
      ofType(result, type)
        .filter(({ inputs }) => inputs["securityGroupId"] === "firewall-nat-id")
        .map(({ inputs }) => [inputs["cidrIpv4"], inputs["ipProtocol"], inputs["fromPort"]]);
    const ingress = "aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule";
    const egress = "aws:vpc/securityGroupEgressRule:SecurityGroupEgressRule";
    const [privateSubnet] = ofType(result, "aws:ec2/subnet:Subnet").filter(
      ({ name }) => name === "network-private",
    );
    expect(rulesOf(ingress)).toEqual([[privateSubnet?.inputs["cidrBlock"], "-1", undefined]]);
    expect(rulesOf(egress)).toEqual([["0.0.0.0/0", "-1", undefined]]);
  });

  test("translates the addresses of the stack's own VPC", async () => {
    const machines = instances(await run({ ...withNat, vpcCidr: "172.16.0.0/20" }));
    expect(machines.get("nat")?.["userData"]).toContain("ip saddr 172.16.0.0/20 masquerade");
  });

  test("carries the private subnet's route once it is ready, and the others start behind that", async () => {
    const result = await run(withNat);
    const named = (name: string): RegisteredResource | undefined =>
      result.resources.find((resource) => resource.name === name);
    expect(named("nat-gate-live")?.inputs).toMatchObject({
      name: "/meteor-scale/test/gates/nat",
      insecureValue: "nat-instance-id",
    });
    expect(named("network-private-route")).toMatchObject({
      inputs: {
        routeTableId: "network-private-routes-id",
        destinationCidrBlock: "0.0.0.0/0",
        networkInterfaceId: "eni-nat-instance",
      },
      options: { dependsOn: expect.arrayContaining(["nat-gate-live"]) as unknown },
    });
    for (const name of ["mongo-member1-instance", "meteor-host1-instance", "balancer-instance"]) {
      expect(named(name)?.options.dependsOn).toContain("network-private-route");
    }
    const own = named("nat-instance")?.options.dependsOn;
    expect(own).toEqual(
      expect.arrayContaining(["network-public-route", "firewall-nat-out-anywhere-0.0.0.0/0"]),
    );
    expect(own).not.toContain("network-private-route");
  });
});

test("the private subnet has one route out by the same name, whatever it leads to, or none", async () => {
  const routes = async (values: Record<string, unknown>): Promise<unknown[]> =>
    ofType(await run({ hostCount: 1, ...values }), "aws:ec2/route:Route")
      .filter(({ name }) => name !== "network-public-route")
      .map(({ name, inputs: { natGatewayId, networkInterfaceId } }) => [
        name,
        natGatewayId ?? networkInterfaceId,
      ]);
  expect(await routes({})).toEqual([["network-private-route", "network-nat-id"]]);
  expect(await routes({ nat: "instance" })).toEqual([
    ["network-private-route", "eni-nat-instance"],
  ]);
  expect(await routes({ nat: "none", amiId: "ami-0123456789abcdef0" })).toEqual([]);
});

test("no secret is in user data or outputs", async () => {
  const result = await run({
    meteorSettings: { token: "secret-setting" },
    mailUrl: "smtp://user:secret-mail@mail.example.com",
    env: { API_KEY: "secret-key" },
  });
  for (const inputs of instances(result).values()) {
    expect(String(inputs["userData"])).not.toMatch(/secret-(of|setting|mail|key)/);
  }
  expect(JSON.stringify(result.outputs)).not.toMatch(/secret-/);
});

test("a changed secret is a release of every host, and the preview tells its name and nothing of its value", async () => {
  const digests = async (config: Record<string, unknown>): Promise<string[]> =>
    [...instances(await run(config))]
      .filter(([name]) => name.startsWith("host"))
      .map(([, { userData }]) => /SECRETS_DIGEST='(.*?)'/.exec(String(userData))?.[1] ?? "");
  const before = await digests({
    mailUrl: "smtp://user:one@mail.example.com",
    env: { API_KEY: "a" },
  });
  const after = await digests({
    mailUrl: "smtp://user:two@mail.example.com",
    env: { API_KEY: "a" },
  });
  expect(new Set(before).size).toBe(1);
  const parts = (text = ""): string[] => text.split(" ");
  const changed = parts(after[0]).filter((part) => !parts(before[0]).includes(part));
  expect(changed).toEqual([expect.stringMatching(/^MAIL_URL:[0-9a-f]{12}$/)]);
  expect(before[0]).not.toContain(
    createHash("sha256").update("smtp://user:one@mail.example.com").digest("hex").slice(0, 12),
  );
});

test("every secret is a SecureString below the path of the machines that read it", async () => {
  const result = await run({ env: { API_KEY: "secret-key" } });
  const secret = ofType(result, "aws:ssm/parameter:Parameter").filter(({ inputs }) =>
    String(inputs["value"]).includes("secret-"),
  );
  expect(secret.map(({ inputs }) => inputs["name"]).sort()).toEqual([
    "/meteor-scale/test/certificate/PRIVATE_KEY",
    "/meteor-scale/test/hosts/API_KEY",
    "/meteor-scale/test/hosts/MONGO_OPLOG_URL",
    "/meteor-scale/test/hosts/MONGO_URL",
    "/meteor-scale/test/mongo/ADMIN_PASSWORD",
    "/meteor-scale/test/mongo/MONITOR_PASSWORD",
    "/meteor-scale/test/mongo/USERS",
  ]);
  for (const { inputs } of secret) {
    expect(inputs["type"]).toBe("SecureString");
  }
});

test("a machine may read its own secrets, programs and bundle, tell how it is, and nothing else", async () => {
  const policies = Object.fromEntries(
    ofType(await run(), "aws:iam/rolePolicy:RolePolicy").map(({ name, inputs }) => [
      name,
      JSON.parse(String(inputs["policy"]).replaceAll(/[0-9a-f]{64}/g, "SHA256")) as unknown,
    ]),
  );
  expect(policies).toMatchSnapshot();
});

test("each machine fetches its own programs, of which its user data has the hash", async () => {
  const result = await run();
  const objects = ofType(result, "aws:s3/bucketObjectv2:BucketObjectv2");
  for (const [machine, inputs] of instances(result)) {
    const object = objects.find(({ inputs: { key } }) => String(key).startsWith(`${machine}/`));
    const sha256 = createHash("sha256").update(String(object?.inputs["content"])).digest("hex");
    expect(object?.inputs["key"]).toBe(`${machine}/${sha256}.sh`);
    expect(inputs["userData"]).toContain(
      `PROGRAMS='s3://programs-bucket-id/${machine}/${sha256}.sh'\n`,
    );
    expect(inputs["userData"]).toContain(`PROGRAMS_SHA256='${sha256}'\n`);
  }
});

describe("monitoring", () => {
  const alarms = async (values = {}): Promise<Record<string, unknown>[]> =>
    ofType(await run(values), "aws:cloudwatch/metricAlarm:MetricAlarm")
      .map(({ inputs }) => inputs)
      .filter(({ name }) => name !== undefined);

  test("has these alarms", async () => {
    const table = (await alarms({ hostCount: 1, nat: "instance" })).map((alarm) =>
      [
        ...[alarm["name"], alarm["namespace"], alarm["metricName"]],
        ...[JSON.stringify(alarm["dimensions"]), alarm["statistic"]],
        ...[alarm["comparisonOperator"], alarm["threshold"]],
        ...[`${String(alarm["evaluationPeriods"])} × ${String(alarm["period"])} s`],
      ].join(" "),
    );
    expect(table.sort()).toMatchSnapshot();
  });

  test("tells the topic when an alarm begins, and when it ends", async () => {
    const topic = ["arn:aws:sns:eu-central-1:123456789012:monitoring-alarms"];
    for (const alarm of await alarms()) {
      expect(alarm).toMatchObject({ alarmActions: topic, okActions: topic });
    }
  });

  test("misses as many hosts as there should be", async () => {
    const down = (await alarms({ hostCount: 5 })).find(
      ({ name }) => name === "meteor-scale-test-host-down",
    );
    expect(down).toMatchObject({ threshold: 5 });
    const [alarm] = (await run({ hostCount: 5 })).resources.filter(
      ({ name }) => name === "monitoring-host-down",
    );
    // Not before those that are new are up.
    expect(alarm?.options.dependsOn).toContain("meteor-gate-live");
  });

  test("asks an address only where there is one", async () => {
    const subscriptions = async (values = {}): Promise<unknown[]> =>
      ofType(await run(values), "aws:sns/topicSubscription:TopicSubscription").map(
        ({ inputs: { protocol, endpoint } }) => [protocol, endpoint],
      );
    expect(await subscriptions()).toEqual([]);
    expect(await subscriptions({ alarmEmail: "ops@example.com" })).toEqual([
      ["email", "ops@example.com"],
    ]);
  });

  test("keeps the logs of each kind of machines, which wait for their group", async () => {
    const result = await run({ nat: "instance", hostCount: 1, logRetention: 90 });
    const groups = ofType(result, "aws:cloudwatch/logGroup:LogGroup");
    expect(
      groups.map(({ inputs: { name, retentionInDays } }) => [name, retentionInDays]).sort(),
    ).toEqual(
      ["balancer", "meteor", "mongo", "nat"].map((role) => [`/meteor-scale/test/${role}`, 90]),
    );
    for (const { options } of ofType(result, "aws:ec2/instance:Instance")) {
      expect(options.dependsOn).toEqual(
        expect.arrayContaining(groups.map(({ name }) => name)) as string[],
      );
    }
  });

  test("shows all of it on a dashboard", async () => {
    const [dashboard] = ofType(await run({ hostCount: 2 }), "aws:cloudwatch/dashboard:Dashboard");
    expect(dashboard?.inputs["dashboardName"]).toBe("meteor-scale-test");
    const { widgets } = JSON.parse(String(dashboard?.inputs["dashboardBody"])) as {
      widgets: { x: number; y: number; properties: { title: string; metrics: unknown } }[];
    };
    expect(
      widgets.map(({ x, y, properties }) => ({
        [`${properties.title} (${x}, ${y})`]: properties.metrics,
      })),
    ).toMatchSnapshot();
  });
});

test("every machine of a stack that reboots in turn may take that stack's one turn, others may not", async () => {
  const permitted = async (securityUpgrades: string): Promise<unknown[]> => {
    const result = await run({ nat: "instance", hostCount: 1, securityUpgrades });
    return ofType(result, "aws:iam/rolePolicy:RolePolicy")
      .filter(({ inputs }) => String(inputs["policy"]).includes("ec2:ResourceTag/Name"))
      .map(({ inputs }) => {
        const { Statement } = JSON.parse(String(inputs["policy"])) as {
          Statement: { Action: string[]; Resource: string[] }[];
        };
        return Statement.find(({ Action }) => Action.includes("ssm:DeleteParameter"))?.Resource;
      });
  };
  const lock = ["arn:aws:ssm:eu-central-1:*:parameter/meteor-scale/test/reboot"];
  expect(await permitted("reboot")).toEqual([lock, lock, lock, lock]);
  expect(await permitted("install")).toEqual([undefined, undefined, undefined, undefined]);
});

describe("a replica set of three members", () => {
  const three = {
    mongoMembers: 3,
    mongoZones: ["eu-central-1a", "eu-central-1b", "eu-central-1c"],
  };

  test("has a machine and a volume in each zone, and every member in the hosts' URLs", async () => {
    const result = await run(three);
    const volumes = ofType(result, "aws:ebs/volume:Volume");
    expect(volumes.map(({ name, inputs }) => [name, inputs["availabilityZone"]]).sort()).toEqual([
      ["mongo-member1-data", "eu-central-1a"],
      ["mongo-member2-data", "eu-central-1b"],
      ["mongo-member3-data", "eu-central-1c"],
    ]);
    const machines = instances(result);
    const subnets = ["mongo1", "mongo2", "mongo3"].map((name) => machines.get(name)?.["subnetId"]);
    expect(subnets).toEqual([
      "network-private-id",
      "network-private-eu-central-1b-id",
      "network-private-eu-central-1c-id",
    ]);
    expect(machines.get("host1")?.["subnetId"]).toBe("network-private-id");
    const url = ofType(result, "aws:ssm/parameter:Parameter").find(
      ({ name }) => name === "meteor-secrets-MONGO_URL",
    );
    expect(url?.inputs["value"]).toContain(
      "@mongo1.meteor.internal:27017,mongo2.meteor.internal:27017,mongo3.meteor.internal:27017/app?replicaSet=meteor&readPreference=primary&w=majority",
    );
  });

  test("changes one member at a time, the one in Meteor's zone last, and hosts wait for all", async () => {
    const { resources } = await run(three);
    const waits = (name: string): string[] =>
      (resources.find((resource) => resource.name === name)?.options.dependsOn ?? []).filter(
        (one) => /^mongo-.*-gate-live$/.test(one),
      );
    const gate = (number: number): string => `mongo-member${number}-gate-live`;
    expect(waits("mongo-member3-instance")).toEqual([]);
    expect(waits("mongo-member2-instance")).toEqual([gate(3)]);
    expect(waits("mongo-member1-instance").sort()).toEqual([gate(2), gate(3)]);
    expect(waits("meteor-host1-instance").sort()).toEqual([gate(1), gate(2), gate(3)]);
  });

  test("leaves the machine of a first member as it is", async () => {
    const one = instances(await run()).get("mongo1");
    const ofThree = instances(await run(three)).get("mongo1");
    expect(ofThree).toEqual(one);
  });

  test("shares a zone where fewer are given, and needs no more subnets than zones", async () => {
    const result = await run({ mongoMembers: 3, mongoZones: ["eu-central-1a", "eu-central-1b"] });
    const zones = ofType(result, "aws:ebs/volume:Volume").map(({ name, inputs }) => [
      name,
      inputs["availabilityZone"],
    ]);
    expect(zones.sort()).toEqual([
      ["mongo-member1-data", "eu-central-1a"],
      ["mongo-member2-data", "eu-central-1b"],
      ["mongo-member3-data", "eu-central-1a"],
    ]);
    const subnets = ofType(result, "aws:ec2/subnet:Subnet").map(({ name }) => name);
    expect(subnets.sort()).toEqual([
      "network-private",
      "network-private-eu-central-1b",
      "network-public",
    ]);
  });
});

describe("a replica set that runs", () => {
  const a = "eu-central-1a";
  const gates = (...zones: string[]): Record<string, string> =>
    Object.fromEntries(
      zones.map((zone, index) => [`mongo${index + 1}`, `i-1 m7a.medium vai-1 ${zone}`]),
    );

  test("may stay as it is, and grow", () => {
    checkRunningSet({}, [a]);
    checkRunningSet({ meteor: "i-1" }, undefined);
    checkRunningSet(gates(a), [a]);
    checkRunningSet(gates(a), [a, "eu-central-1b", "eu-central-1c"]);
    checkRunningSet(gates(a, "eu-central-1b", a), [a, "eu-central-1b", a]);
  });

  test.each<[string, Record<string, string>, string[] | undefined, RegExp]>([
    ["smaller", gates(a, a, a), [a], /mongoMembers is 1, but the replica set has 3 members/],
    [
      "elsewhere",
      gates(a),
      ["eu-central-1b"],
      /its data volume is in eu-central-1a .* Set availabilityZone back/,
    ],
    [
      "elsewhere in part",
      gates(a, a, a),
      [a, "eu-central-1b", a],
      /^mongo2 would be in .* Set mongoZones back/,
    ],
    [
      "guarded otherwise",
      {
        mongo1: `i-1 m7a.medium vai-1 ${a} firewall`,
        mongo2: `i-2 m7a.medium vai-2 ${a} firewall`,
      },
      [a, a, a],
      /^mongoAccessControl is rbac, but the members that run have firewall/,
    ],
    [
      "somebody else's",
      gates(a),
      undefined,
      /mongoUrl is set, but this stack has a replica set with data \(mongo1\)/,
    ],
  ])("can't become %s", (_what, running, places, reason) => {
    expect(() => {
      checkRunningSet(running, places);
    }).toThrow(reason);
  });
});

describe("a data volume", () => {
  // Refused while there is data, see above.
  const refused: ConfigKey[] = ["availabilityZone", "mongoUrl", "mongoOplogUrl"];

  async function volume(values: Record<string, unknown>): Promise<RegisteredResource | undefined> {
    return (await run(values)).resources.find(({ name }) => name === "mongo-member1-data");
  }

  test.each(configKeys.filter((key) => !refused.includes(key)))(
    "is not replaced by another %s",
    async (key) => {
      const [before, after] = [await volume({}), await volume(otherConfig[key])];
      // A size can grow in place, and a snapshot is looked at when a volume is made.
      const ignored = ["size", ...(before?.options.ignoreChanges ?? [])];
      const fixed = (one: RegisteredResource | undefined): unknown =>
        Object.entries(one?.inputs ?? {}).filter(([name]) => !ignored.includes(name));
      expect(before).toBeDefined();
      expect(before?.options).toMatchObject({ protect: true, ignoreChanges: ["snapshotId"] });
      expect(after?.options).toMatchObject({ protect: key !== "protectData" });
      expect(fixed(after)).toEqual(fixed(before));
    },
  );
});

test("a set of one's own leaves no Mongo machine, volume or group", async () => {
  const result = await run({
    mongoUrl: "mongodb://secret-db.example.com/app",
    mongoOplogUrl: "mongodb://secret-db.example.com/local",
  });
  expect([...instances(result).keys()]).not.toContain("mongo1");
  expect(ofType(result, "aws:ebs/volume:Volume")).toEqual([]);
  expect(result.resources.filter(({ name }) => name.includes("mongo"))).toEqual([]);
});

describe("the application's names", () => {
  const values = { extraDomains: ["*.app.example.com", "example.com", "example.org"] };

  test("are told to whoever looks after the domain where no zone is known", async () => {
    const { resources, outputs } = await run(values);
    expect(resources.filter(({ name }) => name.startsWith("names-"))).toEqual([]);
    expect(outputs["dnsRecords"]).toEqual([
      "app.example.com A 203.0.113.10",
      "*.app.example.com A 203.0.113.10",
      "example.com A 203.0.113.10",
      "example.org A 203.0.113.10",
    ]);
  });

  test("have a record each in the zone that they are in, as soon as there is an address", async () => {
    const { resources, outputs } = await run({ ...values, hostedZone: "example.com" });
    const records = resources.filter(({ name }) => name.startsWith("names-"));
    const names = ["app.example.com", "*.app.example.com", "example.com"];
    expect(records).toMatchObject(
      names.map((name) => ({
        type: "aws:route53/record:Record",
        name: `names-${name}`,
        inputs: { zoneId: "Z-example-com", name, type: "A", ttl: 60, records: ["203.0.113.10"] },
        options: expect.objectContaining({ dependsOn: ["balancer-address"] }) as unknown,
      })),
    );
    expect(outputs["dnsRecords"]).toEqual(["example.org A 203.0.113.10"]);
  });

  test("that the public DNS can't have are nobody's work", async () => {
    const { outputs } = await run({ rootUrl: "https://meteor.localhost" });
    expect(outputs["dnsRecords"]).toEqual([]);
  });

  test("are refused with a zone that the account does not have", async () => {
    await expect(run({ ...values, hostedZone: "example.org" })).rejects.toThrow(
      /hostedZone is example\.org; this account has no public Route 53 zone of that name/,
    );
  });
});

test("a certificate of the stack's own is for all names, and the same as ever for one", async () => {
  const inputs = async (values: Record<string, unknown>): Promise<unknown> =>
    ofType(await run(values), "tls:index/selfSignedCert:SelfSignedCert")[0]?.inputs;
  expect(await inputs({})).toEqual({
    privateKeyPem: "secret-of-certificate-key",
    subject: { commonName: "app.example.com" },
    dnsNames: ["app.example.com"],
    validityPeriodHours: 8760,
    earlyRenewalHours: 720,
    allowedUses: ["digital_signature", "server_auth"],
  });
  expect(await inputs({ extraDomains: ["www.example.com"] })).toMatchObject({
    subject: { commonName: "app.example.com" },
    dnsNames: ["app.example.com", "www.example.com"],
  });
});

test("the firewall alone guards Mongo if asked: no password exists", async () => {
  const result = await run({ mongoAccessControl: "firewall" });
  const passwords = ofType(result, "random:index/randomPassword:RandomPassword");
  expect(passwords.map(({ name }) => name)).toEqual(["meteor-digest-key"]);
});

test("a type of two cores is limited to one where EC2 can, and refused where it can't", async () => {
  const limited = instances(await run({ hostInstanceType: "c7i.large" }));
  expect(limited.get("host1")).toMatchObject({ cpuOptions: { coreCount: 1, threadsPerCore: 1 } });
  await expect(run({ hostInstanceType: "t3.medium" })).rejects.toThrow(
    /hostInstanceType is t3\.medium, which has 2 cores and can't be limited to one/,
  );
});

test("a type whose processor the bundle was not built for is refused", async () => {
  await expect(run({ hostInstanceType: "c7g.medium" })).rejects.toThrow(
    /hostInstanceType is c7g\.medium, whose processor is arm64/,
  );
});

test("names that state depends on do not change", async () => {
  const stateful = [
    "aws:ebs/volume:Volume",
    "aws:ec2/eip:Eip",
    "aws:ec2/vpc:Vpc",
    "aws:ec2/subnet:Subnet",
    "aws:route53/zone:Zone",
    "random:index/randomPassword:RandomPassword",
    "random:index/randomBytes:RandomBytes",
  ];
  const names = (await run()).resources
    .filter(({ type }) => stateful.includes(type))
    .map(({ type, name }) => `${type} ${name}`)
    .sort();
  expect(names).toMatchSnapshot();
});

test("user data is what cloud-init reads", async () => {
  for (const [machine, inputs] of instances(await run())) {
    const text = String(inputs["userData"]);
    expect(text.startsWith("#cloud-config\n")).toBe(true);
    expect(parse(text)).toMatchObject({ hostname: machine });
  }
});
