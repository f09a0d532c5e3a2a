/** An A record. */
export interface AddressRecord {
  /** Without the dot at its end. */
  name: string;
  addresses: string[];
  /** Seconds that a resolver may remember it. */
  ttl: number;
  /** Whether everybody on the internet knows it, or the VPC alone. */
  public: boolean;
}

/** The names that a resolver knows, as a hosts file. */
export function hostsFile(records: AddressRecord[]): string {
  return records
    .flatMap(({ name, addresses }) => addresses.map((address) => `${address} ${name}\n`))
    .sort()
    .join("");
}

/** A hosts file has one time for all of its names, so it is the shortest. */
export function shortestTtl(records: AddressRecord[]): number {
  return Math.min(60, ...records.map(({ ttl }) => ttl));
}

/** dnsmasq as a VPC's resolver: the zones, AWS's own names, and nothing else. */
export function vpcResolverArguments(args: {
  hostsFiles: string[];
  ttl: number;
  awsApiAddress: string;
  /** Where another resolver answers. */
  exceptInterface: string;
}): string[] {
  return [
    ...resolverArguments(args),
    // Addresses of VPCs come later; of all addresses at once there could be no other resolver.
    "--bind-dynamic",
    `--except-interface=${args.exceptInterface}`,
    `--address=/amazonaws.com/${args.awsApiAddress}`,
    // Nothing of them is asked elsewhere: they have no addresses of another kind.
    "--local=/amazonaws.com/",
  ];
}

/** dnsmasq as the resolver of the internet: the public zones, and nothing else. */
export function internetResolverArguments(args: {
  hostsFiles: string[];
  ttl: number;
  listenAddress: string;
}): string[] {
  return [
    ...resolverArguments(args),
    "--bind-interfaces",
    `--listen-address=${args.listenAddress}`,
  ];
}

function resolverArguments(args: { hostsFiles: string[]; ttl: number }): string[] {
  return [
    "--keep-in-foreground",
    "--conf-file=/dev/null",
    "--pid-file=",
    "--log-facility=-",
    // It reads the hosts file again, which only root can.
    "--user=root",
    "--no-resolv",
    "--no-hosts",
    ...args.hostsFiles.map((file) => `--addn-hosts=${file}`),
    `--local-ttl=${args.ttl}`,
    // Without an address: every other name does not exist.
    "--address=/#/",
  ];
}
