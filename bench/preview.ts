import type { ChildProcess } from "node:child_process";
import { once } from "node:events";
import { readFileSync, statSync } from "node:fs";
import { availableParallelism } from "node:os";
import { join } from "node:path";
import { ProgramInfo, RunRequest } from "@pulumi/pulumi/proto/language_pb";
import { Struct } from "google-protobuf/google/protobuf/struct_pb";
import type { TopLevelSpec } from "vega-lite";
import { buildSampleBundle, sampleBundleFile } from "../local/app/buildSampleBundle";
import { startProgram } from "../local/languageHost/program";
import { projectFolder, readProject, withDefaults } from "../local/mockEngine";
import { startEngine } from "./engine";
import { barsWithSpread, type Goal, writeResult } from "./results";
import { inTurn, median, spread, spreadText } from "./statistics";

/** The most that is promised of the program with three hosts, in terms of an empty one. */
const promisedRatio = 1.5;
/** Milliseconds that one more host takes, less than which is promised. */
const promisedGrowth = 5;
/** How much more the later hosts may take than the first where growth counts as linear. */
const linear = 1.25;

interface Program {
  title: string;
  folder: string;
  entryPoint: string;
  /** Of Pulumi.yaml's `runtime`. */
  options: Record<string, string>;
  /** Of this project's stack. */
  hosts: number;
  /** The program that has as many resources, where the number is all that a program has from this project. */
  countOf?: "hosts3" | "hosts100";
}

const { options } = readProject().runtime;

function project(hosts: number): Program {
  return {
    title: `this project, ${hosts} hosts`,
    folder: projectFolder,
    entryPoint: ".",
    options,
    hosts,
  };
}

function empty(title: string, name: string, runtime: Record<string, string> = options): Program {
  const folder = join(__dirname, "programs", name);
  return { title, folder, entryPoint: "index.ts", options: runtime, hosts: 0 };
}

/** As many resources as this project with some hosts, with three inputs each that are known, and no more. */
function bare(hosts: number, countOf: "hosts3" | "hosts100"): Program {
  return { ...empty(`as many bare resources as ${hosts} hosts`, "bare"), hosts, countOf };
}

/**
 * The empty ones have the project's tsconfig, which checks no types, but for one that is as `pulumi new typescript`
 * makes it. A hundred hosts are the most that the balancer's user data has room for.
 */
export const programs = {
  empty: empty("empty", "empty"),
  emptyWithAws: empty("empty, imports @pulumi/aws", "emptyWithAws"),
  emptyOfTemplate: empty("empty, as pulumi new makes it", "emptyOfTemplate", {}),
  hosts3: project(3),
  hosts50: project(50),
  hosts100: project(100),
  bare3: bare(3, "hosts3"),
  bare100: bare(100, "hosts100"),
} satisfies Record<string, Program>;

export type ProgramName = keyof typeof programs;
const names = Object.keys(programs) as ProgramName[];

/** One run of one program. */
export interface PreviewSample {
  program: ProgramName;
  /** From the start of Node to the last registration. */
  milliseconds: number;
  /** What all its threads computed until then, which other work on the machine changes little. */
  cpuMilliseconds: number;
  /** The most memory that was resident, in MiB. */
  megabytes: number;
  /** How many it registered, the stack itself left out. */
  resources: number;
}

/**
 * Measures the program part of `pulumi preview` (start of Node to last registration) for this project
 * and for empty programs, in turn; prints what comes out and writes it to `out/preview.json` and `out/preview.svg`.
 *
 * @param pairs how many times each is measured, after a warm-up
 */
