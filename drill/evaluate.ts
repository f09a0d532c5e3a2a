import type { Marked, MarkedSession } from "../local/traffic/load";
import type { Bounds, Drill } from "./drills";

/** A line of a machine's journal. */
export interface Notice {
  /** Seconds after the fault began. */
  at: number;
  /** As `MACHINE PROGRAM: message`. */
  text: string;
}

/** What a drill found; times in seconds after the fault began, or long. */
export interface Finding {
  name: string;
  title: string;
  /** Who noticed what was to be noticed, and when first. */
  noticed: Notice[];
  /** Longest time in which not one session had an answer. */
  noSessionWorked: number;
  /** Sessions that may notice the fault. */
  affected: number;
  /** Longest time that one of them was without an answer, each asking once a second. */
  affectedWithoutAnswer: number;
  /** All other sessions. */
  others: number;
  /** Longest time that a call of theirs waited. */
  othersLongestWait: number;
  /** Longest time that any call waited before the fault. */
  longestWaitBefore: number;
  /** How often a connection of theirs broke. */
  othersReconnects: number;
  /** How often a connection of an affected session broke. */
  reconnects: number;
  /** Sessions that were with another host in the end. */
  moved: number;
  /** Plain requests that were not answered with 200. */
  failedRequests: number;
  /** When the last of them was sent. */
  lastFailedRequest?: number;
  /** Calls that were answered with an error or not at all. */
  failedCalls: number;
  /** Calls that were acknowledged, but did not run. */
  lostWrites: number;
  /** When all was well again. */
  wellAfter?: number;
  /** Bounds that were broken, in words; none is what the drill is for. */
  broken: string[];
}

/** What was seen while a drill ran. */
export interface Seen {
  marked: Marked;
  notices: Notice[];
  /** Calls that were answered, though no host noted that they ran. */
  lostWrites: number;
  /** Seconds after the fault began; undefined if it did not come to that. */
  wellAfter: number | undefined;
}

/**
 * Seconds that a call may wait on a stack that nothing happens to; on a busy computer it is twice what one waited before
 * the fault.
 */
function unnoticedWait(before: number): number {
  return Math.max(1, 2 * before);
}

/** Compares what was seen with the bounds of a drill. */
export function evaluate(
  { name, title, bounds }: Pick<Drill, "name" | "title" | "bounds">,
  { marked, notices, lostWrites, wellAfter }: Seen,
): Finding {
  const isAffected = ({ host }: MarkedSession): boolean =>
    bounds.affected === "everybody" || bounds.affected === host;
  const affected = marked.sessions.filter(isAffected);
  const others = marked.sessions.filter((session) => !isAffected(session));
  const failed = marked.failedRequests.map(({ at }) => at);
  const finding: Omit<Finding, "broken"> = {
    name,
    title,
    noticed: bounds.noticed.flatMap((pattern) =>
      notices.filter(({ text }) => pattern.test(text)).slice(0, 1),
    ),
    noSessionWorked: longestGap(marked.sessions.flatMap(answers)),
    affected: affected.length,
    affectedWithoutAnswer: Math.max(0, ...affected.map(withoutAnswer)),
    others: others.length,
    othersLongestWait: Math.max(0, ...others.map(longestWait)),
    longestWaitBefore: marked.longestWaitBefore,
    othersReconnects: losses(others),
    reconnects: losses(affected),
    moved: marked.sessions.filter(({ moved }) => moved).length,
    failedRequests: failed.length,
    ...(failed.length > 0 && { lastFailedRequest: Math.max(...failed) }),
    failedCalls: marked.sessions.flatMap(({ calls }) =>
      calls.filter(({ answeredAt }) => answeredAt === undefined),
    ).length,
    lostWrites,
    ...(wellAfter !== undefined && { wellAfter }),
  };
  return { ...finding, broken: broken(finding, bounds, notices) };
}

function broken(finding: Omit<Finding, "broken">, bounds: Bounds, notices: Notice[]): string[] {
  const { requestsFailWithin = 0, notNoticed } = bounds;
  const { affectedWithoutAnswer, othersLongestWait, lastFailedRequest, wellAfter } = finding;
  const checks: [boolean, string][] = [
    [
      affectedWithoutAnswer > bounds.withoutAnswer,
      `a session was without an answer: ${inSeconds(affectedWithoutAnswer)}; allowed are ${bounds.withoutAnswer} s`,
    ],
    [
      finding.reconnects > 0 && !bounds.reconnects,
      `${finding.reconnects} connections of sessions broke`,
    ],
    [
      othersLongestWait > unnoticedWait(finding.longestWaitBefore),
      `a call of a session of another host waited ${inSeconds(othersLongestWait)}; before the fault it was ${inSeconds(finding.longestWaitBefore)} at most`,
    ],
    [
      finding.othersReconnects > 0,
      `${finding.othersReconnects} connections of sessions of other hosts broke`,
    ],
    [
      lastFailedRequest !== undefined && lastFailedRequest > requestsFailWithin,
      `${finding.failedRequests} requests failed, the last of them sent after ${inSeconds(lastFailedRequest)}`,
    ],
    [
      finding.failedCalls > 0 && bounds.callsFail !== true,
      `${finding.failedCalls} calls of sessions failed`,
    ],
    [finding.lostWrites > 0, `${finding.lostWrites} acknowledged writes are lost`],
    ...bounds.noticed.map((pattern): [boolean, string] => [
      !notices.some(({ text }) => pattern.test(text)),
      `nobody said ${String(pattern)}`,
    ]),
    ...notices
      .filter(({ text }) => notNoticed?.test(text))
      .map(({ at, text }): [boolean, string] => [true, `after ${inSeconds(at)}: ${text}`]),
    [
      wellAfter === undefined || wellAfter > bounds.wellWithin,
      `not all was well ${bounds.wellWithin} s after the fault began`,
    ],
  ];
  return checks.filter(([isBroken]) => isBroken).map(([, reason]) => reason);
}

