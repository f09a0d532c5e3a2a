import * as pulumi from "@pulumi/pulumi";
import { Netmask } from "netmask";
import * as aws from "./aws";

/** The private DNS zone of every stack; it exists inside the VPC only. */
export const zoneName = "meteor.internal";

/**
 * The VPC's range in eight equal parts, in order: the public subnet, the private subnet, and room for
 * more. A part's place may never change: a subnet with another range is another subnet.
 *
 * @param vpcCidr a range of /16 to /25, so that no part is smaller than the /28 that AWS asks for
 */
export function subnetRanges(vpcCidr: string): string[] {
  const vpc = new Netmask(vpcCidr);
  const bits = vpc.bitmask + 3;
  const first = new Netmask(`${vpc.base}/${bits}`);
  return Array.from({ length: 8 }, (_, index) => first.next(index).toString());
}

/** How the machines without a public address reach what they download. */
export type Nat = "gateway" | "instance" | "none";

/** What the private subnet's default route leads to. */
export type WayOut =
  { natGatewayId: pulumi.Input<string> } | { networkInterfaceId: pulumi.Input<string> };

export interface NetworkArgs {
  /** Range of the VPC, /16 to /25. A change replaces everything. */
  vpcCidr: string;
  /** The zone of all machines but members of a replica set. A change replaces everything. */
  availabilityZone: string;
  /** More zones with a private subnet, at most six; a zone's place in the list says which range it has. */
  furtherZones: string[];
  /** The AWS region. */
  region: string;
  /** `gateway` is made here; for `instance` the private subnet has no way out until `routeOut` is told one. */
  nat: Nat;
}

/**
 * A VPC with a public subnet for the balancer and a private one for Meteor and Mongo in one zone, and one for
 * Mongo in each further zone.
 *
 * Cost: 0.50 USD a month for the DNS zone. The NAT gateway, where there is one, about 33 USD a month, 3.65 USD for
 * its address and 0.045 USD a GB. The rest is free.
 */
export class Network extends pulumi.ComponentResource {
  readonly vpcId: pulumi.Output<string>;
  readonly publicSubnetId: pulumi.Output<string>;
  readonly privateSubnetId: pulumi.Output<string>;
  /** Private subnets by their availability zones, that of `privateSubnetId` included. */
  readonly privateSubnetIds: Record<string, pulumi.Output<string>>;
  readonly privateSubnetRanges: string[];
  readonly zoneId: pulumi.Output<string>;
  /** What a machine needs before it can download anything; `routeOut` adds to it. */
  readonly ready: pulumi.Resource[];
  private readonly privateRouteTableId: pulumi.Output<string>;

