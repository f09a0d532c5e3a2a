import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { declaredConfig, projectFolder } from "../local/mockEngine";

const readme = join(projectFolder, "README.md");
const [begin, end] = ["<!-- configuration: written by npm run docs -->", "<!-- /configuration -->"];

/** The README with its table of config keys as Pulumi.yaml declares them. */
export function readmeWithConfiguration(text: string): string {
  const [from, to] = [text.indexOf(begin), text.indexOf(end)];
  if (from < 0 || to < from) {
    throw new Error(`README.md has no place for the table, between ${begin} and ${end}`);
  }
  return `${text.slice(0, from + begin.length)}\n\n${configurationTable()}\n${text.slice(to)}`;
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

if (require.main === module) {
  writeFileSync(readme, readmeWithConfiguration(readFileSync(readme, "utf8")));
}
