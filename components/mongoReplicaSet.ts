import * as pulumi from "@pulumi/pulumi";
import * as random from "@pulumi/random";
import type { MachineContents } from "../userdata/cloudConfig";
import { mongoMachine } from "../userdata/mongo/mongoMachine";
import * as aws from "./aws";
import { type InstanceType, Machine, type MachineDefaults, volumeIdForSize } from "./machine";
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
  /** Whose data a volume is made with, if not with none. */
  snapshot: string | undefined;
  /** Value of the tag by which volumes are backed up. */
  backupTag: string;
  /** `rbac`: users with passwords and a key file; `firewall`: the security group alone. */
  accessControl: "firewall" | "rbac";
  /** A higher one makes new passwords; those of the version before stay valid, for hosts that still have them. */
  passwordVersion: number;
  /** Where each member is, the first one in Meteor's zone; one or three. */
  places: Place[];
  securityGroupId: pulumi.Input<string>;
  zoneId: pulumi.Input<string>;
  /** Keeps the data volume from being deleted, `pulumi destroy` included. */
  protectData: boolean;
  readyTimeoutSeconds: number;
  dependsOn: pulumi.Resource[];
}

/** Where a member's machine and volume are. */
export interface Place {
  availabilityZone: string;
  subnetId: pulumi.Input<string>;
}

/** The set's name, as in the article. */
const replicaSet = "meteor";

/** A set votes, so it has an odd number of members; more than three are for more than a Meteor application. */
const mostMembers = 3;

const machineNames = Array.from({ length: mostMembers }, (_, index) => `mongo${index + 1}`);

