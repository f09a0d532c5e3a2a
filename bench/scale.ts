import type { TopLevelSpec } from "vega-lite";
import type { MessagesArgs } from "./clients/messages";
import type { Measured } from "./clients/requests";
import { barsWithSpread, type Goal, writeResult } from "./results";
import { inTurn, median, spread, spreadText } from "./statistics";
import { BenchSystem } from "./system";

const hostCounts = [1, 2, 3];
/** CPU time of a host: so little that three of them, the balancer and the load fit into two cores. */
const share = { cores: 0.15, period: 20_000 };
/** Open pages for each host, each of which calls again once it has its answer. */
const sessionsPerHost = 5;
/** Of the sample application. The cheapest ones take less of a host than of balancer and clients, which are no part of this. */
const method = "digest";
/** Milliseconds in which 99 of 100 calls must be answered. */
const promisedP99 = 100;
/** The least that is promised of three hosts in terms of one. */
const promisedRatio = 2.8;

/** One measurement. */
interface Sample {
  hosts: number;
  repeat: number;
  perSecond: number;
  /** Milliseconds. */
  p50: number;
  p99: number;
}

export interface ScaleOptions {
  repeats: number;
  seconds: number;
  out: string;
}

/**
 * Measures method calls a second with one, two and three hosts; prints what comes out and writes it to
 * `out/scale.json` and `out/scale.svg`.
 */
export async function benchScale({ repeats, seconds, out }: ScaleOptions): Promise<void> {
  const most = Math.max(...hostCounts);
  const system = await BenchSystem.start({ hosts: most });
  const samples: Sample[] = [];
  try {
    // Until what is called often has been compiled.
    await call(system, most, seconds);
    system.hostNames.forEach((name) => {
      system.limit(name, share);
    });
    for (let repeat = 0; repeat < repeats; repeat += 1) {
      for (const hosts of inTurn(hostCounts, repeat)) {
        console.log(`${repeat + 1} of ${repeats}: ${hosts} hosts …`);
        const { operations, p50, p99, ...measured } = await call(system, hosts, seconds);
        samples.push({ hosts, repeat, perSecond: operations / measured.seconds, p50, p99 });
      }
    }
  } finally {
    await system.stop();
  }
  await writeResult(
    {
      name: "scale",
      title: `Method calls on hosts with ${share.cores} of a core each: median (least–most) of ${repeats}`,
      data: { repeats, seconds, share, sessionsPerHost, method, samples },
      table: scaleTable(samples),
      goals: scaleGoals(samples),
      picture: picture(samples),
    },
    out,
  );
}

async function call(system: BenchSystem, hosts: number, seconds: number): Promise<Measured> {
  for (const [index, name] of system.hostNames.entries()) {
    const state = index < hosts ? "ready" : "maint";
    system.sandbox.runtime(`set server apps/${name} state ${state}`);
  }
  await system.up(system.hostNames.slice(0, hosts));
  const url = "wss://127.0.0.1:443";
  const args: MessagesArgs = { url, connections: hosts * sessionsPerHost, seconds, method };
  const measured = await system.client("messages", args).answer<Measured>();
  if (measured.failed > 0) {
    throw new Error(`${measured.failed} of ${measured.operations} calls failed`);
  }
  return measured;
}

function valuesOf(samples: Sample[], hosts: number, key: "perSecond" | "p50" | "p99"): number[] {
  return samples.filter((one) => one.hosts === hosts).map((one) => one[key]);
}

/** Calls a second in terms of one host's, for each repeat. */
export function ratiosOf(samples: Sample[], hosts: number): number[] {
  const ones = valuesOf(samples, 1, "perSecond");
  return valuesOf(samples, hosts, "perSecond").map(
    (value, repeat) => value / (ones[repeat] ?? NaN),
  );
}

function scaleTable(samples: Sample[]): string[][] {
  return [
    ["hosts", "calls a second", "times one host", "p50, ms", "p99, ms"],
    ...hostCounts.map((hosts) => [
      String(hosts),
      ...[
        valuesOf(samples, hosts, "perSecond"),
        ratiosOf(samples, hosts),
        valuesOf(samples, hosts, "p50"),
        valuesOf(samples, hosts, "p99"),
      ].map((values) => spreadText(spread(values))),
    ]),
  ];
}

export function scaleGoals(samples: Sample[]): Goal[] {
  const ratios = spread(ratiosOf(samples, 3));
  const slowest = Math.max(...hostCounts.map((hosts) => median(valuesOf(samples, hosts, "p99"))));
  return [
    {
      text: `three hosts: at least ${promisedRatio} times one`,
      measured: `it is ${spreadText(ratios)}`,
      met: ratios.median >= promisedRatio,
    },
    {
      text: `99 of 100 calls answered within ${promisedP99} ms`,
      measured: `the highest of the medians is ${slowest.toFixed(0)} ms`,
      met: slowest < promisedP99,
    },
  ];
}

function picture(samples: Sample[]): TopLevelSpec {
  const values = samples.map(({ hosts, perSecond }) => ({
    hosts: `${hosts} ${hosts === 1 ? "host" : "hosts"}`,
    perSecond,
  }));
  return {
    data: { values },
    width: 480,
    height: 120,
    ...barsWithSpread({ field: "perSecond", title: "method calls a second" }, { field: "hosts" }),
  } as TopLevelSpec;
}
