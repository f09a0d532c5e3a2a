import { Cron } from "croner";

/** When snapshots are made: a cron expression, or an interval in hours from one time of day. In UTC. */
export interface CreateRule {
  CronExpression?: string;
  Interval?: number;
  Times?: string[];
}

const hour = 3_600_000;
const year = 366 * 24 * hour;

/**
 * Reads a rule.
 *
 * @throws Error that says what is wrong with its cron expression
 */
export function cronOf({ CronExpression, Interval = 24, Times = [] }: CreateRule): Cron {
  if (CronExpression !== undefined) {
    return readCron(CronExpression);
  }
  const [first = 0, minute = 0] = (Times[0] ?? "").split(":").map(Number);
  // Each interval that AWS knows divides a day.
  const hours = Array.from(
    { length: 24 / Interval },
    (_, index) => (first + index * Interval) % 24,
  );
  return readCron(`cron(${minute} ${hours.join(",")} * * ? *)`);
}

/** https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-scheduled-rule-pattern.html#eb-cron-expressions */
function readCron(expression: string): Cron {
  const fields = /^cron\((.*)\)$/.exec(expression)?.[1]?.trim().split(/\s+/) ?? [];
  const [, , dayOfMonth, month, dayOfWeek = ""] = fields;
  if (fields.length !== 6) {
    throw new Error(
      "it has six fields: minute, hour, day of the month, month, day of the week, year",
    );
  }
  const cron = new Cron(["0", ...fields].join(" "), {
    mode: "7-part",
    utcOffset: 0,
    // SUN is 1, and 0/30 is every half hour.
    alternativeWeekdays: true,
    sloppyRanges: true,
    paused: true,
  });
  if ((dayOfMonth === "?") === (dayOfWeek === "?") || month === "?") {
    throw new Error(
      "one of the day of the month and the day of the week, and no other field, is ?",
    );
  }
  if (/(^|[,-])[089]/.test(dayOfWeek)) {
    throw new Error("days of the week are 1 (SUN) to 7 (SAT)");
  }
  return cron;
}

/** @returns why AWS would not take a rule; undefined if it would */
export function problemOf(rule: CreateRule, now: Date): string | undefined {
  try {
    const times = cronOf(rule).nextRuns(25, now).map(Number);
    const gaps = times.slice(1).map((time, index) => time - (times[index] ?? 0));
    if (times.length === 0) {
      return "it has no time to come";
    }
    return gaps.some((gap) => gap < hour || gap > year)
      ? "its times must be between 1 hour and 1 year apart"
      : undefined;
  } catch (error) {
    return (error as Error).message;
  }
}

/** @returns whether a time of a rule is after one moment and not after another */
export function isDue(rule: CreateRule, after: Date, until: Date): boolean {
  const next = cronOf(rule).nextRun(after);
  return next !== null && next <= until;
}

/** A snapshot that a schedule has made of a volume. */
export interface MadeSnapshot {
  id: string;
  volumeId: string;
  started: Date;
}

/**
 * @param snapshots those of the same second in the order in which they were made
 * @returns ids of the snapshots beyond the number that is kept of each volume, the oldest first
 */
export function surplus(snapshots: MadeSnapshot[], count: number): string[] {
  const newestFirst = [...snapshots]
    .reverse()
    .sort((a, b) => b.started.getTime() - a.started.getTime());
  return newestFirst
    .filter(
      ({ volumeId }, index) =>
        newestFirst.slice(0, index).filter((newer) => newer.volumeId === volumeId).length >= count,
    )
    .map(({ id }) => id)
    .reverse();
}
