import { type ChildProcess, spawn } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { hostsFile, internetResolverArguments, vpcResolverArguments } from "../../local/region/dns";
import { type FirewallInput, renderFirewall } from "../../local/region/firewall";
import type * as Network from "../../local/region/network";
import {
  awsApiAddress,
  internet,
  internetHostAddress,
  internetInterface,
  internetRange,
  internetRouterAddress,
  namespacePath,
  namespacePrefix,
  resolverOf,
  router,
} from "../../local/region/network";
import { repositoryFolder } from "../../local/paths";
import { installTools, outcomeOf, run } from "../tools";

const vpcRange = "10.40.0.0/16";
/** The one machine that may not send to the internet, and lets in its VPC's group only. */
const inward = { id: "i-inward", address: "10.40.0.6", groups: ["sg-inward"] };
const addressed = { id: "i-addressed", address: "10.40.0.4", groups: ["sg-web"] };
const plain = { id: "i-plain", address: "10.40.0.5", groups: ["sg-web"] };
const machines = [inward, addressed, plain];
const addressedElastic = "126.0.0.4";
const inwardElastic = "126.0.0.6";

const web = { protocol: "tcp", ports: { from: 80, to: 80 } };
const region: FirewallInput = {
  vpcRanges: [vpcRange],
  rules: {
    "sg-web": [
      { direction: "ingress", ...web, peer: { cidr: "0.0.0.0/0" } },
      { direction: "egress", protocol: "-1", peer: { cidr: "0.0.0.0/0" } },
    ],
    "sg-inward": [
      { direction: "ingress", ...web, peer: { group: "sg-web" } },
      { direction: "egress", ...web, peer: { cidr: vpcRange } },
    ],
  },
  machines,
  addresses: [
    { internetAddress: addressedElastic, privateAddress: addressed.address },
    { internetAddress: inwardElastic, privateAddress: inward.address },
  ],
  awsApiAddress,
  internetRange,
  internetInterface,
  internetRouterAddress,
};

const folder = mkdtempSync(join(tmpdir(), "meteor-scale-network-"));
/** Has its own /run, so that the namespaces in it have the region's names and are none of the region's. */
let holder: ChildProcess;
let enter: string[] = [];

beforeAll(async () => {
  installTools({
    "/usr/sbin/nft": "nftables",
    "/usr/sbin/dnsmasq": "dnsmasq-base",
    "/usr/bin/curl": "curl",
  });
  const flags = ["--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc"];
  const setUp = "mount -t tmpfs tmpfs /run && echo ready && exec sleep infinity";
  holder = spawn("unshare", [...flags, "sh", "-c", setUp]);
  await saying(holder, "ready");
  const pid = String(holder.pid);
  const inner = readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8").trim();
  enter = ["--target", inner, "--mount", "--net", "--pid", `--wd=${repositoryFolder}`, "--"];
  network("createRouter");
  network("addResolverAddress", vpcRange);
  machines.forEach(({ id, address }) => {
    network("attachNamespace", id, address);
  });
  filter(region);
  const records = [
    { name: "www.example.com", addresses: [addressedElastic], ttl: 5, public: true },
    { name: "mongo1.meteor.internal", addresses: [inward.address], ttl: 5, public: false },
  ];
  const [hosts, publicHosts] = [join(folder, "hosts"), join(folder, "public-hosts")];
  writeFileSync(hosts, hostsFile(records.filter((each) => !each.public)));
  writeFileSync(publicHosts, hostsFile(records.filter((each) => each.public)));
  const ttl = 5;
  await Promise.all([
    ...[internet, ...machines.map(({ id }) => namespacePrefix + id)].map((name) =>
      saying(start(name, process.execPath, ["--eval", tellsClient]), "listening"),
    ),
    ...[
      vpcResolverArguments({
        hostsFiles: [hosts, publicHosts],
        ttl,
        awsApiAddress,
        exceptInterface: internetInterface,
      }),
      internetResolverArguments({
        hostsFiles: [publicHosts],
        ttl,
        listenAddress: internetRouterAddress,
      }),
    ].map((args) => saying(start(router, "/usr/sbin/dnsmasq", args), "read ")),
  ]);
});

afterAll(() => {
  holder.kill("SIGKILL");
  rmSync(folder, { recursive: true });
});

const tellsClient = `
  require("node:http")
    .createServer((request, response) => response.end(request.socket.remoteAddress))
    .listen(80, "0.0.0.0", () => console.log("listening"))`;

const asks = `
  const resolver = new (require("node:dns").promises.Resolver)({ timeout: 1000, tries: 1 });
  const [server, name, type] = process.argv.slice(1);
  resolver.setServers([server]);
  resolver.resolve(name, type).then(
    (addresses) => console.log(addresses.join(" ")),
    ({ code }) => console.log(code))`;

/** Writes whenever it is told to, and says how that went. */
const talks = `
  const socket = require("node:net").connect(80, process.argv[1], () => console.log("connected"));
  socket.on("error", ({ code }) => { console.log(code); process.exit(); });
  process.stdin.once("data", () => socket.write("GET / HTTP/1.0\\r\\n\\r\\n"));
  socket.on("data", () => { console.log("answered"); process.exit(); })`;

