import { loadavg } from "node:os";
import { setTimeout as sleep } from "node:timers/promises";
import type { Marked } from "../local/traffic/load";
import { startLoad } from "../local/traffic/load";
import { Browser } from "../local/traffic/browser";
import { journalFolder, readStatus } from "../local/region/access";
import { shortName } from "../local/updateProgress";
import { readStatistic } from "../tests/userdata/balancerSandbox";
import type { Stack } from "../tests/local/stack/stack";
import type { Drill } from "./drills";
import {
  evaluate,
  type Finding,
  type JournalEntry,
  type Notice,
  noticeOf,
  timeline,
  type TimelinePoint,
} from "./evaluate";
import { inMachine } from "./faults";

/** What a drill found, with what its picture shows. */
export interface DrillResult extends Finding {
  /** How many processes wanted a core in the last minute of it, on average: what else the computer did counts too. */
  load: number;
  timeline: TimelinePoint[];
}

/** Runs one drill on a stack that is well, under fifty sessions and twenty requests a second. */
export async function runDrill(
  stack: Stack,
  drill: Drill,
  signal: AbortSignal,
): Promise<DrillResult> {
  try {
    await drill.prepare?.();
    if ((await wellWithin(stack, 60)) === undefined) {
      throw new Error(`${drill.name} was not begun, as not all is well: ${await problem(stack)}`);
    }
    return await underLoad(stack, drill, signal);
  } finally {
    await drill.restore?.();
    if (drill.restore !== undefined) {
      await wellWithin(stack, 60);
    }
  }
}

async function underLoad(stack: Stack, drill: Drill, signal: AbortSignal): Promise<DrillResult> {
  const load = await startLoad({ site: stack, sessions: 50, requestsPerSecond: 20 });
  try {
    // What is usual is to be known before something happens.
    await sleep(8000);
    await load.mark();
    const faultAt = Date.now();
    await drill.fault(signal);
    // What has just begun is not over because it is not seen yet.
    await sleep(3000);
    const well = await wellWithin(stack, drill.bounds.wellWithin);
    const wellAfter = well === undefined ? undefined : (well - faultAt) / 1000;
    await sleep(3000);
    const report = await load.stop();
    // There was a mark.
    const marked = report.marked as Marked;
    const notices = await readNotices(faultAt);
    return {
      ...evaluate(drill, { marked, notices, lostWrites: report.lostCalls, wellAfter }),
      load: Math.round((loadavg()[0] ?? 0) * 10) / 10,
      timeline: timeline(drill.bounds, marked, (Date.now() - faultAt) / 1000),
    };
  } finally {
    load.kill();
  }
}

/** @returns when all was well, in milliseconds since 1970; undefined if that took too long */
async function wellWithin(stack: Stack, seconds: number): Promise<number | undefined> {
  for (const end = Date.now() + seconds * 1000; ;) {
    const now = Date.now();
    if ((await problem(stack)) === undefined) {
      return now;
    }
    if (Date.now() > end) {
      return undefined;
    }
    await sleep(500);
  }
}

/** What is not as it should be: the first that is found. */
async function problem(stack: Stack): Promise<string | undefined> {
  const { machines } = readStatus();
  for (const { name, state, ready } of machines) {
    if (state !== "running" || ready !== "true") {
      return `${name} is ${state}, ready: ${ready ?? "not yet"}`;
    }
  }
  try {
    for (const { name, instanceId } of machines) {
      // Fails where a unit has failed, and while the machine starts.
      const state = await inMachine(instanceId, "systemctl is-system-running; true");
      if (state.trim() !== "running") {
        return `${name}: ${state.trim()}`;
      }
    }
    const table = await inMachine("balancer", "echo show stat | socat - /run/haproxy/admin.sock");
    const status = readStatistic(table, "status");
    for (const host of hosts()) {
      if (!status[host]?.startsWith("UP")) {
        return `HAProxy says of ${host}: ${String(status[host])}`;
      }
      const browser = new Browser(stack);
      browser.cookie = host;
      const { host: answered, reactivity } = await browser.whoami();
      if (answered !== host || reactivity !== "oplog") {
        return `in place of ${host} ${answered} answers, with ${reactivity}`;
      }
    }
    return undefined;
  } catch (error) {
    return (error as Error).message;
  }
}

function hosts(): string[] {
  return readStatus()
    .machines.map(({ name }) => shortName(name))
    .filter((name) => /^host\d+$/.test(name));
}

async function readNotices(faultAt: number): Promise<Notice[]> {
  const { execa } = await import("execa");
  const found: Notice[] = [];
  for (const { name, instanceId } of readStatus().machines) {
    const { stdout } = await execa("journalctl", [
      ...["--quiet", "--output=json", `--directory=${journalFolder(instanceId)}`],
      `--since=@${Math.floor(faultAt / 1000)}`,
    ]);
    for (const line of stdout.split("\n").filter((text) => text !== "")) {
      const notice = noticeOf(shortName(name), JSON.parse(line) as JournalEntry, faultAt);
      if (notice !== undefined && notice.at >= 0) {
        found.push(notice);
      }
    }
  }
  return found.sort((one, other) => one.at - other.at);
}
