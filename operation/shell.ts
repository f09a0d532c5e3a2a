import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { EC2Client } from "@aws-sdk/client-ec2";
import {
  DescribeInstanceInformationCommand,
  type InstanceInformation,
  SSMClient,
} from "@aws-sdk/client-ssm";
import { repositoryFolder } from "../local/paths";
import { UserError } from "../local/toolchain/step";
import { type MachineStatus, readMachines } from "./machines";
import { deniedAction, type Stack } from "./stack";

/** What to open instead of a shell. */
export interface PortForward {
  /** Of the machine. */
  port: number;
  /** Of 127.0.0.1 on this computer. */
  localPort: number;
}

/**
 * Opens a session on a machine, by Session Manager on AWS; ends when it does.
 *
 * @param name of the machine, such as `host2`, or its instance id
 * @returns the session's exit code
 * @throws UserError where there is no such machine, or something that it takes is missing
 */
export async function openShell(
  stack: Stack,
  name: string,
  forward: PortForward | undefined,
): Promise<number> {
  const ec2 = new EC2Client(stack.clientOptions("ec2"));
  const machine = chosenMachine(await readMachines(ec2, stack.prefix), name);
  if (stack.local) {
    return runToEnd("bash", [
      join(repositoryFolder, "local", "run"),
      ...localArguments(machine, forward),
    ]);
  }
  for (const [program, page] of Object.entries(programs)) {
    requireProgram(program, page);
  }
  await requireAgent(stack, machine);
  const { credentials } = stack.clientOptions("ssm");
  return runToEnd(
    "aws",
    sessionArguments(stack, machine, forward),
    credentials && {
      AWS_ACCESS_KEY_ID: credentials.accessKeyId,
      AWS_SECRET_ACCESS_KEY: credentials.secretAccessKey,
    },
  );
}

/**
 * The machine that runs under a name; of two, during a release, the newer one.
 *
 * @throws UserError with the names there are
 */
export function chosenMachine(machines: MachineStatus[], name: string): MachineStatus {
  const named = machines.filter((one) => one.name === name || one.instanceId === name);
  const running = named.filter(({ state }) => state === "running");
  const machine = running.at(-1);
  if (machine !== undefined) {
    for (const { instanceId } of running.slice(0, -1)) {
      console.error(
        `Just now ${instanceId} is ${name} too. This is ${machine.instanceId}, the newer one.`,
      );
    }
    return machine;
  }
  const [other] = named;
  if (other !== undefined) {
    throw new UserError(`${name} (${other.instanceId}) is ${other.state}; it must be running.`);
  }
  const names = [...new Set(machines.map((one) => one.name))].join(", ");
  throw new UserError(`There is no machine ${name}. There are: ${names || "none"}.`);
}

function localArguments({ instanceId }: MachineStatus, forward: PortForward | undefined): string[] {
  return [
    ...["shell", instanceId],
    ...(forward === undefined
      ? []
      : ["--port", String(forward.port), "--local-port", String(forward.localPort)]),
  ];
}

/** Programs that a session takes on this computer, and where AWS tells how to install them. */
const programs = {
  aws: "https://docs.aws.amazon.com/cli/latest/userguide/getting-started-install.html",
  "session-manager-plugin":
    "https://docs.aws.amazon.com/systems-manager/latest/userguide/session-manager-working-with-install-plugin.html",
};

function requireProgram(program: string, page: string): void {
  const { status, error } = spawnSync(program, ["--version"], { stdio: "ignore" });
  if (error !== undefined || status !== 0) {
    const problem = error === undefined ? `ends with ${String(status)}` : "is not installed";
    throw new UserError(`A session takes ${program} on this computer, which ${problem}: ${page}`);
  }
}

/** Says why a session could not be opened, which StartSession itself does in few words. */
async function requireAgent(stack: Stack, machine: MachineStatus): Promise<void> {
  const client = new SSMClient(stack.clientOptions("ssm"));
  const filter = { Key: "InstanceIds", Values: [machine.instanceId] };
  let agent: InstanceInformation | undefined;
  try {
    const command = new DescribeInstanceInformationCommand({ Filters: [filter] });
    agent = (await client.send(command)).InstanceInformationList?.[0];
  } catch (error) {
    if (deniedAction(error as Error) !== undefined) {
      // Who may not look may open sessions all the same.
      return;
    }
    throw error;
  }
  if (agent?.PingStatus !== "Online") {
    throw new UserError(absence(stack, machine, agent));
  }
}

function absence(
  stack: Stack,
  { name, instanceId }: MachineStatus,
  agent: InstanceInformation | undefined,
): string {
  const label = `${name} (${instanceId})`;
  if (agent !== undefined) {
    const last = agent.LastPingDateTime?.toISOString() ?? "never";
    return (
      `The agent of Session Manager on ${label} is ${String(agent.PingStatus)}; its last word: ${last}. ` +
      "Is the machine overloaded, or can't it reach the AWS API?"
    );
  }
  return stack.setting("sessionManager") === "false"
    ? `Session Manager does not know ${label}: sessionManager is false in the config of ${stack.name}. Another value replaces all machines.`
    : `Session Manager does not know ${label}. Its agent is there a minute or two after the machine's start; ` +
        "later it would mean that the machine can't reach the AWS API.";
}

/** Of the AWS CLI: https://docs.aws.amazon.com/cli/latest/reference/ssm/start-session.html */
export function sessionArguments(
  stack: Stack,
  { instanceId }: MachineStatus,
  forward: PortForward | undefined,
): string[] {
  const { region, profile, endpoint } = stack.clientOptions("ssm");
  return [
    ...["ssm", "start-session", "--target", instanceId, "--region", region],
    ...(profile === undefined ? [] : ["--profile", profile]),
    ...(endpoint === undefined ? [] : ["--endpoint-url", endpoint]),
    ...(forward === undefined
      ? []
      : [
          ...["--document-name", "AWS-StartPortForwardingSession", "--parameters"],
          JSON.stringify({
            portNumber: [String(forward.port)],
            localPortNumber: [String(forward.localPort)],
          }),
        ]),
  ];
}

/** Runs a program in the place of this command. Ctrl-C is the session's; a wish to end is passed on. */
async function runToEnd(
  program: string,
  args: string[],
  environment: Record<string, string> = {},
): Promise<number> {
  const child = spawn(program, args, {
    stdio: "inherit",
    env: { ...process.env, ...environment },
  });
  process.on("SIGINT", () => undefined);
  for (const name of ["SIGTERM", "SIGHUP"] as const) {
    process.on(name, () => child.kill(name));
  }
  const [code] = (await once(child, "close")) as [number | null];
  return code ?? 1;
}