/** Calls a function of network.ts inside the holder. */
function network(action: keyof typeof Network, ...args: string[]): void {
  const call = `require("./local/region/network").${action}(...${JSON.stringify(args)})`;
  const node = [process.execPath, "--import", "tsx", "--eval", call];
  // Its processes are none of the region's.
  run("nsenter", [...enter, ...node], { METEOR_SCALE_CACHE: folder });
}

function filter(input: FirewallInput): void {
  network("applyFirewall", renderFirewall(input));
}

function inNamespace(name: string, program: string, args: string[]): string[] {
  return [...enter, "nsenter", `--net=${namespacePath(name)}`, "--", program, ...args];
}

function start(name: string, program: string, args: string[]): ChildProcess {
  return spawn("nsenter", inNamespace(name, program, args));
}

/** Resolves when a process has printed a text. */
function saying(child: ChildProcess, text: string): Promise<void> {
  return new Promise((resolve, reject) => {
    let printed = "";
    const read = (data: Buffer): void => {
      printed += data.toString();
      if (printed.includes(text)) {
        resolve();
      }
    };
    child.stdout?.on("data", read);
    child.stderr?.on("data", read);
    child.once("close", () => {
      reject(new Error(`It ended and never printed ${text}: ${printed}`));
    });
  });
}

/** As whom the server at an address sees a namespace; `unreachable` where it gets no answer. */
function seenAs(name: string, address: string): string {
  const args = ["--silent", "--max-time", "1", `http://${address}/`];
  const { status, output } = outcomeOf("nsenter", inNamespace(name, "/usr/bin/curl", args));
  return status === 0 ? output : "unreachable";
}

function resolved(name: string, server: string, record: string, type = "A"): string {
  const args = ["--eval", asks, server, record, type];
  return run("nsenter", inNamespace(name, process.execPath, args)).trim();
}

const namespaceOf = ({ id }: { id: string }): string => namespacePrefix + id;

test("a machine reaches the internet with its elastic address, or else the router's", () => {
  expect(seenAs(namespaceOf(addressed), internetHostAddress)).toBe(addressedElastic);
  expect(seenAs(namespaceOf(plain), internetHostAddress)).toBe(internetRouterAddress);
});

test("its egress rules hold for the internet, and for elastic addresses by the names they have there", () => {
  expect(seenAs(namespaceOf(inward), internetHostAddress)).toBe("unreachable");
  expect(seenAs(namespaceOf(inward), addressedElastic)).toBe("unreachable");
  expect(seenAs(namespaceOf(inward), addressed.address)).toBe(inward.address);
});

test("a machine reaches elastic addresses, its own too, as the internet does", () => {
  expect(seenAs(internet, addressedElastic)).toBe(internetHostAddress);
  expect(seenAs(namespaceOf(addressed), addressedElastic)).toBe(addressedElastic);
  expect(seenAs(namespaceOf(plain), addressedElastic)).toBe(internetRouterAddress);
});

test("who comes by an elastic address is in none of the receiver's groups", () => {
  expect(seenAs(namespaceOf(addressed), inward.address)).toBe(addressed.address);
  expect(seenAs(namespaceOf(addressed), inwardElastic)).toBe("unreachable");
  expect(seenAs(namespaceOf(plain), inwardElastic)).toBe("unreachable");
});

test("the internet reaches elastic addresses only, and leads no further", () => {
  expect(seenAs(internet, addressed.address)).toBe("unreachable");
  expect(seenAs(internet, plain.address)).toBe("unreachable");
  expect(seenAs(namespaceOf(addressed), "192.0.2.1")).toBe("unreachable");
});

test("the internet resolves the names of public zones only, a VPC those of all", () => {
  const machine = namespaceOf(plain);
  const resolver = resolverOf(vpcRange);
  expect(resolved(internet, internetRouterAddress, "www.example.com")).toBe(addressedElastic);
  expect(resolved(internet, internetRouterAddress, "www.example.com", "AAAA")).toBe("ENODATA");
  expect(resolved(internet, internetRouterAddress, "mongo1.meteor.internal")).toBe("ENOTFOUND");
  expect(resolved(internet, resolver, "mongo1.meteor.internal")).toBe("ETIMEOUT");
  expect(resolved(machine, resolver, "www.example.com")).toBe(addressedElastic);
  expect(resolved(machine, resolver, "mongo1.meteor.internal")).toBe(inward.address);
  expect(resolved(machine, resolver, "ec2.eu-central-1.amazonaws.com")).toBe(awsApiAddress);
  expect(resolved(machine, "169.254.169.253", "www.example.com")).toBe(addressedElastic);
});

test.each([
  ["to", internet, addressedElastic],
  ["from", namespaceOf(addressed), internetHostAddress],
])("connections %s a machine's elastic address end when it moves", async (_, from, to) => {
  const [stays, ends] = [0, 1].map(() => start(from, process.execPath, ["--eval", talks, to]));
  if (!stays || !ends) {
    throw new Error("unreachable");
  }
  await Promise.all([stays, ends].map((each) => saying(each, "connected")));
  filter(region);
  stays.stdin?.write("x");
  await saying(stays, "answered");
  filter({
    ...region,
    addresses: [{ internetAddress: addressedElastic, privateAddress: plain.address }],
  });
  ends.stdin?.write("x");
  await saying(ends, "ECONNRESET");
  filter(region);
});
