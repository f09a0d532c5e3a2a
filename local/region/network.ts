import { existsSync } from "node:fs";
import { Netmask } from "netmask";
import { run, type RunningProcess, start } from "./commands";

/*
 * Machines are namespaces around one router namespace; the computer itself has no route to them.
 *
 *   computer ── loopback forwards ── router ──┬── machine
 *                                      │      ├── machine
 *                                  internet   └── …
 *
 * Route tables are not followed: a machine reaches its VPC, the AWS API and the internet, and nothing
 * else, whatever its subnet's routes say. So a NAT machine comes up and is ready, but nobody sends
 * anything through it.
 *
 * The internet is one more namespace, with no way to the real one. It knows machines by their elastic
 * addresses (126.x.x.x for the computer's 127.x.x.x) and resolves the names of public zones at the
 * router's address. A machine's connections carry its elastic address there, or else the router's
 * address, and one to an elastic address, its own too, arrives as if it came from the internet.
 */

/** Start of the names of all of the region's namespaces. */
export const namespacePrefix = "meteor-";
export const router = `${namespacePrefix}router`;
/** The namespace that plays the internet. */
export const internet = `${namespacePrefix}internet`;
/** The router's interface to it. */
export const internetInterface = "internet";

/** The resolver of every VPC: https://docs.aws.amazon.com/vpc/latest/userguide/AmazonDNS-concepts.html */
export const resolverAddress = "169.254.169.253";
export const metadataAddress = "169.254.169.254";
/** Where the AWS API answers the machines. This and the next are of ranges kept for documentation. */
export const awsApiAddress = "203.0.113.2";
/** What a machine sees as the client's address of a connection from this computer. */
export const computerAddress = "203.0.113.1";
/** The one host of the internet. */
export const internetHostAddress = "198.51.100.10";
/** The router's address there, which also is the internet's resolver. */
export const internetRouterAddress = "198.51.100.1";
/** Elastic addresses, as the internet sees them. */
export const internetRange = "126.0.0.0/8";
const gateway = "169.254.1.1";

/** @returns the address by which the internet reaches what this computer reaches at 127.x.x.x */
export function internetAddressOf(elasticAddress: string): string {
  return elasticAddress.replace(/^127\./, "126.");
}

/** @returns the path that `nsenter --net` and systemd-nspawn take */
export function namespacePath(namespace: string): string {
  return `/run/netns/${namespace}`;
}

/**
 * A command that runs inside a namespace. Not `ip netns exec`: that holds on to every mount of the
 * computer for as long as the command runs.
 */
export function inside(namespace: string, command: string, args: string[]): [string, string[]] {
  return ["nsenter", [`--net=${namespacePath(namespace)}`, "--", command, ...args]];
}

/** Runs a command inside a namespace to its end. */
export function runInside(
  namespace: string,
  command: string,
  args: string[],
  input = "",
): Promise<string> {
  return run(...inside(namespace, command, args), input);
}

async function ip(namespace: string | undefined, lines: string[]): Promise<void> {
  const where = namespace === undefined ? [] : ["-netns", namespace];
  await run("ip", [...where, "-batch", "-"], `${lines.join("\n")}\n`);
}

/** Makes the router and the internet. */
export async function createRouter(): Promise<void> {
  await ip(undefined, [`netns add ${router}`, `netns add ${internet}`]);
  await runInside(router, "sysctl", [
    "-qw",
    "net.ipv4.ip_forward=1",
    // No machine can take another one's address.
    "net.ipv4.conf.all.rp_filter=1",
    "net.ipv4.conf.default.rp_filter=1",
  ]);
  await ip(router, [
    "link set lo up",
    ...[resolverAddress, metadataAddress, awsApiAddress, computerAddress, gateway].map(
      (address) => `addr add ${address}/32 dev lo`,
    ),
    `link add ${internetInterface} type veth peer name eth0 netns ${internet}`,
    `addr add ${internetRouterAddress}/24 dev ${internetInterface}`,
    `link set ${internetInterface} up`,
  ]);
  await ip(internet, [
    "link set lo up",
    `addr add ${internetHostAddress}/24 dev eth0`,
    "link set eth0 up",
    `route add default via ${internetRouterAddress}`,
  ]);
}

/** Gives the router the address at which a VPC's machines expect their resolver. */
export async function addResolverAddress(vpcRange: string): Promise<void> {
  await ip(router, [`addr replace ${resolverOf(vpcRange)}/32 dev lo`]);
}

