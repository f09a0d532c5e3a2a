import { createHash } from "node:crypto";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { toolsFolder } from "../paths";
import { makeOnce, runLogged, type Step } from "./step";

/** Every package with its hash, as `pip-compile --generate-hashes` writes them for moto[server]. */
const requirements = join(__dirname, "moto", "requirements.txt");

/** moto's server, which answers as AWS does, in a virtual environment of its own. */
export async function installMoto(step: Step): Promise<void> {
  const hash = createHash("sha256")
    .update(await readFile(requirements))
    .digest("hex");
  await makeOnce(join(toolsFolder, "moto"), hash, async (folder) => {
    // Debian's own, since another Python on the PATH may go away.
    await runLogged(step, "moto", "/usr/bin/python3", ["-m", "venv", folder]);
    await runLogged(step, "moto", join(folder, "bin", "pip"), [
      ...["install", "--disable-pip-version-check", "--no-deps", "--require-hashes"],
      ...["--only-binary", ":all:", "--requirement", requirements],
    ]);
  });
}
