import { execFileSync, spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parse, stringify } from "yaml";
import { pulumiEnvironment } from "../../../local/engine";
import { fetchPage, stackCertificate } from "../../../local/page";
import { repositoryFolder, stackName } from "../../../local/paths";
import type { StatusOfMachine } from "../../../local/region/status";
import { type Outcome, outcomeOf } from "../../tools";
import { readStatistic } from "../../userdata/balancerSandbox";
import { inMachine } from "../machines";

/** The stack `local` as `npm run local` makes it, and where its clients find it. */
export interface Stack {
  /** Of this computer's loopback range. */
  address: string;
  /** The same as the namespace that plays the internet knows it. */
  internetAddress: string;
  /** The balancer's certificate, in PEM. */
  certificate: string;
}

/** The address that the stack `local` has in its configuration. */
export const rootUrl = "https://meteor.localhost";

/** Brings the stack up, or does nothing if it is. */
export async function upStack(): Promise<Stack> {
  localCommand("up");
  const balancer = machines().find(({ name }) => name.endsWith("-balancer"));
  const stack = {
    address: balancer?.elasticAddress ?? "",
    internetAddress: balancer?.internetAddress ?? "",
    certificate: await stackCertificate(),
  };
  await fetchPage(stack.address, rootUrl, stack.certificate);
  return stack;
}

/** What a command of `npm run local` prints, which must end well. */
export function localCommand(...args: string[]): string {
  return execFileSync("npm", ["run", "--silent", "local", "--", ...args], {
    cwd: repositoryFolder,
    encoding: "utf8",
  });
}

export function machines(): StatusOfMachine[] {
  const { machines } = JSON.parse(localCommand("status", "--json")) as {
    machines: StatusOfMachine[];
  };
  return machines;
}

/** Runs Pulumi in a terminal's way, with the environment that `npm run local -- env` prints. */
export function pulumi(...args: string[]): Outcome {
  return outcomeOf(
    "pulumi",
    [...args, "--stack", stackName, "--cwd", repositoryFolder, "--color", "never"],
    pulumiEnvironment(),
  );
}

/** Runs an update of the stack with other config values than those of Pulumi.local.yaml. */
export function updateWith(values: Record<string, unknown>): Outcome {
  const folder = mkdtempSync(join(tmpdir(), "meteor-scale-stack-"));
  try {
    const file = join(folder, "config.yaml");
    const committed = readFileSync(join(repositoryFolder, `Pulumi.${stackName}.yaml`), "utf8");
    const settings = parse(committed) as { config: Record<string, unknown> };
    const changed = Object.entries(values).map(
      ([key, value]) => [`meteor-scale:${key}`, value] as const,
    );
    writeFileSync(
      file,
      stringify({ ...settings, config: { ...settings.config, ...Object.fromEntries(changed) } }),
    );
    return pulumi("up", "--yes", "--skip-preview", "--config-file", file);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** What curl gets in the namespace that plays the internet. */
export function fromInternet(...args: string[]): Outcome {
  const { status, stdout } = spawnSync(
    "nsenter",
    ["--net=/run/netns/meteor-internet", "--", "curl", "--silent", "--max-time", "3", ...args],
    { encoding: "utf8" },
  );
  return { status, output: stdout };
}

/** HAProxy's own view of each host: a column of its statistics by the host's name. */
export function statistic(column: string): Record<string, string> {
  const table = inMachine("balancer", 'echo "show stat" | socat - /run/haproxy/admin.sock');
  return readStatistic(table, column);
}
