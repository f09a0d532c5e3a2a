/** WebSocket messages: `messages '{"url": …}'` prints what it measured, as JSON. Each is a DDP ping, answered by a pong. */
import { setTimeout as sleep } from "node:timers/promises";
import { percentile } from "../statistics";
import { DdpSession } from "./ddpSession";
import { atRate } from "./pace";
import type { Measured, RequestsArgs } from "./requests";

/** A session that pings. */
class Pinger {
  readonly latencies: number[] = [];
  private readonly sent: number[] = [];
  readonly session: DdpSession;

  constructor(url: string, answered: (pinger: Pinger) => void) {
    this.session = new DdpSession(url, ({ msg }) => {
      if (msg === "pong") {
        this.latencies.push(performance.now() - (this.sent.shift() ?? NaN));
        answered(this);
      }
    });
  }

  ping(): void {
    this.sent.push(performance.now());
    this.session.send({ msg: "ping", id: "12345678" });
  }
}

async function measure({ url, connections, seconds, rate }: RequestsArgs): Promise<Measured> {
  let going = true;
  const again = (pinger: Pinger): void => {
    if (going && rate === undefined) {
      pinger.ping();
    }
  };
  const pingers = Array.from({ length: connections }, () => new Pinger(url, again));
  for (const { session } of pingers) {
    await session.open();
  }
  const start = performance.now();
  if (rate === undefined) {
    pingers.forEach((pinger) => {
      pinger.ping();
    });
    await sleep(1000 * seconds);
  } else {
    await atRate(rate, seconds, (index) => pingers[index % connections]?.ping());
  }
  going = false;
  const passed = (performance.now() - start) / 1000;
  const latencies = pingers.flatMap((pinger) => pinger.latencies);
  await sleep(500);
  pingers.forEach(({ session }) => {
    session.close();
  });
  return {
    operations: latencies.length,
    seconds: passed,
    failed: 0,
    p50: percentile(latencies, 0.5),
    p99: percentile(latencies, 0.99),
  };
}

void measure(JSON.parse(process.argv[2] ?? "") as RequestsArgs).then((measured) => {
  console.log(JSON.stringify(measured));
});
