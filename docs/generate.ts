import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type ConfigKey, configKeys, secretKeys } from "../components/config";
import { parsedConfig } from "../cost/cli";
import { arithmetic, type Estimate, estimate } from "../cost/estimate";
import { pricesOf, readPrices } from "../cost/prices";
import { markdownOfDrills, markdownTable, readResults, resultsFolder } from "../drill/report";
import { declaredConfig, projectFolder } from "../local/mockEngine";
import { rules } from "../policies/rules";
import { changes } from "./changes";

/** What most stacks set. */
const mostSet: ConfigKey[] = [
  "bundle",
  "rootUrl",
  "hostCount",
  "hostInstanceType",
  "mongoMembers",
  "mongoInstanceType",
  "mongoVolumeSize",
  "tls",
  "meteorSettings",
  "mailUrl",
  "env",
  "nat",
  "alarmEmail",
];

/** Stacks whose costs are compared. */
const sizes: Record<string, Record<string, unknown>> = {
  small: { hostCount: 1, nat: "instance" },
  default: {},
  large: {
    hostCount: 8,
    mongoMembers: 3,
    mongoZones: ["us-east-1a", "us-east-1b", "us-east-1c"],
  },
};

/** The generated pages, by their paths, as they should be. */
export function pages(): Record<string, string> {
  return Object.fromEntries(
    ["README.md", "docs/configuration.md", "docs/fault-drills.md"].map((path) => {
      const text = readFileSync(join(projectFolder, path), "utf8");
      return [path, Object.entries(tables).reduce((page, part) => withTable(page, ...part), text)];
    }),
  );
}

const tables: Record<string, () => string> = {
  keys: () => configurationTable(mostSet),
  configuration: completeTable,
  cost: costTable,
  policies: ruleTable,
  drills: markdownOfDrills,
  found: () => markdownTable(readResults(resultsFolder).drills),
};

/** A page with a table between the comments of that name, where it has any. */
function withTable(text: string, name: string, table: () => string): string {
  const [begin, end] = [`<!-- ${name}: written by npm run docs -->`, `<!-- /${name} -->`];
  const [from, to] = [text.indexOf(begin), text.indexOf(end)];
  return from < 0 || to < from
    ? text
    : `${text.slice(0, from + begin.length)}\n\n${table()}\n${text.slice(to)}`;
}

function configurationTable(keys: readonly ConfigKey[]): string {
  const declared = declaredConfig();
  const rows = keys.map(
    (key) => `| \`${key}\` | ${preset(key)} | ${declared[key]?.description ?? ""} |\n`,
  );
  return `| key | default | meaning |\n|---|---|---|\n${rows.join("")}`;
}

function completeTable(): string {
  const declared = declaredConfig();
  const rows = configKeys.map((key) => {
    const { type, description = "" } = declared[key] ?? {};
    const shownType = `${type ?? "object"}${secretKeys.includes(key) ? ", secret" : ""}`;
    return `| \`${key}\` | ${shownType} | ${preset(key)} | ${description} | ${changes[key].what} |\n`;
  });
  return `| key | type | default | meaning | a change of it |\n|---|---|---|---|---|\n${rows.join("")}`;
}

function preset(key: ConfigKey): string {
  const value = declaredConfig()[key]?.default;
  const shown = value === undefined ? "needed" : `\`${JSON.stringify(value)}\``;
  return shown === '`""`' ? "" : shown;
}

function costTable(): string {
  const list = readPrices();
  const region = "us-east-1";
  const estimates = Object.values(sizes).map((values) =>
    estimate(
      parsedConfig({ "aws:region": region, rootUrl: "https://app.example.com", ...values }),
      pricesOf(list, region),
    ),
  );
  const parts = [...new Set(estimates.flatMap(({ rows }) => rows.map(({ part }) => part)))];
  const cell = (part: string, { rows }: Estimate): string => {
    const row = rows.find((one) => one.part === part);
    return row === undefined ? "" : `${arithmetic(row)} = ${row.monthly.toFixed(2)}`;
  };
  const line = (first: string, cells: string[]): string => `| ${[first, ...cells].join(" | ")} |\n`;
  return [
    line(
      "part",
      Object.entries(sizes).map(([name, values]) => `${name}${described(values)}`),
    ),
    `|---|${"---|".repeat(estimates.length)}\n`,
    ...parts.map((part) =>
      line(
        part,
        estimates.map((one) => cell(part, one)),
      ),
    ),
    line(
      "**USD a month**",
      estimates.map(({ sum }) => `**${sum.toFixed(2)}**`),
    ),
  ].join("");
}

function described(values: Record<string, unknown>): string {
  const texts = Object.entries(values)
    .filter(([, value]) => !Array.isArray(value))
    .map(([key, value]) => `\`${key}\` ${String(value)}`);
  return texts.length === 0 ? "" : `: ${texts.join(", ")}`;
}

function ruleTable(): string {
  const rows = rules.map(({ name, description }) => `| \`${name}\` | ${description} |\n`);
  return `| rule | |\n|---|---|\n${rows.join("")}`;
}

if (require.main === module) {
  for (const [path, text] of Object.entries(pages())) {
    writeFileSync(join(projectFolder, path), text);
  }
}
