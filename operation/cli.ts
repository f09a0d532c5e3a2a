import { Command } from "commander";
import { portNumber } from "../local/forward";
import { openShell } from "./shell";
import { openStack, runCommand } from "./stack";
import { readStatus } from "./status";
import { statusText } from "./statusText";

async function status({ stack, json }: { stack: string; json?: boolean }): Promise<void> {
  const found = await readStatus(await openStack(stack));
  console.log(json === true ? JSON.stringify(found, undefined, 2) : statusText(found));
  process.exitCode = found.well ? 0 : 2;
}

interface ShellOptions {
  stack: string;
  port?: number;
  localPort?: number;
}

async function shell(
  machine: string,
  { stack, port, localPort = port }: ShellOptions,
): Promise<void> {
  const forward = port === undefined || localPort === undefined ? undefined : { port, localPort };
  process.exitCode = await openShell(await openStack(stack), machine, forward);
}

const command = new Command("npm run");
command
  .command("status")
  .description("what runs and how it is, as the AWS API tells; changes nothing")
  .requiredOption("--stack <name>", "the stack, as pulumi stack ls shows it")
  .option("--json", "for programs; operation/status.ts describes it (StackStatus)")
  .addHelpText(
    "after",
    `
Exit code: 0 if all is well; 2 if something is not, or could not be read, which is told at the end; 1 if the command
itself went wrong, such as for a stack that does not exist.

Not well are: a machine that does not run, is not ready, or makes a remark; one that was in service and is gone; a
host that HAProxy finds down; a member that is neither PRIMARY nor SECONDARY, or no PRIMARY; a host or member whose
metrics are missing for five minutes; hosts in service with different bundles; a certificate that ends within 14
days; an alarm. During an update the machines that are on their way count, too.`,
  )
  .action(status);
command
  .command("shell <machine>")
  .description("a session on a machine, such as host2 or its instance id, through Session Manager")
  .requiredOption("--stack <name>", "the stack, as pulumi stack ls shows it")
  .option("--port <port>", "no shell: a port of the machine, on this computer", portNumber)
  .option("--local-port <port>", "of 127.0.0.1; the same by default", portNumber)
  .addHelpText(
    "after",
    `
npm run shell -- balancer --stack dev --port 8404 shows HAProxy's statistics at http://127.0.0.1:8404/ until Ctrl-C.
It takes the AWS CLI and its Session Manager plugin on this computer; the local region takes neither.`,
  )
  .action(shell);

void runCommand(command);
