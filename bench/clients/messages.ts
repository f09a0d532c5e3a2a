/** WebSocket messages: `messages '{"url": …}'` prints what it measured, as JSON. Each is a DDP ping, answered by a pong. */
import { setTimeout as sleep } from "node:timers/promises";
import WebSocket from "ws";
import { percentile } from "../statistics";
import { atRate } from "./pace";
import type { Measured, RequestsArgs } from "./requests";

/** A DDP session over SockJS's WebSocket, which pings. */
class Session {
  readonly latencies: number[] = [];
  private readonly sent: number[] = [];
  private socket: WebSocket | undefined;

  constructor(
    private readonly url: string,
    private readonly answered: (session: Session) => void,
  ) {}

  open(): Promise<void> {
    const id = Math.random().toString(36).slice(2, 10).padEnd(8, "0");
    const socket = new WebSocket(`${this.url}/sockjs/000/${id}/websocket`, {
      headers: { host: "app.example.com" },
      rejectUnauthorized: false,
      perMessageDeflate: false,
    });
    this.socket = socket;
    return new Promise((resolve, reject) => {
      socket.on("error", reject);
      socket.on("message", (data: Buffer) => {
        const text = data.toString();
        if (text === "o") {
          this.write({ msg: "connect", version: "1", support: ["1"] });
        } else if (text.includes("connected")) {
          resolve();
        } else if (text.includes("pong")) {
          this.latencies.push(performance.now() - (this.sent.shift() ?? NaN));
          this.answered(this);
        }
      });
    });
  }

  ping(): void {
    this.sent.push(performance.now());
    this.write({ msg: "ping", id: "12345678" });
  }

  close(): void {
    this.socket?.terminate();
  }

  private write(message: object): void {
    this.socket?.send(JSON.stringify([JSON.stringify(message)]));
  }
}

async function measure({ url, connections, seconds, rate }: RequestsArgs): Promise<Measured> {
  let going = true;
  const again = (session: Session): void => {
    if (going && rate === undefined) {
      session.ping();
    }
  };
  const sessions = Array.from({ length: connections }, () => new Session(url, again));
  for (const session of sessions) {
    await session.open();
  }
  const start = performance.now();
  if (rate === undefined) {
    sessions.forEach((session) => {
      session.ping();
    });
    await sleep(1000 * seconds);
  } else {
    await atRate(rate, seconds, (index) => sessions[index % connections]?.ping());
  }
  going = false;
  const passed = (performance.now() - start) / 1000;
  const latencies = sessions.flatMap((session) => session.latencies);
  await sleep(500);
  sessions.forEach((session) => {
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
