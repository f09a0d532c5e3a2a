import { type ChildProcess, spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { connect, type PeerCertificate } from "node:tls";
import {
  ChangeResourceRecordSetsCommand,
  CreateHostedZoneCommand,
  DeleteHostedZoneCommand,
  ListResourceRecordSetsCommand,
  Route53Client,
  type RRType,
} from "@aws-sdk/client-route-53";
import { GetParametersByPathCommand, SSMClient } from "@aws-sdk/client-ssm";
import { fetchPage } from "../../../local/page";
import {
  awsApiUrl,
  awsCredentials,
  awsRegion,
  certificateAuthorityFolder,
} from "../../../local/paths";
import { run } from "../../tools";
import { eventually, inMachine } from "../machines";
import { askedFor, managementPort, pebbleCommand } from "../pebble";
import {
  expectUnnoticed,
  fromInternet,
  instanceIds,
  machines,
  pulumi,
  type Stack,
  underTraffic,
  type Update,
  upStack,
  updateWith,
} from "./stack";

jest.setTimeout(400_000);

const aws = { region: awsRegion, endpoint: awsApiUrl, credentials: awsCredentials };
const route53 = new Route53Client(aws);
const folder = mkdtempSync(join(tmpdir(), "meteor-scale-acme-"));
const zone = "example.com";
const rootUrl = "https://app.example.com";
/** An authority on the internet, whose certificates are renewed after 160 seconds of 240. */
const authority = { name: "acme.example.com", address: "198.51.100.11", validity: 240 };
const settings = {
  rootUrl,
  tls: "acme",
  acmeEmail: "admin@example.com",
  acmeDirectory: "https://acme.example.com/dir",
  hostedZone: zone,
};
let said = "";
let pebble: ChildProcess | undefined;
let stack: Stack;
let site: Stack;
let zoneId = "";

beforeAll(async () => {
  stack = await upStack();
  const { HostedZone } = await route53.send(
    new CreateHostedZoneCommand({ Name: zone, CallerReference: String(Date.now()) }),
  );
  zoneId = HostedZone?.Id ?? "";
  await startAuthority();
});

afterAll(async () => {
  stack = await upStack();
  pebble?.kill("SIGKILL");
  internetAddress("delete");
  await removeZone();
  rmSync(folder, { recursive: true });
});

function internetAddress(action: "add" | "delete"): void {
  const address = ["address", action, `${authority.address}/24`, "dev", "eth0"];
  run("ip", ["-netns", "meteor-internet", ...address]);
}

async function startAuthority(): Promise<void> {
  internetAddress("add");
  await setRecord("UPSERT", authority.name, authority.address);
  // The machines trust the region's own authority.
  const [certificate, key] = [join(folder, "door.crt"), join(folder, "door.key")];
  run("openssl", [
    ...["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-noenc"],
    ...["-subj", "/CN=door", "-addext", `subjectAltName=DNS:${authority.name}`],
    ...["-addext", "basicConstraints=critical,CA:FALSE", "-days", "2"],
    ...["-CA", join(certificateAuthorityFolder, "ca.pem")],
    ...["-CAkey", join(certificateAuthorityFolder, "ca-key.pem")],
    ...["-keyout", key, "-out", certificate],
  ]);
  const command = pebbleCommand({
    ...{ ...authority, folder, port: 443, certificate, key, resolver: "198.51.100.1" },
    ...{ rejectedNonces: 20, validation: 3 },
  });
  const child = spawn("nsenter", ["--net=/run/netns/meteor-internet", "--", ...command]);
  child.stdout.on("data", (data: Buffer) => (said += data.toString()));
  pebble = child;
  await eventually(() => {
    expect(said).toContain("ACME directory available");
  });
}

async function setRecord(
  Action: "UPSERT" | "DELETE",
  Name: string,
  Value: string,
  Type: RRType = "A",
): Promise<void> {
  const ResourceRecordSet = { Name, Type, TTL: 60, ResourceRecords: [{ Value }] };
  await route53.send(
    new ChangeResourceRecordSetsCommand({
      HostedZoneId: zoneId,
      ChangeBatch: { Changes: [{ Action, ResourceRecordSet }] },
    }),
  );
}

async function addresses(): Promise<Record<string, string>> {
  const { ResourceRecordSets } = await route53.send(
    new ListResourceRecordSetsCommand({ HostedZoneId: zoneId }),
  );
  return Object.fromEntries(
    (ResourceRecordSets ?? [])
      .filter(({ Type }) => Type === "A")
      .map(({ Name = "", ResourceRecords }) => [
        Name.replace(/\.$/, ""),
        ResourceRecords?.[0]?.Value ?? "",
      ]),
  );
}

async function removeZone(): Promise<void> {
  for (const [name, address] of Object.entries(await addresses())) {
    await setRecord("DELETE", name, address);
  }
  await route53.send(new DeleteHostedZoneCommand({ Id: zoneId }));
}

/** What is below the SSM path of the ACME certificate, by its last name. */
async function parameters(): Promise<Record<string, string>> {
  const { Parameters } = await new SSMClient(aws).send(
    new GetParametersByPathCommand({
      Path: "/meteor-scale/local/certificate/acme",
      WithDecryption: true,
    }),
  );
  return Object.fromEntries(
    (Parameters ?? []).map(({ Name = "", Value = "" }) => [Name.split("/").at(-1) ?? "", Value]),
  );
}

/** What the authority was asked for so far. */
function asked(): ReturnType<typeof askedFor> {
  return askedFor(said);
}

/** The certificate that a visitor is served who trusts one authority alone. */
function served(name: string, root: string): Promise<PeerCertificate> {
  return new Promise((resolve, reject) => {
    const socket = connect({ host: stack.address, port: 443, servername: name, ca: root }, () => {
      resolve(socket.getPeerCertificate());
      socket.end();
    });
    socket.on("error", reject);
  });
}

function balancerReady(): string | undefined {
  return machines().find(({ name }) => name.endsWith("-balancer"))?.ready;
}

test("a stack with `tls: acme` comes up with a certificate of its own, and says what it waits for", async () => {
  const { status, output } = await updateWith(settings);
  expect(status).toBe(0);
  expect(output).toMatch(
    /warning: meteor-scale-local-balancer is ready, but: no certificate of the authority yet: port 80 of app\.example\.com does not lead to this machine/,
  );
  expect(await addresses()).toMatchObject({ "app.example.com": stack.address });
  site = {
    ...stack,
    rootUrl,
    certificate: fromInternet(
      "--insecure",
      `https://${authority.address}:${managementPort}/roots/0`,
    ).output,
  };
});

test("as soon as its names lead to it, it has the authority's", async () => {
  await eventually(async () => {
    await fetchPage(site.address, rootUrl, site.certificate);
  }, 120);
  await eventually(() => {
    expect(balancerReady()).toBe("true");
  });
  expect(asked()).toEqual({ orders: 1, accounts: 1 });
  expect((await parameters())["CERTIFICATE"]).toMatch(/^https:[^]*-----BEGIN CERTIFICATE-----/);
});

test("one more name replaces no machine, breaks no connection, and is in the next certificate", async () => {
  const before = instanceIds();
  const { result, report } = await underTraffic(site, async (): Promise<Update> => {
    const update = await updateWith({ ...settings, extraDomains: ["www.example.com"] });
    await eventually(async () => {
      await served("www.example.com", site.certificate);
    }, 120);
    return update;
  });
  expect(result.status).toBe(0);
  expect(result.steps.map(({ operation, name }) => `${operation} ${name}`).sort()).toEqual([
    "create names-www.example.com",
    "create-replacement certificate-self-signed",
    "delete-replaced certificate-self-signed",
    "update certificate-acme-REQUEST",
    "update certificate-pem-CERTIFICATE",
  ]);
  expectUnnoticed(report);
  expect(report.reconnects).toBe(0);
  expect(instanceIds()).toEqual(before);
  expect(asked()).toEqual({ orders: 2, accounts: 1 });
});

test("a balancer that takes over has the certificate already, and asks for none", async () => {
  const { fingerprint256 } = await served("app.example.com", site.certificate);
  const before = instanceIds();
  const values = { ...settings, extraDomains: ["www.example.com"], maxHosts: 9 };
  const { result, report } = await underTraffic(site, () => updateWith(values));
  expect(result.status).toBe(0);
  expect(result.output).not.toContain("is ready, but");
  expect(instanceIds()["balancer"]).not.toBe(before["balancer"]);
  // Each request trusts the authority alone, so none was served a self-signed one.
  expect(report).toMatchObject({ lostCalls: 0, failedCalls: [], longWaits: [] });
  expect((await served("app.example.com", site.certificate)).fingerprint256).toBe(fingerprint256);
  expect(asked()).toEqual({ orders: 2, accounts: 1 });
  expect(inMachine("balancer", "systemctl is-active obtain-certificate.timer")).toBe("active");
});

test("a refreshed state takes nothing of it away", async () => {
  const before = await parameters();
  const values = { ...settings, extraDomains: ["www.example.com"], maxHosts: 9 };
  for (let times = 0; times < 2; times++) {
    const { status, steps } = await updateWith(values, { flags: ["--refresh"] });
    expect({ status, steps }).toEqual({ status: 0, steps: [] });
  }
  expect(await parameters()).toEqual(before);
});

test("the certificate is renewed while visitors notice nothing", async () => {
  const { fingerprint256 } = await served("app.example.com", site.certificate);
  const { report } = await underTraffic(site, () =>
    eventually(async () => {
      const now = await served("app.example.com", site.certificate);
      expect(now.fingerprint256).not.toBe(fingerprint256);
    }, 240),
  );
  expectUnnoticed(report);
  expect(report.reconnects).toBe(0);
  expect(asked()).toEqual({ orders: 3, accounts: 1 });
});

test("no secret of it is in a log, in user data or in the state in clear", async () => {
  const { ACCOUNT = "" } = await parameters();
  expect(ACCOUNT.length).toBeGreaterThan(200);
  const state = pulumi("stack", "export").output;
  const journal = inMachine("balancer", "journalctl --no-pager -o cat");
  for (const text of [state, journal]) {
    expect(text).not.toContain(ACCOUNT.slice(0, 60));
    expect(text).not.toMatch(/BEGIN (EC )?PRIVATE KEY/);
  }
});

test("without it, the stack has its own certificate again, and nothing of the authority's is left", async () => {
  stack = await upStack();
  await eventually(async () => {
    await fetchPage(stack.address, stack.rootUrl, stack.certificate);
  }, 60);
  expect(await parameters()).toEqual({});
  expect(await addresses()).toEqual({ [authority.name]: authority.address });
});
