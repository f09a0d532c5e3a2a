import * as aws from "@pulumi/aws";
import * as pulumi from "@pulumi/pulumi";
import * as random from "@pulumi/random";
import type { MachineContents } from "../userdata/cloudConfig";
import { mongoMachine } from "../userdata/mongo/mongoMachine";
import { type InstanceType, Machine, type MachineDefaults } from "./machine";
import { zoneName } from "./network";
import { ReadinessGate } from "./readinessGate";
import { Secrets } from "./secrets";

export interface MongoReplicaSetArgs {
  defaults: MachineDefaults;
  /** Start of the SSM paths, such as `/meteor-scale/dev`. */
  parameterPath: string;
  instanceType: InstanceType;
  /** Size of the data volume in GiB; it can grow, not shrink. */
  volumeSize: number;
  /** `rbac`: users with passwords and a key file; `firewall`: the security group alone. */
  accessControl: "firewall" | "rbac";
  availabilityZone: string;
  subnetId: pulumi.Input<string>;
  securityGroupId: pulumi.Input<string>;
  zoneId: pulumi.Input<string>;
  /** Keeps the data volume from being deleted, `pulumi destroy` included. */
  protectData: boolean;
  readyTimeoutSeconds: number;
  dependsOn: pulumi.Resource[];
}

/** The set's name, as in the article. */
const replicaSet = "meteor";

/**
 * The replica set whose oplog Meteor tails: one member on a data volume of its own.
 *
 * Another size or setting replaces the machine, never the volume; Mongo is away meanwhile.
 * Cost: one machine and its volume, see the README's table.
 */
export class MongoReplicaSet extends pulumi.ComponentResource {
  /** URL of the application's database; a secret. */
  readonly url: pulumi.Output<string>;
  /** URL of the `local` database with the oplog; a secret. */
  readonly oplogUrl: pulumi.Output<string>;
  /** DNS names of the members. */
  readonly members: string[];
  /** What hosts wait for. */
  readonly gates: pulumi.Resource[];

  constructor(name: string, args: MongoReplicaSetArgs, options?: pulumi.ComponentResourceOptions) {
    super("meteor-scale:mongo:MongoReplicaSet", name, {}, options);
    const passwords = args.accessControl === "rbac" ? this.createPasswords(name) : undefined;
    const member = this.createMember(name, 1, args, passwords);
    this.members = [member.host];
    this.gates = [member.gate.parameter];
    this.url = this.createUrl("app", "app", passwords?.app);
    this.oplogUrl = this.createUrl("local", "oplogger", passwords?.oplogger);
    this.registerOutputs({ members: this.members });
  }

  private createPasswords(name: string): Passwords {
    const password = (user: string): pulumi.Output<string> =>
      new random.RandomPassword(
        `${name}-${user}-password`,
        // Letters and digits stand in a URL as they are.
        { length: 32, special: false },
        { parent: this },
      ).result;
    const keyFile = new random.RandomBytes(`${name}-key-file`, { length: 512 }, { parent: this });
    return {
      admin: password("admin"),
      app: password("app"),
      oplogger: password("oplogger"),
      keyFile: keyFile.base64,
    };
  }

  private createMember(
    name: string,
    number: number,
    args: MongoReplicaSetArgs,
    passwords: Passwords | undefined,
  ): { host: string; gate: ReadinessGate } {
    const machineName = `mongo${number}`;
    const child = `${name}-member${number}`;
    const host = `${machineName}.${zoneName}`;
    const secrets =
      passwords &&
      new Secrets(
        `${child}-secrets`,
        {
          path: `${args.parameterPath}/${machineName}`,
          values: {
            ADMIN_PASSWORD: passwords.admin,
            APP_PASSWORD: passwords.app,
            OPLOG_PASSWORD: passwords.oplogger,
            KEY_FILE: passwords.keyFile,
          },
        },
        { parent: this },
      );
    const volume = new aws.ebs.Volume(
      `${child}-data`,
      {
        availabilityZone: args.availabilityZone,
        size: args.volumeSize,
        type: "gp3",
        encrypted: true,
        tags: { Name: `${args.defaults.prefix}-${machineName}-data` },
      },
      { parent: this, protect: args.protectData, retainOnDelete: false },
    );
    const gateParameter = `${args.parameterPath}/gates/${machineName}`;
    const contents = (dataVolume: string): MachineContents =>
      mongoMachine({
        replicaSet,
        memberHost: host,
        accessControl: args.accessControl,
        dataVolume,
        gate: gateParameter,
      });
    const machine = new Machine(
      child,
      {
        defaults: args.defaults,
        role: "mongo",
        machine: machineName,
        instanceType: args.instanceType,
        subnetId: args.subnetId,
        securityGroupIds: [args.securityGroupId],
        secretsPath: secrets?.path,
        permissions: [
          {
            actions: ["ssm:GetParameters"],
            resources: [`arn:aws:ssm:${args.defaults.region}:*:parameter${gateParameter}`],
          },
        ],
        contents: volume.id.apply(contents),
        contentsForSize: contents("vol-0123456789abcdef0"),
        // The volume can be attached to one machine at a time.
        deleteBeforeReplace: true,
        dependsOn: [...args.dependsOn, ...(secrets?.parameters ?? [])],
      },
      { parent: this },
    );
    const attachment = new aws.ec2.VolumeAttachment(
      `${child}-attachment`,
      {
        instanceId: machine.instance.id,
        volumeId: volume.id,
        deviceName: "/dev/sdf",
        // A mounted volume can't be detached from a machine that runs.
        stopInstanceBeforeDetaching: true,
      },
      { parent: this, deleteBeforeReplace: true },
    );
    const record = new aws.route53.Record(
      `${child}-name`,
      {
        zoneId: args.zoneId,
        name: host,
        type: "A",
        ttl: 5,
        records: [machine.instance.privateIp],
      },
      { parent: this },
    );
    const gate = new ReadinessGate(
      `${child}-gate`,
      {
        parameterName: gateParameter,
        instanceIds: [machine.instance.id],
        also: [machine.instance.instanceType, attachment.id],
        timeoutSeconds: args.readyTimeoutSeconds,
        dependsOn: [record],
      },
      { parent: this },
    );
    return { host, gate };
  }

  private createUrl(
    database: string,
    user: string,
    password: pulumi.Output<string> | undefined,
  ): pulumi.Output<string> {
    const hosts = this.members.map((member) => `${member}:27017`).join(",");
    const query = `replicaSet=${replicaSet}&readPreference=primary&w=majority`;
    return password === undefined
      ? pulumi.secret(`mongodb://${hosts}/${database}?${query}`)
      : pulumi.secret(
          pulumi.interpolate`mongodb://${user}:${password}@${hosts}/${database}?${query}&authSource=admin`,
        );
  }
}

interface Passwords {
  admin: pulumi.Output<string>;
  app: pulumi.Output<string>;
  oplogger: pulumi.Output<string>;
  keyFile: pulumi.Output<string>;
}
