import { makeCertificate } from "../certificate";
import { echo, until } from "./balancerSandbox";
import { installBalancerTools, RunningBalancer } from "./runningBalancer";

beforeAll(installBalancerTools, 600_000);

const { certificatePem, privateKeyPem } = makeCertificate();
const pem = privateKeyPem + certificatePem;

/** Times that would keep the tests waiting; each must be there as it is written here. */
const shortened: [file: string, line: string, shorter: string][] = [
  ["haproxy.cfg", "timeout http-request 10s", "timeout http-request 1s"],
  ["haproxy.cfg", "timeout client 60s", "timeout client 3s"],
  ["stud.conf", "ssl-handshake-timeout = 30", "ssl-handshake-timeout = 2"],
  ["stud.conf", "keepalive = 60", "keepalive = 3"],
];

function shorten(path: string, content: string): string {
  return shortened
    .filter(([file]) => path.endsWith(file))
    .reduce((text, [, line, shorter]) => {
      if (text.split(line).length !== 2) {
        throw new Error(`${path} should have ${line} once`);
      }
      return text.replace(line, shorter);
    }, content);
}

/** Starts clients that do not behave, and tells what became of them. */
async function startClients(
  balancer: RunningBalancer,
  kind: string,
  port: 80 | 443,
  count: number,
): Promise<{ lines: () => string[]; left: () => boolean }> {
  const child = await balancer.sandbox.serve(
    "opened",
    process.execPath,
    ...["--import", "tsx", "tests/userdata/brokenClients.ts", kind, String(port), String(count)],
  );
  let output = "";
  child.stdout?.on("data", (data: Buffer) => (output += data.toString()));
  let exited = child.exitCode !== null;
  child.once("exit", () => (exited = true));
  return { lines: () => output.split("\n").filter(Boolean), left: () => exited };
}

