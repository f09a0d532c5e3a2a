import { createHash } from "node:crypto";
import { existsSync, realpathSync } from "node:fs";
import { chmod, mkdir, readFile, realpath, rm, symlink, writeFile } from "node:fs/promises";
import { delimiter, dirname, join } from "node:path";
import { pathToFileURL } from "node:url";
import { version as sdkVersion } from "@pulumi/pulumi/package.json";
import { engineFolder, repositoryFolder, toolsBinFolder, toolsFolder } from "../paths";
import { installDebianPackages } from "./debianPackages";
import { isMade, makeOnce, outputOf, runLogged, type Step, UserError } from "./step";

const officialDownloads = "https://get.pulumi.com/releases/sdk";
const folder = join(toolsFolder, "pulumi");
const goModule = join(__dirname, "pulumiCli");
const languageHostName = "pulumi-language-nodejs";

/**
 * Puts `pulumi` in the tools' bin folder: the one on the PATH if it will do, else the official one,
 * else one built from its source, with a language host of our own.
 */
export async function installPulumiCli(step: Step): Promise<void> {
  const program = (await suitableProgramOnPath()) ?? (await downloadOrBuild(step));
  await mkdir(toolsBinFolder, { recursive: true });
  const link = join(toolsBinFolder, "pulumi");
  await rm(link, { force: true });
  await symlink(program, link);
  await writeExecutable(
    join(engineFolder, "bin", "pulumi"),
    // Ctrl-C must reach the engine once, from the command that started it: a second one makes it
    // leave resources behind. So it is not to be in the terminal's own group of processes.
    `exec setsid --wait "${program}" "$@"`,
  );
  if (await cliIsBuilt()) {
    await writeLanguageHost(join(folder, languageHostName));
  }
}

/** Whether the CLI in use was built from its source, which comes without the official language host. */
export async function cliIsBuilt(): Promise<boolean> {
  const program = await realpath(join(toolsBinFolder, "pulumi"));
  return dirname(program) === folder && (await isMade(folder, builtStamp()));
}

async function suitableProgramOnPath(): Promise<string | undefined> {
  for (const directory of (process.env.PATH ?? "").split(delimiter)) {
    const candidate = join(directory, "pulumi");
    if (directory === toolsBinFolder || !existsSync(candidate)) {
      continue;
    }
    const program = realpathSync(candidate);
    if (!existsSync(join(dirname(program), languageHostName))) {
      continue;
    }
    const version = await outputOf(program, ["version"], {
      env: { PULUMI_SKIP_UPDATE_CHECK: "true" },
    });
    if (version !== undefined && isAtLeast(version, sdkVersion)) {
      return program;
    }
  }
  return undefined;
}

/** A CLI older than the SDK may lack what it asks for. Whether a version has the same major part as another and at least its minor one. */
export function isAtLeast(version: string, wanted: string): boolean {
  const [major, minor] = parts(version);
  const [wantedMajor, wantedMinor] = parts(wanted);
  return major === wantedMajor && minor >= wantedMinor;
}

function parts(version: string): [number, number] {
  const match = /^v?(\d+)\.(\d+)\./.exec(version.trim());
  return match === null ? [NaN, NaN] : [Number(match[1]), Number(match[2])];
}

function builtStamp(): string {
  return `built ${sdkVersion}`;
}

async function downloadOrBuild(step: Step): Promise<string> {
  const program = join(folder, "pulumi");
  const official = `official ${sdkVersion}`;
  if ((await isMade(folder, official)) || (await isMade(folder, builtStamp()))) {
    return program;
  }
  const checksums = await officialChecksums(step);
  if (checksums === undefined) {
    await makeOnce(folder, builtStamp(), () => build(step, program));
  } else {
    await makeOnce(folder, official, () => download(step, checksums));
  }
  return program;
}

/** `undefined` where the official downloads can't be reached. */
async function officialChecksums(step: Step): Promise<string | undefined> {
  step.progress("looking for the official download");
  const checksums = await outputOf(
    "curl",
    [
      ...["--fail", "--silent", "--location", "--connect-timeout", "5", "--max-time", "30"],
      `${officialDownloads}/pulumi-${sdkVersion}-checksums.txt`,
    ],
    { signal: step.signal },
  );
  step.signal.throwIfAborted();
  return checksums;
}

async function download(step: Step, checksums: string): Promise<void> {
  const name = `pulumi-v${sdkVersion}-linux-x64.tar.gz`;
  const wanted = checksums
    .split("\n")
    .map((line) => line.trim().split(/\s+/))
    .find(([, file]) => file === name)?.[0];
  const archive = join(folder, name);
  await runLogged(step, "pulumi", "curl", [
    ...["--fail", "--silent", "--show-error", "--location", "--retry", "3"],
    ...["--output", archive, `${officialDownloads}/${name}`],
  ]);
  const found = createHash("sha256")
    .update(await readFile(archive))
    .digest("hex");
  if (found !== wanted) {
    throw new UserError(
      `${officialDownloads}/${name} has the SHA-256 ${found}, but its publisher says ${wanted ?? "nothing"}. ` +
        `Nothing of it was used. Try again, or install Pulumi ${sdkVersion} yourself.`,
    );
  }
  await runLogged(step, "pulumi", "tar", [
    ...["--extract", "--file", archive, "--directory", folder],
    ...["--strip-components", "1", "--no-same-owner"],
  ]);
  await rm(archive);
}

async function build(step: Step, program: string): Promise<void> {
  if (!(await goWillDo())) {
    await installDebianPackages(step, ["golang-go"]);
    if (!(await goWillDo())) {
      const wanted = /^go (.+)$/m.exec(await readFile(join(goModule, "go.mod"), "utf8"))?.[1];
      throw new UserError(
        `The Pulumi CLI can't be fetched from get.pulumi.com here, and to build it takes Go ${wanted ?? ""} or newer, ` +
          `which this computer does not have. Put either pulumi ${sdkVersion} with its ${languageHostName} or such a Go on the PATH.`,
      );
    }
  }
  step.progress("building it from source with Go, which takes 4 to 8 minutes the first time");
  await runLogged(
    step,
    "pulumi",
    "go",
    [
      ...["build", "-v", "-buildvcs=false", "-mod=readonly", "-o", program, "-ldflags"],
      `-s -w -X github.com/pulumi/pulumi/sdk/v3/go/common/version.Version=v${sdkVersion}`,
      "github.com/pulumi/pulumi/pkg/v3/cmd/pulumi",
    ],
    { cwd: goModule },
  );
}

/** Go itself refuses a module that asks for a newer one which it can't have. */
async function goWillDo(): Promise<boolean> {
  return (await outputOf("go", ["list", "-m"], { cwd: goModule })) !== undefined;
}

/**
 * Writes the program that the engine starts, and looks for beside itself: our own language host, by
 * its path in this repository.
 */
export async function writeLanguageHost(path: string): Promise<void> {
  const loader = pathToFileURL(require.resolve("tsx")).href;
  const main = join(repositoryFolder, "local", "languageHost", "main.ts");
  await writeExecutable(path, `exec "${process.execPath}" --import "${loader}" "${main}" "$@"`);
}

async function writeExecutable(path: string, command: string): Promise<void> {
  await mkdir(dirname(path), { recursive: true });
  await writeFile(path, `#!/bin/sh\n${command}\n`);
  await chmod(path, 0o755);
}