/** @returns the second address of a VPC, which is its resolver */
export function resolverOf(vpcRange: string): string {
  const { netLong } = new Netmask(vpcRange);
  return [24, 16, 8, 0].map((bits) => ((netLong + 2) >>> bits) & 255).join(".");
}

/**
 * Makes a namespace with an address behind the router, as every machine has. One whose address
 * belongs to no machine is in no security group: it may send to anybody, whose rules then decide.
 *
 * @param name of the namespace, without the region's prefix
 * @param macAddress of its interface `ens5`
 */
export async function attachNamespace(
  name: string,
  address: string,
  macAddress?: string,
): Promise<void> {
  const namespace = namespacePrefix + name;
  if (existsSync(namespacePath(namespace))) {
    // The namespace outlives the system in it; a kernel that starts has no rules.
    await runInside(namespace, "nft", ["flush", "ruleset"]);
    return;
  }
  await ip(undefined, [`netns add ${namespace}`]);
  try {
    await connectNamespace(name, address, macAddress);
  } catch (error) {
    await detachNamespace(name);
    throw error;
  }
}

async function connectNamespace(name: string, address: string, macAddress = ""): Promise<void> {
  const namespace = namespacePrefix + name;
  const link = linkName(name);
  const hardware = macAddress && `address ${macAddress} `;
  await ip(router, [
    `link add ${link} type veth peer name ens5 ${hardware}netns ${namespace}`,
    `link set ${link} up`,
    `route replace ${address}/32 dev ${link} src ${computerAddress}`,
  ]);
  await ip(namespace, [
    "link set lo up",
    `addr add ${address}/32 dev ens5`,
    "link set ens5 up",
    `route add ${gateway} dev ens5 scope link src ${address}`,
    `route add default via ${gateway} dev ens5 src ${address}`,
  ]);
}

/**
 * Whether what is behind the router at an address answers an ARP request within three seconds; no
 * firewall has a say in that.
 */
export async function answersArp(name: string, address: string): Promise<boolean> {
  try {
    await runInside(router, "arping", ["-q", "-f", "-w", "3", "-I", linkName(name), address]);
    return true;
  } catch (error) {
    if (/failed to execute/.test(String(error))) {
      throw error;
    }
    return false;
  }
}

/** Takes away what `attachNamespace` made. */
export async function detachNamespace(name: string): Promise<void> {
  if (!existsSync(namespacePath(namespacePrefix + name))) {
    return;
  }
  // Deleting one end of a link at once deletes the other; a namespace lives until its last process ends.
  await run("ip", ["-netns", router, "link", "delete", linkName(name)]).catch(() => undefined);
  await run("ip", ["netns", "delete", namespacePrefix + name]);
}

/** The router's interface to a namespace. Its name has at most 15 characters, so it is the end, which tells instances apart. */
export function linkName(name: string): string {
  return `m-${name.slice(-12)}`;
}

/** Puts the firewall's ruleset in place of the one before. */
export async function applyFirewall(ruleset: string): Promise<void> {
  await runInside(router, "nft", ["-f", "-"], ruleset);
}

/** Where connections to a port of this computer, or of the router, are passed on to. */
export interface Forward {
  name: string;
  listen: string;
  /** The namespace in which it listens; this computer where there is none. */
  listenIn?: string;
  /** ADDRESS:PORT, or the path of a socket. */
  target: string;
  /** The namespace in which it connects. */
  connectIn?: string;
}

/** Listens on one side of a namespace's border and connects on the other; no route is needed. */
export function startForward(forward: Forward): Promise<RunningProcess> {
  const proxy = "/lib/systemd/systemd-socket-proxyd";
  const proxyArguments = ["--connections-max=65536", forward.target];
  const connect =
    forward.connectIn === undefined
      ? [proxy, ...proxyArguments]
      : inside(forward.connectIn, proxy, proxyArguments).flat();
  // systemd's services ignore SIGPIPE, and the proxy relies on it: a client that is gone would end all connections.
  const listen = [
    ...["--ignore-signal=PIPE", "systemd-socket-activate", "--listen", forward.listen],
    ...connect,
  ];
  const [command, args] =
    forward.listenIn === undefined
      ? (["env", listen] as const)
      : inside(forward.listenIn, "env", listen);
  return start(forward.name, command, [...args]);
}
