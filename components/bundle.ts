import { createHash } from "node:crypto";
import { existsSync, readFileSync, statSync } from "node:fs";
import * as pulumi from "@pulumi/pulumi";
import { PrivateBucket } from "./privateBucket";
import { list } from "tar";

/** What a bundle says of itself. */
export interface BundleFacts {
  /** SHA-256 of the archive, in hexadecimal. */
  sha256: string;
  /** The Node version in its `.node_version.txt`, without the `v`. */
  nodeVersion: string;
  /** The processor it was built for. */
  architecture: "x86_64" | "arm64";
}

const architectures: Record<string, BundleFacts["architecture"]> = {
  "os.linux.x86_64": "x86_64",
  "os.linux.aarch64": "arm64",
};

/**
 * Reads the archive that `meteor build` made.
 *
 * @param path path of the `.tar.gz`, relative to the project's folder or absolute
 * @throws Error that says what is missing and how to make it
 */
export function readBundle(path: string): BundleFacts {
  const make = "make one with: meteor build DIR --architecture os.linux.x86_64 --server-only";
  if (!existsSync(path) || !statSync(path).isFile()) {
    throw new Error(`there is no file at that path; ${make}`);
  }
  const wanted = new Map<string, string>();
  const seen = new Set<string>();
  try {
    list({
      file: path,
      sync: true,
      strict: true,
      onReadEntry: (entry) => {
        const name = entry.path.replace(/^\.\//, "");
        seen.add(name);
        if (name === "bundle/.node_version.txt" || name === "bundle/star.json") {
          const chunks: Buffer[] = [];
          entry.on("data", (chunk: Buffer) => chunks.push(chunk));
          entry.on("end", () => wanted.set(name, Buffer.concat(chunks).toString("utf8")));
        }
      },
    });
  } catch (error) {
    throw new Error(`it is not a .tar.gz archive (${(error as Error).message}); ${make}`);
  }
  if (!seen.has("bundle/main.js")) {
    throw new Error(`it has no bundle/main.js, so it is not what meteor build makes; ${make}`);
  }
  const nodeVersion = wanted.get("bundle/.node_version.txt")?.trim().replace(/^v/, "");
  if (nodeVersion === undefined || !/^\d+\.\d+\.\d+$/.test(nodeVersion)) {
    throw new Error(`it has no bundle/.node_version.txt with a Node version; ${make}`);
  }
  return {
    sha256: createHash("sha256").update(readFileSync(path)).digest("hex"),
    nodeVersion,
    architecture: serverArchitecture(wanted.get("bundle/star.json")),
  };
}

function serverArchitecture(star: string | undefined): BundleFacts["architecture"] {
  let programs: { name?: string; arch?: string }[] = [];
  try {
    const document = JSON.parse(star ?? "{}") as { programs?: typeof programs };
    programs = document.programs ?? [];
  } catch {
    throw new Error("its bundle/star.json is not JSON");
  }
  const arch = programs.find((program) => program.name === "server")?.arch ?? "missing";
  const architecture = architectures[arch];
  if (architecture === undefined) {
    throw new Error(
      `its server program is for ${arch}; build it with --architecture ${Object.keys(architectures).join(" or ")}`,
    );
  }
  return architecture;
}

/** Where the machines find a bundle, and who may read it. */
export interface BundleLocation {
  /** `s3://BUCKET/KEY` or `https://…`. */
  address: pulumi.Input<string>;
  sha256: string;
  /** ARN of the one object that hosts must be able to read; none for an https address. */
  objectArn?: pulumi.Input<string>;
}

/**
 * A bundle of this computer in a private, encrypted bucket, under its own hash: a release adds an
 * object. Those of earlier releases stay, until the stack is destroyed.
 *
 * Cost: 0.023 USD a month for each GB.
 */
export class UploadedBundle extends pulumi.ComponentResource implements BundleLocation {
  readonly address: pulumi.Output<string>;
  readonly sha256: string;
  readonly objectArn: pulumi.Output<string>;

  constructor(
    name: string,
    args: { path: string; sha256: string },
    options?: pulumi.ComponentResourceOptions,
  ) {
    super("meteor-scale:bundle:UploadedBundle", name, {}, options);
    const bucket = new PrivateBucket(name, { parent: this });
    const { address, arn } = bucket.upload(
      `${name}-archive`,
      `bundles/${args.sha256}.tar.gz`,
      { source: new pulumi.asset.FileAsset(args.path) },
      this,
    );
    this.address = address;
    this.sha256 = args.sha256;
    this.objectArn = arn;
    this.registerOutputs({ address: this.address });
  }
}
