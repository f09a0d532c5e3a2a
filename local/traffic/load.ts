import { fork } from "node:child_process";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import https from "node:https";
import { setTimeout as sleep } from "node:timers/promises";
import { Browser, type DdpClient, type Site, type Transport } from "./browser";

/** How much traffic there is. */
export interface LoadArgs {
  site: Site;
  /** Pages that stay open, half over WebSocket and half over XHR polling; each calls a method every second. */
  sessions: number;
  /** Plain HTTPS requests a second, half of them over a new connection, some of them slow. */
  requestsPerSecond: number;
}

/** A request that was not answered with 200. */
export interface FailedRequest {
  /** Seconds after the start. */
  at: number;
  path: string;
  reason: string;
}

/** What was asked in one second after the start, in milliseconds. */
export interface Second {
  second: number;
  /** Until the last of its requests over a new connection was answered; what failed counts too. */
  slowestConnection: number;
  /** Until the last of its calls was answered. */
  longestWait: number;
}

/** A call whose page was away for long; all in seconds after the start. */
export interface LongWait {
  transport: Transport;
  at: number;
  seconds: number;
  losses: number[];
}

/** A call that a page made around the mark, in seconds after the mark. */
export interface MarkedCall {
  /** When the page made it; it is sent as soon as there is a connection. */
  at: number;
  /** When its answer came; undefined: none came, or an error. */
  answeredAt?: number;
}

/** A page that was open at the mark. */
export interface MarkedSession {
  transport: Transport;
  /** The host that served it at the mark. */
  host: string;
  /** Whether its cookie names another host at the end than at the mark. */
  moved: boolean;
  /** When its connection broke, in seconds after the mark. */
  losses: number[];
  /** Those without an answer at the mark, and all that came later. */
  calls: MarkedCall[];
}

/** What was asked around a moment that was marked. */
export interface Marked {
  /** Longest time that a call waited which was answered before, in seconds. */
  longestWaitBefore: number;
  sessions: MarkedSession[];
  /** Requests over new connections, sent since then. */
  connections: MarkedCall[];
  /** Requests that failed, sent or under way since then, in seconds after the mark. */
  failedRequests: FailedRequest[];
}

/** What the visitors of an application saw. */
export interface LoadReport {
  seconds: number;
  timeline: Second[];
  requests: number;
  failedRequests: FailedRequest[];
  /** Longest time in which no new connection got an answer, in milliseconds; nothing failed: 0. */
  outage: number;
  /** Longest time that a request over a new connection took, in milliseconds. */
  slowestConnection: number;
  sessions: number;
  calls: number;
  /** Calls that were answered, though no host noted that they ran. */
  lostCalls: number;
  /** Calls without an answer ten seconds after the end, and those answered with an error. */
  failedCalls: string[];
  /** Calls that ran more than once, since the answer to the first one was lost, by the page's transport. */
  repeatedCalls: Record<Transport, number>;
  /** How often a page's connection broke. */
  reconnects: number;
  /** Longest time that a call waited for its answer, in milliseconds, lost connections included. */
  longestWait: number;
  /** Calls that waited for more than five seconds, and when their pages lost their connections. */
  longWaits: LongWait[];
  /** Sessions whose cookie names another host at the end than at the start. */
  movedCookies: number;
  /** How many sessions each host process serves at the end, by host and version. */
  hosts: Record<string, number>;
  /** Since the mark; undefined where there was none. */
  marked?: Marked;
}

/** Visitors in a process of their own, so that nothing else delays them. */
export interface Load {
  /** Notes the moment, and which host serves each session. */
  mark: () => Promise<void>;
  /** Lets all leave, and tells what they saw. */
  stop: () => Promise<LoadReport>;
  /** Ends them at once, if they are still there. */
  kill: () => void;
}

