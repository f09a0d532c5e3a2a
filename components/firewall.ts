import * as pulumi from "@pulumi/pulumi";
import * as aws from "./aws";

export interface FirewallArgs {
  vpcId: pulumi.Input<string>;
  /** Who may reach the balancer on 80 and 443, as IPv4 ranges. */
  allowedCidrs: string[];
  /** Whether port 80 is open to all: an ACME authority asks there, from addresses that it does not tell. */
  httpFromAnywhere: boolean;
  /** The port that Meteor listens on. */
  meteorPort: number;
  /** Whether the stack has Mongo machines of its own. */
  mongo: boolean;
  /** The ranges of the machines that reach the internet through a NAT instance, where there is one. */
  natClients?: string[];
}

/** Where a rule lets traffic come from or go to. */
type Peer = { cidr: string } | { group: Group };

interface Group {
  /** The resource's name, the start of its rules' names. */
  name: string;
  id: pulumi.Output<string>;
}

/** The only paths that exist; each is a rule of its own. Nothing here costs. */
export class Firewall extends pulumi.ComponentResource {
  readonly balancerGroupId: pulumi.Output<string>;
  readonly meteorGroupId: pulumi.Output<string>;
  readonly mongoGroupId: pulumi.Output<string> | undefined;
  readonly natGroupId: pulumi.Output<string> | undefined;
  /** Machines wait for these, so that none starts behind a closed door. */
  readonly rules: pulumi.Resource[] = [];

  constructor(
    private readonly name: string,
    args: FirewallArgs,
    options?: pulumi.ComponentResourceOptions,
  ) {
    super("meteor-scale:firewall:Firewall", name, {}, options);
    const balancer = this.group("balancer", "The balancer: HTTP and HTTPS from outside", args);
    const meteor = this.group("meteor", "Meteor hosts: reached by the balancer only", args);

    (args.httpFromAnywhere ? ["0.0.0.0/0"] : args.allowedCidrs).forEach((cidr) => {
      this.allowIn(balancer, "http", { cidr }, 80);
    });
    args.allowedCidrs.forEach((cidr) => {
      this.allowIn(balancer, "https", { cidr }, 443);
    });
    this.allowOut(balancer, "meteor", { group: meteor }, args.meteorPort);
    this.allowDownloads(balancer);

    this.allowIn(meteor, "meteor", { group: balancer }, args.meteorPort);
    // An application calls other services, mail among them, on ports of its own choice.
    this.allowOut(meteor, "anywhere", { cidr: "0.0.0.0/0" });

    this.balancerGroupId = balancer.id;
    this.meteorGroupId = meteor.id;
    if (args.mongo) {
      const mongo = this.group("mongo", "MongoDB: reached by Meteor hosts and its members", args);
      this.allowIn(mongo, "mongo-meteor", { group: meteor }, 27017);
      this.allowIn(mongo, "mongo-members", { group: mongo }, 27017);
      this.allowOut(mongo, "mongo-members", { group: mongo }, 27017);
      this.allowDownloads(mongo);
      this.mongoGroupId = mongo.id;
    }
    if (args.natClients !== undefined) {
      const nat = this.group("nat", "NAT: passes on what leaves the private subnet", args);
      args.natClients.forEach((cidr) => {
        this.allowIn(nat, "anything", { cidr });
      });
      this.allowOut(nat, "anywhere", { cidr: "0.0.0.0/0" });
      this.natGroupId = nat.id;
    }
    this.registerOutputs({});
  }

  private group(role: string, description: string, args: FirewallArgs): Group {
    const name = `${this.name}-${role}`;
    const { id } = new aws.ec2.SecurityGroup(
      name,
      { vpcId: args.vpcId, description },
      { parent: this },
    );
    return { name, id };
  }

  /** Debian packages over HTTP, all else over HTTPS. */
  private allowDownloads(group: Group): void {
    this.allowOut(group, "http", { cidr: "0.0.0.0/0" }, 80);
    this.allowOut(group, "https", { cidr: "0.0.0.0/0" }, 443);
  }

  private allowIn(group: Group, what: string, from: Peer, port?: number): void {
    this.rules.push(
      new aws.vpc.SecurityGroupIngressRule(
        ruleName(group.name, "in", what, from),
        { securityGroupId: group.id, ...peerOf(from), ...ports(port) },
        { parent: this },
      ),
    );
  }

  private allowOut(group: Group, what: string, to: Peer, port?: number): void {
    this.rules.push(
      new aws.vpc.SecurityGroupEgressRule(
        ruleName(group.name, "out", what, to),
        { securityGroupId: group.id, ...peerOf(to), ...ports(port) },
        { parent: this },
      ),
    );
  }
}

/** A range is part of the name, so that another list of ranges touches only what differs. */
function ruleName(name: string, direction: "in" | "out", what: string, peer: Peer): string {
  return [name, direction, what, ...("cidr" in peer ? [peer.cidr] : [])].join("-");
}

function peerOf(
  of: Peer,
): { cidrIpv4: string } | { referencedSecurityGroupId: pulumi.Output<string> } {
  return "cidr" in of ? { cidrIpv4: of.cidr } : { referencedSecurityGroupId: of.group.id };
}

function ports(port?: number): { ipProtocol: string; fromPort?: number; toPort?: number } {
  return port === undefined
    ? { ipProtocol: "-1" }
    : { ipProtocol: "tcp", fromPort: port, toPort: port };
}
