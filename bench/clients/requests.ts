/** HTTP requests by autocannon: `requests '{"url": …}'` prints what it measured, as JSON. */
import autocannon from "autocannon";

/** How requests are made. */
export interface RequestsArgs {
  url: string;
  connections: number;
  seconds: number;
  /** Requests a second; left out: each connection asks again once it has its answer. */
  rate?: number;
}

/** What came of it. */
export interface Measured {
  /** Answered with 200. */
  operations: number;
  seconds: number;
  failed: number;
  /** Milliseconds. */
  p50: number;
  p99: number;
}

async function measure({ url, connections, seconds, rate }: RequestsArgs): Promise<Measured> {
  const result = await autocannon({
    url,
    connections,
    duration: seconds,
    overallRate: rate,
    headers: { host: "app.example.com" },
    servername: "app.example.com",
  });
  return {
    operations: result["2xx"],
    seconds: result.duration,
    failed: result.errors + result.timeouts + result.non2xx,
    p50: result.latency.p50,
    p99: result.latency.p99,
  };
}

void measure(JSON.parse(process.argv[2] ?? "") as RequestsArgs).then((measured) => {
  console.log(JSON.stringify(measured));
});
