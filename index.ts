// Before the SDK.
import "./components/lazySdk";
import * as pulumi from "@pulumi/pulumi";
import * as aws from "./components/aws";
import { Backups } from "./components/backups";
import { Balancer } from "./components/balancer";
import { type BundleLocation, UploadedBundle } from "./components/bundle";
import { Certificate } from "./components/certificate";
import { readConfig, type StackConfig } from "./components/config";
import { Firewall } from "./components/firewall";
import { lookUpInstanceType } from "./components/instanceType";
import type { MachineDefaults } from "./components/machine";
import { MeteorPool, meteorPort } from "./components/meteorPool";
import {
  checkRunningSet,
  membersOf,
  MongoReplicaSet,
  passwordGate,
} from "./components/mongoReplicaSet";
import { Monitoring } from "./components/monitoring";
import { NatInstance } from "./components/natInstance";
import { Network } from "./components/network";
import { PrivateBucket } from "./components/privateBucket";
import { lookUpHostedZone, PublicNames } from "./components/publicNames";
import { leaveOutDiagnostics } from "./components/sdkDiagnostics";
import { Secrets } from "./components/secrets";
import type { CommonMachineArgs } from "./userdata/machine/commonMachine";

// Node 20.20 and 22.23 otherwise spin for ever while they print an error's source-mapped stack.
(Error as { prepareStackTrace?: unknown }).prepareStackTrace = undefined;
leaveOutDiagnostics();

export = async (): Promise<Record<string, unknown>> => {
  const config = readConfig();
  const [hostType, mongoType, balancerType, hostedZone] = await Promise.all([
    lookUpInstanceType({
      key: "hostInstanceType",
      name: config.hostInstanceType,
      singleCore: true,
      architecture: config.bundle.kind === "path" ? config.bundle.architecture : undefined,
    }),
    config.mongo.kind === "machines"
      ? lookUpInstanceType({
          key: "mongoInstanceType",
          name: config.mongo.instanceType,
          // MongoDB's own packages for Debian are for this processor only.
          architecture: "x86_64",
        })
      : undefined,
    lookUpInstanceType({ key: "balancerInstanceType", name: config.balancerInstanceType }),
    config.hostedZone === undefined ? undefined : lookUpHostedZone(config.hostedZone),
  ]);

  const stack = pulumi.getStack();
  const parameterPath = `/${pulumi.getProject()}/${stack}`;
  const gates = await readGates(parameterPath);
  if (config.mongo.kind === "machines") {
    const { zones, passwordVersion, accessControl } = config.mongo;
    checkRunningSet(gates, zones, passwordVersion, accessControl);
  } else if (config.protectData) {
    checkRunningSet(gates, undefined);
  }
  const defaults: MachineDefaults = {
    region: config.region,
    prefix: `${pulumi.getProject()}-${stack}`,
    amiId: config.amiId,
    sessionManager: config.sessionManager,
    programs: new PrivateBucket("programs"),
    logPath: parameterPath,
    securityUpgrades: config.securityUpgrades,
    rebootLock: `${parameterPath}/reboot`,
  };

  const monitoring = new Monitoring("monitoring", {
    prefix: defaults.prefix,
    path: parameterPath,
    region: config.region,
    roles: rolesOf(config),
    logRetention: config.logRetention,
    alarmEmail: config.alarmEmail,
  });
  const network = new Network("network", {
    vpcCidr: config.vpcCidr,
    availabilityZone: config.availabilityZone,
    furtherZones: furtherZones(config),
    region: config.region,
    nat: config.nat,
  });
  const firewall = new Firewall("firewall", {
    vpcId: network.vpcId,
    allowedCidrs: config.allowedCidrs,
    httpFromAnywhere: config.certificate.kind === "acme",
    meteorPort,
    mongo: config.mongo.kind === "machines",
    natClients: config.nat === "instance" ? network.privateSubnetRanges : undefined,
  });
  const nat =
    firewall.natGroupId === undefined
      ? undefined
      : new NatInstance("nat", {
          defaults,
          parameterPath,
          vpcCidr: config.vpcCidr,
          subnetId: network.publicSubnetId,
          securityGroupId: firewall.natGroupId,
          readyTimeoutSeconds: config.readyTimeout,
          dependsOn: [...network.ready, ...firewall.rules, ...monitoring.logGroups],
        });
  if (nat !== undefined) {
    network.routeOut({ networkInterfaceId: nat.networkInterfaceId }, nat.gate);
  }
  const reachable = [...network.ready, ...firewall.rules, ...monitoring.logGroups];

  const mongo =
    config.mongo.kind === "machines" &&
    mongoType !== undefined &&
    firewall.mongoGroupId !== undefined
      ? new MongoReplicaSet("mongo", {
          defaults,
          parameterPath,
          instanceType: mongoType,
          volumeSize: config.mongo.volumeSize,
          // Once there is newer data, only `npm run restore` may bring back older.
          snapshot:
            membersOf(gates).length === 0 || process.env["METEOR_SCALE_RESTORE"] === "true"
              ? config.mongo.snapshot
              : undefined,
          backupTag: defaults.prefix,
          accessControl: config.mongo.accessControl,
          passwordVersion: config.mongo.passwordVersion,
          places: config.mongo.zones.map((availabilityZone) => ({
            availabilityZone,
            subnetId: network.privateSubnetIds[availabilityZone] ?? network.privateSubnetId,
          })),
          securityGroupId: firewall.mongoGroupId,
          zoneId: network.zoneId,
          protectData: config.protectData,
          readyTimeoutSeconds: config.readyTimeout,
          dependsOn: reachable,
        })
      : undefined;

  if (config.mongo.kind === "machines" && config.mongo.backups !== undefined) {
    new Backups("backups", { ...config.mongo.backups, tag: defaults.prefix });
  }

  const secrets = new Secrets("meteor-secrets", {
    path: `${parameterPath}/hosts`,
    values: { ...mongoUrls(config, mongo), ...applicationSecrets(config) },
  });
  const pool = new MeteorPool("meteor", {
    defaults,
    parameterPath,
    hostCount: config.hostCount,
    maxHosts: config.maxHosts,
    instanceType: hostType,
    bundle: bundleLocation(config),
    rootUrl: config.rootUrl,
    secrets,
    subnetId: network.privateSubnetId,
    securityGroupId: firewall.meteorGroupId,
    zoneId: network.zoneId,
    readyTimeoutSeconds: config.readyTimeout,
    minReadySeconds: config.minReadySeconds,
    drainTimeoutSeconds: config.drainTimeout,
    dataVolume: mongo?.volumeIds[0],
    dependsOn: [...reachable, ...secrets.parameters, ...(mongo?.gates ?? [])],
  });

  if (config.mongo.kind === "machines" && config.mongo.accessControl === "rbac") {
    // Only a release that has gone through may be followed by the next passwords.
    new aws.ssm.Parameter(
      passwordGate,
      {
        name: `${parameterPath}/gates/${passwordGate}`,
        description:
          "Version of the MongoDB passwords that all hosts have, written by the deployment",
        type: "String",
        insecureValue: String(config.mongo.passwordVersion),
      },
      { dependsOn: pool },
    );
  }

  const certificate = new Certificate("certificate", {
    source: config.certificate,
    path: `${parameterPath}/certificate`,
  });
  const balancer = new Balancer("balancer", {
    defaults,
    instanceType: balancerType,
    slots: pool.slots,
    studInstall: config.studInstall,
    certificate,
    subnetId: network.publicSubnetId,
    securityGroupId: firewall.balancerGroupId,
    readyTimeoutSeconds: config.readyTimeout,
    dependsOn: [...reachable, ...certificate.parameters],
  });
  const members = mongo?.machines ?? [];
  monitoring.watch({
    machines: [
      ...[balancer.machine, ...pool.machines, ...members],
      ...(nat === undefined ? [] : [nat.machine]),
    ],
    balancer: balancer.machine,
    hosts: pool.hosts,
    members: members.map(({ machine }) => machine),
    // Not the pool itself: that is each of its resources, in each alarm of each machine.
    dependsOn: [pool.gate, balancer],
  });
  const publicNames = new PublicNames("names", {
    names: config.names,
    zone: hostedZone,
    ipAddress: balancer.ipAddress,
  });

  return {
    url: config.rootUrl,
    ipAddress: balancer.ipAddress,
    dnsRecords: publicNames.toMake,
    hosts: pool.hosts,
    mongoMembers: mongo?.members ?? [],
    alarmTopic: monitoring.topicArn,
    session: config.sessionManager ? sessionCommand(defaults) : "sessionManager is off",
  };
};