/** Such as `3.4 s`. */
export function inSeconds(time: number | null | undefined): string {
  // JSON has null for what never ends.
  return time === undefined || time === null || time === Infinity
    ? "for ever"
    : `${time.toFixed(1)} s`;
}

function losses(sessions: MarkedSession[]): number {
  return sessions.reduce((sum, session) => sum + session.losses.length, 0);
}

function answers({ calls }: MarkedSession): number[] {
  return calls.flatMap(({ answeredAt }) => (answeredAt === undefined ? [] : [answeredAt]));
}

/** Longest time between two of these moments, the first one counted from the fault. */
function longestGap(times: number[]): number {
  const sorted = [0, ...times].sort((a, b) => a - b);
  return Math.max(0, ...sorted.map((time, index) => time - (sorted[index - 1] ?? time)));
}

/** The whole time between answers; for ever where the last call got none. */
function withoutAnswer(session: MarkedSession): number {
  const last = session.calls.reduce<MarkedSession["calls"][number]>(
    (one, other) => (other.at > one.at ? other : one),
    {
      at: -Infinity,
      answeredAt: 0,
    },
  );
  return last.answeredAt === undefined ? Infinity : longestGap(answers(session));
}

function longestWait({ calls }: MarkedSession): number {
  return Math.max(0, ...calls.map(({ at, answeredAt = at }) => answeredAt - at));
}

/** What happened in one second, for a picture: the longest wait of what was asked in it, in milliseconds. */
export interface TimelinePoint {
  second: number;
  who: "sessions concerned" | "other sessions" | "new connections";
  milliseconds: number;
}

/** @param until the last second that is of interest */
export function timeline(
  bounds: Bounds,
  { sessions, connections }: Marked,
  until: number,
): TimelinePoint[] {
  const concerned = (host: string): boolean =>
    bounds.affected === "everybody" || bounds.affected === host;
  const asked = [
    ...sessions.flatMap(({ host, calls }) =>
      calls.map((call) => ({
        ...call,
        who: concerned(host) ? ("sessions concerned" as const) : ("other sessions" as const),
      })),
    ),
    ...connections.map((call) => ({ ...call, who: "new connections" as const })),
  ];
  const longest = new Map<string, TimelinePoint>();
  for (const { at, answeredAt, who } of asked) {
    const second = Math.floor(at);
    if (answeredAt === undefined || second < 0 || second > until) {
      continue;
    }
    const key = `${who} ${second}`;
    const milliseconds = Math.round((answeredAt - at) * 1000);
    const known = longest.get(key)?.milliseconds ?? 0;
    longest.set(key, { second, who, milliseconds: Math.max(known, milliseconds) });
  }
  return [...longest.values()].sort((a, b) => a.second - b.second);
}

/** A line of `journalctl --output=json`. */
export interface JournalEntry {
  __REALTIME_TIMESTAMP: string;
  MESSAGE?: unknown;
  SYSLOG_IDENTIFIER?: string;
  _SYSTEMD_UNIT?: string;
}

/** Of a balancer's requests there are many, and none is a notice. */
const requestOfHaproxy = /^\S+ \[.*\] \S+ \S+\/\S+ /;

/**
 * @param machine such as `host1`
 * @param faultAt when the fault began, in milliseconds since 1970
 */
export function noticeOf(
  machine: string,
  entry: JournalEntry,
  faultAt: number,
): Notice | undefined {
  const { MESSAGE: message, SYSLOG_IDENTIFIER: identifier = "", _SYSTEMD_UNIT: unit } = entry;
  if (typeof message !== "string" || requestOfHaproxy.test(message)) {
    return undefined;
  }
  const program =
    identifier === "systemd" ? identifier : (unit?.replace(/\.service$/, "") ?? identifier);
  return {
    at: Math.round(Number(entry.__REALTIME_TIMESTAMP) / 100 - faultAt * 10) / 10_000,
    text: `${machine} ${program}: ${message}`,
  };
}
