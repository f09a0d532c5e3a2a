import { mkdtempSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { create, extract } from "tar";
import { sampleBundleFile } from "../../../local/app/buildSampleBundle";

/** How a release differs from the sample application. */
export interface Variant {
  /** The process ends at once, with an error. */
  failAtStart?: boolean;
  /** The process lives, but never listens. */
  hangAtStart?: boolean;
  /** The process ends this long after it began to listen. */
  crashAfterSeconds?: number;
  /** What the bundle asks for, such as `v99.0.0`. */
  nodeVersion?: string;
}

/**
 * Makes a bundle of the sample application as another version.
 *
 * @returns path of the .tar.gz
 */
export function variant(
  folder: string,
  version: string,
  { nodeVersion, ...config }: Variant = {},
): string {
  const source = mkdtempSync(join(folder, `${version}-`));
  extract({ file: sampleBundleFile, cwd: source, sync: true });
  const configFile = join(source, "bundle/programs/server/config.json");
  const before = JSON.parse(readFileSync(configFile, "utf8")) as object;
  writeFileSync(configFile, JSON.stringify({ ...before, version, ...config }));
  if (nodeVersion !== undefined) {
    writeFileSync(join(source, "bundle/.node_version.txt"), `${nodeVersion}\n`);
  }
  const file = join(folder, `${version}.tar.gz`);
  create({ file, cwd: source, gzip: true, sync: true }, ["bundle"]);
  return file;
}