function rolesOf({ mongo, nat }: StackConfig): CommonMachineArgs["role"][] {
  return [
    ...(["balancer", "meteor"] as const),
    ...(mongo.kind === "machines" ? (["mongo"] as const) : []),
    ...(nat === "instance" ? (["nat"] as const) : []),
  ];
}

/** Zones of the replica set beside Meteor's own. */
function furtherZones({ mongo, availabilityZone }: StackConfig): string[] {
  const zones = mongo.kind === "machines" ? mongo.zones : [];
  return [...new Set(zones)].filter((zone) => zone !== availabilityZone);
}

/** What the gates of the stack that runs have written, by the machines' names. */
async function readGates(parameterPath: string): Promise<Record<string, string>> {
  const path = `${parameterPath}/gates`;
  const { names, values } = await aws.ssm.getParametersByPath({ path });
  return Object.fromEntries(
    names.map((name, index) => [name.slice(path.length + 1), values[index] ?? ""]),
  );
}

function mongoUrls(
  config: StackConfig,
  mongo: MongoReplicaSet | undefined,
): Record<string, pulumi.Input<string>> {
  if (config.mongo.kind === "external") {
    return { MONGO_URL: config.mongo.url, MONGO_OPLOG_URL: config.mongo.oplogUrl };
  }
  return mongo === undefined ? {} : { MONGO_URL: mongo.url, MONGO_OPLOG_URL: mongo.oplogUrl };
}

function applicationSecrets(config: StackConfig): Record<string, string> {
  return {
    ...(config.meteorSettings === undefined ? {} : { METEOR_SETTINGS: config.meteorSettings }),
    ...(config.mailUrl === undefined ? {} : { MAIL_URL: config.mailUrl }),
    ...config.env,
  };
}

function bundleLocation({ bundle }: StackConfig): BundleLocation {
  if (bundle.kind === "path") {
    return new UploadedBundle("bundle", bundle);
  }
  const { address, sha256 } = bundle;
  const objectArn = address.startsWith("s3://")
    ? `arn:aws:s3:::${address.slice("s3://".length)}`
    : undefined;
  return { address, sha256, objectArn };
}

/** With `host1` for any machine's name. */
function sessionCommand({ prefix, region }: MachineDefaults): string {
  const find =
    `aws ec2 describe-instances --region ${region} --query Reservations[].Instances[].InstanceId --output text ` +
    `--filters Name=tag:Name,Values=${prefix}-host1 Name=instance-state-name,Values=running`;
  return `aws ssm start-session --region ${region} --target $(${find})`;
}
