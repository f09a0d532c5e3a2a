import { spawnSync } from "node:child_process";
import { findMachine } from "../../local/region/access";
import { type Outcome, outcomeOf } from "../tools";

/** Runs a shell command in a machine of the region that runs, by the process id of its systemd. */
export function outcomeIn(leader: number | undefined, command: string): Outcome {
  if (leader === undefined) {
    throw new Error(`the machine is off, so it can't run ${command}`);
  }
  return outcomeOf("nsenter", ["--all", `--target=${leader}`, "--wd", "--", "bash", "-c", command]);
}

/** What a shell command that must end well prints in a machine of the stack, such as `host1`. */
export function inMachine(name: string, command: string): string {
  const { status, output } = outcomeIn(findMachine(name).leader, command);
  if (status !== 0) {
    throw new Error(`${command} on ${name} ended with ${String(status)}: ${output}`);
  }
  return output.trim();
}

/** What a machine's power failing for a moment does. */
export function crash(name: string): void {
  const { leader } = findMachine(name);
  if (leader === undefined) {
    throw new Error(`${name} is off, so it can't crash`);
  }
  process.kill(leader, "SIGKILL");
}

/** Tries until it does not throw; fails with the last error. */
export async function eventually<Result>(
  attempt: () => Result | Promise<Result>,
  seconds = 30,
): Promise<Result> {
  for (const end = Date.now() + seconds * 1000; ;) {
    try {
      return await attempt();
    } catch (error) {
      if (Date.now() > end) {
        throw error;
      }
      await new Promise((resolve) => setTimeout(resolve, 200));
    }
  }
}

/** Whether a TCP connection opens, from where `enter` leads: arguments for nsenter. */
export function connects(enter: string[], host: string, port: number): boolean {
  const open = `exec 3<>/dev/tcp/${host}/${port}`;
  const { status } = spawnSync("nsenter", [...enter, "--", "timeout", "3", "bash", "-c", open]);
  return status === 0;
}
