import { drills, drillsOf } from "../drill/drills";
import { evaluate, noticeOf, type Seen, timeline } from "../drill/evaluate";
import { markdownTable, terminalTable } from "../drill/report";
import type { MarkedCall, MarkedSession } from "../local/traffic/load";

const hostLost = {
  name: "lost",
  title: "host lost",
  bounds: {
    affected: "host1",
    withoutAnswer: 5,
    reconnects: true,
    requestsFailWithin: 5,
    noticed: [/^balancer haproxy: .*host1 is DOWN/],
    wellWithin: 60,
  },
} as const;
const down = { at: 3.2, text: "balancer haproxy: Server apps/host1 is DOWN" };

/** Calls made once a second, of which those before a moment wait for it. */
function calls(count: number, waitUntil = 0): MarkedCall[] {
  return Array.from({ length: count }, (_, at) => ({
    at: at + 0.5,
    answeredAt: Math.max(at + 0.51, waitUntil),
  }));
}

function session(host: string, changes: Partial<MarkedSession> = {}): MarkedSession {
  return { transport: "websocket", host, moved: false, losses: [], calls: calls(10), ...changes };
}

function seen(sessions: MarkedSession[], changes: Partial<Seen> = {}): Seen {
  return {
    marked: { longestWaitBefore: 0.2, sessions, connections: [], failedRequests: [] },
    notices: [down],
    lostWrites: 0,
    wellAfter: 20,
    ...changes,
  };
}

const lost = (until: number): MarkedSession =>
  session("host1", { calls: calls(10, until), losses: [3.3], moved: true });

test("a drill whose bounds are kept says who noticed, how long it took and how many sessions moved", () => {
  expect(evaluate(hostLost, seen([lost(3.5), session("host2"), session("host3")]))).toMatchObject({
    noticed: [down],
    affected: 1,
    affectedWithoutAnswer: 3.5,
    others: 2,
    reconnects: 1,
    moved: 1,
    wellAfter: 20,
    broken: [],
  });
});

test.each<[string, Seen, RegExp]>([
  ["is back too late", seen([lost(5.2)]), /without an answer: 5\.2 s; allowed are 5 s/],
  [
    "never has an answer again",
    seen([session("host1", { calls: [...calls(3), { at: 3.5 }] })]),
    /without an answer: for ever;/,
  ],
])("a session that %s breaks a bound", (_what, what, reason) => {
  expect(evaluate(hostLost, what).broken.join("\n")).toMatch(reason);
});

test.each<[string, Seen, RegExp]>([
  [
    "a session of another host waits",
    seen([session("host2", { calls: calls(10, 2) })]),
    /call of a session of another host waited 1\.5 s/,
  ],
  [
    "a connection of another host's session breaks",
    seen([session("host2", { losses: [1] })]),
    /1 connections of sessions of other hosts/,
  ],
  [
    "a request fails when the host must have been left",
    seen([], {
      marked: {
        longestWaitBefore: 0.2,
        sessions: [],
        connections: [],
        failedRequests: [{ at: 6, path: "/", reason: "status 503" }],
      },
    }),
    /1 requests failed, the last of them sent after 6\.0 s/,
  ],
  [
    "a call fails",
    seen([session("host2", { calls: [{ at: 1 }, { at: 2, answeredAt: 2.1 }] })]),
    /1 calls of sessions failed/,
  ],
  ["an acknowledged write is lost", seen([], { lostWrites: 1 }), /1 acknowledged writes are lost/],
  ["nobody noticed", seen([], { notices: [] }), /nobody said .*host1 is DOWN/],
  ["it is not well again in time", seen([], { wellAfter: 61 }), /not all was well 60 s/],
  ["it is never well again", seen([], { wellAfter: undefined }), /not all was well 60 s/],
])("a drill's bounds are broken where %s", (_what, what, reason) => {
  expect(evaluate(hostLost, what).broken).toEqual([expect.stringMatching(reason)]);
});

