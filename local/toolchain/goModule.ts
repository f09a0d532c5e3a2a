import { outputOf, runLogged, type Step, UserError } from "./step";

/**
 * The source of a Go module as the go.sum in a folder pins it; it brings its own go.sum for what it is made of.
 *
 * @param folder has a go.mod that asks for the module, and its go.sum
 * @param needed what can't be had otherwise, and the Go that it takes, for people
 * @returns the folder of Go's own cache, which is read-only
 */
export async function fetchGoModule(
  step: Step,
  log: string,
  folder: string,
  module: string,
  needed: string,
): Promise<string> {
  if ((await outputOf("go", ["list", "-m"], { cwd: folder })) === undefined) {
    throw new UserError(`${needed}, which this computer does not have. Put such a Go on the PATH.`);
  }
  await runLogged(step, log, "go", ["mod", "download", module], { cwd: folder });
  const found = await outputOf("go", ["list", "-m", "-f", "{{.Dir}}", module], { cwd: folder });
  return (found ?? "").trim();
}
