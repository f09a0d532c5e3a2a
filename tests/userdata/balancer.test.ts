import type { ChildProcess } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import * as fc from "fast-check";
import { balancerMachine, type BalancerMachineArgs } from "../../userdata/balancer/balancerMachine";
import { haproxyConfig } from "../../userdata/balancer/haproxyConfig";
import { studConfig } from "../../userdata/balancer/studConfig";
import { builtHitch, installTools, run } from "../tools";
import { echo, Sandbox, until } from "./balancerSandbox";

jest.setTimeout(60_000);

const slots = (count: number): string[] =>
  Array.from({ length: count }, (_, index) => `host${index + 1}`);
const zone = "meteor.internal";
const args: BalancerMachineArgs = {
  slots: slots(8),
  zone,
  meteorPort: 3000,
  studInstall: "source",
  tlsPath: "/meteor-scale/test/certificate",
  acme: false,
};
let hitchBuilt = "";

beforeAll(() => {
  installTools({
    "/usr/bin/curl": "curl",
    "/usr/bin/openssl": "openssl",
    "/usr/bin/socat": "socat",
    "/usr/bin/systemd-analyze": "systemd",
    "/usr/sbin/dnsmasq": "dnsmasq-base",
    "/usr/sbin/haproxy": "haproxy",
    "/usr/sbin/hitch": "hitch",
    "/usr/sbin/ip": "iproute2",
  });
  hitchBuilt = builtHitch();
}, 600_000);

describe("the files", () => {
  test("haproxy.cfg", () => {
    expect(
      haproxyConfig({ slots: slots(3), zone, meteorPort: 3000, acme: false }),
    ).toMatchSnapshot();
  });

  test("stud.conf", () => {
    expect(studConfig({ studInstall: "source" })).toMatchSnapshot();
    expect(studConfig({ studInstall: "package" })).toMatchSnapshot();
  });

  test("of each variant", () => {
    for (const studInstall of ["source", "package"] as const) {
      const { environment, files, steps } = balancerMachine({ ...args, studInstall });
      expect({ environment, steps, files: files.map(({ path }) => path) }).toMatchSnapshot();
    }
  });

  test("every host has one line, with its own name as its cookie", () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 100 }),
        fc.integer({ min: 1, max: 65535 }),
        (n, port) => {
          const lines = haproxyConfig({ slots: slots(n), zone, meteorPort: port, acme: false })
            .split("\n")
            .filter((line) => /^ *server /.test(line))
            .map((line) => line.trim());
          expect(lines).toEqual(
            slots(n).map((slot) => `server ${slot} ${slot}.${zone}:${port} cookie ${slot}`),
          );
        },
      ),
    );
  });

  test("HAProxy accepts any number of hosts", () => {
    const folder = mkdtempSync(join(tmpdir(), "meteor-scale-haproxy-"));
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 100 }), (count) => {
        writeFileSync(
          join(folder, "haproxy.cfg"),
          haproxyConfig({ slots: slots(count), zone, meteorPort: 3000, acme: false }).replace(
            "/usr/local/lib/meteor-scale/",
            join(__dirname, "../../userdata/balancer/"),
          ),
        );
        run("haproxy", ["-c", "-f", join(folder, "haproxy.cfg")]);
      }),
      { numRuns: 8, examples: [[1], [100]] },
    );
    rmSync(folder, { recursive: true });
  });
});