/** Starts the visitors, and waits until each has had an answer. */
export async function startLoad(args: LoadArgs): Promise<Load> {
  const child = fork(__filename, { execArgv: ["--import", "tsx"], serialization: "advanced" });
  const ended = once(child, "exit");
  child.send(args);
  const first = await Promise.race([once(child, "message"), ended]);
  if (first[0] !== "started") {
    throw new Error("the visitors could not get through; see above");
  }
  const ask = async (what: "mark" | "stop"): Promise<unknown> => {
    child.send(what);
    const [answer] = (await Promise.race([once(child, "message"), ended])) as [unknown];
    return answer;
  };
  return {
    kill: (): void => {
      child.kill("SIGKILL");
    },
    mark: async (): Promise<void> => {
      await ask("mark");
    },
    stop: async (): Promise<LoadReport> => {
      const report = (await ask("stop")) as LoadReport;
      await ended;
      return report;
    },
  };
}

/** How long a visitor waits for a request's answer, in milliseconds. */
const patience = 10_000;

class Visitors {
  private readonly run = randomBytes(6).toString("hex");
  private readonly start = performance.now();
  private readonly sessions: Session[] = [];
  private readonly timers: NodeJS.Timeout[] = [];
  private readonly pending = new Set<Promise<void>>();
  private readonly keepAlive: https.Agent;
  private requests = 0;
  private markedAt: number | undefined;
  private readonly failed: FailedRequest[] = [];
  /** When requests over new connections were sent, in order, and how long they took. */
  private readonly connections: { at: number; milliseconds: number; answered: boolean }[] = [];

  constructor(private readonly args: LoadArgs) {
    this.keepAlive = new https.Agent({ keepAlive: true });
  }

  async open(): Promise<void> {
    const { sessions, requestsPerSecond, site } = this.args;
    await Promise.all(
      Array.from({ length: sessions }, async (_, index) => {
        const transport = index % 2 === 0 ? "websocket" : "xhr-polling";
        const session = new Session(site, this.run, index, transport);
        this.sessions.push(session);
        await session.open();
      }),
    );
    this.timers.push(
      setInterval(() => {
        this.request();
      }, 1000 / requestsPerSecond),
    );
    // Not all in the same moment.
    for (const [index, session] of this.sessions.entries()) {
      this.timers.push(
        setTimeout(
          () => {
            this.timers.push(
              setInterval(() => {
                session.call();
              }, 1000),
            );
          },
          (index * 1000) / sessions,
        ),
      );
    }
    await sleep(1500);
  }

  mark(): void {
    this.markedAt = performance.now();
    for (const session of this.sessions) {
      session.mark();
    }
  }

  async close(): Promise<LoadReport> {
    const seconds = (performance.now() - this.start) / 1000;
    this.timers.forEach((timer) => {
      clearInterval(timer);
    });
    await Promise.all([...this.pending, ...this.sessions.map((session) => session.settle())]);
    const noted = await this.sessions[0]?.take();
    const report = this.report(seconds, noted ?? []);
    this.sessions.forEach(({ browser }) => {
      browser.close();
    });
    this.keepAlive.destroy();
    return report;
  }

  private report(seconds: number, noted: string[]): LoadReport {
    const times = new Map<string, number>();
    for (const call of noted) {
      times.set(call, (times.get(call) ?? 0) + 1);
    }
    const answered = this.sessions.flatMap((session) => session.answered);
    const repeated = [...times].filter(([, count]) => count > 1).map(([call]) => call);
    const transportOf = (call: string): Transport | undefined =>
      this.sessions[Number.parseInt(call)]?.transport;
    const hosts: Record<string, number> = {};
    for (const { servedBy } of this.sessions) {
      hosts[servedBy] = (hosts[servedBy] ?? 0) + 1;
    }
    return {
      seconds: Math.round(seconds),
      timeline: Array.from({ length: Math.ceil(seconds) }, (_, second) => ({
        second,
        slowestConnection: slowest(this.connections, this.start, second),
        longestWait: slowest(
          this.sessions.flatMap(({ waits }) => waits),
          this.start,
          second,
        ),
      })),
      requests: this.requests,
      failedRequests: this.failed,
      outage: longestOutage(this.connections),
      slowestConnection: Math.round(
        Math.max(0, ...this.connections.map(({ milliseconds }) => milliseconds)),
      ),
      sessions: this.sessions.length,
      calls: this.sessions.reduce((sum, { calls }) => sum + calls, 0),
      lostCalls: answered.filter((call) => !times.has(call)).length,
      failedCalls: this.sessions.flatMap((session) => session.failures()),
      repeatedCalls: {
        websocket: repeated.filter((call) => transportOf(call) === "websocket").length,
        "xhr-polling": repeated.filter((call) => transportOf(call) === "xhr-polling").length,
      },
      reconnects: this.sessions.reduce((sum, { losses }) => sum + losses.length, 0),
      longestWait: Math.round(
        Math.max(
          0,
          ...this.sessions.flatMap(({ waits }) => waits.map(({ milliseconds }) => milliseconds)),
        ),
      ),
      longWaits: this.sessions.flatMap((session) => session.longWaits(this.start)),
      movedCookies: this.sessions.filter(({ cookie, browser }) => cookie !== browser.cookie).length,
      hosts,
      ...(this.markedAt !== undefined && { marked: this.marked(this.markedAt) }),
    };
  }

