import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { connect } from "node:tls";
import { fetchPage } from "../../../local/page";
import { Browser } from "../../../local/traffic/browser";
import { run } from "../../tools";
import { eventually, inMachine } from "../machines";
import {
  expectUnnoticed,
  instanceIds as ids,
  pulumi,
  type Stack,
  statistic,
  underTraffic,
  type Update,
  upStack,
  updateWith,
} from "./stack";

jest.setTimeout(300_000);

let stack: Stack;
const folder = mkdtempSync(join(tmpdir(), "meteor-scale-balancer-"));

beforeAll(async () => {
  stack = await upStack();
});

afterAll(() => {
  rmSync(folder, { recursive: true });
});

test("no machine has a compiler, which the balancer's TLS terminator was built with", () => {
  const compilers =
    "ls /usr/bin /usr/local/bin | grep -xE '(.*-)?(gcc|g[+][+]|cc|ld|as|make)(-[0-9.]+)?' || true";
  for (const name of ["balancer", "host1", "mongo1"]) {
    expect(inMachine(name, compilers)).toBe("");
  }
});

/** Fingerprint of the certificate that a new connection is served. */
function served(): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = connect(
      {
        host: stack.address,
        port: 443,
        rejectUnauthorized: false,
        servername: "meteor.localhost",
      },
      () => {
        resolve(socket.getPeerCertificate().fingerprint256);
        socket.end();
      },
    );
    socket.on("error", reject);
  });
}

describe("a certificate of one's own", () => {
  /** A certificate for the site, signed by an authority of the tests. */
  function issue(name: string, key: string[]): { certificatePem: string; privateKeyPem: string } {
    const file = (ending: string): string => join(folder, `${name}.${ending}`);
    run("openssl", [
      ...["req", "-new", "-noenc", "-subj", "/CN=meteor.localhost", ...key],
      ...["-keyout", file("key"), "-out", file("csr")],
    ]);
    run("openssl", [
      ...["x509", "-req", "-in", file("csr"), "-days", "30", "-out", file("pem")],
      ...["-CA", join(folder, "ca.pem"), "-CAkey", join(folder, "ca.key"), "-CAcreateserial"],
      ...["-extfile", join(folder, "names")],
    ]);
    return {
      certificatePem: readFileSync(file("pem"), "utf8"),
      privateKeyPem: readFileSync(file("key"), "utf8"),
    };
  }

  test("replaces the stack's own, and is renewed, without a connection that breaks or a machine that changes", async () => {
    const authority = join(folder, "ca.pem");
    run("openssl", [
      ...["req", "-x509", "-newkey", "rsa:2048", "-noenc", "-days", "30", "-subj", "/CN=Tests"],
      ...["-keyout", join(folder, "ca.key"), "-out", authority],
    ]);
    run("bash", ["-c", `echo subjectAltName=DNS:meteor.localhost >${join(folder, "names")}`]);
    const first = issue("first", ["-newkey", "rsa:2048"]);
    const renewed = issue("renewed", ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]);
    const trusting = { ...stack, certificate: stack.certificate + readFileSync(authority, "utf8") };
    const before = ids();
    for (const { certificatePem, privateKeyPem } of [first, renewed]) {
      const { result, report } = await underTraffic(trusting, async (): Promise<Update> => {
        const old = await served();
        const update = await updateWith(
          { tls: "pem", certificatePem },
          { secrets: { privateKeyPem } },
        );
        await eventually(async () => {
          expect(await served()).not.toBe(old);
        }, 60);
        return update;
      });
      expect(result).toMatchObject({ status: 0 });
      expect(result.output).not.toContain("PRIVATE KEY");
      expectUnnoticed(report);
      expect(report.reconnects).toBe(0);
      expect(ids()).toEqual(before);
      expect(result.steps.filter(({ operation }) => operation !== "delete")).toEqual(
        expect.arrayContaining([
          { operation: "update", name: "certificate-pem-CERTIFICATE" },
          { operation: "update", name: "certificate-pem-PRIVATE_KEY" },
        ]),
      );
      expect(inMachine("balancer", "systemctl show -p NRestarts --value stud haproxy")).toBe(
        "0\n\n0",
      );
    }
  });

  test("gives way to the stack's own again", async () => {
    const before = ids();
    stack = await upStack();
    expect(ids()).toEqual(before);
    await eventually(async () => {
      await fetchPage(stack.address, stack.rootUrl, stack.certificate);
    }, 60);
  });
});

