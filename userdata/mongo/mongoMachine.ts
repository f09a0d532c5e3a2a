import { type MachineContents, script, staticFile, telegrafPart, unit } from "../cloudConfig";
import { mongodConfig, type MongodConfigArgs, mongoPort } from "./mongodConfig";

/** What a member of the replica set is made of, beside what every machine gets. */
export interface MongoMachineArgs extends MongodConfigArgs {
  /** The member's DNS name, by which the set and its clients know it. */
  memberHost: string;
  /** DNS name of the member that should be the primary. */
  preferredPrimary: string;
  /** Id of the EBS volume with its data, such as `vol-0123456789abcdef0`. */
  dataVolume: string;
  /**
   * Names of the SSM parameters that exist once a member has been ready, for all members that the set can ever have;
   * each ends in the first label of its member's DNS name. As soon as there is one, no member initiates a set: it
   * copies the data from the others. Which exist is asked at run time: otherwise a member more would replace the
   * machines of all. The machine's role must be allowed to read them.
   */
  gates: string[];
}

// https://www.mongodb.com/docs/v8.0/administration/tcmalloc-performance/ and, for swappiness,
// https://www.mongodb.com/docs/v8.0/administration/production-notes/. mongod warns of less than two maps for
// each connection, of which it takes 0.8 for each file of LimitNOFILE. "-": where a container may not set it.
const hugePages = `w- /sys/kernel/mm/transparent_hugepage/enabled - - - - always
w- /sys/kernel/mm/transparent_hugepage/defrag - - - - defer+madvise
w- /sys/kernel/mm/transparent_hugepage/khugepaged/max_ptes_none - - - - 0
`;
const memory = `-vm.overcommit_memory = 1
-vm.swappiness = 1
-vm.max_map_count = 102400
`;

// Its log and its reports to MongoDB have no place where passwords are set.
const shell = "mongosh:\n  enableTelemetry: false\n  disableLogging: true\n";

/** A member of the replica set: mongod on a data volume of its own. */
export function mongoMachine(args: MongoMachineArgs): MachineContents {
  return {
    environment: {
      REPLICA_SET: args.replicaSet,
      MEMBER_HOST: `${args.memberHost}:${mongoPort}`,
      ACCESS_CONTROL: args.accessControl,
      PREFERRED_PRIMARY: `${args.preferredPrimary}:${mongoPort}`,
      DATA_VOLUME: args.dataVolume,
      GATES: args.gates.join(" "),
    },
    files: [
      { path: "/etc/mongod.conf", content: mongodConfig(args) },
      { path: "/etc/mongosh.conf", content: shell },
      { path: "/etc/sysctl.d/60-mongod.conf", content: memory },
      { path: "/etc/tmpfiles.d/mongod.conf", content: hugePages },
      unit("mongo", "mongo-data.service"),
      unit("mongo", "mongo-data.timer"),
      {
        path: "/etc/systemd/system/mongod.service.d/machine.conf",
        content: staticFile("mongo", "mongod-machine.conf"),
        fetched: true,
      },
      telegrafPart("mongo"),
      {
        path: "/etc/systemd/system/telegraf.service.d/mongo.conf",
        content: staticFile("mongo", "telegraf-machine.conf"),
        fetched: true,
      },
      script("mongo", "report-mongo"),
      {
        path: "/usr/local/lib/meteor-scale/report-mongo.js",
        content: staticFile("mongo", "report-mongo.js"),
        fetched: true,
      },
      script("mongo", "install-mongodb"),
      script("mongo", "mount-data"),
      script("mongo", "set-up-replica-set"),
      script("mongo", "serves"),
      ...(args.accessControl === "rbac"
        ? [
            script("mongo", "update-users"),
            unit("mongo", "update-users.service"),
            unit("mongo", "update-users.timer"),
          ]
        : []),
      {
        path: "/usr/local/lib/meteor-scale/set-up-replica-set.js",
        content: staticFile("mongo", "set-up-replica-set.js"),
        fetched: true,
      },
    ],
    steps: ["install-mongodb", "mount-data", "set-up-replica-set"],
  };
}
