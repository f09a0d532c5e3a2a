import * as fc from "fast-check";
import {
  cronOf,
  isDue,
  type MadeSnapshot,
  problemOf,
  surplus,
} from "../../local/region/lifecycleSchedule";

const hour = 3_600_000;
const now = new Date("2026-01-15T10:20:30Z");

const moment = fc.date({
  min: new Date("2026-01-01"),
  max: new Date("2030-01-01"),
  noInvalidDate: true,
});
const minutes = fc.integer({ min: 0, max: 59 });
const hours = fc.integer({ min: 0, max: 23 });
const interval = fc.constantFrom(1, 2, 3, 4, 6, 8, 12, 24);
const rule = fc.oneof(
  fc.record({ Interval: interval, Times: fc.tuple(hours, minutes).map((time) => [clock(time)]) }),
  fc.record({
    CronExpression: fc
      .tuple(minutes, hours, fc.constantFrom("* * ?", "1,15 * ?", "? * MON-FRI", "? 1/2 6#3"))
      .map(([minute, hour, days]) => `cron(${minute} ${hour} ${days} *)`),
  }),
);

function clock(time: number[]): string {
  return time.map((part) => String(part).padStart(2, "0")).join(":");
}

function times(CronExpression: string, count = 3): string[] {
  return cronOf({ CronExpression })
    .nextRuns(count, now)
    .map((time) => time.toISOString().slice(0, 16));
}

test.each([
  ["every day at three", "cron(0 3 * * ? *)", "2026-01-16T03:00", "2026-01-17T03:00"],
  ["on Sundays, day 1", "cron(0 3 ? * 1 *)", "2026-01-18T03:00", "2026-01-25T03:00"],
  ["on working days", "cron(30 2 ? * MON-FRI *)", "2026-01-16T02:30", "2026-01-19T02:30"],
  ["every six hours from 00:05", "cron(5 0/6 * * ? *)", "2026-01-15T12:05", "2026-01-15T18:05"],
  ["on the last day of a month", "cron(0 3 L * ? *)", "2026-01-31T03:00", "2026-02-28T03:00"],
  [
    "on the working day next to the 15th",
    "cron(0 3 15W * ? *)",
    "2026-02-16T03:00",
    "2026-03-16T03:00",
  ],
  ["on the first Monday", "cron(0 3 ? * 2#1 *)", "2026-02-02T03:00", "2026-03-02T03:00"],
  ["on the last Friday", "cron(0 3 ? * 6L *)", "2026-01-30T03:00", "2026-02-27T03:00"],
  ["in some years", "cron(0 3 1 1 ? 2028-2029)", "2028-01-01T03:00", "2029-01-01T03:00"],
])("a schedule %s", (_, expression, ...expected) => {
  expect(times(expression, 2)).toEqual(expected);
  expect(problemOf({ CronExpression: expression }, now)).toBeUndefined();
});

test.each([
  ["five fields", "cron(0 3 * * ?)", /six fields/],
  ["no ?", "cron(0 3 * * * *)", /is \?$/],
  ["two ?", "cron(0 3 ? * ? *)", /is \?$/],
  ["a ? for the month", "cron(0 3 ? ? MON *)", /is \?$/],
  ["an hour that there is not", "cron(0 24 * * ? *)", /hour/],
  ["a weekday that there is not", "cron(0 3 ? * 0 *)", /day/],
  ["an eighth weekday", "cron(0 3 ? * 8 *)", /1 \(SUN\) to 7 \(SAT\)/],
  ["words", "cron(at three o'clock every single day)", /./],
  ["a rate", "rate(1 day)", /six fields/],
  ["two times in an hour", "cron(0/30 3 * * ? *)", /between 1 hour and 1 year/],
  ["every minute", "cron(* * * * ? *)", /between 1 hour and 1 year/],
  ["every fourth year", "cron(0 3 29 2 ? *)", /between 1 hour and 1 year/],
  ["the past", "cron(0 3 1 1 ? 2020)", /no time to come/],
])("a cron expression with %s is refused", (_, CronExpression, reason) => {
  expect(problemOf({ CronExpression }, now)).toMatch(reason);
});

test("an interval counts from its time of day, every day the same", () => {
  fc.assert(
    fc.property(interval, hours, minutes, moment, (Interval, first, minute, after) => {
      const rule = { Interval, Times: [clock([first, minute])] };
      const found = cronOf(rule).nextRuns(25, after).map(Number);
      const start = Date.UTC(2020, 0, 1, first, minute);
      expect(problemOf(rule, after)).toBeUndefined();
      expect((found[0] ?? 0) - after.getTime()).toBeLessThanOrEqual(Interval * hour);
      found.forEach((time, index) => {
        expect((time - start) % (Interval * hour)).toBe(0);
        expect(time - (found[0] ?? 0)).toBe(index * Interval * hour);
      });
    }),
  );
});

test("however often it is asked, a time is due once", () => {
  fc.assert(
    fc.property(
      rule,
      moment,
      fc.array(fc.nat(5 * 24 * hour), { maxLength: 8 }),
      (rule, start, steps) => {
        const looks = steps.reduce(
          (all, step) => [...all, new Date((all.at(-1) ?? start).getTime() + step)],
          [start],
        );
        const end = looks.at(-1) ?? start;
        const expected = cronOf(rule)
          .nextRuns(40 * 24, start)
          .filter((time) => time <= end);
        const found = looks
          .slice(1)
          .filter((now, index) => isDue(rule, looks[index] ?? start, now));
        // Each look after one or more times finds them, and no other one does.
        expect(found).toEqual(
          looks
            .slice(1)
            .filter((now, index) =>
              expected.some((time) => time > (looks[index] ?? start) && time <= now),
            ),
        );
      },
    ),
    { numRuns: 50 },
  );
});

test("of snapshots of the same second those made first go first", () => {
  const all = ["a", "b", "c", "d"].map((id) => ({ id, volumeId: "vol-1", started: now }));
  expect(surplus(all, 2)).toEqual(["a", "b"]);
});

test("of each volume the newest snapshots are kept, as many as the rule says", () => {
  const snapshots = fc.uniqueArray(
    fc.record({
      id: fc.uuid(),
      volumeId: fc.constantFrom("vol-1", "vol-2", "vol-3"),
      started: moment,
    }),
    { selector: ({ id }) => id, maxLength: 30 },
  );
  fc.assert(
    fc.property(snapshots, fc.integer({ min: 1, max: 5 }), (all, count) => {
      const gone = surplus(all, count);
      const isKept = ({ id }: MadeSnapshot): boolean => !gone.includes(id);
      for (const volumeId of ["vol-1", "vol-2", "vol-3"]) {
        const own = all.filter((each) => each.volumeId === volumeId);
        const kept = own.filter(isKept).map(({ started }) => started.getTime());
        expect(kept).toHaveLength(Math.min(own.length, count));
        own
          .filter((each) => !isKept(each))
          .forEach(({ started }) => {
            expect(started.getTime()).toBeLessThanOrEqual(Math.min(...kept));
          });
      }
      expect(new Set(gone).size).toBe(gone.length);
      const startOf = (id: string): number =>
        all.find((each) => each.id === id)?.started.getTime() ?? 0;
      expect(gone.map(startOf)).toEqual(gone.map(startOf).sort((a, b) => a - b));
    }),
  );
});