test("the stack's own certificate is renewed by an update in its last thirty days, and open pages stay", async () => {
  const before = ids();
  const page = new Browser(stack);
  const losses: string[] = [];
  const client = await page.connect("websocket", () => losses.push("connection"));
  const old = await served();
  expect(pulumi("preview", "--expect-no-changes").status).toBe(0);
  setCertificateEnd(29);
  const { status, steps } = await updateWith({});
  expect(status).toBe(0);
  expect(steps).toEqual([
    { operation: "create-replacement", name: "certificate-self-signed" },
    { operation: "update", name: "certificate-pem-CERTIFICATE" },
    { operation: "delete-replaced", name: "certificate-self-signed" },
  ]);
  await eventually(async () => {
    expect(await served()).not.toBe(old);
  }, 60);
  stack = await upStack();
  await fetchPage(stack.address, stack.rootUrl, stack.certificate);
  expect(await client.call("calls.note", "renewal", "1")).toMatchObject({ version: "1" });
  expect(losses).toEqual([]);
  page.close();
  expect(ids()).toEqual(before);
});

describe("another balancer takes over within 2 s", () => {
  test.each<[string, Record<string, unknown>, number[]]>([
    [
      "for more slots, and another size",
      { maxHosts: 12, balancerInstanceType: "m7a.medium" },
      [9, 10, 11, 12],
    ],
    [
      "for its software",
      { maxHosts: 12, balancerInstanceType: "m7a.medium", studInstall: "package" },
      [],
    ],
  ])("%s, and no other machine is touched", async (_why, config, newSlots) => {
    const before = ids();
    const { result, report } = await underTraffic(stack, () => updateWith(config));
    expect(result).toMatchObject({ status: 0 });
    const now = ids();
    expect({ ...now, balancer: "" }).toEqual({ ...before, balancer: "" });
    expect(now["balancer"]).not.toBe(before["balancer"]);
    // Connections through the old one break; what they asked is asked again.
    expect(report.outage).toBeLessThan(2000);
    expect(report).toMatchObject({
      ...{ lostCalls: 0, failedCalls: [], longWaits: [], movedCookies: 0 },
    });
    expect(report.reconnects).toBeGreaterThanOrEqual(report.sessions);
    // It is ready, and has the address, before the old one goes.
    const order = result.steps
      .map(({ operation, name }) => `${operation} ${name}`)
      .filter((step) => /-(instance|address-of-machine)$/.test(step));
    expect(order).toEqual([
      "create-replacement balancer-instance",
      "create-replacement balancer-address-of-machine",
      "delete-replaced balancer-address-of-machine",
      "delete-replaced balancer-instance",
    ]);
    expect(statistic("status")).toMatchObject({ host1: "UP", host3: "UP", host4: "DOWN" });
    expect(Object.keys(statistic("status"))).toHaveLength(12);
    // A new slot gets a record, and those there are keep theirs.
    const records = result.steps.filter(({ name }) => /^meteor-host\d+-name$/.test(name));
    expect(records).toHaveLength(newSlots.length);
    expect(records).toEqual(
      expect.arrayContaining(
        newSlots.map((slot) => ({ operation: "create", name: `meteor-host${slot}-name` })),
      ),
    );
  });
});

/** Lets the stack's state say that its certificate ends in so many days. */
function setCertificateEnd(days: number): void {
  const file = join(folder, "state.json");
  expect(pulumi("stack", "export", "--file", file).status).toBe(0);
  const state = JSON.parse(readFileSync(file, "utf8")) as {
    deployment: { resources: { type: string; outputs?: Record<string, unknown> }[] };
  };
  for (const { type, outputs } of state.deployment.resources) {
    if (type === "tls:index/selfSignedCert:SelfSignedCert" && outputs !== undefined) {
      outputs["validityEndTime"] = new Date(Date.now() + days * 86_400_000).toISOString();
    }
  }
  writeFileSync(file, JSON.stringify(state));
  expect(pulumi("stack", "import", "--file", file).status).toBe(0);
}
