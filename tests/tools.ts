import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";

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
  run("apt-get", ["-qq", "update"]);
  run("apt-get", ["-qq", "install", "-y", "--no-install-recommends", ...missing], {
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
  });
  if (error !== undefined) {
    throw error;
  }
  return { status, output: stdout + stderr };
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
