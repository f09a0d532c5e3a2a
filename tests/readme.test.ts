import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { readmeWithTables } from "../docs/tables";
import { projectFolder } from "../local/mockEngine";

const readme = readFileSync(join(projectFolder, "README.md"), "utf8");
const scripts = (
  JSON.parse(readFileSync(join(projectFolder, "package.json"), "utf8")) as {
    scripts: Record<string, string>;
  }
).scripts;

test("the README's tables are what Pulumi.yaml and the policy pack say; npm run docs writes them", () => {
  expect(readmeWithTables(readme)).toBe(readme);
});

test("every npm script that the README names exists", () => {
  const named = [...readme.matchAll(/npm (?:run )?([a-z:]+)/g)]
    .map(([, name]) => String(name))
    .filter((name) => !["install", "ci"].includes(name));
  expect(Object.keys(scripts)).toEqual(expect.arrayContaining(named));
});

test("every file that the README links to exists", () => {
  for (const [, target] of readme.matchAll(/\]\((?!https?:|#)([^)#]+)/g)) {
    expect(existsSync(join(projectFolder, String(target)))).toBe(true);
  }
});