/**
 * The replica set whose oplog Meteor tails: members on data volumes of their own.
 *
 * Another size or setting replaces the machines one after the other, the last one first, each when the one
 * before is whole again; never the volumes. With one member Mongo is away meanwhile.
 * Cost: a machine and its volume, 0.08 USD a month for each GB, for each member.
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
  /** Ids of the data volumes, the first member's first. */
  readonly volumeIds: pulumi.Output<string>[] = [];
  /** The members' machines, the first member's first. */
  readonly machines: Machine[] = [];

  constructor(name: string, args: MongoReplicaSetArgs, options?: pulumi.ComponentResourceOptions) {
    super("meteor-scale:mongo:MongoReplicaSet", name, {}, options);
    const passwords = args.accessControl === "rbac" ? this.createPasswords(name, args) : undefined;
    const secrets = passwords && this.createSecrets(name, args, passwords);
    this.members = args.places.map((_, index) => hostOf(machineNames[index] ?? ""));
    this.gates = [];
    // The first one, in Meteor's zone, is the primary where it can be: it comes last.
    for (const [index, place] of [...args.places.entries()].reverse()) {
      const gate = this.createMember(name, index + 1, place, args, secrets);
      this.gates.push(gate.parameter);
    }
    this.url = this.createUrl("app", passwords?.users.at(-1), "app");
    this.oplogUrl = this.createUrl("local", passwords?.users.at(-1), "oplogger");
    this.registerOutputs({ members: this.members });
  }

  private createPasswords(name: string, { passwordVersion }: MongoReplicaSetArgs): Passwords {
    const password = (user: string): pulumi.Output<string> =>
      new random.RandomPassword(
        `${name}-${user}-password`,
        // Letters and digits stand in a URL as they are.
        { length: 32, special: false },
        { parent: this },
      ).result;
    const keyFile = new random.RandomBytes(`${name}-key-file`, { length: 512 }, { parent: this });
    const versions = passwordVersion === 1 ? [1] : [passwordVersion - 1, passwordVersion];
    return {
      admin: password("admin"),
      monitor: password("monitor"),
      users: versions.map((version) => ({
        version,
        app: password(`app-${version}`),
        oplogger: password(`oplogger-${version}`),
      })),
      keyFile: keyFile.base64,
    };
  }

  private createSecrets(name: string, args: MongoReplicaSetArgs, passwords: Passwords): Secrets {
    const users = pulumi
      .all([passwords.monitor, pulumi.all(passwords.users)])
      .apply(([monitor, versions]) =>
        JSON.stringify([...versions.flatMap(leastUsers), monitorUser(monitor)]),
      );
    return new Secrets(
      `${name}-secrets`,
      {
        path: `${args.parameterPath}/mongo`,
        values: {
          ADMIN_PASSWORD: passwords.admin,
          USERS: users,
          KEY_FILE: passwords.keyFile,
          MONITOR_PASSWORD: passwords.monitor,
        },
      },
      { parent: this },
    );
  }

  private createMember(
    name: string,
    number: number,
    place: Place,
    args: MongoReplicaSetArgs,
    secrets: Secrets | undefined,
  ): ReadinessGate {
    const machineName = `mongo${number}`;
    const child = `${name}-member${number}`;
    const host = hostOf(machineName);
    const volume = new aws.ebs.Volume(
      `${child}-data`,
      {
        availabilityZone: place.availabilityZone,
        size: args.volumeSize,
        type: "gp3",
        encrypted: true,
        // One alone begins with it: the others copy from it what the set has by then.
        snapshotId: number === args.places.length ? args.snapshot : undefined,
        tags: { Name: `${args.defaults.prefix}-${machineName}-data`, backup: args.backupTag },
      },
      {
        parent: this,
        protect: args.protectData,
        // What another snapshot, size of the set or zone would replace is data.
        ignoreChanges: ["snapshotId"],
      },
    );
    this.volumeIds.unshift(volume.id);
    const gateOf = (member: string): string => `${args.parameterPath}/gates/${member}`;
    const gates = machineNames.map(gateOf);
    const contents = (dataVolume: string): MachineContents =>
      mongoMachine({
        replicaSet,
        memberHost: host,
        preferredPrimary: hostOf("mongo1"),
        accessControl: args.accessControl,
        dataVolume,
        gates,
      });
    const machine = new Machine(
      child,
      {
        defaults: args.defaults,
        role: "mongo",
        machine: machineName,
        instanceType: args.instanceType,
        subnetId: place.subnetId,
        securityGroupIds: [args.securityGroupId],
        secretsPath: secrets?.path,
        permissions: [
          {
            actions: ["ssm:GetParameters"],
            resources: gates.map(
              (gate) => `arn:aws:ssm:${args.defaults.region}:*:parameter${gate}`,
            ),
          },
        ],
        contents: volume.id.apply(contents),
        contentsForSize: contents(volumeIdForSize),
        // The volume can be attached to one machine at a time.
        deleteBeforeReplace: true,
        // The members before it are whole: one at a time is away.
        dependsOn: [...args.dependsOn, ...(secrets?.parameters ?? []), ...this.gates],
      },
      { parent: this },
    );
    this.machines.unshift(machine);
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
    return new ReadinessGate(
      `${child}-gate`,
      {
        parameterName: gateOf(machineName),
        instanceIds: [machine.instance.id],
        also: [
          ...[machine.instance.instanceType, attachment.id],
          ...[place.availabilityZone, args.accessControl],
        ],
        timeoutSeconds: args.readyTimeoutSeconds,
        dependsOn: [record],
      },
      { parent: this },
    );
  }

  private createUrl(
    database: string,
    users: UserPasswords | undefined,
    user: "app" | "oplogger",
  ): pulumi.Output<string> {
    const hosts = this.members.map((member) => `${member}:27017`).join(",");
    const query = `replicaSet=${replicaSet}&readPreference=primary&w=majority`;
    return users === undefined
      ? pulumi.secret(`mongodb://${hosts}/${database}?${query}`)
      : pulumi.secret(
          pulumi.interpolate`mongodb://${user}-${users.version}:${users[user]}@${hosts}/${database}?${query}&authSource=admin`,
        );
  }
}

function hostOf(machineName: string): string {
  return `${machineName}.${zoneName}`;
}

