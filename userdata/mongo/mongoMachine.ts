import { type MachineContents, script, staticFile } from "../cloudConfig";
import { mongodConfig } from "./mongodConfig";

export interface MongoMachineArgs {
  /** Name of the replica set. */
  replicaSet: string;
  /** The member's DNS name, by which drivers and other members know it. */
  memberHost: string;
  accessControl: "firewall" | "rbac";
  /** Id of the data volume, such as `vol-0123456789abcdef0`. */
  dataVolume: string;
}

/** A member of the replica set, its data on a volume of its own. */
export function mongoMachine(args: MongoMachineArgs): MachineContents {
  const { replicaSet, accessControl } = args;
  return {
    environment: {
      REPLICA_SET: replicaSet,
      MEMBER_HOST: `${args.memberHost}:27017`,
      ACCESS_CONTROL: accessControl,
      DATA_VOLUME: args.dataVolume,
    },
    files: [
      { path: "/etc/mongod.conf", content: mongodConfig({ replicaSet, accessControl }) },
      {
        path: "/etc/systemd/system/mongod.service.d/meteor-scale.conf",
        content: staticFile("mongo", "mongod.conf"),
      },
      {
        path: "/etc/systemd/system/meteor-scale-kernel.service",
        content: staticFile("mongo", "kernel.service"),
      },
      { path: "/etc/sysctl.d/60-mongodb.conf", content: "vm.swappiness = 1\n" },
      script("mongo", "install-mongodb"),
      script("mongo", "mount-data"),
      script("mongo", "set-up-replica-set"),
      {
        path: "/usr/local/lib/meteor-scale/set-up-replica-set.js",
        content: staticFile("mongo", "set-up-replica-set.js"),
      },
    ],
    steps: ["install-mongodb", "mount-data", "set-up-replica-set"],
  };
}