describe("clients that do not behave", () => {
  const balancer = new RunningBalancer();
  const { sandbox } = balancer;
  let atStart = 0;

  beforeAll(async () => {
    await balancer.start({ studInstall: "source", pem, edit: shorten });
    atStart = descriptors();
  });

  afterAll(() => {
    balancer.stop();
  });

  /** How many files and sockets Hitch's processes have open. */
  function descriptors(): number {
    return sandbox
      .studProcesses()
      .map((id) => sandbox.run("ls", `/proc/${id}/fd`).trim().split("\n").length)
      .reduce((sum, count) => sum + count);
  }

  async function expectOthersServed(): Promise<void> {
    expect((await sandbox.get()).status).toBe(200);
    const { socket } = await sandbox.upgrade();
    expect(await echo(socket, "served")).toBe("served");
    socket.destroy();
  }

  /** What comes back for these bytes: on the port as they are, or inside TLS on 443. */
  function exchange(to: "80" | "443" | "TLS", bytes: string): string {
    const address = to === "TLS" ? "OPENSSL:127.0.0.1:443,verify=0" : `TCP:127.0.0.1:${to}`;
    const encoded = Buffer.from(bytes, "latin1").toString("base64");
    // Hitch ends a connection whose client says that it has said all.
    const command = `base64 -d <<<${encoded} | socat -T 10 -,ignoreeof ${address}`;
    return sandbox.outcomeOf("bash", ["-c", command]).output;
  }

  /** Lines of HAProxy's log since a mark, of requests only. */
  function logged(since: string, pattern: RegExp): string[] {
    return balancer
      .haproxyLog()
      .slice(since.length)
      .split("\n")
      .filter((line) => pattern.test(line));
  }

  test.each(["silent", "half-hello", "hello"])(
    "%s in the middle of a handshake: all are ended, and HAProxy hears of none",
    async (kind) => {
      const before = balancer.haproxyLog();
      const { left } = await startClients(balancer, kind, 443, 200);
      await expectOthersServed();
      await until(left);
      await until(() => descriptors() === atStart);
      expect(logged(before, /BADREQ/)).toEqual([]);
    },
  );

  test.each([
    [443, "stud"],
    [80, "public"],
  ] as const)("headers byte by byte on port %s: each gets 408 in time", async (port, frontend) => {
    const before = balancer.haproxyLog();
    const { lines, left } = await startClients(balancer, "slow-headers", port, 50);
    await expectOthersServed();
    await until(left);
    expect(lines().filter((line) => line === "ended HTTP/1.1 408 Request Time-out")).not.toEqual(
      [],
    );
    const timedOut = new RegExp(` ${frontend} ${frontend}/<NOSRV> .* 408 \\d+ cR-- `);
    // The log's socket holds ten lines, so that not all of these fifty may be there.
    await until(() => logged(before, timedOut).length >= 10);
    await until(() => descriptors() === atStart);
  });

  test("a poll may take longer than headers may, and the next may come later", async () => {
    expect((await sandbox.get({ path: "/poll" })).status).toBe(200);
    const socket = await sandbox.connect();
    const request = "GET / HTTP/1.1\r\nHost: app.example.com\r\n\r\n";
    expect(await echo(socket, request)).toMatch(/^HTTP\/1.1 200 /);
    await new Promise((resolve) => setTimeout(resolve, 2000));
    expect(await echo(socket, request)).toMatch(/^HTTP\/1.1 200 /);
    socket.destroy();
    // As the article has it, and longer than SockJS's heartbeats of 45 s.
    expect(balancer.file("haproxy.cfg")).toMatch(/^ {2}timeout server 60s$/m);
    expect(balancer.file("haproxy.cfg")).toMatch(/^ {2}timeout http-keep-alive 60s$/m);
  });

  test("clients that take nothing of a large answer are given up by both programs", async () => {
    const before = balancer.haproxyLog();
    await startClients(balancer, "never-reads", 443, 10);
    await expectOthersServed();
    await until(() => logged(before, / 200 \d+ cD\S\S .* GET \/large$/).length === 10);
    await until(() => descriptors() === atStart);
  });

  test.each([
    ["one that is too long", `X-Long: ${"x".repeat(20_000)}\r\n`],
    ["too many", Array.from({ length: 200 }, (_, index) => `X-${index}: 1\r\n`).join("")],
    ["a space in a name", "X-Forwarded-For : 192.0.2.1\r\n"],
    ["a second length", "Content-Length: 1\r\nContent-Length: 2\r\n"],
  ])("headers with %s get 400", async (_what, headers) => {
    const before = balancer.haproxyLog();
    const request = `GET / HTTP/1.1\r\nHost: app.example.com\r\n${headers}\r\n`;
    expect(exchange("TLS", request)).toMatch(/^HTTP\/1.1 400 /);
    await until(() => logged(before, / stud stud\/<NOSRV> .* 400 \d+ PR-- /).length === 1);
  });

  const request = "GET / HTTP/1.1\r\nHost: app.example.com\r\nConnection: close\r\n\r\n";
  const signature = "\r\n\r\n\0\r\nQUIT\n";
  const address = "\xc0\x00\x02\x01\xc0\x00\x02\x02\x00\x01\x01\xbb";

  test.each([
    ["version 1", "PROXY TCP4 192.0.2.1 192.0.2.2 1 443\r\n"],
    ["version 1, malformed", `PROXY TCP4 ${"9".repeat(200)}`],
    ["version 2", `${signature}\x21\x11\x00\x0c${address}`],
    ["version 2, malformed", `${signature}\x21\x11\xff\xff${address}`],
  ])("a PROXY line of %s from a client says nothing", async (_what, line) => {
    const before = balancer.haproxyLog();
    expect(exchange("TLS", line + request)).toMatch(/^HTTP\/1.1 400 /);
    expect(exchange("80", line + request)).toMatch(/^HTTP\/1.1 400 /);
    expect(exchange("443", line + request)).not.toMatch(/HTTP/);
    await until(() => logged(before, /haproxy\[\d+\]: 127\.0\.0\.1:\d+ .* 400 /).length === 2);
    expect(logged(before, /192\.0\.2|apps\/host1/)).toEqual([]);
  });

  test("a handshake after a PROXY line fails", async () => {
    const { lines, left } = await startClients(balancer, "proxy-line", 443, 1);
    await until(left);
    expect(lines()).not.toContain("handshaked");
  });

  test("plain HTTP on 443 and TLS on 80 are refused, and both are logged", async () => {
    const before = balancer.haproxyLog();
    expect(exchange("443", request)).not.toMatch(/HTTP\/1/);
    await until(() => /SSL.*http request/.test(balancer.studLog()));
    const { lines, left } = await startClients(balancer, "hello", 80, 1);
    await until(left);
    expect(lines()).toContain("ended HTTP/1.1 400 Bad request");
    await until(() => logged(before, / public public\/<NOSRV> .* 400 \d+ PR-- /).length === 1);
  });

  const claims = {
    "X-Forwarded-For": "192.0.2.1",
    "x-forwarded-FOR": "192.0.2.2, 192.0.2.3",
    "X-Forwarded-Proto": "http",
    "X-Forwarded-Host": "evil.example.com",
    "X-Real-IP": "192.0.2.4",
    Forwarded: "for=192.0.2.5;proto=http",
  };

  test("a client's claims reach the host neither in a request nor in an upgrade", async () => {
    const lines = Object.entries(claims).map(([name, value]) => `${name}: ${value}\r\n`);
    const answer = exchange(
      "TLS",
      `GET / HTTP/1.1\r\nHost: app.example.com\r\nConnection: close, X-Forwarded-For\r\n${lines.join("")}\r\n`,
    );
    const { headers } = await sandbox.upgrade(claims);
    for (const text of [answer.split("\r\n\r\n")[1], headers["x-host-headers"]]) {
      expect(text).toMatch(/"x-forwarded-for":"127\.0\.0\.1"/);
      expect(text).toMatch(/"x-forwarded-proto":"https"/);
      expect(text).not.toMatch(/192\.0\.2|evil|x-real-ip|"forwarded"/);
    }
  });
});

describe("half a handshake with Debian's Hitch", () => {
  const balancer = new RunningBalancer();

  beforeAll(() => balancer.start({ studInstall: "package", pem }));

  afterAll(() => {
    balancer.stop();
  });

  // Its 30 s can't be set.
  test("is ended, and others are served meanwhile", async () => {
    const { left } = await startClients(balancer, "half-hello", 443, 200);
    expect((await balancer.sandbox.get()).status).toBe(200);
    await new Promise((resolve) => setTimeout(resolve, 25_000));
    await until(left);
  });
});
