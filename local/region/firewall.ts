/** One rule of a security group. */
export interface FirewallRule {
  direction: "ingress" | "egress";
  /** `tcp`, `udp`, `icmp`, or `-1` for all. */
  protocol: string;
  /** For TCP and UDP. */
  ports?: { from: number; to: number };
  peer: { cidr: string } | { group: string };
}

/** What the firewall needs to know of a machine. */
export interface FirewallMachine {
  id: string;
  address: string;
  groups: string[];
}

/** An elastic address, as the namespace that plays the internet knows it. */
export interface InternetAddress {
  internetAddress: string;
  privateAddress: string;
}

export interface FirewallInput {
  vpcRanges: string[];
  rules: Record<string, FirewallRule[]>;
  machines: FirewallMachine[];
  addresses: InternetAddress[];
  /** Where the AWS API answers the machines. */
  awsApiAddress: string;
  /** The range of all internet addresses. */
  internetRange: string;
  /** The router's interface to the namespace that plays the internet. */
  internetInterface: string;
}

/**
 * Security groups and elastic addresses as an nftables ruleset for the router, which replaces the
 * one before it in one transaction.
 *
 * A packet between machines must pass the sender's egress rules and the receiver's ingress rules;
 * replies pass by themselves. What no rule allows is dropped without an answer, as on AWS.
 */
export function renderFirewall(input: FirewallInput): string {
  const machines = [...input.machines].sort((a, b) => a.id.localeCompare(b.id));
  const vpc = [...input.vpcRanges].sort();
  const addresses = [...input.addresses].sort((a, b) =>
    a.internetAddress.localeCompare(b.internetAddress),
  );
  const lines = [
    "add table ip meteor_scale",
    "delete table ip meteor_scale",
    "table ip meteor_scale {",
    ...groupSets(input.rules, machines),
    ...machines.flatMap((machine) => machineChains(machine, input.rules)),
    ...chain("egress", [
      dispatch(
        "saddr",
        machines.map(({ address, id }) => `${address} : goto out_${id}`),
      ),
    ]),
    ...chain("ingress", [
      dispatch(
        "daddr",
        machines.map(({ address, id }) => `${address} : goto in_${id}`),
      ),
    ]),
    // Connections through an elastic address end when it moves to another machine.
    ...chain("elastic", [
      ...addresses.flatMap(({ internetAddress, privateAddress }) => [
        `ct original ip daddr ${internetAddress} ct direction original ip daddr ${privateAddress} accept`,
        `ct original ip daddr ${internetAddress} ct direction reply ip saddr ${privateAddress} accept`,
      ]),
      "meta l4proto tcp reject with tcp reset",
      "drop",
    ]),
    ...chain("prerouting", [
      "type nat hook prerouting priority dstnat; policy accept;",
      addresses.length === 0
        ? ""
        : `dnat to ip daddr map { ${addresses.map((each) => `${each.internetAddress} : ${each.privateAddress}`).join(", ")} }`,
    ]),
    ...chain("forward", [
      "type filter hook forward priority filter; policy drop;",
      `ct state established,related ct original ip daddr ${input.internetRange} goto elastic`,
      "ct state established,related accept",
      // A VPC's own addresses do not exist on the internet.
      `iifname "${input.internetInterface}" ct status & dnat == 0 drop`,
      ...vpc.map((range) => `ip saddr ${range} ip daddr != ${range} reject`),
      "jump egress",
      "jump ingress",
      ...vpc.map((range) => `ip daddr ${range} accept`),
    ]),
    ...chain("input", [
      "type filter hook input priority filter; policy drop;",
      'iif "lo" accept',
      `iifname "${input.internetInterface}" drop`,
      "ct state established,related accept",
      // Security groups do not hold back the resolver and the metadata service:
      // https://docs.aws.amazon.com/vpc/latest/userguide/vpc-security-groups.html
      "meta l4proto { tcp, udp } th dport 53 accept",
      "ip daddr 169.254.169.254 tcp dport 80 accept",
      `ip daddr ${input.awsApiAddress} jump egress`,
      `ip daddr ${input.awsApiAddress} tcp dport 443 accept`,
    ]),
    // What comes from the computer through an elastic address starts at the router.
    ...chain("output", [
      "type filter hook output priority filter; policy accept;",
      "ct state established,related accept",
      "jump ingress",
    ]),
    "}",
  ];
  return lines.filter((line) => line !== "").join("\n") + "\n";
}

function chain(name: string, rules: string[]): string[] {
  return [
    `  chain ${name} {`,
    ...rules.map((rule) => (rule === "" ? "" : `    ${rule}`)),
    "  }",
  ].filter((line) => line !== "");
}

function dispatch(field: "saddr" | "daddr", verdicts: string[]): string {
  return verdicts.length === 0 ? "" : `ip ${field} vmap { ${verdicts.join(", ")} }`;
}

/** The members of each group that a rule refers to. */
function groupSets(rules: FirewallInput["rules"], machines: FirewallMachine[]): string[] {
  const groups = new Set(
    Object.values(rules)
      .flat()
      .flatMap(({ peer }) => ("group" in peer ? [peer.group] : [])),
  );
  return [...groups].sort().flatMap((group) => {
    const members = machines.filter((machine) => machine.groups.includes(group));
    return [
      `  set ${group} {`,
      "    type ipv4_addr",
      members.length === 0
        ? ""
        : `    elements = { ${members.map(({ address }) => address).join(", ")} }`,
      "  }",
    ];
  });
}

function machineChains(machine: FirewallMachine, rules: FirewallInput["rules"]): string[] {
  const own = machine.groups.flatMap((group) => rules[group] ?? []);
  const matches = (direction: FirewallRule["direction"]): string[] =>
    own.filter((rule) => rule.direction === direction).map((rule) => match(rule));
  return [
    // The receiver's ingress rules are still to be asked, so leaving only returns.
    ...chain(`out_${machine.id}`, [
      ...matches("egress").map((each) => `${each} return`.trim()),
      "drop",
    ]),
    ...chain(`in_${machine.id}`, [
      ...matches("ingress").map((each) => `${each} accept`.trim()),
      "drop",
    ]),
  ];
}

function match({ direction, protocol, ports, peer }: FirewallRule): string {
  const field = direction === "ingress" ? "saddr" : "daddr";
  const address = "group" in peer ? `ip ${field} @${peer.group}` : `ip ${field} ${peer.cidr}`;
  if (protocol === "-1") {
    return address;
  }
  if (ports === undefined || (protocol !== "tcp" && protocol !== "udp")) {
    return `${address} meta l4proto ${protocol}`;
  }
  const range = ports.from === ports.to ? String(ports.from) : `${ports.from}-${ports.to}`;
  return `${address} ${protocol} dport ${range}`;
}