export async function benchPreview(pairs: number, out: string): Promise<void> {
  await buildSampleBundle();
  const samples: PreviewSample[] = [];
  const counts: Partial<Record<ProgramName, number>> = {};
  for (let pair = 0; pair <= pairs; pair += 1) {
    for (const name of inTurn(names, pair)) {
      const { countOf }: Program = programs[name];
      const sample = await runPreview(name, countOf && counts[countOf]);
      counts[name] = sample.resources;
      if (pair > 0) {
        samples.push(sample);
      }
    }
  }
  await writeResult(
    {
      name: "preview",
      title: `Program part of pulumi preview: median (least–most) of ${pairs}`,
      data: { pairs, bundleBytes: statSync(sampleBundleFile).size, samples },
      table: previewTable(samples),
      goals: previewGoals(samples),
      picture: picture(samples),
    },
    out,
  );
}

/**
 * Runs a program as the engine would for a preview of a stack that runs.
 *
 * @param resources how many it is to register, where that is not its own to know
 */
export async function runPreview(name: ProgramName, resources?: number): Promise<PreviewSample> {
  const program: Program = programs[name];
  let child: ChildProcess | undefined;
  let used = { cpuMilliseconds: NaN, megabytes: NaN };
  const engine = await startEngine("bench", () => {
    used = usedBy(child?.pid);
  });
  try {
    const request = runRequest(program, engine.address, resources);
    const start = performance.now();
    child = startProgram(request, engine.address);
    const [code] = (await once(child, "exit")) as [number | null];
    const { errors, lastAt, resources: registered } = engine.registrations;
    if (code !== 0 || errors.length > 0) {
      throw new Error(
        `${program.title}: it ended with ${code ?? "a signal"}\n${errors.join("\n")}`,
      );
    }
    return {
      program: name,
      milliseconds: Math.round(lastAt - start),
      ...used,
      resources: registered.filter(({ type }) => type !== "pulumi:pulumi:Stack").length,
    };
  } finally {
    engine.stop();
  }
}

/** While it runs: what the system tells of a process that has ended counts its parent's memory too. */
function usedBy(pid: number | undefined): Pick<PreviewSample, "cpuMilliseconds" | "megabytes"> {
  const folder = `/proc/${pid ?? "self"}`;
  const kibibytes = /^VmHWM:\s+(\d+) kB$/m.exec(readFileSync(`${folder}/status`, "utf8"))?.[1];
  // Behind the name, which may have spaces, the 12th and 13th field: ticks of 10 ms.
  const fields = readFileSync(`${folder}/stat`, "utf8").split(") ").at(-1)?.split(" ") ?? [];
  return {
    cpuMilliseconds: 10 * (Number(fields[11]) + Number(fields[12])),
    megabytes: Math.round(Number(kibibytes) / 1024),
  };
}

function runRequest(program: Program, monitorAddress: string, resources?: number): RunRequest {
  const request = new RunRequest()
    .setProject(readProject().name)
    .setStack("bench")
    .setOrganization("organization")
    .setMonitorAddress(monitorAddress)
    .setDryrun(true)
    // The CLI's default is four for each core.
    .setParallel(4 * availableParallelism())
    .setInfo(
      new ProgramInfo()
        .setRootDirectory(projectFolder)
        .setProgramDirectory(program.folder)
        .setEntryPoint(program.entryPoint)
        .setOptions(Struct.fromJavaScript(program.options)),
    );
  const config = withDefaults({
    "aws:region": "eu-central-1",
    bundle: sampleBundleFile,
    rootUrl: "https://app.example.com",
    ...(program.hosts > 0 && { hostCount: program.hosts, maxHosts: Math.max(8, program.hosts) }),
    ...(resources !== undefined && { resources }),
  });
  for (const [key, value] of Object.entries(config)) {
    request.getConfigMap().set(key, value);
  }
  return request;
}

function valuesOf(
  samples: PreviewSample[],
  program: ProgramName,
  key: "milliseconds" | "cpuMilliseconds" | "megabytes",
): number[] {
  return samples.filter((sample) => sample.program === program).map((sample) => sample[key]);
}

