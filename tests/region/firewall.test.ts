import { spawnSync } from "node:child_process";
import { type FirewallInput, renderFirewall } from "../../local/region/firewall";
import { installTools } from "../tools";

const balancer = "sg-00000000000000001";
const meteor = "sg-00000000000000002";
const mongo = "sg-00000000000000003";
const anywhere = { cidr: "0.0.0.0/0" };

const stack: FirewallInput = {
  vpcRanges: ["10.40.0.0/16"],
  rules: {
    [balancer]: [
      { direction: "ingress", protocol: "tcp", ports: { from: 80, to: 80 }, peer: anywhere },
      { direction: "ingress", protocol: "tcp", ports: { from: 443, to: 443 }, peer: anywhere },
      {
        direction: "egress",
        protocol: "tcp",
        ports: { from: 3000, to: 3010 },
        peer: { group: meteor },
      },
    ],
    [meteor]: [
      {
        direction: "ingress",
        protocol: "tcp",
        ports: { from: 3000, to: 3000 },
        peer: { group: balancer },
      },
      { direction: "egress", protocol: "-1", peer: anywhere },
    ],
    [mongo]: [
      { direction: "ingress", protocol: "icmp", peer: { cidr: "10.40.0.0/16" } },
      {
        direction: "ingress",
        protocol: "tcp",
        ports: { from: 27017, to: 27017 },
        peer: { group: mongo },
      },
    ],
  },
  machines: [
    { id: "i-00000000000000002", address: "10.40.32.5", groups: [meteor] },
    { id: "i-00000000000000001", address: "10.40.0.4", groups: [balancer] },
    { id: "i-00000000000000003", address: "10.40.32.6", groups: [mongo] },
    { id: "i-00000000000000004", address: "10.40.32.7", groups: [mongo, meteor] },
  ],
  addresses: [{ internetAddress: "126.1.2.3", privateAddress: "10.40.0.4" }],
  awsApiAddress: "203.0.113.2",
  internetRange: "126.0.0.0/8",
  internetInterface: "internet",
  internetRouterAddress: "198.51.100.1",
};

beforeAll(() => {
  installTools({ "/usr/sbin/nft": "nftables" });
});

/** nft's own check against the kernel, in a network namespace of its own. */
function complaints(ruleset: string): string {
  const { stderr, error } = spawnSync(
    "unshare",
    ["--map-root-user", "--net", "/usr/sbin/nft", "-c", "-f", "-"],
    { input: ruleset, encoding: "utf8" },
  );
  if (error !== undefined) {
    throw error;
  }
  return stderr;
}

/** The rules of one chain. */
function chain(ruleset: string, name: string): string[] {
  const text = new RegExp(`chain ${name} \\{\n([^}]*)`).exec(ruleset)?.[1] ?? "";
  return text
    .split("\n")
    .map((line) => line.trim())
    .filter((line) => line !== "");
}

test("a stack's groups and address become this ruleset", () => {
  expect(renderFirewall(stack)).toMatchSnapshot();
});

test.each([
  ["a stack", stack],
  ["an empty region", { ...stack, vpcRanges: [], rules: {}, machines: [], addresses: [] }],
  ["groups without machines", { ...stack, machines: [], addresses: [] }],
])("nft takes %s", (_, input) => {
  expect(complaints(renderFirewall(input))).toBe("");
});

test("nft's check does refuse", () => {
  expect(complaints("table ip meteor_scale { chain x { nonsense } }")).toContain("Error");
});

test("a machine in two groups has the rules of both, and one in none has none", () => {
  const ruleset = renderFirewall({
    ...stack,
    machines: [...stack.machines, { id: "i-00000000000000005", address: "10.40.0.9", groups: [] }],
  });
  expect(chain(ruleset, "in_i-00000000000000004")).toEqual([
    "ip saddr 10.40.0.0/16 meta l4proto icmp accept",
    `ip saddr @${mongo} tcp dport 27017 accept`,
    `ip saddr @${balancer} tcp dport 3000 accept`,
    "drop",
  ]);
  expect(chain(ruleset, "in_i-00000000000000005")).toEqual(["drop"]);
  expect(chain(ruleset, "out_i-00000000000000005")).toEqual(["drop"]);
});

test("what leaves a machine is still asked about at the other end", () => {
  const rules = chain(renderFirewall(stack), "out_i-00000000000000002");
  expect(rules).toEqual(["ip daddr 0.0.0.0/0 return", "drop"]);
});

test("the order of machines makes no difference", () => {
  const reversed = { ...stack, machines: [...stack.machines].reverse() };
  expect(renderFirewall(reversed)).toBe(renderFirewall(stack));
});