describe("keys of stud.conf", () => {
  const folder = mkdtempSync(join(tmpdir(), "meteor-scale-stud-"));
  afterAll(() => {
    rmSync(folder, { recursive: true });
  });

  /** With a user and a PEM that exist here. */
  function readable(studInstall: "source" | "package"): string {
    createPair(folder, "pair");
    mkdirSync(join(folder, "pem"), { recursive: true });
    writeFileSync(
      join(folder, "pem/001.pem"),
      ["key", "crt"].map((ending) => readFileSync(join(folder, `pair.${ending}`), "utf8")).join(""),
    );
    const path = join(folder, `${studInstall}.conf`);
    writeFileSync(
      path,
      studConfig({ studInstall })
        .replace(/^pem-dir = .*/m, `pem-dir = "${join(folder, "pem")}"`)
        .replace(/^user = .*/m, 'user = "nobody"')
        .replace(/^group = .*/m, 'group = "nogroup"'),
    );
    return path;
  }

  test("both versions of Hitch accept theirs", () => {
    expect(run("/usr/sbin/hitch", ["--version"])).toMatch(/1\.7\.2/);
    expect(run(hitchBuilt, ["--version"])).toMatch(/1\.8\.0/);
    run("/usr/sbin/hitch", ["--test", "--config", readable("package")]);
    run(hitchBuilt, ["--test", "--config", readable("package")]);
    run(hitchBuilt, ["--test", "--config", readable("source")]);
  });

  test("the newer version's keys are fatal to the older", () => {
    expect(() => run("/usr/sbin/hitch", ["--test", "--config", readable("source")])).toThrow(
      /workers/,
    );
  });
});

/** A key and a self-signed certificate: NAME.key, NAME.crt. */
function createPair(
  folder: string,
  name: string,
  names = [`${name}.example.com`],
  kind: "ecdsa" | "rsa" = "ecdsa",
): void {
  const files = ["-keyout", join(folder, `${name}.key`), "-out", join(folder, `${name}.crt`)];
  const key =
    kind === "rsa"
      ? ["-newkey", "rsa:2048"]
      : ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"];
  run("openssl", [
    ...["req", "-x509", "-noenc", ...key, "-subj", `/CN=${name}.example.com`, ...files],
    ...["-addext", `subjectAltName=${names.map((one) => `DNS:${one}`).join(",")}`],
  ]);
}

