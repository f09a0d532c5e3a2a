import { once } from "node:events";
import { mkdirSync, statSync, writeFileSync } from "node:fs";
import { availableParallelism } from "node:os";
import { join } from "node:path";
import { ProgramInfo, RunRequest } from "@pulumi/pulumi/proto/language_pb";
import { Struct } from "google-protobuf/google/protobuf/struct_pb";
import { buildSampleBundle, sampleBundleFile } from "../local/app/buildSampleBundle";
import { startProgram } from "../local/languageHost/program";
import { projectFolder, readProject, withDefaults } from "../local/mockEngine";
import { startEngine } from "./engine";

/** Program part of a preview in terms of an empty program's: what the project promises at most. */
const promisedRatio = 2.5;

interface Program {
  title: string;
  folder: string;
  entryPoint: string;
}

/**
 * All have the project's tsconfig, which checks no types. An empty program as `pulumi new` makes it
 * checks them and takes twice as long; measured against that one, the project would look better.
 */
const programs = {
  project: { title: "this project", folder: projectFolder, entryPoint: "." },
  empty: {
    title: "empty, imports @pulumi/pulumi",
    folder: join(__dirname, "programs", "empty"),
    entryPoint: "index.ts",
  },
  emptyWithAws: {
    title: "empty, imports @pulumi/aws too",
    folder: join(__dirname, "programs", "emptyWithAws"),
    entryPoint: "index.ts",
  },
} satisfies Record<string, Program>;

type ProgramName = keyof typeof programs;
const names = Object.keys(programs) as ProgramName[];

/** What was measured, as it is written to preview.json. */
export interface PreviewResult {
  /** Year, month and day. */
  date: string;
  node: string;
  cores: number;
  /** Size of the application's bundle, which the project reads and hashes. */
  bundleBytes: number;
  /** How many resources each program registered, the stack itself left out. */
  resources: Record<ProgramName, number>;
  /** From the start of Node to the last registration, one for each pair. */
  milliseconds: Record<ProgramName, number[]>;
  /** The project's time in terms of another's: the median of all pairs. */
  ratios: Record<Exclude<ProgramName, "project">, number>;
}

/**
 * Times the program part of `pulumi preview` (start of Node to last registration) for this project
 * and for empty programs, in turn; prints what comes out and writes it to `out/preview.json`.
 *
 * @param pairs how many times each is measured, after a warm-up
 */
export async function benchPreview(pairs: number, out: string): Promise<void> {
  await buildSampleBundle();
  const resources = { project: 0, empty: 0, emptyWithAws: 0 };
  const milliseconds: PreviewResult["milliseconds"] = { project: [], empty: [], emptyWithAws: [] };
  for (let pair = 0; pair <= pairs; pair += 1) {
    for (const name of names) {
      const run = await preview(programs[name]);
      resources[name] = run.resources;
      if (pair > 0) {
        milliseconds[name].push(Math.round(run.milliseconds));
      }
    }
  }
  const result: PreviewResult = {
    date: new Date().toISOString().slice(0, 10),
    node: process.version,
    cores: availableParallelism(),
    bundleBytes: statSync(sampleBundleFile).size,
    resources,
    milliseconds,
    ratios: {
      empty: rounded(median(ratios(milliseconds.project, milliseconds.empty))),
      emptyWithAws: rounded(median(ratios(milliseconds.project, milliseconds.emptyWithAws))),
    },
  };
  print(result);
  mkdirSync(out, { recursive: true });
  writeFileSync(join(out, "preview.json"), `${JSON.stringify(result, undefined, 2)}\n`);
}

/** Runs a program as the engine would for a preview of a stack that runs. */
async function preview({
  title,
  folder,
  entryPoint,
}: Program): Promise<{ milliseconds: number; resources: number }> {
  const engine = await startEngine("bench");
  try {
    const request = runRequest(folder, entryPoint, engine.address);
    const start = performance.now();
    const [code] = (await once(startProgram(request, engine.address), "exit")) as [number | null];
    const { errors, lastAt, resources } = engine.registrations;
    if (code !== 0 || errors.length > 0) {
      throw new Error(`${title}: it ended with ${code ?? "a signal"}\n${errors.join("\n")}`);
    }
    return {
      milliseconds: lastAt - start,
      resources: resources.filter(({ type }) => type !== "pulumi:pulumi:Stack").length,
    };
  } finally {
    engine.stop();
  }
}

function runRequest(folder: string, entryPoint: string, monitorAddress: string): RunRequest {
  const { name, runtime } = readProject();
  const request = new RunRequest()
    .setProject(name)
    .setStack("bench")
    .setOrganization("organization")
    .setMonitorAddress(monitorAddress)
    .setDryrun(true)
    // The CLI's default is four for each core.
    .setParallel(4 * availableParallelism())
    .setInfo(
      new ProgramInfo()
        .setRootDirectory(projectFolder)
        .setProgramDirectory(folder)
        .setEntryPoint(entryPoint)
        .setOptions(Struct.fromJavaScript(runtime.options)),
    );
  const config = withDefaults({
    "aws:region": "eu-central-1",
    bundle: sampleBundleFile,
    rootUrl: "https://app.example.com",
  });
  for (const [key, value] of Object.entries(config)) {
    request.getConfigMap().set(key, value);
  }
  return request;
}

function ratios(times: number[], others: number[]): number[] {
  return times.map((time, pair) => time / (others[pair] ?? NaN));
}

function median(values: number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const [low, high] = [sorted[(sorted.length - 1) >> 1], sorted[sorted.length >> 1]];
  return ((low ?? NaN) + (high ?? NaN)) / 2;
}

function rounded(ratio: number): number {
  return Number(ratio.toFixed(2));
}

function print({ milliseconds, resources, ...result }: PreviewResult): void {
  const row = (cells: string[]): string =>
    cells.map((cell, at) => (at === 0 ? cell.padEnd(32) : cell.padStart(11))).join("");
  const summary = (values: number[]): number[] => [
    median(values),
    Math.min(...values),
    Math.max(...values),
  ];
  console.log(`Program part of pulumi preview: Node ${result.node}, ${result.cores} cores\n`);
  console.log(row(["in milliseconds", "median", "min", "max", "resources"]));
  for (const name of names) {
    const times = summary(milliseconds[name]).map((time) => time.toFixed(0));
    console.log(row([programs[name].title, ...times, String(resources[name])]));
  }
  console.log(`\n${row(["this project in terms of", "median", "min", "max"])}   each pair`);
  for (const name of ["empty", "emptyWithAws"] as const) {
    const all = ratios(milliseconds.project, milliseconds[name]);
    const each = all.map((ratio) => ratio.toFixed(2)).join(" ");
    const cells = summary(all).map((ratio) => ratio.toFixed(2));
    console.log(`${row([programs[name].title, ...cells])}   ${each}`);
  }
  console.log(`\nPromised: at most ${promisedRatio} times the first of these.`);
}
