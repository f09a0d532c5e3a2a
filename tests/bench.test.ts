import { balanceGoal, withAlgorithm } from "../bench/balance";
import { phasesOf } from "../bench/boot";
import { frontGoals, frontTable } from "../bench/front";
import { releaseGoals } from "../bench/release";
import { goalText } from "../bench/results";
import { ratiosOf, scaleGoals } from "../bench/scale";
import {
  configuredLimit,
  kernelMemory,
  perSession,
  proportionalSize,
  sessionsGoal,
} from "../bench/sessions";
import {
  figure,
  imbalance,
  inTurn,
  median,
  percentile,
  spread,
  spreadText,
} from "../bench/statistics";
import { haproxyConfig } from "../userdata/balancer/haproxyConfig";

describe("statistics", () => {
  test("a median is the middle, or between the two in the middle, in whatever order", () => {
    expect(median([3, 1, 2])).toBe(2);
    expect(median([10, 1, 2, 3])).toBe(2.5);
    expect(() => median([])).toThrow("no values");
  });

  test("a percentile is a value that was measured", () => {
    const hundred = Array.from({ length: 100 }, (_, index) => 100 - index);
    expect([0.5, 0.99, 1].map((share) => percentile(hundred, share))).toEqual([50, 99, 100]);
    expect(percentile([7], 0.99)).toBe(7);
    expect(() => percentile([], 0.5)).toThrow("no values");
  });

  test("a spread names the middle, the least and the most", () => {
    expect(spread([2, 10, 1])).toEqual({ median: 2, min: 1, max: 10 });
    expect(spreadText(spread([2, 10, 1]))).toBe("2.00 (1.00–10.0)");
  });

  test("figures have three digits, or all before the point", () => {
    expect([0.12345, 1.2345, 12.345, 123.45, 12345.6, 0, Infinity, NaN].map(figure)).toEqual([
      ...["0.123", "1.23", "12.3", "123", "12346", "0.00", "∞", "-"],
    ]);
  });

  test("what is compared takes turns at each place, and comes once in each repeat", () => {
    const things = ["a", "b", "c"];
    const orders = [0, 1, 2, 3].map((repeat) => inTurn(things, repeat));
    expect(orders.slice(0, 3).map(([first]) => first)).toEqual(things);
    expect(new Set(orders.map(String)).size).toBe(4);
    orders.forEach((order) => {
      expect([...order].sort()).toEqual(things);
    });
  });

  test("the imbalance of hosts one of which has no session has no bound", () => {
    expect(imbalance([40, 44, 42])).toBe(1.1);
    expect(imbalance([60, 60, 0])).toBe(Infinity);
  });
});

test("a goal says in words whether it is met", () => {
  const goal = { text: "at most 2", measured: "it is 3" };
  expect(goalText({ ...goal, met: false })).toBe("NOT MET: at most 2; it is 3.");
  expect(goalText({ ...goal, met: true })).toBe("Met: at most 2; it is 3.");
});

describe("front", () => {
  type Sample = Parameters<typeof frontGoals>[0][number];
  const sample = (front: Sample["front"], perSecond: number): Sample[] =>
    (["requests", "messages", "connections"] as const).map((work) => ({
      ...{ front, work, perSecond, p50: 1, p99: 2 },
      cpu: front === "direct" ? NaN : 50,
    }));

  const samples = [
    ...sample("product", 90),
    ...sample("hitch", 300),
    ...sample("haproxyPlain", 200),
    ...sample("haproxy", 100),
    ...sample("nginx", 80),
    ...sample("direct", 1000),
  ];

  test("is measured against the better peer that does all the work, and not against what does a part", () => {
    expect(frontGoals(samples).map(({ met }) => met)).toEqual([true, true, true]);
    expect(frontGoals(samples)[0]?.measured).toContain("0.900");
    const slower = [...samples.slice(3), ...sample("product", 89)];
    expect(frontGoals(slower).map(({ met }) => met)).toEqual([false, false, false]);
  });

  test("has no CPU time where nothing stands in front of the host", () => {
    const rows = frontTable(samples);
    expect(rows.filter(([name]) => name === "  host directly").map((row) => row.at(-1))).toEqual([
      ...["-", "-", "-"],
    ]);
  });
});

describe("sessions", () => {
  const levels = [
    { sessions: 0, bytes: { hitch: 0, haproxy: 0, kernel: 0, node: 0 } },
    { sessions: 1000, bytes: { hitch: 2e7, haproxy: 0, kernel: 0, node: 1e7 } },
    { sessions: 10_000, bytes: { hitch: 11e7, haproxy: 9e7, kernel: 0, node: 1e7 } },
  ];

  test("what one more takes is told between two levels", () => {
    expect(perSession([levels], "hitch", 0, 1)).toEqual([20_000]);
    expect(perSession([levels], "hitch", 1, 2)).toEqual([10_000]);
    expect(perSession([levels], "node", 1, 2)).toEqual([0]);
  });

  test("the limit is what haproxy.cfg has, and must fit into the memory", () => {
    const fits = Math.floor((1.5 * 2 ** 30) / 20_000);
    expect(configuredLimit()).toBeGreaterThan(0);
    expect(sessionsGoal([levels], fits).met).toBe(true);
    expect(sessionsGoal([levels], fits + 1).met).toBe(false);
  });

  test("memory is read as the kernel tells it", () => {
    expect(proportionalSize("Rss:   900 kB\nPss:    321 kB\nPss_Dirty:  5 kB\n")).toBe(321 * 1024);
    expect(kernelMemory("Slab:  9 kB\nSReclaimable: 4 kB\nSUnreclaim:      5 kB\n")).toBe(5 * 1024);
    expect(() => proportionalSize("")).toThrow("no proportional set size");
  });
});

