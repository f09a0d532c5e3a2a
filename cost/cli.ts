import { Command } from "commander";
import { parseConfig, type StackConfig } from "../components/config";
import { projectFolder, withDefaults } from "../local/mockEngine";
import { stackConfig } from "../local/render";
import { columns } from "../local/table";
import { arithmetic, type Estimate, estimate } from "./estimate";
import { pricesOf, readPrices } from "./prices";

/** Costs nothing by itself, so that a stack can be reckoned before its bundle is built. */
const anyBundle = { bundle: "https://example.com/bundle.tar.gz", bundleSha256: "0".repeat(64) };

/**
 * A stack's config, valid as a whole.
 *
 * @param values of the stack, with or without `meteor-scale:`; Pulumi.yaml's defaults fill the rest
 */
export function parsedConfig(values: Record<string, unknown>): StackConfig {
  const texts = withDefaults({ ...values, ...anyBundle });
  const prefix = "meteor-scale:";
  const own = Object.entries(texts)
    .filter(([key]) => key.startsWith(prefix))
    .map(([key, value]) => [key.slice(prefix.length), value] as const);
  return parseConfig(Object.fromEntries(own), texts["aws:region"]);
}

/** What the command prints. */
export function table({ rows, sum, usage, region }: Estimate, date: string): string {
  const body = columns(
    [
      ...rows.map((row) => [row.part, arithmetic(row), row.monthly.toFixed(2)]),
      ["sum", "", sum.toFixed(2)],
    ],
    ["left", "left", "right"],
  );
  const more = usage.map(({ part: name, unit, price }) => `  ${name}: ${price} a ${unit}`);
  return [
    `USD a month in ${region}, by AWS's list prices as they were looked up until ${date} (cost/prices.yaml)`,
    "",
    body,
    "",
    "Not in the sum, as it depends on use:",
    ...more,
    "Snapshots: if volumes are full, and 2 % of them are written between two. A secret that is encrypted in the",
    "config counts as small; one of over 4 KB costs 0.05.",
  ].join("\n");
}

function main(): void {
  const command = new Command("npm run cost --")
    .description("What a stack costs in a month, from its config, without a cloud account.")
    .requiredOption("--stack <name>", "name of the stack, as in Pulumi.NAME.yaml")
    .option("--json", "for programs")
    .parse();
  const { stack, json } = command.opts<{ stack: string; json?: boolean }>();
  process.chdir(projectFolder);
  const config = parsedConfig(stackConfig(stack));
  const list = readPrices();
  const result = estimate(config, pricesOf(list, config.region));
  console.log(
    json === true
      ? JSON.stringify({ date: list.date, currency: "USD", ...result }, null, 2)
      : table(result, list.date),
  );
}

if (require.main === module) {
  try {
    main();
  } catch (error) {
    console.error((error as Error).message);
    process.exitCode = 1;
  }
}
