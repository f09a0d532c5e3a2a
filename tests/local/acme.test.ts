import { X509Certificate } from "node:crypto";
import { mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { motoServerProgram } from "../../local/paths";
import { balancerMachine } from "../../userdata/balancer/balancerMachine";
import { withCommon } from "../../userdata/machine/commonMachine";
import { builtHitch, installTools, type Outcome, run } from "../tools";
import { Sandbox, until } from "../userdata/balancerSandbox";
import { askedFor, type Authority, managementPort, pebbleCommand } from "./pebble";

jest.setTimeout(240_000);

const path = "/meteor-scale/test/certificate";
const authority = "https://127.0.0.1:14000/dir";
const contents = withCommon(
  balancerMachine({
    slots: ["host1"],
    zone: "meteor.internal",
    meteorPort: 3000,
    studInstall: "source",
    acme: true,
    tlsPath: path,
  }),
  {
    role: "balancer",
    region: "eu-central-1",
    metricNamespace: "meteor-scale-test",
    logGroup: "/meteor-scale/test/balancer",
    secretsPath: "",
    sessionManager: false,
    securityUpgrades: "install",
    rebootLock: "",
  },
);
const sandbox = new Sandbox();
const file = (name: string): string => join(sandbox.folder, name);
const state = "/var/lib/meteor-scale/acme";
const environment = Object.entries({
  ...contents.environment,
  AWS_DEFAULT_REGION: "eu-central-1",
  AWS_ACCESS_KEY_ID: "local",
  AWS_SECRET_ACCESS_KEY: "local",
  PATH: `${file("programs")}:/usr/sbin:/usr/bin:/sbin:/bin`,
}).map(([name, text]) => `${name}=${text}`);
let instance = "";
let pebbleLog = "";

beforeAll(async () => {
  installTools({
    "/usr/bin/aws": "awscli",
    "/usr/bin/curl": "curl",
    "/usr/bin/lego": "lego",
    "/usr/bin/openssl": "openssl",
    "/usr/bin/python3": "python3",
    "/usr/bin/socat": "socat",
    "/usr/sbin/dnsmasq": "dnsmasq-base",
    "/usr/sbin/haproxy": "haproxy",
    "/usr/sbin/ip": "iproute2",
  });
  await sandbox.start(contents);
  sandbox.run("install", "-D", builtHitch(), String(contents.environment["HITCH"]));
  // In the place of what an instance has by itself: its id, its role, and the way to the AWS API.
  mkdirSync(file("programs"));
  writeFileSync(
    file("programs/aws"),
    `#!/bin/sh
echo "$*" >>${file("calls")}
case "$*" in *"$(cat ${file("refused")} 2>/dev/null || echo nothing)"*) exit 255 ;; esac
exec /usr/bin/aws --endpoint-url http://127.0.0.1:5000 "$@"
`,
    { mode: 0o755 },
  );
  writeFileSync(
    file("programs/systemctl"),
    `#!/bin/sh
[ "$1" != start ] || exec "/usr/local/lib/meteor-scale/$2"
pkill -HUP -o hitch || true
`,
    {
      mode: 0o755,
    },
  );
  await sandbox.serve("Running on", motoServerProgram, "-p", "5000");
  instance = aws(
    ...["ec2", "run-instances", "--image-id", "ami-12c6146b", "--output", "text"],
    ...["--query", "Instances[0].InstanceId"],
  );
  sandbox.write("/var/lib/cloud/data/instance-id", `${instance}\n`);
  sandbox.write("/etc/resolv.conf", "nameserver 169.254.169.253\n");
  makePairs();
  setNames({ "app.example.com": "127.0.0.1", "www.example.com": "127.0.0.1" });
  await sandbox.serveNames();
  await sandbox.serveNames("authority-names", "10.77.0.1");
  aws(
    ...["ssm", "put-parameter", "--type", "SecureString", ...parameter("CERTIFICATE", "own.crt")],
  );
  aws(
    ...["ssm", "put-parameter", "--type", "SecureString", ...parameter("PRIVATE_KEY", "own.key")],
  );
  writeFileSync(file("none"), "none");
  aws(...["ssm", "put-parameter", "--type", "String", ...parameter("acme/CERTIFICATE", "none")]);
  aws(...["ssm", "put-parameter", "--type", "SecureString", ...parameter("acme/ACCOUNT", "none")]);
  request(["app.example.com"]);
  expect(script("update-certificate")).toMatchObject({ status: 0 });
  await sandbox.serve("Loading success", "haproxy", "-Ws", "-f", "/etc/haproxy/haproxy.cfg");
  const hitch = String(contents.environment["HITCH"]);
  await sandbox.serve("initialization complete", hitch, "--config=/etc/stud/stud.conf");
}, 600_000);

afterAll(() => {
  sandbox.stop();
});

/** The stack's own pair, and the one of the authority's front door, which the machine trusts. */
function makePairs(): void {
  const key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-noenc"];
  const pair = (name: string, ...more: string[]): void => {
    const files = ["-keyout", file(`${name}.key`), "-out", file(`${name}.crt`)];
    run("openssl", ["req", "-x509", ...key, "-days", "30", ...files, ...more]);
  };
  pair("own", "-subj", "/CN=app.example.com", "-addext", "subjectAltName=DNS:app.example.com");
  pair("door", "-subj", "/CN=door", "-addext", "subjectAltName=IP:127.0.0.1");
  sandbox.write(
    "/usr/local/share/ca-certificates/door.crt",
    readFileSync(file("door.crt"), "utf8"),
  );
  sandbox.run("update-ca-certificates");
}

/** Lets names lead somewhere, for the machine and, unless told otherwise, for the authority. */
function setNames(
  addresses: Record<string, string>,
  forAuthority: Record<string, string> = addresses,
): void {
  for (const [list, of] of [
    ["names", addresses],
    ["authority-names", forAuthority],
  ] as const) {
    const lines = Object.entries(of).map(([name, address]) => `${address} ${name}\n`);
    writeFileSync(file(list), lines.join(""));
  }
  sandbox.outcomeOf("pkill", ["-HUP", "dnsmasq"]);
}

/** The authority; it has forgotten all accounts when it starts again. */
async function startPebble(faults: Partial<Authority>): Promise<void> {
  stopPebble();
  const [program = "", ...args] = pebbleCommand({
    ...{ folder: sandbox.folder, name: "pebble", address: "127.0.0.1", port: 14000 },
    ...{ certificate: file("door.crt"), key: file("door.key"), resolver: "10.77.0.1" },
    ...faults,
  });
  pebbleLog = "";
  const pebble = await sandbox.serve("ACME directory available", program, ...args);
  pebble.stdout?.on("data", (data: Buffer) => {
    pebbleLog += data.toString();
  });
}

function stopPebble(): void {
  sandbox.outcomeOf("pkill", ["-KILL", "-x", "pebble"]);
}

async function asked(): Promise<ReturnType<typeof askedFor>> {
  // What it said while a script ran has not been read yet.
  await sleep(200);
  return askedFor(pebbleLog);
}

function aws(...args: string[]): string {
  return sandbox.run("env", ...environment, "aws", ...args).trim();
}

/** Flags of `put-parameter`, with the value from a file. */
function parameter(name: string, from: string): string[] {
  return ["--name", `${path}/${name}`, "--value", `file://${file(from)}`];
}

function value(name: string): string {
  return aws(
    ...["ssm", "get-parameter", "--with-decryption", "--name", `${path}/${name}`],
    ...["--output", "text", "--query", "Parameter.Value"],
  );
}

/** What the stack wants of the authority. */
function request(names: string[]): void {
  const text = [authority, "admin@example.com", "key", ...names].join("\n");
  writeFileSync(file("request"), text);
  aws(
    "ssm",
    "put-parameter",
    "--type",
    "String",
    "--overwrite",
    ...parameter("acme/REQUEST", "request"),
  );
}

/** Runs one of the machine's scripts. */
function script(name: string): Outcome {
  return sandbox.outcomeOf("env", [...environment, `/usr/local/lib/meteor-scale/${name}`]);
}

/** The machine's tag `ready`, without its id. */
function ready(): string {
  const tag = aws(
    ...["ec2", "describe-tags", "--output", "text", "--query", "Tags[0].Value"],
    ...["--filters", `Name=resource-id,Values=${instance}`, "Name=key,Values=ready"],
  );
  return tag.replace(`${instance} `, "");
}

/** Lets the time pass that the script waits after a failure. */
function forgetFailures(): void {
  sandbox.run("touch", "--date", "1 day ago", `${state}/failures`);
}

/** Fingerprint of what a client is served that trusts the authority alone; empty where it refuses. */
async function served(name: string): Promise<string> {
  const root = sandbox.run("curl", "-sk", `https://127.0.0.1:${managementPort}/roots/0`);
  const certificate = await sandbox.certificate(name, root).catch(() => undefined);
  return certificate?.fingerprint256 ?? "";
}

/** The certificate of SSM, from the stack's side. */
function saved(): X509Certificate {
  return new X509Certificate(value("acme/CERTIFICATE"));
}

test("while a name leads elsewhere, nobody is asked, and the machine is ready with a remark", async () => {
  await startPebble({ rejectedNonces: 30, validation: 3 });
  for (const names of [{}, { "app.example.com": "10.99.0.1" }] as Record<string, string>[]) {
    setNames(names);
    expect(script("obtain-certificate")).toMatchObject({ status: 0 });
    expect(ready()).toBe(
      "true: no certificate of the authority yet: port 80 of app.example.com does not lead to this machine",
    );
  }
  expect(await asked()).toEqual({ orders: 0, accounts: 0 });
  expect((await sandbox.connect()).getPeerCertificate().subject.CN).toBe("app.example.com");
});

test("a certificate is had in spite of rejected nonces and slow validations, and is served", async () => {
  setNames({ "app.example.com": "127.0.0.1" });
  const { status, output } = script("obtain-certificate");
  expect(status).toBe(0);
  expect(output).toMatch(/notAfter=.*\nthe certificate is fit\n$/);
  expect(ready()).toBe("true");
  await until(async () => (await served("app.example.com")) === saved().fingerprint256);
});

test("nobody is asked again while it is fit", async () => {
  const before = await asked();
  expect(script("obtain-certificate")).toEqual({ status: 0, output: "" });
  expect(await asked()).toEqual(before);
});

test("another balancer serves the same certificate at once, and asks for none", async () => {
  const before = await asked();
  sandbox.run(
    ...([
      "rm",
      "-r",
      state,
      "/etc/stud/pem",
      "/etc/stud/seen",
      "/run/meteor-scale-remarks",
    ] as const),
  );
  expect(script("update-certificate")).toMatchObject({ status: 0 });
  await until(async () => (await served("app.example.com")) === saved().fingerprint256);
  expect(script("obtain-certificate")).toMatchObject({ status: 0 });
  expect(await asked()).toEqual(before);
});

test("another name takes another certificate, by the same account", async () => {
  const before = await asked();
  setNames({ "app.example.com": "127.0.0.1", "www.example.com": "127.0.0.1" });
  request(["app.example.com", "www.example.com"]);
  expect(script("obtain-certificate")).toMatchObject({ status: 0 });
  expect(saved().subjectAltName).toBe("DNS:app.example.com, DNS:www.example.com");
  expect(await asked()).toEqual({ ...before, orders: before.orders + 1 });
});

test("a failed authorisation is told in the authority's words, and not tried again at once", async () => {
  const names = ["app.example.com", "www.example.com", "new.example.com"];
  const here = Object.fromEntries(names.map((name) => [name, "127.0.0.1"]));
  setNames(here, { ...here, "new.example.com": "10.99.0.1" });
  request(names);
  const before = await asked();
  const { status, output } = script("obtain-certificate");
  expect(status).toBe(0);
  expect(output).toContain("urn:ietf:params:acme:error:");
  expect(ready()).toMatch(
    /^true: the certificate could not be renewed: new\.example\.com acme: error: 4\d\d :: /,
  );
  expect((await asked()).orders).toBe(before.orders + 1);
  expect(script("obtain-certificate")).toEqual({ status: 0, output: "" });
  expect((await asked()).orders).toBe(before.orders + 1);
  forgetFailures();
  expect(script("obtain-certificate")).toMatchObject({ status: 0 });
  expect((await asked()).orders).toBe(before.orders + 2);
  // The old one serves on; what is asked for in other words is asked for at once.
  setNames(here);
  request(names.slice(0, 2));
  expect(script("obtain-certificate")).toMatchObject({ status: 0 });
  expect(ready()).toBe("true");
  expect((await asked()).orders).toBe(before.orders + 2);
});

test("what SSM does not take is kept, and not asked for again", async () => {
  setNames({ "app.example.com": "127.0.0.1" });
  request(["app.example.com"]);
  writeFileSync(file("refused"), "acme/CERTIFICATE --value");
  const before = await asked();
  expect(script("obtain-certificate")).toMatchObject({ status: 0 });
  expect(ready()).toBe("true: the certificate could not be renewed: SSM does not take it");
  rmSync(file("refused"));
  expect(script("obtain-certificate")).toMatchObject({ status: 0 });
  expect(ready()).toBe("true");
  expect(saved().subjectAltName).toBe("DNS:app.example.com");
  expect((await asked()).orders).toBe(before.orders + 1);
});

test("killed at any point, it does its work the next time", async () => {
  setNames({ "app.example.com": "127.0.0.1", "www.example.com": "127.0.0.1" });
  request(["app.example.com", "www.example.com"]);
  for (const seconds of [0.5, 1, 2, 3, 4, 6]) {
    // As systemd would: with all that it has started.
    sandbox.outcomeOf("timeout", [
      ...["--signal=KILL", String(seconds), "env", ...environment],
      "/usr/local/lib/meteor-scale/obtain-certificate",
    ]);
    sandbox.outcomeOf("pkill", ["-KILL", "-f", "http.server|lego"]);
    await sleep(100);
  }
  expect(script("obtain-certificate")).toMatchObject({ status: 0 });
  expect(ready()).toBe("true");
  expect(saved().subjectAltName).toBe("DNS:app.example.com, DNS:www.example.com");
});

test("an authority that is away is a remark, and one that has forgotten the account gets another", async () => {
  stopPebble();
  request(["www.example.com"]);
  expect(script("obtain-certificate")).toMatchObject({ status: 0 });
  expect(ready()).toMatch(/^true: the certificate could not be renewed: .*connection refused/);
  await startPebble({ validity: 120 });
  forgetFailures();
  script("obtain-certificate");
  expect(ready()).toContain("accountDoesNotExist");
  forgetFailures();
  script("obtain-certificate");
  expect(ready()).toBe("true");
});

test("the certificate is renewed when a third of its time is left, with the same key and account", async () => {
  const first = saved();
  const before = await asked();
  expect(script("obtain-certificate")).toEqual({ status: 0, output: "" });
  expect(await asked()).toEqual(before);
  await sleep(new Date(first.validTo).getTime() - 38_000 - Date.now());
  expect(script("obtain-certificate")).toMatchObject({ status: 0 });
  const renewed = saved();
  expect(renewed.fingerprint256).not.toBe(first.fingerprint256);
  expect(renewed.publicKey.equals(first.publicKey)).toBe(true);
  expect(new Date(renewed.validTo).getTime()).toBeGreaterThan(new Date(first.validTo).getTime());
  expect(await asked()).toEqual({ ...before, orders: before.orders + 1 });
  await until(async () => (await served("www.example.com")) === renewed.fingerprint256);
});

test("no key was ever in a command line, and none lies where others can read it", () => {
  const calls = readFileSync(file("calls"), "utf8");
  for (const key of [readFileSync(file("own.key"), "utf8"), value("acme/ACCOUNT")]) {
    const [, line = ""] = key.split("\n").length > 1 ? key.split("\n") : [key, key.slice(0, 40)];
    expect(line).toMatch(/^\S{40,}$/);
    expect(calls).not.toContain(line);
  }
  expect(sandbox.run("stat", "-c", "%a %U", state).trim()).toBe("700 root");
  expect(sandbox.outcomeOf("ls", [`${state}/key`]).status).not.toBe(0);
});