  private marked(markedAt: number): Marked {
    const start = (markedAt - this.start) / 1000;
    const waits = this.sessions.flatMap((session) => session.waits);
    return {
      longestWaitBefore: Math.max(
        0,
        ...waits
          .filter(({ at, milliseconds }) => at + milliseconds < markedAt)
          .map(({ milliseconds }) => milliseconds / 1000),
      ),
      sessions: this.sessions.map((session) => session.marked(markedAt)),
      connections: this.connections
        .filter(({ at }) => at >= markedAt)
        .map(({ at, milliseconds, answered }) => ({
          at: (at - markedAt) / 1000,
          ...(answered && { answeredAt: (at + milliseconds - markedAt) / 1000 }),
        })),
      failedRequests: this.failed
        .filter(({ at }) => at > start - patience / 1000)
        .map((request) => ({ ...request, at: round(request.at - start) })),
    };
  }

  /** In turn a page over a new connection, a request of a known visitor over a kept one, … */
  private request(): void {
    const number = this.requests++;
    const fresh = number % 2 === 0;
    const path = number % 10 === 1 ? "/slow?ms=1500" : fresh ? "/" : "/whoami";
    const cookie = this.sessions[number % this.sessions.length]?.browser.cookies() ?? {};
    const at = performance.now();
    const asked = this.ask(path, fresh, number % 4 < 2 ? {} : cookie).then(
      () => undefined,
      (error: unknown) => (error as Error).message,
    );
    const done = asked.then((reason) => {
      if (reason !== undefined) {
        this.failed.push({ at: round((at - this.start) / 1000), path, reason });
      }
      if (fresh) {
        const milliseconds = performance.now() - at;
        this.connections.push({ at, milliseconds, answered: reason === undefined });
      }
      this.pending.delete(done);
    });
    this.pending.add(done);
  }

  private ask(path: string, fresh: boolean, headers: Record<string, string>): Promise<void> {
    const { address, certificate, rootUrl } = this.args.site;
    return new Promise((resolve, reject) => {
      const request = https.get(
        {
          ...{ host: address, path, ca: certificate, servername: new URL(rootUrl).hostname },
          headers: { ...headers, host: new URL(rootUrl).host },
          agent: fresh ? false : this.keepAlive,
          timeout: patience,
        },
        (response) => {
          response.on("error", reject).resume();
          response.on("end", () => {
            if (response.statusCode === 200) {
              resolve();
            } else {
              reject(new Error(`status ${String(response.statusCode)}`));
            }
          });
        },
      );
      request.on("timeout", () => request.destroy(new Error("no answer")));
      request.on("error", reject);
    });
  }
}

function slowest(
  asked: { at: number; milliseconds: number }[],
  start: number,
  second: number,
): number {
  const times = asked
    .filter(({ at }) => Math.floor((at - start) / 1000) === second)
    .map(({ milliseconds }) => milliseconds);
  return Math.round(Math.max(0, ...times));
}

/** Between the first of the requests that failed in a row, and the next that was answered. */
function longestOutage(connections: { at: number; answered: boolean }[]): number {
  let longest = 0;
  let since: number | undefined;
  for (const { at, answered } of [...connections].sort((a, b) => a.at - b.at)) {
    if (answered) {
      longest = Math.max(longest, at - (since ?? at));
      since = undefined;
    } else {
      since ??= at;
    }
  }
  return Math.round(since === undefined ? longest : Infinity);
}

