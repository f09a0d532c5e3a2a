import * as pulumi from "@pulumi/pulumi";
import * as random from "@pulumi/random";
import type { MachineContents } from "../userdata/cloudConfig";
import { meteorMachine } from "../userdata/meteor/meteorMachine";
import * as aws from "./aws";
import type { BundleLocation } from "./bundle";
import { type InstanceType, Machine, type MachineDefaults, volumeIdForSize } from "./machine";
import { zoneName } from "./network";
import { ReadinessGate } from "./readinessGate";
import type { Secrets } from "./secrets";

/** The port that Meteor listens on; the balancer alone reaches it. */
export const meteorPort = 3000;

/** Where the record of a slot without a host points: on the balancer itself this port refuses. */
const parked = "127.0.0.1";

export interface MeteorPoolArgs {
  defaults: MachineDefaults;
  /** Start of the SSM paths, such as `/meteor-scale/dev`. */
  parameterPath: string;
  /** How many hosts run. */
  hostCount: number;
  /** How many hosts the balancer lists; those without a machine are parked. */
  maxHosts: number;
  instanceType: InstanceType;
  bundle: BundleLocation;
  rootUrl: string;
  /** Id of the volume with the database, where the stack has one: hosts remember what was in another. */
  dataVolume: pulumi.Input<string> | undefined;
  /** MONGO_URL, METEOR_SETTINGS and all other secret environment variables, at one SSM path. */
  secrets: Secrets;
  subnetId: pulumi.Input<string>;
  securityGroupId: pulumi.Input<string>;
  zoneId: pulumi.Input<string>;
  readyTimeoutSeconds: number;
  /** How long a new host must answer without a crash before it is ready, in seconds. */
  minReadySeconds: number;
  /** How long a host that leaves serves on at most, in seconds. */
  drainTimeoutSeconds: number;
  dependsOn: pulumi.Resource[];
}

/** The slots of the balancer, in order: host1, host2, … */
export function slotNames(maxHosts: number): string[] {
  return Array.from({ length: maxHosts }, (_, index) => `host${index + 1}`);
}

/**
 * Identical hosts with one Meteor process each. A release (another bundle, setting or size) boots a
 * full second set; the names move to it when every new host is ready, and then the old set goes.
 */
export class MeteorPool extends pulumi.ComponentResource {
  /** Names of the hosts that run. */
  readonly hosts: string[];
  /** Every name that the balancer lists, each with a record. */
  readonly slots: string[];
  readonly machines: Machine[];
  /** There once all hosts have proven themselves. */
  readonly gate: pulumi.Resource;

  constructor(name: string, args: MeteorPoolArgs, options?: pulumi.ComponentResourceOptions) {
    super("meteor-scale:meteor:MeteorPool", name, {}, options);
    this.slots = slotNames(args.maxHosts);
    this.hosts = this.slots.slice(0, args.hostCount);
    const digestKey = new random.RandomPassword(
      `${name}-digest-key`,
      { length: 32, special: false },
      { parent: this },
    );
    const secretsDigest = args.secrets.digest(digestKey.result);
    this.machines = this.hosts.map((host) =>
      this.createHost(`${name}-${host}`, host, secretsDigest, args),
    );
    const gate = new ReadinessGate(
      `${name}-gate`,
      {
        parameterName: `${args.parameterPath}/gates/hosts`,
        instanceIds: this.machines.map(({ instance }) => instance.id),
        timeoutSeconds: args.readyTimeoutSeconds,
      },
      { parent: this },
    );
    this.gate = gate.parameter;
    this.slots.forEach((slot, index) => {
      new aws.route53.Record(
        `${name}-${slot}-name`,
        {
          zoneId: args.zoneId,
          name: `${slot}.${zoneName}`,
          type: "A",
          ttl: 5,
          records: [this.machines[index]?.instance.privateIp ?? parked],
        },
        { parent: this, dependsOn: gate.parameter },
      );
    });
    this.registerOutputs({ hosts: this.hosts });
  }

  private createHost(
    name: string,
    host: string,
    secretsDigest: pulumi.Output<string>,
    args: MeteorPoolArgs,
  ): Machine {
    const { bundle } = args;
    const contents = (address: string, digest: string, dataVolume?: string): MachineContents =>
      meteorMachine({
        bundle: address,
        bundleSha256: bundle.sha256,
        rootUrl: args.rootUrl,
        port: meteorPort,
        // The rest is for Node's own buffers and the system.
        heapMegabytes: Math.floor(args.instanceType.memory * 0.7),
        minReadySeconds: args.minReadySeconds,
        drainTimeoutSeconds: args.drainTimeoutSeconds,
        secretsDigest: digest,
        dataVolume,
      });
    return new Machine(
      name,
      {
        defaults: args.defaults,
        role: "meteor",
        machine: host,
        instanceType: args.instanceType,
        subnetId: args.subnetId,
        securityGroupIds: [args.securityGroupId],
        secretsPath: args.secrets.path,
        permissions:
          bundle.objectArn === undefined
            ? []
            : [{ actions: ["s3:GetObject"], resources: [bundle.objectArn] }],
        contents: pulumi
          .all([bundle.address, secretsDigest, args.dataVolume])
          .apply(([address, digest, dataVolume]) => contents(address, digest, dataVolume)),
        contentsForSize: contents(
          "s3://".padEnd(200, "x"),
          args.secrets.longestDigest,
          volumeIdForSize,
        ),
        dependsOn: args.dependsOn,
      },
      { parent: this },
    );
  }
}
