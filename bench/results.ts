import { mkdirSync, writeFileSync } from "node:fs";
import { availableParallelism, cpus, release, totalmem } from "node:os";
import { join } from "node:path";
import { parse, View } from "vega";
import { compile, type TopLevelSpec } from "vega-lite";
import { columns } from "../local/table";

/** Where something was measured. */
export interface BenchMachine {
  processor: string;
  cores: number;
  /** GiB. */
  memory: number;
  kernel: string;
  node: string;
}

/** What the project promises of one measurement. */
export interface Goal {
  /** What is promised, in words and with its bound. */
  text: string;
  /** What was measured, in words. */
  measured: string;
  met: boolean;
}

/** What one bench has found. */
export interface BenchResult {
  /** Names its files. */
  name: string;
  title: string;
  /** Written as they are beside date and machine. */
  data: object;
  /** Rows of cells for people; the first is the head. */
  table: string[][];
  goals: Goal[];
  picture: TopLevelSpec;
}

/** @returns this computer */
export function benchMachine(): BenchMachine {
  return {
    processor: cpus()[0]?.model.trim() ?? "unknown",
    cores: availableParallelism(),
    memory: Math.round(totalmem() / 2 ** 30),
    kernel: release(),
    node: process.version,
  };
}

/**
 * Prints a bench's table and goals, and writes `NAME.json` and `NAME.svg`. A goal that is not met makes this
 * process end with 1.
 *
 * @param out the folder
 */
export async function writeResult(
  { name, title, data, table, goals, picture }: BenchResult,
  out: string,
): Promise<void> {
  const machine = benchMachine();
  console.log(`\n${title}`);
  console.log(
    `${machine.processor}, ${machine.cores} cores, Linux ${machine.kernel}, Node ${machine.node}\n`,
  );
  console.log(columns(table, ["left", ...(table[0] ?? []).slice(1).map(() => "right" as const)]));
  console.log("");
  for (const goal of goals) {
    console.log(goalText(goal));
  }
  mkdirSync(out, { recursive: true });
  const result = { date: new Date().toISOString().slice(0, 10), machine, ...data, goals };
  writeFileSync(join(out, `${name}.json`), `${JSON.stringify(result, undefined, 2)}\n`);
  await writePicture(join(out, `${name}.svg`), picture);
  if (goals.some(({ met }) => !met)) {
    process.exitCode = 1;
  }
}

/** Draws a picture as SVG. */
export async function writePicture(file: string, picture: TopLevelSpec): Promise<void> {
  writeFileSync(file, `${await new View(parse(compile(picture).spec)).toSVG()}\n`);
}

/** One line: what was promised, what came out, and whether that is enough. */
export function goalText({ text, measured, met }: Goal): string {
  return `${met ? "Met" : "NOT MET"}: ${text}; ${measured}.`;
}

/** Bars of medians with lines from the least to the most, one for each of a field's values. */
export function barsWithSpread(
  value: { field: string; title: string | null },
  group: { field: string; sort?: string[] },
): { encoding: object; layer: { mark: object; encoding: object }[] } {
  const quantity = { field: value.field, type: "quantitative", title: value.title };
  return {
    encoding: {
      y: {
        ...{ field: group.field, type: "nominal", title: null, sort: group.sort },
        axis: { labelLimit: 300 },
      },
    },
    layer: [
      {
        mark: { type: "bar", opacity: 0.6 },
        encoding: { x: { ...quantity, aggregate: "median" } },
      },
      {
        mark: { type: "rule" },
        encoding: {
          x: { ...quantity, aggregate: "min" },
          x2: { field: value.field, aggregate: "max" },
        },
      },
    ],
  };
}
