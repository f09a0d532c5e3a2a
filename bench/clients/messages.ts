/**
 * WebSocket messages: `messages '{"url": …}'` prints what it measured, as JSON. Each is a DDP ping, answered by a
 * pong, or the call of a method.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { percentile } from "../statistics";
import { DdpSession } from "./ddpSession";
import { atRate } from "./pace";
import type { Measured, RequestsArgs } from "./requests";

export interface MessagesArgs extends RequestsArgs {
  /** Is called instead of a ping. */
  method?: string;
}

/** A session that asks, and is answered in the order in which it asked. */
class Asker {
  readonly latencies: number[] = [];
  failed = 0;
  readonly session: DdpSession;
  private readonly sent: number[] = [];

  constructor({ url, method }: MessagesArgs, answered: (asker: Asker) => void) {
    this.question = JSON.stringify(
      method === undefined
        ? { msg: "ping", id: "1" }
        : { msg: "method", id: "1", method, params: [] },
    );
    this.session = new DdpSession(url, ({ msg, error }) => {
      if (msg === "pong" || msg === "result") {
        this.latencies.push(performance.now() - (this.sent.shift() ?? NaN));
        this.failed += error === undefined ? 0 : 1;
        answered(this);
      }
    });
  }

  private readonly question: string;

  ask(): void {
    this.sent.push(performance.now());
    this.session.send(this.question);
  }
}

async function measure(args: MessagesArgs): Promise<Measured> {
  const { connections, seconds, rate } = args;
  let going = true;
  const again = (asker: Asker): void => {
    if (going && rate === undefined) {
      asker.ask();
    }
  };
  const askers = Array.from({ length: connections }, () => new Asker(args, again));
  for (const { session } of askers) {
    await session.open();
  }
  const start = performance.now();
  if (rate === undefined) {
    askers.forEach((asker) => {
      asker.ask();
    });
    await sleep(1000 * seconds);
  } else {
    await atRate(rate, seconds, (index) => askers[index % connections]?.ask());
  }
  going = false;
  const passed = (performance.now() - start) / 1000;
  const latencies = askers.flatMap((asker) => asker.latencies);
  await sleep(500);
  askers.forEach(({ session }) => {
    session.close();
  });
  return {
    operations: latencies.length,
    seconds: passed,
    failed: askers.reduce((sum, asker) => sum + asker.failed, 0),
    p50: percentile(latencies, 0.5),
    p99: percentile(latencies, 0.99),
  };
}

void measure(JSON.parse(process.argv[2] ?? "") as MessagesArgs).then((measured) => {
  console.log(JSON.stringify(measured));
});
