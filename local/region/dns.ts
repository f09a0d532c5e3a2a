/** An A record of a private zone. */
export interface AddressRecord {
  /** Without the dot at its end. */
  name: string;
  addresses: string[];
  /** Seconds that a resolver may remember it. */
  ttl: number;
}

/** The names that a VPC's resolver knows, as a hosts file. */
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

/** dnsmasq as a VPC's resolver: the private zone, AWS's own names, and nothing else. */
export function resolverArguments(args: {
  hostsFile: string;
  ttl: number;
  awsApiAddress: string;
}): string[] {
  return [
    "--keep-in-foreground",
    "--conf-file=/dev/null",
    "--pid-file=",
    "--log-facility=-",
    // It reads the hosts file again, which only root can.
    "--user=root",
    "--no-resolv",
    "--no-hosts",
    `--addn-hosts=${args.hostsFile}`,
    `--local-ttl=${args.ttl}`,
    `--address=/amazonaws.com/${args.awsApiAddress}`,
    // Nothing of them is asked elsewhere: they have no addresses of another kind.
    "--local=/amazonaws.com/",
    // Without an address: every other name does not exist.
    "--address=/#/",
  ];
}
