import { stringify } from "yaml";

export interface MongodConfigArgs {
  /** The replica set's name. */
  replicaSet: string;
  /** `rbac`: users with passwords and a key file; `firewall`: the security group alone. */
  accessControl: "firewall" | "rbac";
}

/** The port of mongod. */
export const mongoPort = 27017;

/** The text of mongod.conf, for MongoDB 8.0. What it leaves out is as MongoDB has it; it logs to the journal. */
export function mongodConfig({ replicaSet, accessControl }: MongodConfigArgs): string {
  return stringify({
    storage: { dbPath: "/var/lib/mongodb" },
    // Who may connect is the security group's business.
    net: { port: mongoPort, bindIp: "0.0.0.0" },
    // MongoDB's own least size is 990; the smallest volume has room for this.
    replication: { replSetName: replicaSet, oplogSizeMB: 1024 },
    ...(accessControl === "rbac" && {
      security: { authorization: "enabled", keyFile: "/etc/mongod.key" },
    }),
  });
}
