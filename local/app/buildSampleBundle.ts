import { createHash } from "node:crypto";
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { create } from "tar";

/** The Node version that the sample bundle asks for; the machine image has it. */
export const sampleNodeVersion = "22.23.3";

const source = join(__dirname, "bundle");

/** Where the stack `local` finds it. */
export const sampleBundleFile = join(__dirname, "build", "meteor-app.tar.gz");

/**
 * Makes the sample application into an archive of the shape that `meteor build` makes, with its modules
 * inside, so that a machine without internet can run it. The same sources make the same bytes.
 */
export async function buildSampleBundle(): Promise<void> {
  const stampFile = `${sampleBundleFile}.sources`;
  const stamp = hashOfSources();
  if (
    existsSync(sampleBundleFile) &&
    existsSync(stampFile) &&
    readFileSync(stampFile, "utf8") === stamp
  ) {
    return;
  }
  const work = mkdtempSync(join(tmpdir(), "meteor-scale-app-"));
  try {
    const bundle = join(work, "bundle");
    cpSync(source, bundle, { recursive: true });
    cpSync(sockjsClient(), join(bundle, "programs/web.browser/sockjs.min.js"));
    writeFileSync(join(bundle, ".node_version.txt"), `v${sampleNodeVersion}\n`);
    // An ES module, which only a dynamic import of a CommonJS module can load.
    const { execa } = await import("execa");
    await execa("npm", ["ci", "--omit=dev", "--no-audit", "--no-fund"], {
      cwd: join(bundle, "programs/server"),
    });
    mkdirSync(join(__dirname, "build"), { recursive: true });
    const file = `${sampleBundleFile}.new`;
    const entries = readdirSync(work, { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile() || entry.isSymbolicLink())
      .map((entry) => join(entry.parentPath, entry.name).slice(work.length + 1))
      .sort();
    await create({ file, cwd: work, gzip: true, portable: true, mtime: new Date(0) }, entries);
    renameSync(file, sampleBundleFile);
    writeFileSync(stampFile, stamp);
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}

/** The browser's half of SockJS, of the version that the tests' clients use. */
function sockjsClient(): string {
  return require.resolve("sockjs-client/dist/sockjs.min.js");
}

function hashOfSources(): string {
  const hash = createHash("sha256").update(sampleNodeVersion);
  for (const entry of readdirSync(source, { recursive: true, withFileTypes: true })) {
    if (entry.isFile()) {
      const path = join(entry.parentPath, entry.name);
      hash.update(path.slice(source.length)).update(readFileSync(path));
    }
  }
  return hash.digest("hex");
}
