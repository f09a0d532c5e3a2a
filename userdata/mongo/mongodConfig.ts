import { stringify } from "yaml";

export interface MongodConfigArgs {
  /** Name of the replica set. */
  replicaSet: string;
  /** `rbac`: users and a key file; `firewall`: the security group alone guards the member. */
  accessControl: "firewall" | "rbac";
}

/** Where the data volume is mounted. */
export const dataPath = "/var/lib/mongodb";

/** mongod.conf of a member. */
export function mongodConfig(args: MongodConfigArgs): string {
  return stringify({
    storage: { dbPath: dataPath },
    systemLog: { destination: "file", path: "/var/log/mongodb/mongod.log", logAppend: true },
    // Who may connect is the security group's to say.
    net: { port: 27017, bindIp: "0.0.0.0" },
    // Counts when the set is first made; a day of most applications' writes.
    replication: { replSetName: args.replicaSet, oplogSizeMB: 1024 },
    ...(args.accessControl === "rbac"
      ? { security: { authorization: "enabled", keyFile: "/etc/mongod.key" } }
      : {}),
  });
}
