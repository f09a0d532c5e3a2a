import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { TopLevelSpec } from "vega-lite";
import { benchMachine, writePicture } from "../bench/results";
import { projectFolder } from "../local/mockEngine";
import { columns } from "../local/table";
import { drills } from "./drills";
import { inSeconds } from "./evaluate";
import type { DrillResult } from "./run";

/** The folder of the run that the documentation shows. */
export const resultsFolder = join(projectFolder, "drill", "results");

/** What `drills.json` holds. */
export interface Results {
  /** The machine of the last run, such as `2 cores of …, 24 GB, Linux 6.1, Node v20`. */
  machine: string;
  /** In the order of {@link drills}; each the last one of its name. */
  drills: (DrillResult & { date: string })[];
}

/** @returns what earlier runs found; nothing where there was none */
export function readResults(folder: string): Results {
  const file = join(folder, "drills.json");
  return existsSync(file)
    ? (JSON.parse(readFileSync(file, "utf8")) as Results)
    : { machine: "", drills: [] };
}

/** Writes the data and the picture; drills that did not run now stay as they were found before. */
export async function writeResults(folder: string, found: DrillResult[]): Promise<void> {
  const date = new Date().toISOString().slice(0, 16).replace("T", " ");
  const known = new Map([
    ...readResults(folder).drills.map((each) => [each.name, each] as const),
    ...found.map((each) => [each.name, { ...each, date }] as const),
  ]);
  const results: Results = {
    machine: thisMachine(),
    drills: drills.flatMap(({ name }) => known.get(name) ?? []),
  };
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, "drills.json"), `${JSON.stringify(results, undefined, 1)}\n`);
  await writePicture(join(folder, "drills.svg"), picture(results.drills));
}

function thisMachine(): string {
  const { processor, cores, memory, kernel, node } = benchMachine();
  return `${cores} cores (${processor}), ${memory} GB, Linux ${kernel}, Node ${node}`;
}

const heads = [
  "fault",
  "noticed first by",
  "no session worked",
  "sessions concerned",
  "longest without an answer",
  "longest wait of the others (before)",
  "moved",
  "requests failed",
  "calls failed",
  "writes lost",
  "all well after",
  "load",
  "bounds",
];

function row(result: DrillResult): string[] {
  const { affected, others, broken, noticed } = result;
  return [
    result.title,
    noticed.map(({ at, text }) => `${whoOf(text)} after ${inSeconds(at)}`).join(", ") || "-",
    inSeconds(result.noSessionWorked),
    `${affected} of ${affected + others}`,
    affected === 0 ? "-" : inSeconds(result.affectedWithoutAnswer),
    others === 0
      ? "-"
      : `${inSeconds(result.othersLongestWait)} (${inSeconds(result.longestWaitBefore)})`,
    String(result.moved),
    String(result.failedRequests),
    String(result.failedCalls),
    String(result.lostWrites),
    inSeconds(result.wellAfter),
    result.load.toFixed(1),
    broken.length === 0 ? "kept" : "BROKEN",
  ];
}

/** Such as `haproxy (balancer)`. */
function whoOf(notice: string): string {
  const [machine = "", program = ""] = (notice.split(": ")[0] ?? "").split(" ");
  return `${program} (${machine})`;
}

/** For a terminal, with what broke which bound. */
export function terminalTable(results: DrillResult[]): string {
  return [
    columns([heads.map((head) => head.toUpperCase()), ...results.map(row)]),
    ...results.flatMap(({ title, broken }) => broken.map((reason) => `${title}: ${reason}`)),
  ].join("\n");
}

/** For the documentation. */
export function markdownTable(results: DrillResult[]): string {
  return [heads, heads.map(() => "---"), ...results.map(row)]
    .map((cells) => `| ${cells.join(" | ")} |\n`)
    .join("");
}

/** What each drill does and what it demands, for the documentation. */
export function markdownOfDrills(): string {
  const who = { nobody: "nobody", host1: "sessions of host1", everybody: "everybody" };
  return [
    [
      "name",
      "what is done",
      "who may notice",
      "may be without an answer for",
      "connections",
      "all well within",
    ],
    Array<string>(6).fill("---"),
    ...drills.map(({ name, what, bounds }) => [
      `\`${name}\``,
      what,
      who[bounds.affected],
      bounds.affected === "nobody" ? "-" : `${bounds.withoutAnswer} s`,
      bounds.reconnects ? "may break" : "stay",
      `${bounds.wellWithin} s`,
    ]),
  ]
    .map((cells) => `| ${cells.join(" | ")} |\n`)
    .join("");
}

/** Second by second after the fault, how long the slowest call took, for each drill. */
function picture(results: DrillResult[]): TopLevelSpec {
  const values = results.flatMap(({ title, timeline }) =>
    timeline.map((point) => ({ ...point, title, seconds: Math.max(point.milliseconds, 1) / 1000 })),
  );
  return {
    data: { values },
    facet: {
      field: "title",
      type: "nominal",
      title: null,
      sort: results.map(({ title }) => title),
    },
    columns: 2,
    spec: {
      width: 360,
      height: 90,
      mark: { type: "line", interpolate: "step-after" },
      encoding: {
        x: { field: "second", type: "quantitative", title: "seconds after the fault" },
        y: {
          field: "seconds",
          type: "quantitative",
          scale: { type: "log" },
          axis: { values: [0.01, 0.1, 1, 10], format: "~g" },
          title: "slowest, s",
        },
        color: {
          field: "who",
          type: "nominal",
          title: null,
          legend: { labelLimit: 300, orient: "top" },
        },
      },
    },
    resolve: { scale: { x: "independent" } },
  };
}
