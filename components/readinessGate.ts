import { AsyncResource } from "node:async_hooks";
import { setTimeout as sleep } from "node:timers/promises";
import * as pulumi from "@pulumi/pulumi";
import * as aws from "./aws";

/** What a machine has told of itself so far. */
export interface Readiness {
  instanceId: string;
  /** Name of the machine, as people see it. */
  name: string;
  /** The instance's tag `ready`, after its id: `true`, `true: REMARK`, `starting: STEP`, `failed: STEP: REASON`; or nothing yet. */
  ready: string | undefined;
}

export interface WaitOptions {
  /** How long the machines may take, in seconds. */
  timeoutSeconds: number;
  read: (instanceId: string) => Promise<Readiness>;
  /** For tests. Default: a pause of three seconds. */
  pause?: () => Promise<void>;
  /** For tests; milliseconds. Default: the clock. */
  now?: () => number;
}

/**
 * Ends when every instance is ready.
 *
 * @returns what ready machines remark, each with the machine's name
 * @throws pulumi.RunError with the machine's name and its own reason as soon as one has failed, or
 *   with what the slow ones are doing when the time is over
 */
export async function waitUntilReady(
  instanceIds: string[],
  options: WaitOptions,
): Promise<string[]> {
  const now = options.now ?? Date.now;
  const pause = options.pause ?? ((): Promise<void> => sleep(3000));
  const end = now() + options.timeoutSeconds * 1000;
  for (;;) {
    const machines = await Promise.all(instanceIds.map((id) => options.read(id)));
    const failed = machines.filter(({ ready }) => ready?.startsWith("failed:"));
    if (failed.length > 0) {
      throw new pulumi.RunError(`${failures(failed)}\n${whatNow}`);
    }
    const waiting = machines.filter(({ ready }) => !/^true(:|$)/.test(ready ?? ""));
    if (waiting.length === 0) {
      return machines
        .filter(({ ready }) => ready !== "true")
        .map(({ name, ready = "" }) => `${name} is ready, but: ${ready.replace(/^true: /, "")}`);
    }
    if (now() >= end) {
      const reasons = waiting.map((machine) => overdue(machine, options.timeoutSeconds));
      throw new pulumi.RunError([...reasons, whatNow].join("\n"));
    }
    await pause();
  }
}

const whatNow =
  "What ran before keeps all traffic. Mend the cause, or set back what you changed, and run the update again.";

/** Hosts are identical, so they mostly fail alike: each reason is told once. */
function failures(failed: Readiness[]): string {
  const machines = new Map<string, string[]>();
  for (const { name, instanceId, ready = "" } of failed) {
    const reason = ready.replace(/^failed: /, "").replaceAll("|", "\n  ");
    machines.set(reason, [...(machines.get(reason) ?? []), `${name} (${instanceId})`]);
  }
  return [...machines]
    .map(([reason, names]) => `${names.join(", ")} failed in ${reason}`)
    .join("\n");
}

function overdue({ name, instanceId, ready }: Readiness, seconds: number): string {
  const state = ready ?? "no sign of life: can it reach Debian's packages and the AWS API?";
  return `${name} (${instanceId}) is not ready after ${seconds} s (readyTimeout); its last word: ${state}`;
}

/** Reads the tag with the provider's own invoke, so with whatever credentials the stack uses. */
export async function readReadiness(instanceId: string): Promise<Readiness> {
  const { tags } = await aws.ec2.getInstance({ instanceId });
  return readinessOf(instanceId, tags);
}

/** What the tag `ready` tells. Without the machine's own id it is a copy of another machine's. */
export function readinessOf(instanceId: string, tags: Record<string, string>): Readiness {
  const [id, ...words] = (tags["ready"] ?? "").split(" ");
  const ready = id === instanceId ? words.join(" ") : undefined;
  return { instanceId, name: tags["Name"] ?? instanceId, ready };
}

/**
 * A hook that lets a resource be created or updated only when machines are ready.
 *
 * @param instanceIds reads the instances from the resource's new inputs
 */
export function readinessHook(
  name: string,
  timeoutSeconds: number,
  instanceIds: (inputs: Record<string, unknown>) => string[],
): pulumi.ResourceHook {
  // The invoke needs the async context of the program, which a callback of the engine lacks.
  const callback = AsyncResource.bind(async (args: pulumi.ResourceHookArgs) => {
    const inputs = args.newInputs as Record<string, unknown>;
    const options = { timeoutSeconds, read: readReadiness };
    for (const remark of await waitUntilReady(instanceIds(inputs), options)) {
      await pulumi.log.warn(remark);
    }
  });
  return new pulumi.ResourceHook(name, callback);
}

export interface ReadinessGateArgs {
  /** Name of the parameter that records what is live. */
  parameterName: string;
  /** The instances to wait for. */
  instanceIds: pulumi.Input<string>[];
  /** What else must be there, and changes the gate's value: a member's type and attachment. */
  also?: pulumi.Input<string>[];
  /** How long the machines may take, in seconds. */
  timeoutSeconds: number;
  dependsOn?: pulumi.Resource[];
}

/**
 * Stands between machines and whatever sends them traffic: a parameter with the ids of the instances,
 * which is created or changed only when all of them are ready. A machine that fails makes the update
 * fail here, as often as it is run, before anything that depends on the gate is touched. Costs nothing.
 */
export class ReadinessGate extends pulumi.ComponentResource {
  /** The instances that have proven themselves. */
  readonly parameter: aws.ssm.Parameter;

  constructor(name: string, args: ReadinessGateArgs, options?: pulumi.ComponentResourceOptions) {
    super("meteor-scale:readiness:ReadinessGate", name, {}, options);
    const hook = readinessHook(name, args.timeoutSeconds, (inputs) =>
      String(inputs["insecureValue"])
        .split(" ")
        .filter((part) => part.startsWith("i-")),
    );
    this.parameter = new aws.ssm.Parameter(
      `${name}-live`,
      {
        name: args.parameterName,
        description: "Instances that are ready, written by the deployment",
        type: "String",
        insecureValue: pulumi
          .all([...args.instanceIds, ...(args.also ?? [])])
          .apply((parts) => parts.join(" ")),
      },
      {
        parent: this,
        dependsOn: args.dependsOn ?? [],
        hooks: { beforeCreate: [hook], beforeUpdate: [hook] },
      },
    );
    this.registerOutputs({});
  }
}
