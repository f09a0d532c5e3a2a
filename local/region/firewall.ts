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
  /** The router's address on it: the source of machines that have no elastic address. */
  internetRouterAddress: string;
}

/**
 * Security groups and elastic addresses as an nftables ruleset for the router, which replaces the
 * one before it in one transaction.
 *
 * A packet between machines must pass the sender's egress rules and the receiver's ingress rules;
 * replies pass by themselves. What no rule allows is dropped without an answer, as on AWS.
 *
 * A machine that connects to an elastic address goes by the internet, even to itself: its rules see
 * that address, and the receiver's rules see the sender's own one.
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
    ...set(
      "elastic",
      "ipv4_addr . ipv4_addr",
      addresses.map((each) => `${each.internetAddress} . ${each.privateAddress}`),
    ),
    ...chain("elastic", [
      `ct original ip daddr ${input.internetRange} ct original ip daddr . ct reply ip saddr != @elastic goto ended`,
      `ct reply ip daddr ${input.internetRange} ct reply ip daddr . ct original ip saddr != @elastic goto ended`,
    ]),
    ...chain("ended", ["meta l4proto tcp reject with tcp reset", "drop"]),
    ...chain("prerouting", [
      "type nat hook prerouting priority dstnat; policy accept;",
      `ip daddr ${input.internetRange} jump egress`,
      translate(
        "dnat to ip daddr",
        addresses.map((each) => `${each.internetAddress} : ${each.privateAddress}`),
      ),
    ]),
    ...chain("forward", [
      "type filter hook forward priority filter; policy drop;",
      "ct state established,related jump elastic",
      "ct state established,related accept",
      // A VPC's own addresses do not exist on the internet.
      `iifname "${input.internetInterface}" ct status & dnat == 0 drop`,
      ...vpc.map(
        (range) =>
          `ip saddr ${range} ip daddr != ${range} oifname != "${input.internetInterface}" ct status & dnat == 0 reject`,
      ),
      // To an elastic address it was asked before that was translated.
      "ct status & dnat == 0 jump egress",
      ...vpc.map((range) => `ip daddr ${range} accept`),
      `oifname "${input.internetInterface}" accept`,
    ]),
    ...chain("postrouting", [
      "type nat hook postrouting priority srcnat; policy accept;",
      `iifname "${input.internetInterface}" accept`,
      `oifname != "${input.internetInterface}" ct status & dnat == 0 accept`,
      translate(
        "snat to ip saddr",
        addresses.map((each) => `${each.privateAddress} : ${each.internetAddress}`),
      ),
      // As a NAT gateway does.
      `snat to ${input.internetRouterAddress}`,
    ]),
    // Also for what comes from the computer through an elastic address, which starts at the router.
    ...chain("delivery", [
      "type filter hook postrouting priority srcnat + 10; policy accept;",
      "ct state established,related accept",
      "jump ingress",
    ]),
    ...chain("input", [
      "type filter hook input priority filter; policy drop;",
      'iif "lo" accept',
      `iifname "${input.internetInterface}" ip daddr ${input.internetRouterAddress} meta l4proto { tcp, udp } th dport 53 accept`,
      `iifname "${input.internetInterface}" drop`,
      "ct state established,related accept",
      `ip daddr { ${input.awsApiAddress}, ${input.internetRouterAddress} } jump egress`,
      // Security groups do not hold back the resolver and the metadata service:
      // https://docs.aws.amazon.com/vpc/latest/userguide/vpc-security-groups.html
      "meta l4proto { tcp, udp } th dport 53 accept",
      "ip daddr 169.254.169.254 tcp dport 80 accept",
      `ip daddr ${input.awsApiAddress} tcp dport 443 accept`,
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

function translate(statement: string, elements: string[]): string {
  return elements.length === 0 ? "" : `${statement} map { ${elements.join(", ")} }`;
}

function set(name: string, type: string, elements: string[]): string[] {
  return [
    `  set ${name} {`,
    `    type ${type}`,
    ...(elements.length === 0 ? [] : [`    elements = { ${elements.join(", ")} }`]),
    "  }",
  ];
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
    return set(
      group,
      "ipv4_addr",
      members.map(({ address }) => address),
    );
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