  constructor(
    private readonly name: string,
    args: NetworkArgs,
    options?: pulumi.ComponentResourceOptions,
  ) {
    super("meteor-scale:network:Network", name, {}, options);
    const parent = { parent: this };
    const [publicRange, privateRange, ...furtherRanges] = subnetRanges(args.vpcCidr) as [
      string,
      string,
      ...string[],
    ];

    const vpc = new aws.ec2.Vpc(
      `${name}-vpc`,
      { cidrBlock: args.vpcCidr, enableDnsHostnames: true, enableDnsSupport: true },
      parent,
    );
    const gateway = new aws.ec2.InternetGateway(`${name}-gateway`, { vpcId: vpc.id }, parent);
    const publicSubnet = new aws.ec2.Subnet(
      `${name}-public`,
      {
        vpcId: vpc.id,
        cidrBlock: publicRange,
        availabilityZone: args.availabilityZone,
        // A balancer downloads its software before it takes over the elastic IP.
        mapPublicIpOnLaunch: true,
      },
      parent,
    );
    const privateSubnet = new aws.ec2.Subnet(
      `${name}-private`,
      { vpcId: vpc.id, cidrBlock: privateRange, availabilityZone: args.availabilityZone },
      parent,
    );
    const publicRoutes = routeTable(`${name}-public`, vpc.id, publicSubnet.id, this);
    const privateRoutes = routeTable(`${name}-private`, vpc.id, privateSubnet.id, this);
    const further = args.furtherZones.map((availabilityZone, index) => {
      const subnetName = `${name}-private-${availabilityZone}`;
      const cidrBlock = furtherRanges[index] ?? "";
      const subnet = new aws.ec2.Subnet(
        subnetName,
        { vpcId: vpc.id, cidrBlock, availabilityZone },
        parent,
      );
      const association = routesOf(subnetName, privateRoutes.table.id, subnet.id, this);
      return { availabilityZone, cidrBlock, subnet, association };
    });
    const publicRoute = new aws.ec2.Route(
      `${name}-public-route`,
      {
        routeTableId: publicRoutes.table.id,
        destinationCidrBlock: "0.0.0.0/0",
        gatewayId: gateway.id,
      },
      parent,
    );
    const storage = new aws.ec2.VpcEndpoint(
      `${name}-s3`,
      {
        vpcId: vpc.id,
        serviceName: `com.amazonaws.${args.region}.s3`,
        vpcEndpointType: "Gateway",
        routeTableIds: [privateRoutes.table.id],
      },
      parent,
    );
    this.ready = [publicRoute, publicRoutes.association, privateRoutes.association, storage];
    this.ready.push(...further.map(({ association }) => association));
    this.privateRouteTableId = privateRoutes.table.id;
    if (args.nat === "gateway") {
      const nat = natGateway(name, publicSubnet.id, publicRoute, this);
      this.routeOut({ natGatewayId: nat.id }, nat);
    }

    const zone = new aws.route53.Zone(
      `${name}-zone`,
      { name: zoneName, vpcs: [{ vpcId: vpc.id }], forceDestroy: true },
      parent,
    );

    this.vpcId = vpc.id;
    this.publicSubnetId = publicSubnet.id;
    this.privateSubnetId = privateSubnet.id;
    this.privateSubnetIds = { [args.availabilityZone]: privateSubnet.id };
    for (const { availabilityZone, subnet } of further) {
      this.privateSubnetIds[availabilityZone] = subnet.id;
    }
    this.privateSubnetRanges = [privateRange, ...further.map(({ cidrBlock }) => cidrBlock)];
    this.zoneId = zone.zoneId;
    this.registerOutputs({ vpcId: this.vpcId });
  }

  /**
   * Leads what leaves the private subnet, once `dependsOn` is there. A table has one default route, so it
   * is the same one for every way out: it turns from the old one to the new one in one step.
   */
  routeOut(to: WayOut, dependsOn: pulumi.Resource): void {
    this.ready.push(
      new aws.ec2.Route(
        `${this.name}-private-route`,
        { routeTableId: this.privateRouteTableId, destinationCidrBlock: "0.0.0.0/0", ...to },
        { parent: this, dependsOn },
      ),
    );
  }
}

function routeTable(
  name: string,
  vpcId: pulumi.Output<string>,
  subnetId: pulumi.Output<string>,
  parent: pulumi.Resource,
): { table: aws.ec2.RouteTable; association: aws.ec2.RouteTableAssociation } {
  const table = new aws.ec2.RouteTable(`${name}-routes`, { vpcId }, { parent });
  return { table, association: routesOf(name, table.id, subnetId, parent) };
}

function routesOf(
  name: string,
  routeTableId: pulumi.Output<string>,
  subnetId: pulumi.Output<string>,
  parent: pulumi.Resource,
): aws.ec2.RouteTableAssociation {
  return new aws.ec2.RouteTableAssociation(
    `${name}-routes-of-subnet`,
    { routeTableId, subnetId },
    { parent },
  );
}

function natGateway(
  name: string,
  subnetId: pulumi.Output<string>,
  publicRoute: pulumi.Resource,
  parent: pulumi.Resource,
): aws.ec2.NatGateway {
  const address = new aws.ec2.Eip(`${name}-nat-address`, { domain: "vpc" }, { parent });
  return new aws.ec2.NatGateway(
    `${name}-nat`,
    { subnetId, allocationId: address.id },
    { parent, dependsOn: publicRoute },
  );
}
