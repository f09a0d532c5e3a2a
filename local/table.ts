import Table, { type HorizontalAlignment } from "cli-table3";

const borders = ["top", "bottom", "left", "right"].flatMap((side) => [
  side,
  `${side}-mid`,
  `${side}-left`,
  `${side}-right`,
]);
const noBorders = Object.fromEntries([...borders, "mid", "mid-mid"].map((name) => [name, ""]));

/**
 * Rows in columns with two spaces between them, for people.
 *
 * @param align of each column. Default: all to the left.
 */
export function columns(rows: string[][], align: HorizontalAlignment[] = []): string {
  const table = new Table({
    chars: { ...noBorders, middle: "  " },
    style: { "padding-left": 0, "padding-right": 0, head: [], border: [] },
    colAligns: align,
  });
  table.push(...rows);
  return table
    .toString()
    .split("\n")
    .map((line) => line.trimEnd())
    .join("\n");
}