interface NoteResult {
  host: string;
  version: string;
}

/** One page that stays open. */
class Session {
  readonly browser: Browser;
  readonly answered: string[] = [];
  cookie: string | undefined;
  calls = 0;
  /** When its connection broke. */
  readonly losses: number[] = [];
  /** When calls were sent that were answered, and after how long. */
  readonly waits: { at: number; milliseconds: number }[] = [];
  servedBy = "";
  private atMark = { host: "", cookie: "" };
  private client: DdpClient | undefined;
  private readonly waiting = new Map<string, number>();
  private readonly errors: string[] = [];
  /** When calls were made that were answered with an error. */
  private readonly refused: number[] = [];

  constructor(
    site: Site,
    private readonly run: string,
    private readonly index: number,
    readonly transport: Transport,
  ) {
    this.browser = new Browser(site);
  }

  async open(): Promise<void> {
    // As a page does that a person opens: its own request brings the cookie.
    await this.browser.get("/");
    this.client = await this.browser.connect(this.transport, () => {
      this.losses.push(performance.now());
    });
    this.cookie = this.browser.cookie;
  }

  call(): void {
    const call = `${this.index}-${this.calls++}`;
    const sentAt = performance.now();
    this.waiting.set(call, sentAt);
    this.client?.call("calls.note", this.run, call).then(
      (result) => {
        const { host, version } = result as NoteResult;
        this.servedBy = `${host} version ${version}`;
        this.waits.push({ at: sentAt, milliseconds: performance.now() - sentAt });
        this.waiting.delete(call);
        this.answered.push(call);
      },
      (error: unknown) => {
        this.waiting.delete(call);
        this.refused.push(sentAt);
        this.errors.push(`${call}: ${(error as Error).message}`);
      },
    );
  }

  /** Waits for the last answers. */
  async settle(): Promise<void> {
    for (const end = performance.now() + patience; this.waiting.size > 0;) {
      if (performance.now() > end) {
        return;
      }
      await sleep(50);
    }
  }

  mark(): void {
    const [host = ""] = this.servedBy.split(" ");
    this.atMark = { host, cookie: this.browser.cookie ?? "" };
  }

  marked(markedAt: number): MarkedSession {
    const seconds = (time: number): number => (time - markedAt) / 1000;
    const answered = this.waits.map(({ at, milliseconds }) => ({
      at: seconds(at),
      answeredAt: seconds(at + milliseconds),
    }));
    const unanswered = [...this.waiting.values(), ...this.refused].map((at) => ({
      at: seconds(at),
    }));
    return {
      transport: this.transport,
      host: this.atMark.host,
      moved: this.atMark.cookie !== this.browser.cookie,
      losses: this.losses.map(seconds).filter((at) => at >= 0),
      calls: [...answered.filter(({ answeredAt }) => answeredAt >= 0), ...unanswered],
    };
  }

  failures(): string[] {
    return [...this.errors, ...[...this.waiting.keys()].map((call) => `${call}: no answer`)];
  }

  longWaits(start: number): LongWait[] {
    return this.waits
      .filter(({ milliseconds }) => milliseconds > 5000)
      .map(({ at, milliseconds }) => ({
        transport: this.transport,
        at: round((at - start) / 1000),
        seconds: round(milliseconds / 1000),
        losses: this.losses.map((lost) => round((lost - start) / 1000)),
      }));
  }

  async take(): Promise<string[]> {
    return (await this.client?.call("calls.take", this.run)) as string[];
  }
}

function round(seconds: number): number {
  return Math.round(seconds * 10) / 10;
}

async function serve(args: LoadArgs): Promise<void> {
  const visitors = new Visitors(args);
  await visitors.open();
  process.send?.("started");
  while ((await once(process, "message"))[0] === "mark") {
    visitors.mark();
    process.send?.("marked");
  }
  process.send?.(await visitors.close(), () => {
    process.exit(0);
  });
}

if (require.main === module && process.send !== undefined) {
  // Whoever asked for the visitors was killed.
  process.once("disconnect", () => {
    process.exit(1);
  });
  process.once("message", (args: LoadArgs) => {
    serve(args).catch((error: unknown) => {
      console.error((error as Error).stack);
      process.exit(1);
    });
  });
}