describe.each(["source", "package"] as const)("a balancer with Hitch by %s", (studInstall) => {
  const sandbox = new Sandbox();
  const hosts = new Map<string, ChildProcess>();
  const pairs = join(sandbox.folder, "pairs");
  const parameters = join(sandbox.folder, "parameters");
  const programs = join(sandbox.folder, "programs");
  const contents = balancerMachine({ ...args, studInstall });
  const addresses = { host1: "10.77.0.1", host2: "10.77.0.2", host3: "10.77.0.3" };

  beforeAll(async () => {
    await sandbox.start(contents);
    if (studInstall === "source") {
      sandbox.run("install", "-D", hitchBuilt, String(contents.environment["HITCH"]));
    }
    mkdirSync(pairs);
    mkdirSync(programs);
    createPair(pairs, "first");
    createPair(pairs, "second");
    createPair(pairs, "wildcard", ["*.example.com", "example.com"], "rsa");
    createPair(pairs, "other", ["www.example.org", "shop.example.org"]);
    createPair(pairs, "renewed", ["www.example.org"], "rsa");
    createPair(pairs, "expired");
    const [expired, key] = ["expired.crt", "expired.key"].map((name) => join(pairs, name));
    run("openssl", [
      ...["x509", "-in", String(expired), "-signkey", String(key), "-days", "-1"],
      ...["-out", String(expired)],
    ]);
    setParameters("first");
    // The AWS command-line interface: answers from files, and remembers how it was called.
    writeFileSync(
      join(programs, "aws"),
      `#!/bin/bash
echo "aws $*" >>${programs}/calls
cd ${parameters}
if [ "$2" = get-parameters-by-path ]; then
  for name in *; do printf '%s\\t%s\\tsome day\\n' "$4/$name" "$(cksum <"$name")"; done
  exit
fi
cat "\${4##*/}"
`,
      { mode: 0o755 },
    );
    // systemd: does what stud.service says for a reload.
    const reload = /^ExecReload=(.*)$/m.exec(unit("stud.service"))?.[1] ?? "";
    writeFileSync(
      join(programs, "systemctl"),
      `#!/bin/bash
echo "systemctl $*" >>${programs}/calls
MAINPID="$(pgrep -o hitch)" || exit 0
${reload}
`,
      { mode: 0o755 },
    );
    updateCertificate();

    for (const number of [1, 2, 3]) {
      await startHost(number);
    }
    moveNames(addresses);
    await sandbox.serveNames();
    await sandbox.serve("Loading success", "haproxy", "-Ws", "-f", "/etc/haproxy/haproxy.cfg");
    await startHitch();
    await until(() => {
      const status = sandbox.statistic("status");
      return args.slots.every((slot, index) =>
        String(status[slot]).startsWith(index < 3 ? "UP" : "DOWN"),
      );
    });
  }, 60_000);

  afterAll(() => {
    sandbox.stop();
  });

  function unit(name: string): string {
    return contents.files.find(({ path }) => path.endsWith(name))?.content ?? "";
  }

  /** What SSM has: each a pair's name, or the names of a certificate and of another's key. */
  function setParameters(...given: (string | [certificate: string, key: string])[]): void {
    rmSync(parameters, { recursive: true, force: true });
    mkdirSync(parameters);
    for (const [index, one] of given.entries()) {
      const suffix = index === 0 ? "" : `_${index + 1}`;
      const [certificate, key] = typeof one === "string" ? [`${one}.crt`, `${one}.key`] : one;
      writeFileSync(
        join(parameters, `CERTIFICATE${suffix}`),
        readFileSync(join(pairs, certificate)),
      );
      writeFileSync(join(parameters, `PRIVATE_KEY${suffix}`), readFileSync(join(pairs, key)));
    }
  }

  function updateCertificate(): { status: number | null; output: string; calls: string[] } {
    writeFileSync(join(programs, "calls"), "");
    const outcome = sandbox.outcomeOf("/usr/local/lib/meteor-scale/update-certificate", [], {
      ...contents.environment,
      REGION: "eu-central-1",
      PATH: `${programs}:${String(process.env["PATH"])}`,
    });
    const calls = readFileSync(join(programs, "calls"), "utf8").trim().split("\n");
    return { ...outcome, calls };
  }

  /** As stud.service starts it. */
  async function startHitch(): Promise<void> {
    const command = /^ExecStart=(.*)$/m.exec(unit("stud.service"))?.[1] ?? "";
    const hitch = String(contents.environment["HITCH"]);
    const [program = "", ...rest] = command.replace("${HITCH}", hitch).split(" ");
    await sandbox.serve("initialization complete", program, ...rest);
  }

  async function startHost(number: number): Promise<void> {
    const program = ["--import", "tsx", "tests/userdata/balancerHost.ts"];
    const host = `host${number}`;
    hosts.set(
      host,
      await sandbox.serve("listening", process.execPath, ...program, host, `10.77.0.${number}`),
    );
  }

  async function stopHost(host: string): Promise<void> {
    const child = hosts.get(host);
    const ended = new Promise((resolve) => child?.once("exit", resolve));
    sandbox.run("pkill", "-KILL", "-f", `balancerHost.ts ${host} `);
    await ended;
  }

  function signalHost(signal: "STOP" | "CONT", host: string): void {
    sandbox.run("pkill", `-${signal}`, "-f", `balancerHost.ts ${host} `);
    if (signal === "CONT") {
      // nsenter stops with what it runs.
      hosts.get(host)?.kill("SIGCONT");
    }
  }

  /** Every slot has a record; those without an address given are parked. */
  function moveNames(addresses: Record<string, string>): void {
    const lines = args.slots.map((slot) => `${addresses[slot] ?? "127.0.0.1"} ${slot}.${zone}\n`);
    writeFileSync(join(sandbox.folder, "names"), lines.join(""));
    sandbox.outcomeOf("pkill", ["-HUP", "dnsmasq"]);
  }

  const sessionOf = (cookies: string[] | undefined): string =>
    /^JSESSIONID=(\w+)/.exec(cookies?.join("\n") ?? "")?.[1] ?? "";
  const cookie = (session: string): Record<string, string> => ({
    Cookie: `JSESSIONID=${session}`,
  });

  test("systemd accepts the units", () => {
    const names = ["stud.service", "update-certificate.service", "update-certificate.timer"];
    const { status, output } = sandbox.outcomeOf("systemd-analyze", [
      "verify",
      "--man=no",
      ...names.map((name) => `/etc/systemd/system/${name}`),
      "/lib/systemd/system/haproxy.service",
    ]);
    expect(output).toBe("");
    expect(status).toBe(0);
  });

  test("plain HTTP is redirected to HTTPS, path, query and all", () => {
    const printed = sandbox.run(
      ...(["curl", "-si", "-H", "Host: app.example.com:80", "http://127.0.0.1/a/b?c=d"] as const),
    );
    expect(printed).toMatch(/^HTTP\/1.1 301 /);
    expect(printed).toMatch(/^location: https:\/\/app.example.com\/a\/b\?c=d\r$/m);
    // RFC 6797, section 7.2
    expect(printed).not.toMatch(/strict-transport-security/i);
  });

  test("HTTPS answers forbid plain HTTP from now on", async () => {
    const { status, headers } = await sandbox.get();
    expect(status).toBe(200);
    expect(headers["strict-transport-security"]).toBe("max-age=63072000");
  });

  test("clients speak TLS 1.2 or 1.3, and HTTP/1.1 inside", async () => {
    const socket = await sandbox.connect();
    expect([socket.getProtocol(), socket.alpnProtocol]).toEqual(["TLSv1.3", "http/1.1"]);
    socket.destroy();
    for (const [version, accepted] of [
      ["-tls1_2", true],
      ["-tls1_1", false],
    ] as const) {
      const { status } = sandbox.outcomeOf("openssl", [
        ...["s_client", "-connect", "127.0.0.1:443", "-cipher", "ALL:@SECLEVEL=0", version],
      ]);
      expect(status === 0).toBe(accepted);
    }
  });

  test("the cookie names the host, is kept from scripts and plain HTTP, and replaces SockJS's own", async () => {
    const { host, headers } = await sandbox.get();
    expect(headers["set-cookie"]).toEqual([
      `JSESSIONID=${host}; path=/; HttpOnly; Secure; SameSite=Lax`,
    ]);
    // No cache may give a client's cookie to others.
    expect(headers["cache-control"]).toMatch(/private$/);
    const sockjs = await sandbox.get({ path: "/sockjs/info" });
    expect(sockjs.headers["set-cookie"]).toEqual([
      `JSESSIONID=${sockjs.host}; path=/; HttpOnly; Secure; SameSite=Lax`,
    ]);
  });

  test("a WebSocket gets its cookie with the upgrade, keeps to it, and both ends are heard", async () => {
    const first = await sandbox.upgrade();
    const host = sessionOf(first.headers["set-cookie"]);
    expect(first.headers["x-host"]).toBe(host);
    expect(await echo(first.socket, "ping")).toBe("ping");
    const again = await sandbox.upgrade(cookie(host));
    expect(again.headers["x-host"]).toBe(host);
    expect(again.headers["set-cookie"]).toBeUndefined();
    [first, again].forEach(({ socket }) => socket.destroy());
  });

  test("the client's own address reaches the host, its claims do not", async () => {
    const { hostHeaders } = await sandbox.get({
      from: "127.0.0.9",
      headers: {
        "X-Forwarded-For": "192.0.2.1",
        "X-Forwarded-Proto": "http",
        "X-Forwarded-Host": "evil.example.com",
        "X-Forwarded-Port": "1",
        "X-Real-IP": "192.0.2.2",
        Forwarded: "for=192.0.2.3",
      },
    });
    expect(hostHeaders).toEqual({
      host: "app.example.com",
      connection: expect.any(String) as string,
      "x-forwarded-for": "127.0.0.9",
      "x-forwarded-proto": "https",
    });
  });

  test("nobody speaks to HAProxy's inner port in Stud's place", () => {
    const { status } = sandbox.outcomeOf("curl", ["-s", "http://127.0.0.1:8080/"]);
    expect(status).not.toBe(0);
    const listeners = sandbox.run("ss", "-Hltn", "sport = :8080");
    expect(listeners.trim().split(/\s+/)[3]).toBe("127.0.0.1:8080");
  });

  describe("certificates", () => {
    /** The subject's name in the certificate that a client gets who asks for a site, or for none. */
    const served = async (servername = ""): Promise<string> => {
      const socket = await sandbox.connect("127.0.0.1", { servername });
      const { CN } = socket.getPeerCertificate().subject;
      socket.destroy();
      return String(CN).replace(/\.example\.com$/, "");
    };

    /** Takes over what SSM has, and waits until a client gets `expected`. */
    async function takeOver(servername: string, expected: string): Promise<void> {
      await sandbox.afterReload(() => {
        const { status, output, calls } = updateCertificate();
        expect({ status, output }).toMatchObject({ status: 0 });
        expect(calls.filter((call) => call.startsWith("systemctl"))).toEqual([
          "systemctl try-reload-or-restart stud",
        ]);
      });
      expect(await served(servername)).toBe(expected);
    }

    test("that did not change cost one call", () => {
      const { status, output, calls } = updateCertificate();
      expect({ status, output, calls: calls.length }).toEqual({ status: 0, output: "", calls: 1 });
    });

    test("that are new are served at once, and open connections live on", async () => {
      expect(await served()).toBe("first");
      const { socket } = await sandbox.upgrade();
      setParameters("second");
      await takeOver("", "second");
      expect(await echo(socket, "still here")).toBe("still here");
      socket.destroy();
    });

    test("are chosen by the site that a client asks for", async () => {
      setParameters("first", "wildcard", "other");
      await takeOver("www.example.org", "other");
      expect(await served("SHOP.example.org")).toBe("other");
      expect(await served("first.example.com")).toBe("first");
      expect(await served("any.example.com")).toBe("wildcard");
      expect(await served("example.com")).toBe("wildcard");
      expect(await served("a.b.example.com")).toBe("first");
      expect(await served("unknown.example.net")).toBe("first");
      expect(await served()).toBe("first");
    });

    test("come, go and are renewed under open connections, time after time", async () => {
      const sockets = [(await sandbox.upgrade()).socket];
      for (const [given, site, expected] of [
        [["first", "wildcard", "renewed"], "www.example.org", "renewed"],
        [["first", "renewed"], "any.example.com", "first"],
        [["second", "other", "wildcard"], "www.example.org", "other"],
        [["first"], "www.example.org", "first"],
      ] as const) {
        setParameters(...given);
        await takeOver(site, expected);
        expect(await served()).toBe(given[0]);
        sockets.push((await sandbox.upgrade()).socket);
      }
      // Debian's version ends them with the second reload; build-hitch.sh mends the other.
      if (studInstall === "source") {
        for (const socket of sockets) {
          expect(socket.destroyed).toBe(false);
          expect(await echo(socket, "still here")).toBe("still here");
        }
      }
      sockets.forEach((socket) => socket.destroy());
    });

    test("have keys that root alone can read, and that are in no command line", () => {
      expect(sandbox.run("stat", "-Lc", "%a %U", "/etc/stud/pem").trim()).toBe("755 root");
      expect(sandbox.run("stat", "-c", "%a %U", "/etc/stud/pem/000.pem").trim()).toBe("600 root");
      setParameters("second");
      const { calls } = updateCertificate();
      const key = readFileSync(join(pairs, "second.key"), "utf8").split("\n")[1] ?? "";
      expect(key).toMatch(/^\S{40,}$/);
      expect(calls.join("\n")).not.toContain(key);
      expect(sandbox.run("ls", "/etc/stud").trim().split("\n")).toEqual([
        "pem",
        expect.stringMatching(/^pem\.\w+$/),
        "seen",
        "stud.conf",
      ]);
      setParameters("first");
      updateCertificate();
    });

    test.each<[string, Parameters<typeof setParameters>, RegExp]>([
      [
        "with another's key",
        [["second.crt", "first.key"]],
        /PRIVATE_KEY is another certificate's key/,
      ],
      ["that are none", [["first.key", "first.key"]], /CERTIFICATE is no certificate in PEM/],
      ["without a key", [["first.crt", "first.crt"]], /PRIVATE_KEY is no key in PEM/],
      ["that have expired", ["expired"], /CERTIFICATE has expired/],
      [
        "of which one has another's key",
        ["second", ["other.crt", "first.key"]],
        /PRIVATE_KEY_2 is another certificate's key/,
      ],
      ["of which one has expired", ["second", "other", "expired"], /CERTIFICATE_3 has expired/],
    ])("%s are refused, and the old ones stay", async (_what, given, reason) => {
      setParameters(...given);
      const { status, output, calls } = updateCertificate();
      expect(status).toBe(1);
      expect(output).toMatch(reason);
      expect(output).not.toMatch(/PRIVATE KEY-----/);
      expect(calls.join("\n")).not.toMatch(/systemctl/);
      expect(await served("second.example.com")).toBe("first");
      expect(await served("www.example.org")).toBe("first");
      expect(sandbox.run("sh", "-c", "ls -d /etc/stud/pem.*").trim().split("\n")).toHaveLength(1);
    });
  });

  // What the terminator has no part in.
  if (studInstall === "package") {
    return;
  }

  test("a client with a cookie stays on its host", async () => {
    for (const host of ["host1", "host2", "host3"]) {
      for (let request = 0; request < 5; request++) {
        const answer = await sandbox.get({ headers: cookie(host) });
        expect(answer.host).toBe(host);
        expect(answer.headers["set-cookie"]).toBeUndefined();
        expect(answer.hostHeaders.cookie).toBeUndefined();
      }
    }
  });

  test("an unknown cookie is replaced by one of a host", async () => {
    const { host, headers } = await sandbox.get({ headers: cookie("dummy") });
    expect(host).toMatch(/^host[123]$/);
    expect(sessionOf(headers["set-cookie"])).toBe(host);
  });

  test("lasting connections spread evenly", async () => {
    const opened = [];
    for (let client = 0; client < 12; client++) {
      opened.push(await sandbox.upgrade());
    }
    const counts = opened.map(({ headers }) => String(headers["x-host"])).sort();
    expect(counts).toEqual(
      ["host1", "host2", "host3"].flatMap((host) => Array<string>(4).fill(host)),
    );
    opened.forEach(({ socket }) => socket.destroy());
  });

  test("each request is logged with client, host, cookie and times, without its query", async () => {
    const log = join(sandbox.folder, "log");
    await sandbox.serve(
      "starting data transfer",
      "socat",
      ...["-u", "-d", "-d", "UNIX-RECV:/var/lib/haproxy/dev/log,mode=666"],
      `OPEN:${log},creat,append`,
    );
    await sandbox.get({ path: "/a?token=secret", headers: cookie("host2"), from: "127.0.0.9" });
    // Connections of before may end, and be logged, in between.
    await until(() => readFileSync(log, "utf8").includes("GET /a"));
    const line = readFileSync(log, "utf8");
    expect(line).toMatch(
      /127\.0\.0\.9:\d+ \[.*\] stud apps\/host2 \d+\/\d+\/\d+\/\d+\/\d+ 200 \d+ --VN .* GET \/a$/m,
    );
    expect(line).not.toMatch(/secret/);
  });

  test("a parked slot gets no traffic, and takes some once a host is there", async () => {
    const before = sandbox.statistic("stot")["host4"];
    for (let request = 0; request < 10; request++) {
      expect((await sandbox.get()).host).toMatch(/^host[123]$/);
    }
    expect(sandbox.statistic("stot")["host4"]).toBe(before);

    await startHost(4);
    moveNames({ ...addresses, host4: "10.77.0.4" });
    await until(() => String(sandbox.statistic("status")["host4"]).startsWith("UP"));
    expect((await sandbox.get({ headers: cookie("host4") })).host).toBe("host4");

    moveNames(addresses);
    await until(async () => (await sandbox.get({ headers: cookie("host4") })).host !== "host4");
    await stopHost("host4");
  });

  test("a name that moves takes requests of open connections along", async () => {
    await startHost(4);
    const socket = await sandbox.connect();
    const request = "GET / HTTP/1.1\r\nHost: app.example.com\r\nCookie: JSESSIONID=host1\r\n\r\n";
    expect(await echo(socket, request)).toMatch(/"host":"host1"/);
    moveNames({ ...addresses, host1: "10.77.0.4" });
    await until(async () => {
      const answer = await echo(socket, request);
      expect(answer).toMatch(/^HTTP\/1.1 200 /);
      return answer.includes('"host":"host4"');
    });
    socket.destroy();
    moveNames(addresses);
    await until(async () => (await sandbox.get({ headers: cookie("host1") })).host === "host1");
    await stopHost("host4");
  });

  test("a host that dies is passed over at once, and has its clients back when it returns", async () => {
    await stopHost("host2");
    const start = Date.now();
    const answer = await sandbox.get({ headers: cookie("host2") });
    expect(Date.now() - start).toBeLessThan(1000);
    expect(answer.status).toBe(200);
    expect(answer.host).toMatch(/^host[13]$/);
    expect(sessionOf(answer.headers["set-cookie"])).toBe(answer.host);
    await until(() => sandbox.statistic("status")["host2"] === "DOWN");

    await startHost(2);
    await until(() => String(sandbox.statistic("status")["host2"]).startsWith("UP"));
    expect((await sandbox.get({ headers: cookie("host2") })).host).toBe("host2");
  });

  test("a host that hangs is left within four seconds, and its connections are closed", async () => {
    const { socket } = await sandbox.upgrade(cookie("host2"));
    const closed = new Promise((resolve) => socket.once("close", resolve));
    const other = await sandbox.upgrade(cookie("host1"));
    const start = Date.now();
    signalHost("STOP", "host2");
    await closed;
    expect(Date.now() - start).toBeLessThan(4500);
    expect((await sandbox.get({ headers: cookie("host2") })).host).toMatch(/^host[13]$/);
    expect(await echo(other.socket, "still here")).toBe("still here");
    other.socket.destroy();

    signalHost("CONT", "host2");
    await until(() => String(sandbox.statistic("status")["host2"]).startsWith("UP"));
    expect((await sandbox.get({ headers: cookie("host2") })).host).toBe("host2");
  });

  test("a host that is busy for two seconds is not left", async () => {
    const left = sandbox.statistic("chkdown")["host2"];
    for (let time = 0; time < 3; time++) {
      signalHost("STOP", "host2");
      await new Promise((resolve) => setTimeout(resolve, 2000));
      signalHost("CONT", "host2");
      await new Promise((resolve) => setTimeout(resolve, 700));
    }
    expect(sandbox.statistic("chkdown")["host2"]).toBe(left);
  });

  test("a host whose name is parked keeps the connections that it has", async () => {
    const { socket } = await sandbox.upgrade(cookie("host3"));
    moveNames({ ...addresses, host3: "127.0.0.1" });
    await until(() => sandbox.statistic("status")["host3"] === "DOWN");
    await new Promise((resolve) => setTimeout(resolve, 3000));
    expect(await echo(socket, "still here")).toBe("still here");
    socket.destroy();
    moveNames(addresses);
    await until(() => String(sandbox.statistic("status")["host3"]).startsWith("UP"));
  });

  test("hosts stay while DNS is silent, and over a reload", async () => {
    sandbox.run("pkill", "-KILL", "dnsmasq");
    const steps = [
      ...unit("haproxy.service.d/meteor-scale.conf").matchAll(/^ExecReload=-?(.+)$/gm),
    ];
    expect(steps).toHaveLength(3);
    const main = sandbox.run("pgrep", "-o", "haproxy").trim();
    const worker = sandbox.run("pgrep", "-P", main);
    for (const [, command] of steps) {
      const variables = [`MAINPID=${main}`, "CONFIG=/etc/haproxy/haproxy.cfg", "EXTRAOPTS="];
      sandbox.run("env", ...variables, "sh", "-c", String(command));
    }
    await until(() => sandbox.run("pgrep", "-P", main) !== worker);
    for (let request = 0; request < 15; request++) {
      expect((await sandbox.get()).status).toBe(200);
      await new Promise((resolve) => setTimeout(resolve, 200));
    }
    await sandbox.serveNames();
  });

  test("without any host, clients are told so in plain words", async () => {
    for (const host of ["host1", "host2", "host3"]) {
      await stopHost(host);
    }
    const { status, headers, body } = await sandbox.get();
    expect(status).toBe(503);
    expect(body).toMatch(/^No host of this application is up/);
    expect(headers).toMatchObject({
      "retry-after": "5",
      "cache-control": "no-store",
      "strict-transport-security": "max-age=63072000",
    });
  });
});