test("on a busy computer a call of another host's session may wait twice as long as before the fault", () => {
  const { marked } = seen([session("host2", { calls: calls(10, 2) })]);
  const busy = { ...marked, longestWaitBefore: 0.8 };
  expect(evaluate(hostLost, seen([], { marked: busy })).broken).toEqual([]);
});

test("a fault that nobody may see is broken by a false alarm", () => {
  const { bounds } = hostLost;
  const unseen = { ...bounds, affected: "nobody", noticed: [], notNoticed: /is DOWN/ } as const;
  expect(evaluate({ ...hostLost, bounds: unseen }, seen([session("host1")])).broken).toEqual([
    "after 3.2 s: balancer haproxy: Server apps/host1 is DOWN",
  ]);
});

test("no session worked between the last answer to any of them and the next one", () => {
  const marked = [session("host1", { calls: calls(10, 4) }), session("host2", { calls: calls(2) })];
  expect(evaluate(hostLost, seen(marked)).noSessionWorked).toBeCloseTo(2.49);
});

test("a picture has the slowest call of each second, of those concerned and of the others", () => {
  const marked = seen([lost(3.5), session("host2")]).marked;
  expect(timeline(hostLost.bounds, marked, 3)).toEqual([
    { second: 0, who: "sessions concerned", milliseconds: 3000 },
    { second: 0, who: "other sessions", milliseconds: 10 },
    { second: 1, who: "sessions concerned", milliseconds: 2000 },
    { second: 1, who: "other sessions", milliseconds: 10 },
    { second: 2, who: "sessions concerned", milliseconds: 1000 },
    { second: 2, who: "other sessions", milliseconds: 10 },
    { second: 3, who: "sessions concerned", milliseconds: 10 },
    { second: 3, who: "other sessions", milliseconds: 10 },
  ]);
});

test("a journal's lines are notices, but for HAProxy's requests", () => {
  const line = (MESSAGE: unknown, more: object = {}): Parameters<typeof noticeOf>[1] => ({
    __REALTIME_TIMESTAMP: "1000500000",
    MESSAGE,
    ...more,
  });
  expect(
    noticeOf("host1", line("meteor.service: Killed", { SYSLOG_IDENTIFIER: "systemd" }), 1_000_000),
  ).toEqual({ at: 0.5, text: "host1 systemd: meteor.service: Killed" });
  expect(
    noticeOf("host1", line("hello", { _SYSTEMD_UNIT: "meteor.service" }), 1_000_000),
  ).toMatchObject({ text: "host1 meteor: hello" });
  const request = "203.0.113.1:5 [26/Nov/2026:20:00:00.000] stud apps/host1 0/0/1/2/3 200 5 --VN";
  expect(noticeOf("balancer", line(request), 1_000_000)).toBeUndefined();
  // Bytes that are no text.
  expect(noticeOf("balancer", line([1, 2]), 1_000_000)).toBeUndefined();
});

test("a table says of each drill whether its bounds were kept, and what broke one", () => {
  const kept = { ...evaluate(hostLost, seen([lost(3.5)])), load: 2, timeline: [] };
  const broken = { ...evaluate(hostLost, seen([lost(6)])), load: 2, timeline: [] };
  expect(terminalTable([kept, broken])).toMatch(
    /haproxy \(balancer\) after 3\.2 s .* kept\n.* BROKEN\nhost lost: a session was without/,
  );
  expect(markdownTable([kept])).toMatch(
    /^\| fault \|.*\n\| --- \|.*\n\| host lost \|.* kept \|\n$/,
  );
});

test("drills are chosen by their names, and an unknown one is answered with those that there are", () => {
  expect(drillsOf([])).toEqual(drills);
  expect(drillsOf(["mongo", "host-hung"]).map(({ name }) => name)).toEqual(["host-hung", "mongo"]);
  expect(() => drillsOf(["mongo", "nonsense"])).toThrow(
    /^There is no drill nonsense\. There are: host-process, .*, restart\.$/,
  );
});
