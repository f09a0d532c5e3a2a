import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { availableParallelism, tmpdir } from "node:os";
import { join } from "node:path";
import { parse, View } from "vega";
import { compile, type TopLevelSpec } from "vega-lite";
import type { LoadReport } from "../local/traffic/load";
import {
  type Stack,
  underTraffic,
  type Update,
  upStack,
  updateWith,
} from "../tests/local/stack/stack";
import { variant } from "../tests/local/stack/variant";

/** One change of the running stack. */
interface Change {
  title: string;
  config: Record<string, unknown>;
}

/** What visitors saw of a change, with how long `pulumi up` took. */
interface Measured extends LoadReport {
  title: string;
  updateSeconds: number;
}

/**
 * Makes three changes of the stack on the local region, each under fifty sessions and twenty requests a
 * second; prints what the visitors saw and writes it to `out/release.json` and `out/release.svg`.
 */
export async function benchRelease(out: string): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), "meteor-scale-bench-"));
  const bundle = variant(folder, "2");
  const changes: Change[] = [
    { title: "a release", config: { bundle } },
    { title: "three hosts to five", config: { bundle, hostCount: 5 } },
    { title: "another balancer", config: { bundle, hostCount: 5, maxHosts: 9 } },
  ];
  try {
    const stack = await upStack();
    const measured: Measured[] = [];
    for (const change of changes) {
      console.log(`Measuring ${change.title} …`);
      measured.push(await measure(stack, change));
    }
    console.table(Object.fromEntries(measured.map((one) => [one.title, figures(one)])));
    mkdirSync(out, { recursive: true });
    const result = {
      date: new Date().toISOString().slice(0, 10),
      node: process.version,
      cores: availableParallelism(),
      changes: measured,
    };
    writeFileSync(join(out, "release.json"), `${JSON.stringify(result, undefined, 2)}\n`);
    writeFileSync(join(out, "release.svg"), await picture(measured));
  } finally {
    rmSync(folder, { recursive: true });
    await upStack();
  }
}

async function measure(stack: Stack, { title, config }: Change): Promise<Measured> {
  let updateSeconds = 0;
  const { result, report } = await underTraffic(
    stack,
    async (): Promise<Update> => {
      const start = performance.now();
      const update = await updateWith(config);
      updateSeconds = Math.round((performance.now() - start) / 1000);
      return update;
    },
    () => undefined,
  );
  if (result.status !== 0) {
    throw new Error(`${title}: the update failed\n${result.output}`);
  }
  return { title, updateSeconds, ...report };
}

function figures(measured: Measured): Record<string, number> {
  return {
    "update, s": measured.updateSeconds,
    requests: measured.requests,
    failed: measured.failedRequests.length,
    "outage, ms": measured.outage,
    calls: measured.calls,
    lost: measured.lostCalls + measured.failedCalls.length,
    "run twice": measured.repeatedCalls.websocket + measured.repeatedCalls["xhr-polling"],
    reconnects: measured.reconnects,
    "longest gap, ms": measured.longestWait,
  };
}

/** Second by second, how long the slowest request and the slowest call took. */
async function picture(measured: Measured[]): Promise<string> {
  const values = measured.flatMap(({ title, timeline }) =>
    timeline.flatMap(({ second, slowestConnection, longestWait }) => [
      { title, second, what: "new connection", milliseconds: slowestConnection },
      { title, second, what: "call of an open page", milliseconds: longestWait },
    ]),
  );
  const specification: TopLevelSpec = {
    data: { values: values.filter(({ milliseconds }) => milliseconds > 0) },
    facet: { row: { field: "title", title: null, sort: measured.map(({ title }) => title) } },
    spec: {
      width: 640,
      height: 140,
      mark: { type: "line", interpolate: "step-after" },
      encoding: {
        x: { field: "second", type: "quantitative", title: "seconds" },
        y: {
          field: "milliseconds",
          type: "quantitative",
          scale: { type: "log" },
          title: "slowest, ms",
        },
        color: { field: "what", type: "nominal", title: null, legend: { labelLimit: 300 } },
      },
    },
  };
  return `${await new View(parse(compile(specification).spec)).toSVG()}\n`;
}