/** As MongoDB's `createUser` takes them, each with the least that Meteor needs. */
function leastUsers({ version, app, oplogger }: pulumi.Unwrap<UserPasswords>): object[] {
  return [
    { user: `app-${version}`, pwd: app, roles: [{ role: "readWrite", db: "app" }] },
    { user: `oplogger-${version}`, pwd: oplogger, roles: [{ role: "read", db: "local" }] },
  ];
}

/** Telegraf's. */
function monitorUser(pwd: string): object {
  const roles = [
    { role: "clusterMonitor", db: "admin" },
    { role: "read", db: "local" },
  ];
  return { user: "monitor", pwd, roles };
}

/** Name of the parameter that tells the passwords' version, beside those of the gates. */
export const passwordGate = "mongo-passwords";

/**
 * Refuses what would cost data of the set that runs, before anything happens.
 *
 * @param gates values of the parameters that the members' gates have written, by the machines' names
 * @param places availability zones of the members that are wanted; none for an external set
 * @param passwordVersion which one is wanted
 * @param accessControl what is wanted
 * @throws pulumi.RunError which says what to do instead
 */
export function checkRunningSet(
  gates: Record<string, string>,
  places: string[] | undefined,
  passwordVersion = 1,
  accessControl: "firewall" | "rbac" = "rbac",
): void {
  const running = membersOf(gates);
  if (running.length === 0) {
    return;
  }
  if (places === undefined) {
    throw new pulumi.RunError(
      `mongoUrl is set, but this stack has a replica set with data (${running.join(", ")}). ` +
        "Move the data first; then set protectData to false and run the update without mongoUrl, and then with it.",
    );
  }
  if (running.length > places.length) {
    throw new pulumi.RunError(
      `mongoMembers is ${places.length}, but the replica set has ${running.length} members, and which of them has the ` +
        "newest data only the set knows. Leave it at 3; for a smaller set make another stack from a snapshot.",
    );
  }
  const otherAccess = accessControl === "rbac" ? "firewall" : "rbac";
  if (running.length > 1 && running.some((name) => gates[name]?.split(" ").includes(otherAccess))) {
    throw new pulumi.RunError(
      `mongoAccessControl is ${accessControl}, but the members that run have ${otherAccess}: changed one after the ` +
        "other, they would refuse each other. Set it back; another stack can begin with a snapshot of this one.",
    );
  }
  const version = Number(gates[passwordGate] ?? passwordVersion);
  if (passwordVersion !== version && passwordVersion !== version + 1) {
    throw new pulumi.RunError(
      `mongoPasswordVersion is ${passwordVersion}, but the hosts that run have the passwords of version ${version}; ` +
        `it must be ${version}, or ${version + 1} for new ones: the set keeps two versions, so that no host is locked out.`,
    );
  }
  for (const name of running) {
    const index = machineNames.indexOf(name);
    const zone = /(^| )([a-z]{2}(-[a-z]+)+-\d[a-z])( |$)/.exec(gates[name] ?? "")?.[2];
    if (zone !== undefined && zone !== places[index]) {
      throw new pulumi.RunError(
        `${name} would be in ${String(places[index])}, but its data volume is in ${zone} and can't move. ` +
          `Set ${index === 0 ? "availabilityZone" : "mongoZones"} back.`,
      );
    }
  }
}

/** Names of the members that have been ready once, of what the gates have written. */
export function membersOf(gates: Record<string, string>): string[] {
  return machineNames.filter((name) => gates[name] !== undefined);
}

interface Passwords {
  admin: pulumi.Output<string>;
  /** Of the one that only looks; the same in all versions. */
  monitor: pulumi.Output<string>;
  /** Those that are valid, the newest last. */
  users: UserPasswords[];
  keyFile: pulumi.Output<string>;
}

interface UserPasswords {
  version: number;
  app: pulumi.Output<string>;
  oplogger: pulumi.Output<string>;
}
