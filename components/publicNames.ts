import * as pulumi from "@pulumi/pulumi";
import * as aws from "./aws";
import { canBePublic, isInZone } from "./hostNames";

/** A public zone of Route 53. */
export interface HostedZone {
  id: string;
  name: string;
}

/**
 * Asks Route 53 for a public zone.
 *
 * @throws pulumi.RunError if the account has none of that name, or more than one
 */
export async function lookUpHostedZone(name: string): Promise<HostedZone> {
  const zone = await aws.route53
    .getZone({ name, privateZone: false })
    .catch((error: unknown): never => {
      const reason = (error as Error).message;
      throw new pulumi.RunError(
        /no matching/.test(reason)
          ? `hostedZone is ${name}; this account has no public Route 53 zone of that name; make one, or leave hostedZone out and make the records (output dnsRecords) where the domain is`
          : `hostedZone is ${name}; Route 53 did not find that one zone (${reason})`,
      );
    });
  return { id: zone.zoneId, name };
}

export interface PublicNamesArgs {
  /** What people reach the application by; wildcards are allowed. */
  names: string[];
  /** The zone that gets the records of its names. */
  zone: HostedZone | undefined;
  /** The balancer's address, which stays when the balancer is replaced. */
  ipAddress: pulumi.Input<string>;
}

/** Seconds that a resolver may remember a record. */
const ttl = 60;

/**
 * The application's names in the public DNS: a record for each one in the zone. They wait for the address
 * alone and not for the balancer behind it, so that whoever asks for a certificate is found early. Another
 * name touches its own record only; one that somebody else made there is an error, and stays as it is.
 *
 * Cost: nothing beside the zone's own 0.50 USD a month and 0.40 USD for a million questions.
 */
export class PublicNames extends pulumi.ComponentResource {
  /** Records that are to be made by hand, such as `app.example.com A 203.0.113.7`. */
  readonly toMake: pulumi.Output<string[]>;

  constructor(name: string, args: PublicNamesArgs, options?: pulumi.ComponentResourceOptions) {
    super("meteor-scale:publicNames:PublicNames", name, {}, options);
    const { names, zone, ipAddress } = args;
    const others: string[] = [];
    for (const domain of names) {
      if (zone !== undefined && isInZone(domain, zone.name)) {
        new aws.route53.Record(
          `${name}-${domain}`,
          { zoneId: zone.id, name: domain, type: "A", ttl, records: [ipAddress] },
          { parent: this },
        );
      } else if (canBePublic(domain)) {
        others.push(domain);
      }
    }
    this.toMake = pulumi
      .output(ipAddress)
      .apply((address) => others.map((domain) => `${domain} A ${address}`));
    this.registerOutputs({});
  }
}
