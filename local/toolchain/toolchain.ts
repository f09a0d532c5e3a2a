import type { ListrTask } from "listr2";
import { installDebianPackages } from "./debianPackages";
import { imageHasBuiltTelegraf, imageHasMongoStandIn, makeMachineImage } from "./machineImage";
import { installMachineTools } from "./machineTools";
import { installMoto } from "./moto";
import { cliIsBuilt, installPulumiCli } from "./pulumiCli";
import { attempt, type Step } from "./step";

/** Everything that the local region is run with, each part fetched or built once. */
export function toolchainTasks(
  signal: AbortSignal,
  imageInUse: () => boolean,
  showLines: boolean,
): ListrTask[] {
  const part = (title: string, make: (step: Step) => Promise<void>): ListrTask => ({
    title,
    task: (_, task) =>
      attempt(() =>
        make({
          signal,
          progress: (line) => {
            if (showLines) {
              task.output = line;
            }
          },
        }),
      ),
  });
  return [
    part("Debian packages", (step) => installDebianPackages(step)),
    part("Pulumi CLI", installPulumiCli),
    part("AWS API (moto)", installMoto),
    part("Node and MongoDB's shell for the machines", installMachineTools),
    part("Machine image", (step) => makeMachineImage(step, imageInUse)),
  ];
}

/** What runs here in another one's place, for people to read. */
export async function standIns(): Promise<string> {
  return [
    "moto for AWS's API",
    "the project's own for Pulumi's resource providers",
    ...((await cliIsBuilt()) ? ["its own for Pulumi's language host"] : []),
    ...(imageHasMongoStandIn() ? ["FerretDB for MongoDB"] : []),
    ...(imageHasBuiltTelegraf() ? ["Telegraf built from its source"] : []),
  ].join(", ");
}
