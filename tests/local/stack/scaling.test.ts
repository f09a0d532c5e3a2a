import { shortName } from "../../../local/updateProgress";
import {
  expectUnnoticed,
  machines,
  type Stack,
  statistic,
  underTraffic,
  upStack,
  updateWith,
} from "./stack";

jest.setTimeout(300_000);

let stack: Stack;

beforeAll(async () => {
  stack = await upStack();
});

function names(): string[] {
  return machines()
    .map(({ name }) => shortName(name))
    .sort();
}

function hosts(count: number): string[] {
  return Array.from({ length: count }, (_, index) => `host${index + 1}`);
}

test.each([
  [3, 1],
  [1, 8],
  [8, 2],
])("from %i hosts to %i, nobody notices, and nothing else is touched", async (from, to) => {
  if (names().length !== from + 2) {
    expect((await updateWith({ hostCount: from })).status).toBe(0);
  }
  const before = machines();
  const { result, report } = await underTraffic(stack, () => updateWith({ hostCount: to }));
  expect(result).toMatchObject({ status: 0 });
  expectUnnoticed(report);
  expect(names()).toEqual(["balancer", ...hosts(to), "mongo1"]);
  // The hosts that stay are the same machines.
  const stayed = machines().filter(({ instanceId }) =>
    before.some((machine) => machine.instanceId === instanceId),
  );
  expect(stayed).toHaveLength(Math.min(from, to) + 2);
  // Slots' records are changed, never added or removed: a name that did not exist is remembered by resolvers.
  const records = result.steps.filter(({ name }) => name.endsWith("-name"));
  expect(records.map(({ operation }) => operation)).toEqual(
    Array(Math.abs(to - from)).fill("update"),
  );
  if (to < from) {
    // The balancer turns away first.
    const lastRecord = result.steps.findLastIndex(({ name }) => name.endsWith("-name"));
    const firstGone = result.steps.findIndex(({ operation }) => operation === "delete");
    expect(lastRecord).toBeLessThan(firstGone);
    const left = Object.keys(report.hosts);
    expect(left.every((host) => hosts(to).includes(host.split(" ")[0] ?? ""))).toBe(true);
  }
  const status = statistic("status");
  expect(Object.keys(status).filter((slot) => status[slot] === "UP")).toEqual(hosts(to));
});
