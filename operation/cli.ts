import { Command } from "commander";
import { openStack, runCommand } from "./stack";
import { readStatus } from "./status";
import { statusText } from "./statusText";

async function status({ stack, json }: { stack: string; json?: boolean }): Promise<void> {
  const found = await readStatus(await openStack(stack));
  console.log(json === true ? JSON.stringify(found, undefined, 2) : statusText(found));
  process.exitCode = found.well ? 0 : 2;
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

void runCommand(command);
