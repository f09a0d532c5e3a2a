import { execFile, spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readFileSync, renameSync } from "node:fs";
import { join } from "node:path";
import { repositoryFolder, toolsBinFolder, toolsFolder } from "../local/paths";

/**
 * Installs the Debian packages of programs that are missing. A check is never skipped for want of one.
 *
 * @param packages path of a program, and the package that has it
 */
export function installTools(packages: Record<string, string>): void {
  const missing = Object.entries(packages)
    .filter(([path]) => !existsSync(path))
    .map(([, name]) => name);
  if (missing.length === 0) {
    return;
  }
  // Another test may be at it.
  const aptGet = ["/run/lock/meteor-scale-apt", "apt-get", "-qq"];
  run("flock", [...aptGet, "update"]);
  run("flock", [...aptGet, "install", "-y", "--no-install-recommends", ...missing], {
    DEBIAN_FRONTEND: "noninteractive",
  });
}

/** What a program printed, and how it ended. */
export interface Outcome {
  status: number | null;
  /** Standard output and standard error. */
  output: string;
}

/** Runs a program to its end. */
export function outcomeOf(
  program: string,
  args: string[],
  environment: Record<string, string> = {},
): Outcome {
  const { status, stdout, stderr, error } = spawnSync(program, args, {
    encoding: "utf8",
    env: { ...process.env, ...environment },
    // A machine's journal outgrows the default of one megabyte.
    maxBuffer: Infinity,
  });
  if (error !== undefined) {
    throw error;
  }
  return { status, output: stdout + stderr };
}

/**
 * Runs a program to its end while this process answers what it asks.
 *
 * @throws Error if it has not ended after 45 seconds
 */
export function outcomeMeanwhile(
  program: string,
  args: string[],
  environment: Record<string, string>,
): Promise<Outcome> {
  const options = { env: { ...process.env, ...environment }, timeout: 45_000, maxBuffer: Infinity };
  return new Promise((resolve, reject) => {
    const child = execFile(program, args, options, (error, stdout, stderr) => {
      if (error?.killed) {
        reject(new Error(`${program} ${args.join(" ")} did not end:\n${stdout}${stderr}`));
      } else {
        resolve({ status: child.exitCode, output: stdout + stderr });
      }
    });
  });
}

/** Runs a program that must end well, and returns what it printed. */
export function run(
  program: string,
  args: string[],
  environment: Record<string, string> = {},
): string {
  const { status, output } = outcomeOf(program, args, environment);
  if (status !== 0) {
    throw new Error(`${program} ${args.join(" ")} ended with ${String(status)}:\n${output}`);
  }
  return output;
}

/** Hitch 1.8.0, built by the script that builds it on a balancer, once for each text of that. */
export function builtHitch(): string {
  const scripts = join(repositoryFolder, "userdata");
  const script = readFileSync(join(scripts, "balancer/build-hitch.sh"));
  const stamp = createHash("sha256").update(script).digest("hex").slice(0, 12);
  const hitch = join(toolsFolder, `hitch-1.8.0-${stamp}`);
  if (!existsSync(hitch)) {
    const install = readFileSync(join(scripts, "balancer/install-balancer.sh"), "utf8");
    const needs = /install-packages" (autoconf .*)/.exec(install)?.[1] ?? "";
    run(join(scripts, "machine/install-packages.sh"), ["libev4", ...needs.split(" ")]);
    mkdirSync(toolsFolder, { recursive: true });
    const unfinished = `${hitch}.${process.pid}`;
    run(join(scripts, "balancer/build-hitch.sh"), [unfinished]);
    renameSync(unfinished, hitch);
  }
  return hitch;
}

/** What lets `pulumi` run with state and settings of its own, all below one folder. */
export function isolatedPulumi(folder: string): Record<string, string> {
  return {
    // A language host in `bin` comes first, even where the CLI has its own.
    PATH: [join(folder, "bin"), toolsBinFolder, process.env.PATH ?? ""].join(":"),
    PULUMI_HOME: join(folder, "home"),
    PULUMI_BACKEND_URL: `file://${folder}`,
    PULUMI_CONFIG_PASSPHRASE: "test",
    PULUMI_SKIP_UPDATE_CHECK: "true",
  };
}