/** A program's time in terms of another's, in each pair. */
export function ratiosOf(
  samples: PreviewSample[],
  program: ProgramName,
  other: ProgramName,
  key: "milliseconds" | "cpuMilliseconds" = "milliseconds",
): number[] {
  const others = valuesOf(samples, other, key);
  return valuesOf(samples, program, key).map((time, pair) => time / (others[pair] ?? NaN));
}

/** Milliseconds that one more host takes between two sizes of the stack, in each pair. */
export function growthsOf(
  samples: PreviewSample[],
  from: ProgramName,
  to: ProgramName,
  key: "milliseconds" | "cpuMilliseconds" = "milliseconds",
): number[] {
  const before = valuesOf(samples, from, key);
  const hosts = programs[to].hosts - programs[from].hosts;
  return valuesOf(samples, to, key).map((time, pair) => (time - (before[pair] ?? NaN)) / hosts);
}

export function previewTable(samples: PreviewSample[]): string[][] {
  return [
    [
      "program",
      "resources",
      "time, ms",
      "times empty",
      "CPU time, ms",
      "times empty",
      "peak memory, MiB",
    ],
    ...names.map((name) => [
      programs[name].title,
      String(samples.find(({ program }) => program === name)?.resources ?? "-"),
      ...[
        valuesOf(samples, name, "milliseconds"),
        ratiosOf(samples, name, "empty"),
        valuesOf(samples, name, "cpuMilliseconds"),
        ratiosOf(samples, name, "empty", "cpuMilliseconds"),
        valuesOf(samples, name, "megabytes"),
      ].map((values) => spreadText(spread(values))),
    ]),
  ];
}

export function previewGoals(samples: PreviewSample[]): Goal[] {
  const ratios = spread(ratiosOf(samples, "hosts3", "empty"));
  const ratio = median(ratiosOf(samples, "hosts3", "empty", "cpuMilliseconds"));
  const growth = spread(growthsOf(samples, "hosts3", "hosts100"));
  const computed = median(growthsOf(samples, "hosts3", "hosts100", "cpuMilliseconds"));
  const bareRatio = median(ratiosOf(samples, "bare3", "empty", "cpuMilliseconds"));
  const bareGrowth = median(growthsOf(samples, "bare3", "bare100", "cpuMilliseconds"));
  const first = median(growthsOf(samples, "hosts3", "hosts50"));
  const later = median(growthsOf(samples, "hosts50", "hosts100"));
  return [
    {
      text: `three hosts: at most ${promisedRatio} times an empty program`,
      measured: `it is ${spreadText(ratios)}, in CPU time ${ratio.toFixed(2)}, and ${bareRatio.toFixed(2)} with as many bare resources`,
      met: ratios.median <= promisedRatio,
    },
    {
      text: `one more host: less than ${promisedGrowth} ms`,
      measured: `it is ${spreadText(growth)}, in CPU time ${computed.toFixed(1)}, and ${bareGrowth.toFixed(1)} with as many bare resources`,
      met: growth.median < promisedGrowth,
    },
    {
      text: `growth is linear: the last fifty hosts take at most ${linear} times as long as those before`,
      measured: `it is ${later.toFixed(1)} after ${first.toFixed(1)} ms a host`,
      met: later <= linear * first,
    },
  ];
}

function picture(samples: PreviewSample[]): TopLevelSpec {
  const values = samples.flatMap(({ program, milliseconds, cpuMilliseconds, megabytes }) => {
    const { title } = programs[program];
    return [
      { title, what: "time, ms", value: milliseconds },
      { title, what: "CPU time, ms", value: cpuMilliseconds },
      { title, what: "peak memory, MiB", value: megabytes },
    ];
  });
  return {
    data: { values },
    facet: { row: { field: "what", type: "nominal", title: null } },
    resolve: { scale: { x: "independent" } },
    spec: {
      width: 480,
      height: 190,
      ...barsWithSpread(
        { field: "value", title: null },
        { field: "title", sort: names.map((name) => programs[name].title) },
      ),
    },
  } as TopLevelSpec;
}
