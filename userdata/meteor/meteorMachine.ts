import { type MachineContents, script, staticFile, telegrafPart, unit } from "../cloudConfig";

/** What a Meteor host is made of, beside what every machine gets. */
export interface MeteorMachineArgs {
  /** Where the bundle lies: `s3://BUCKET/KEY` or `https://…`. */
  bundle: string;
  /** SHA-256 of the bundle, in hexadecimal. */
  bundleSha256: string;
  rootUrl: string;
  /** The port that the balancer connects to. */
  port: number;
  /** Limit of Node's heap, in megabytes. */
  heapMegabytes: number;
  /** How long the application must answer without a crash before the host is ready, in seconds. */
  minReadySeconds: number;
  /** How long a host that is shut down serves on at most, in seconds; 10 at least. */
  drainTimeoutSeconds: number;
  /** Id of the volume with the database, if it is the stack's own: a restored one is a release too. */
  dataVolume: string | undefined;
  /** Changes whenever a secret does, so that a changed secret is a release. */
  secretsDigest: string;
}

/** One of the identical hosts: one process of the application, started again whenever it ends. */
export function meteorMachine(args: MeteorMachineArgs): MachineContents {
  return {
    environment: {
      BUNDLE: args.bundle,
      BUNDLE_SHA256: args.bundleSha256,
      SECRETS_DIGEST: args.secretsDigest,
      ...(args.dataVolume !== undefined && { DATA_VOLUME: args.dataVolume }),
      HEAP_MEGABYTES: String(args.heapMegabytes),
      MIN_READY_SECONDS: String(args.minReadySeconds),
      DRAIN_TIMEOUT: String(args.drainTimeoutSeconds),
      NODE_ENV: "production",
      ROOT_URL: args.rootUrl,
      PORT: String(args.port),
      BIND_IP: "0.0.0.0",
      // The balancer is the one proxy that adds an address.
      HTTP_FORWARDED_COUNT: "1",
      USE_JSESSIONID: "1",
      // Meteor 3.5 would prefer change streams.
      METEOR_REACTIVITY_ORDER: "oplog,polling",
    },
    files: [
      script("meteor", "fetch-bundle"),
      script("meteor", "install-node"),
      script("meteor", "build-bundle"),
      script("meteor", "check-mongo"),
      {
        path: "/usr/local/lib/meteor-scale/check-mongo.js",
        content: staticFile("meteor", "check-mongo.js"),
        fetched: true,
      },
      {
        path: "/usr/local/lib/meteor-scale/report-node.js",
        content: staticFile("meteor", "report-node.js"),
        fetched: true,
      },
      telegrafPart("meteor"),
      script("meteor", "start-meteor"),
      script("meteor", "run-meteor"),
      script("meteor", "drain"),
      script("meteor", "serves"),
      unit("meteor", "meteor.service"),
    ],
    steps: ["fetch-bundle", "install-node", "build-bundle", "check-mongo", "start-meteor"],
  };
}
