import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { declaredConfig, projectFolder } from "../local/mockEngine";
import { rules } from "../policies/rules";

const readme = join(projectFolder, "README.md");
/** The README with what is written elsewhere: its config keys, in Pulumi.yaml, and the rules of the policy pack. */
export function readmeWithTables(text: string): string {
  return withTable(withTable(text, "configuration", configurationTable()), "policies", ruleTable());
}

function withTable(text: string, name: string, table: string): string {
  const [begin, end] = [`<!-- ${name}: written by npm run docs -->`, `<!-- /${name} -->`];
  const [from, to] = [text.indexOf(begin), text.indexOf(end)];
  if (from < 0 || to < from) {
    throw new Error(`README.md has no place for the table, between ${begin} and ${end}`);
  }
  return `${text.slice(0, from + begin.length)}\n\n${table}\n${text.slice(to)}`;
}

function configurationTable(): string {
  const rows = Object.entries(declaredConfig())
    .filter(([key]) => !key.includes(":"))
    .map(([key, { default: preset, description }]) => {
      const shown = preset === undefined ? "needed" : `\`${JSON.stringify(preset)}\``;
      return `| \`${key}\` | ${shown === '`""`' ? "" : shown} | ${description ?? ""} |\n`;
    });
  return `| key | default | meaning |\n|---|---|---|\n${rows.join("")}`;
}

function ruleTable(): string {
  const rows = rules.map(({ name, description }) => `| \`${name}\` | ${description} |\n`);
  return `| rule | |\n|---|---|\n${rows.join("")}`;
}

if (require.main === module) {
  writeFileSync(readme, readmeWithTables(readFileSync(readme, "utf8")));
}
