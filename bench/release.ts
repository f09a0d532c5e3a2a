import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { TopLevelSpec } from "vega-lite";
import type { LoadReport } from "../local/traffic/load";
import {
  type Stack,
  underTraffic,
  type Update,
  upStack,
  updateWith,
} from "../tests/local/stack/stack";
import { variant } from "../tests/local/stack/variant";
import { type Goal, writeResult } from "./results";
import { inTurn, spread, spreadText } from "./statistics";

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

/** Milliseconds for which new connections may wait where the address moves to another balancer. */
const promisedOutage = 2000;

export interface ReleaseOptions {
  repeats: number;
  out: string;
}

/**
 * Makes three changes of the stack on the local region, each under fifty sessions and twenty requests a
 * second; prints what the visitors saw and writes it to `out/release.json` and `out/release.svg`.
 */
export async function benchRelease({ repeats, out }: ReleaseOptions): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), "meteor-scale-bench-"));
  const changes: Change[] = [
    { title: "a release", config: { bundle: variant(folder, "2") } },
    { title: "three hosts to five", config: { hostCount: 5 } },
    { title: "another balancer", config: { maxHosts: 9 } },
  ];
  const measured: Measured[] = [];
  try {
    for (let repeat = 0; repeat < repeats; repeat += 1) {
      const stack = await upStack();
      let config = {};
      for (const change of inTurn(changes, repeat)) {
        console.log(`${repeat + 1} of ${repeats}: ${change.title} …`);
        config = { ...config, ...change.config };
        measured.push(await measure(stack, { ...change, config }));
      }
    }
  } finally {
    rmSync(folder, { recursive: true });
    await upStack();
  }
  const titles = changes.map(({ title }) => title);
  await writeResult(
    {
      name: "release",
      title: `What fifty open pages and twenty requests a second see of a change: median (least–most) of ${repeats}`,
      // Second by second once for each change; more would say the same.
      data: {
        repeats,
        changes: measured.map((one, index) =>
          index < changes.length ? one : { ...one, timeline: undefined },
        ),
      },
      table: releaseTable(measured, titles),
      goals: releaseGoals(measured, titles),
      picture: picture(measured.slice(0, changes.length)),
    },
    out,
  );
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

function releaseTable(measured: Measured[], titles: string[]): string[][] {
  const byTitle = titles.map((title) =>
    measured.filter((one) => one.title === title).map((one) => figures(one)),
  );
  return [
    ["", ...titles],
    ...Object.keys(byTitle[0]?.[0] ?? {}).map((name) => [
      name,
      ...byTitle.map((all) => spreadText(spread(all.map((one) => one[name] ?? NaN)))),
    ]),
  ];
}

/** In every repeat: a release and more hosts cost no request and no call, another balancer a moment. */
export function releaseGoals(measured: Measured[], titles: string[]): Goal[] {
  return titles.map((title) => {
    const all = measured.filter((one) => one.title === title);
    const failed = all.reduce((sum, { failedRequests }) => sum + failedRequests.length, 0);
    const lost = all.reduce(
      (sum, { lostCalls, failedCalls }) => sum + lostCalls + failedCalls.length,
      0,
    );
    const outage = Math.max(...all.map((one) => one.outage));
    return title === "another balancer"
      ? {
          text: `${title}: no call is lost, and new connections wait for less than ${promisedOutage / 1000} s`,
          measured: `${lost} were lost, and they waited for ${outage} ms at most`,
          met: lost === 0 && outage < promisedOutage,
        }
      : {
          text: `${title}: no request fails and no call is lost`,
          measured: `${failed} failed and ${lost} were lost`,
          met: failed === 0 && lost === 0,
        };
  });
}

/** Second by second, how long the slowest request and the slowest call took. */
function picture(measured: Measured[]): TopLevelSpec {
  const values = measured.flatMap(({ title, timeline }) =>
    timeline.flatMap(({ second, slowestConnection, longestWait }) => [
      { title, second, what: "new connection", milliseconds: slowestConnection },
      { title, second, what: "call of an open page", milliseconds: longestWait },
    ]),
  );
  return {
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
}
