/**
 * HTTP requests over a new connection each, with a full handshake: `connections '{"url": …}'` prints what it
 * measured, as JSON. (autocannon counts no answer where it connects anew for each.)
 */
import http from "node:http";
import https from "node:https";
import { setTimeout as sleep } from "node:timers/promises";
import { percentile } from "../statistics";
import { atRate } from "./pace";
import type { Measured, RequestsArgs } from "./requests";

function request(url: string): Promise<number> {
  const start = performance.now();
  const options = {
    agent: false,
    rejectUnauthorized: false,
    headers: { host: "app.example.com", connection: "close" },
  };
  return new Promise((resolve, reject) => {
    const { get } = url.startsWith("https:") ? https : http;
    get(url, options, (response) => {
      response.resume().once("end", () => {
        if (response.statusCode === 200) {
          resolve(performance.now() - start);
        } else {
          reject(new Error(`answered with ${String(response.statusCode)}`));
        }
      });
    }).once("error", reject);
  });
}

async function measure({ url, connections, seconds, rate }: RequestsArgs): Promise<Measured> {
  const latencies: number[] = [];
  let failed = 0;
  const once = async (): Promise<void> => {
    await request(url).then(
      (latency) => latencies.push(latency),
      () => (failed += 1),
    );
  };
  const start = performance.now();
  const passed = (): number => (performance.now() - start) / 1000;
  if (rate === undefined) {
    const again = async (): Promise<void> => {
      while (passed() < seconds) {
        await once();
      }
    };
    await Promise.all(Array.from({ length: connections }, again));
  } else {
    await atRate(rate, seconds, () => void once());
    await sleep(500);
  }
  return {
    operations: latencies.length,
    seconds: rate === undefined ? passed() : seconds,
    failed,
    p50: percentile(latencies, 0.5),
    p99: percentile(latencies, 0.99),
  };
}

void measure(JSON.parse(process.argv[2] ?? "") as RequestsArgs).then((measured) => {
  console.log(JSON.stringify(measured));
});