describe("balance", () => {
  const config = haproxyConfig({
    slots: ["host1", "host2"],
    zone: "meteor.internal",
    meteorPort: 3000,
    acme: false,
  });

  test("only the way to choose a host differs, and a hash has no cookie", () => {
    expect(withAlgorithm(config, "leastconn")).toBe(config);
    expect(withAlgorithm(config, "roundrobin")).toBe(
      config.replace("balance leastconn", "balance roundrobin"),
    );
    const hashed = withAlgorithm(config, "source");
    expect(hashed).toContain("  balance source\n");
    expect(hashed).not.toMatch(/^ *cookie/m);
    expect(hashed).toMatch(/^ {2}server host1 host1\.meteor\.internal:3000$/m);
    expect(() => withAlgorithm("", "leastconn")).toThrow("any more");
  });

  test("the goal looks at leastconn alone, a minute later", () => {
    const run = (algorithm: "leastconn" | "source", minuteLater: number[]): object => ({
      algorithm,
      counts: { before: [1, 1], away: [2, 0], back: [2, 0], minuteLater },
    });
    const runs = [run("leastconn", [40, 44]), run("source", [10, 70])];
    expect(balanceGoal(runs as never).met).toBe(true);
    expect(balanceGoal([...runs.slice(1), run("leastconn", [40, 45])] as never).met).toBe(false);
  });
});

describe("scale", () => {
  const sample = (
    repeat: number,
    hosts: number,
    perSecond: number,
    p99 = 50,
  ): Parameters<typeof scaleGoals>[0][number] => ({ repeat, hosts, perSecond, p50: 10, p99 });

  test("three hosts are compared with one of the same repeat, in whatever order they were measured", () => {
    const samples = [sample(0, 1, 100), sample(0, 3, 290), sample(1, 3, 140), sample(1, 1, 50)];
    expect(ratiosOf(samples, 3)).toEqual([2.9, 2.8]);
  });

  test("calls that wait for too long do not count as carried", () => {
    const samples = [sample(0, 1, 100), sample(0, 2, 200), sample(0, 3, 300)];
    expect(scaleGoals(samples).map(({ met }) => met)).toEqual([true, true]);
    const slow = [...samples.slice(0, 2), sample(0, 3, 300, 100)];
    expect(scaleGoals(slow).map(({ met }) => met)).toEqual([true, false]);
  });
});

describe("boot", () => {
  const entries = [
    { at: 1500, text: "Journal started" },
    { at: 2000, text: "Cloud-init v. 22.4.2 running 'init-local' at Thu, 26 Nov 2026" },
    { at: 5000, text: "Starting cloud-final.service - Execute cloud user/final scripts..." },
    { at: 6000, text: "step fetch-programs" },
    { at: 6500, text: "a step of its own" },
    { at: 9000, text: "step start-meteor" },
    { at: 19_000, text: "Finished cloud-final.service - Execute cloud user/final scripts." },
  ];

  test("its phases follow one another without a gap", () => {
    const phases = phasesOf(1000, entries);
    expect(phases.map(({ name, seconds }) => `${name} ${seconds}`)).toEqual([
      ...["start of systemd 0.5", "systemd 0.5", "cloud-init 3", "look for packages 1"],
      ...["fetch-programs 3", "start-meteor 10"],
    ]);
  });

  test("that has not ended is an error", () => {
    expect(() => phasesOf(1000, entries.slice(0, -1))).toThrow("Finished cloud-final");
  });
});

test("a release that loses a request has not met its goal, and another balancer may take a moment", () => {
  const report = { failedRequests: [], lostCalls: 0, failedCalls: [], outage: 0 };
  const goals = (release: object, balancer: object): boolean[] =>
    releaseGoals(
      [
        { ...report, title: "a release", ...release },
        { ...report, title: "another balancer", ...balancer },
      ] as never,
      ["a release", "another balancer"],
    ).map(({ met }) => met);
  const failedRequests = [{ at: 1, path: "/", reason: "reset" }];
  expect(goals({}, { failedRequests, outage: 1999 })).toEqual([true, true]);
  expect(goals({ failedRequests }, { outage: 2000 })).toEqual([false, false]);
  expect(goals({ lostCalls: 1 }, { failedCalls: ["1"] })).toEqual([false, false]);
});
