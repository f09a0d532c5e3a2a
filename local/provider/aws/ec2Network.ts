import * as ec2 from "@aws-sdk/client-ec2";
import type * as aws from "@pulumi/aws";
import { createHash } from "node:crypto";
import { inPlace, replaces, resource } from "../definition";
import {
  type AwsContext,
  ec2Arn,
  errorName,
  eventually,
  retrying,
  tagMap,
  tagSpecifications,
  unlessGone,
  updateEc2Tags,
} from "./context";

/** What still uses a thing may be on its way out. */
const inUse = /DependencyViolation|InUse/;

const vpc = resource<AwsContext, aws.ec2.VpcArgs, aws.ec2.VpcState>({
  type: "aws:ec2/vpc:Vpc",
  tagged: true,
  properties: {
    cidrBlock: replaces,
    instanceTenancy: { replaces: true, default: "default" },
    enableDnsHostnames: { computed: true },
    enableDnsSupport: { default: true },
  },
  outputs: [
    "arn",
    "ownerId",
    "mainRouteTableId",
    "defaultRouteTableId",
    "defaultSecurityGroupId",
    "defaultNetworkAclId",
    "dhcpOptionsId",
  ],
  async create(context, inputs, tags) {
    const { Vpc } = await context.ec2.send(
      new ec2.CreateVpcCommand({
        CidrBlock: inputs.cidrBlock,
        InstanceTenancy: inputs.instanceTenancy as ec2.Tenancy,
        TagSpecifications: tagSpecifications("vpc", tags),
      }),
    );
    return Vpc?.VpcId ?? "";
  },
  complete: (context, id, inputs) => setVpcAttributes(context, id, inputs),
  async read(context, id) {
    const found = await unlessGone(context.ec2.send(new ec2.DescribeVpcsCommand({ VpcIds: [id] })));
    const it = found?.Vpcs?.[0];
    if (it === undefined) {
      return undefined;
    }
    const inVpc = [{ Name: "vpc-id", Values: [id] }];
    const [hostnames, support, tables, groups, acls] = await Promise.all([
      context.ec2.send(
        new ec2.DescribeVpcAttributeCommand({ VpcId: id, Attribute: "enableDnsHostnames" }),
      ),
      context.ec2.send(
        new ec2.DescribeVpcAttributeCommand({ VpcId: id, Attribute: "enableDnsSupport" }),
      ),
      context.ec2.send(
        new ec2.DescribeRouteTablesCommand({
          Filters: [...inVpc, { Name: "association.main", Values: ["true"] }],
        }),
      ),
      context.ec2.send(
        new ec2.DescribeSecurityGroupsCommand({
          Filters: [...inVpc, { Name: "group-name", Values: ["default"] }],
        }),
      ),
      context.ec2.send(
        new ec2.DescribeNetworkAclsCommand({
          Filters: [...inVpc, { Name: "default", Values: ["true"] }],
        }),
      ),
    ]);
    const mainRouteTableId = tables.RouteTables?.[0]?.RouteTableId;
    return {
      cidrBlock: it.CidrBlock,
      instanceTenancy: it.InstanceTenancy,
      enableDnsHostnames: hostnames.EnableDnsHostnames?.Value,
      enableDnsSupport: support.EnableDnsSupport?.Value,
      arn: ec2Arn(context, `vpc/${id}`),
      ownerId: it.OwnerId,
      mainRouteTableId,
      defaultRouteTableId: mainRouteTableId,
      defaultSecurityGroupId: groups.SecurityGroups?.[0]?.GroupId,
      defaultNetworkAclId: acls.NetworkAcls?.[0]?.NetworkAclId,
      dhcpOptionsId: it.DhcpOptionsId,
      tags: tagMap(it.Tags),
    };
  },
  async update(context, { id, changed, now, tags, obsoleteTags }) {
    if (changed("enableDnsHostnames", "enableDnsSupport")) {
      await setVpcAttributes(context, id, now);
    }
    await updateEc2Tags(context, id, tags, obsoleteTags);
  },
  async delete({ ec2: client }, id) {
    await retrying(inUse, 60, () =>
      unlessGone(client.send(new ec2.DeleteVpcCommand({ VpcId: id }))),
    );
  },
});

async function setVpcAttributes(
  { ec2: client }: AwsContext,
  id: string,
  inputs: { enableDnsSupport?: boolean; enableDnsHostnames?: boolean },
): Promise<void> {
  // One attribute a call, and names need the resolver first.
  if (inputs.enableDnsSupport !== undefined) {
    await client.send(
      new ec2.ModifyVpcAttributeCommand({
        VpcId: id,
        EnableDnsSupport: { Value: inputs.enableDnsSupport },
      }),
    );
  }
  if (inputs.enableDnsHostnames !== undefined) {
    await client.send(
      new ec2.ModifyVpcAttributeCommand({
        VpcId: id,
        EnableDnsHostnames: { Value: inputs.enableDnsHostnames },
      }),
    );
  }
}

const subnet = resource<AwsContext, aws.ec2.SubnetArgs, aws.ec2.SubnetState>({
  type: "aws:ec2/subnet:Subnet",
  tagged: true,
  properties: {
    vpcId: replaces,
    cidrBlock: replaces,
    availabilityZone: { replaces: true, computed: true },
    mapPublicIpOnLaunch: { default: false },
  },
  outputs: ["arn", "ownerId"],
  async create({ ec2: client }, inputs, tags) {
    const { Subnet } = await client.send(
      new ec2.CreateSubnetCommand({
        VpcId: inputs.vpcId,
        CidrBlock: inputs.cidrBlock,
        AvailabilityZone: inputs.availabilityZone,
        TagSpecifications: tagSpecifications("subnet", tags),
      }),
    );
    return Subnet?.SubnetId ?? "";
  },
  complete: (context, id, inputs) => setPublicAddresses(context, id, inputs.mapPublicIpOnLaunch),
  async read(context, id) {
    const found = await unlessGone(
      context.ec2.send(new ec2.DescribeSubnetsCommand({ SubnetIds: [id] })),
    );
    const it = found?.Subnets?.[0];
    return (
      it && {
        vpcId: it.VpcId,
        cidrBlock: it.CidrBlock,
        availabilityZone: it.AvailabilityZone,
        mapPublicIpOnLaunch: it.MapPublicIpOnLaunch,
        arn: it.SubnetArn,
        ownerId: it.OwnerId,
        tags: tagMap(it.Tags),
      }
    );
  },
  async update(context, { id, changed, now, tags, obsoleteTags }) {
    if (changed("mapPublicIpOnLaunch")) {
      await setPublicAddresses(context, id, now.mapPublicIpOnLaunch);
    }
    await updateEc2Tags(context, id, tags, obsoleteTags);
  },
  async delete({ ec2: client }, id) {
    await retrying(inUse, 60, () =>
      unlessGone(client.send(new ec2.DeleteSubnetCommand({ SubnetId: id }))),
    );
  },
});

async function setPublicAddresses(
  { ec2: client }: AwsContext,
  id: string,
  value: boolean | undefined,
): Promise<void> {
  await client.send(
    new ec2.ModifySubnetAttributeCommand({
      SubnetId: id,
      MapPublicIpOnLaunch: { Value: value ?? false },
    }),
  );
}

const internetGateway = resource<
  AwsContext,
  aws.ec2.InternetGatewayArgs,
  aws.ec2.InternetGatewayState
>({
  type: "aws:ec2/internetGateway:InternetGateway",
  tagged: true,
  properties: { vpcId: { computed: true } },
  outputs: ["arn", "ownerId"],
  async create({ ec2: client }, _inputs, tags) {
    const { InternetGateway } = await client.send(
      new ec2.CreateInternetGatewayCommand({
        TagSpecifications: tagSpecifications("internet-gateway", tags),
      }),
    );
    return InternetGateway?.InternetGatewayId ?? "";
  },
  complete: (context, id, inputs) => attachGateway(context, id, inputs.vpcId),
  async read(context, id) {
    const found = await unlessGone(
      context.ec2.send(new ec2.DescribeInternetGatewaysCommand({ InternetGatewayIds: [id] })),
    );
    const it = found?.InternetGateways?.[0];
    return (
      it && {
        vpcId: it.Attachments?.[0]?.VpcId,
        arn: ec2Arn(context, `internet-gateway/${id}`),
        ownerId: it.OwnerId ?? context.accountId,
        tags: tagMap(it.Tags),
      }
    );
  },
  async update(context, { id, changed, now, old, tags, obsoleteTags }) {
    if (changed("vpcId")) {
      await detachGateway(context, id, old.vpcId);
      await attachGateway(context, id, now.vpcId);
    }
    await updateEc2Tags(context, id, tags, obsoleteTags);
  },
  async delete(context, id, state) {
    await detachGateway(context, id, state.vpcId);
    await unlessGone(
      context.ec2.send(new ec2.DeleteInternetGatewayCommand({ InternetGatewayId: id })),
    );
  },
});

async function attachGateway(
  { ec2: client }: AwsContext,
  id: string,
  vpcId: string | undefined,
): Promise<void> {
  if (vpcId === undefined) {
    return;
  }
  try {
    await client.send(
      new ec2.AttachInternetGatewayCommand({ InternetGatewayId: id, VpcId: vpcId }),
    );
  } catch (error) {
    if (errorName(error) !== "Resource.AlreadyAssociated") {
      throw error;
    }
  }
}

async function detachGateway(
  { ec2: client }: AwsContext,
  id: string,
  vpcId: string | undefined,
): Promise<void> {
  if (vpcId === undefined) {
    return;
  }
  await retrying(inUse, 60, async () => {
    try {
      await unlessGone(
        client.send(new ec2.DetachInternetGatewayCommand({ InternetGatewayId: id, VpcId: vpcId })),
      );
    } catch (error) {
      if (errorName(error) !== "Gateway.NotAttached") {
        throw error;
      }
    }
  });
}

const routeTable = resource<AwsContext, aws.ec2.RouteTableArgs, aws.ec2.RouteTableState>({
  type: "aws:ec2/routeTable:RouteTable",
  tagged: true,
  properties: { vpcId: replaces },
  outputs: ["arn", "ownerId"],
  async create({ ec2: client }, inputs, tags) {
    const { RouteTable } = await client.send(
      new ec2.CreateRouteTableCommand({
        VpcId: inputs.vpcId,
        TagSpecifications: tagSpecifications("route-table", tags),
      }),
    );
    return RouteTable?.RouteTableId ?? "";
  },
  async read(context, id) {
    const it = await findRouteTable(context, id);
    return (
      it && {
        vpcId: it.VpcId,
        arn: ec2Arn(context, `route-table/${id}`),
        ownerId: it.OwnerId,
        tags: tagMap(it.Tags),
      }
    );
  },
  update: (context, { id, tags, obsoleteTags }) => updateEc2Tags(context, id, tags, obsoleteTags),
  async delete({ ec2: client }, id) {
    await retrying(inUse, 60, () =>
      unlessGone(client.send(new ec2.DeleteRouteTableCommand({ RouteTableId: id }))),
    );
  },
});

async function findRouteTable(
  { ec2: client }: AwsContext,
  id: string,
): Promise<ec2.RouteTable | undefined> {
  const found = await unlessGone(
    client.send(new ec2.DescribeRouteTablesCommand({ RouteTableIds: [id] })),
  );
  return found?.RouteTables?.[0];
}

interface RouteInputs {
  routeTableId?: string;
  destinationCidrBlock?: string;
  gatewayId?: string;
  natGatewayId?: string;
  networkInterfaceId?: string;
}

function routeOf(inputs: RouteInputs): ec2.CreateRouteCommandInput {
  return {
    RouteTableId: inputs.routeTableId,
    DestinationCidrBlock: inputs.destinationCidrBlock,
    GatewayId: inputs.gatewayId,
    NatGatewayId: inputs.natGatewayId,
    NetworkInterfaceId: inputs.networkInterfaceId,
  };
}

/** A route has no id of its own. Imported as TABLE_DESTINATION. */
function routeKey(id: string, state: RouteInputs): { table: string; destination: string } {
  const [table = "", destination = ""] = id.split("_");
  return {
    table: state.routeTableId ?? table,
    destination: state.destinationCidrBlock ?? destination,
  };
}

const route = resource<AwsContext, aws.ec2.RouteArgs, aws.ec2.RouteState>({
  type: "aws:ec2/route:Route",
  properties: {
    routeTableId: replaces,
    destinationCidrBlock: replaces,
    gatewayId: inPlace,
    natGatewayId: inPlace,
    networkInterfaceId: { computed: true },
  },
  outputs: ["origin", "state", "instanceId", "instanceOwnerId"],
  async create({ ec2: client }, inputs) {
    // A NAT gateway or an instance's interface may not be known everywhere yet.
    await retrying(/NotFound/, 30, () => client.send(new ec2.CreateRouteCommand(routeOf(inputs))));
    const digest = createHash("sha256")
      .update(inputs.destinationCidrBlock ?? "")
      .digest("hex");
    return `r-${inputs.routeTableId}${digest.slice(0, 10)}`;
  },
  async read(context, id, state) {
    const { table, destination } = routeKey(id, state);
    const found = await findRouteTable(context, table);
    const it = found?.Routes?.find((known) => known.DestinationCidrBlock === destination);
    return (
      it && {
        routeTableId: table,
        destinationCidrBlock: destination,
        gatewayId: it.GatewayId,
        natGatewayId: it.NatGatewayId,
        // Where the route turned to something else, what it was is not to stay.
        networkInterfaceId: it.NetworkInterfaceId ?? "",
        origin: it.Origin,
        state: it.State,
        instanceId: it.InstanceId,
        instanceOwnerId: it.InstanceOwnerId,
      }
    );
  },
  async update({ ec2: client }, { now }) {
    await client.send(new ec2.ReplaceRouteCommand(routeOf(now)));
  },
  async delete({ ec2: client }, id, state) {
    const { table, destination } = routeKey(id, state);
    await unlessGone(
      client.send(
        new ec2.DeleteRouteCommand({ RouteTableId: table, DestinationCidrBlock: destination }),
      ),
    );
  },
});

const routeTableAssociation = resource<
  AwsContext,
  aws.ec2.RouteTableAssociationArgs,
  aws.ec2.RouteTableAssociationState
>({
  type: "aws:ec2/routeTableAssociation:RouteTableAssociation",
  properties: { routeTableId: inPlace, subnetId: replaces },
  outputs: [],
  async create({ ec2: client }, inputs) {
    const { AssociationId } = await client.send(
      new ec2.AssociateRouteTableCommand({
        RouteTableId: inputs.routeTableId,
        SubnetId: inputs.subnetId,
      }),
    );
    return AssociationId ?? "";
  },
  async read(context, id, state) {
    const it = await findAssociation(context, id, state.subnetId);
    return it && { routeTableId: it.RouteTableId, subnetId: it.SubnetId };
  },
  async update(context, { id, now, old }) {
    const current = await findAssociation(context, id, old.subnetId);
    await context.ec2.send(
      new ec2.ReplaceRouteTableAssociationCommand({
        AssociationId: current?.RouteTableAssociationId ?? id,
        RouteTableId: now.routeTableId,
      }),
    );
  },
  async delete(context, id, state) {
    const current = await findAssociation(context, id, state.subnetId);
    if (current !== undefined) {
      await unlessGone(
        context.ec2.send(
          new ec2.DisassociateRouteTableCommand({ AssociationId: current.RouteTableAssociationId }),
        ),
      );
    }
  },
});

/** By subnet, since an update in place gives the association another id. */
async function findAssociation(
  { ec2: client }: AwsContext,
  id: string,
  subnetId: string | undefined,
): Promise<ec2.RouteTableAssociation | undefined> {
  const filter =
    subnetId === undefined
      ? { Name: "association.route-table-association-id", Values: [id] }
      : { Name: "association.subnet-id", Values: [subnetId] };
  const { RouteTables } = await client.send(
    new ec2.DescribeRouteTablesCommand({ Filters: [filter] }),
  );
  return RouteTables?.flatMap((table) => table.Associations ?? []).find((association) =>
    subnetId === undefined
      ? association.RouteTableAssociationId === id
      : association.SubnetId === subnetId,
  );
}

const natGateway = resource<AwsContext, aws.ec2.NatGatewayArgs, aws.ec2.NatGatewayState>({
  type: "aws:ec2/natGateway:NatGateway",
  tagged: true,
  properties: {
    subnetId: replaces,
    allocationId: replaces,
    connectivityType: { replaces: true, default: "public" },
    privateIp: { replaces: true, computed: true },
  },
  outputs: ["associationId", "networkInterfaceId", "publicIp"],
  async create({ ec2: client }, inputs, tags) {
    const { NatGateway } = await client.send(
      new ec2.CreateNatGatewayCommand({
        SubnetId: inputs.subnetId,
        AllocationId: inputs.allocationId,
        ConnectivityType: inputs.connectivityType as ec2.ConnectivityType,
        PrivateIpAddress: inputs.privateIp,
        TagSpecifications: tagSpecifications("natgateway", tags),
      }),
    );
    return NatGateway?.NatGatewayId ?? "";
  },
  async complete(context, id) {
    await eventually({ what: `starting NAT gateway ${id}`, seconds: 300 }, async () => {
      const it = await findNatGateway(context, id);
      if (it?.State === "failed") {
        throw new Error(`NAT gateway ${id} failed: ${it.FailureMessage}`);
      }
      return it?.State === "available" ? true : undefined;
    });
  },
  async read(context, id) {
    const it = await findNatGateway(context, id);
    const address = it?.NatGatewayAddresses?.[0];
    return (
      it && {
        subnetId: it.SubnetId,
        allocationId: address?.AllocationId,
        connectivityType: it.ConnectivityType,
        privateIp: address?.PrivateIp,
        associationId: address?.AssociationId,
        networkInterfaceId: address?.NetworkInterfaceId,
        publicIp: address?.PublicIp,
        tags: tagMap(it.Tags),
      }
    );
  },
  update: (context, { id, tags, obsoleteTags }) => updateEc2Tags(context, id, tags, obsoleteTags),
  async delete(context, id) {
    await unlessGone(context.ec2.send(new ec2.DeleteNatGatewayCommand({ NatGatewayId: id })));
    await eventually({ what: `deleting NAT gateway ${id}`, seconds: 300 }, async () =>
      (await findNatGateway(context, id)) === undefined ? true : undefined,
    );
  },
});

async function findNatGateway(
  { ec2: client }: AwsContext,
  id: string,
): Promise<ec2.NatGateway | undefined> {
  const found = await unlessGone(
    client.send(new ec2.DescribeNatGatewaysCommand({ NatGatewayIds: [id] })),
  );
  return found?.NatGateways?.find(({ State }) => State !== "deleted");
}

const vpcEndpoint = resource<AwsContext, aws.ec2.VpcEndpointArgs, aws.ec2.VpcEndpointState>({
  type: "aws:ec2/vpcEndpoint:VpcEndpoint",
  tagged: true,
  properties: {
    vpcId: replaces,
    serviceName: replaces,
    vpcEndpointType: { replaces: true, default: "Gateway" },
    routeTableIds: { computed: true, compare: "unordered" },
    subnetIds: { computed: true, compare: "unordered" },
    securityGroupIds: { computed: true, compare: "unordered" },
    privateDnsEnabled: { computed: true },
    policy: { computed: true, compare: "json" },
  },
  outputs: [
    "arn",
    "cidrBlocks",
    "dnsEntries",
    "networkInterfaceIds",
    "ownerId",
    "prefixListId",
    "requesterManaged",
    "state",
  ],
  async create({ ec2: client }, inputs, tags) {
    const { VpcEndpoint } = await client.send(
      new ec2.CreateVpcEndpointCommand({
        VpcId: inputs.vpcId,
        ServiceName: inputs.serviceName,
        VpcEndpointType: inputs.vpcEndpointType as ec2.VpcEndpointType,
        RouteTableIds: inputs.routeTableIds,
        SubnetIds: inputs.subnetIds,
        SecurityGroupIds: inputs.securityGroupIds,
        PrivateDnsEnabled: inputs.privateDnsEnabled,
        PolicyDocument: inputs.policy,
        TagSpecifications: tagSpecifications("vpc-endpoint", tags),
      }),
    );
    return VpcEndpoint?.VpcEndpointId ?? "";
  },
  async complete(context, id) {
    await eventually({ what: `starting VPC endpoint ${id}`, seconds: 300 }, async () =>
      (await findEndpoint(context, id))?.State?.toLowerCase() === "available" ? true : undefined,
    );
  },
  async read(context, id) {
    const it = await findEndpoint(context, id);
    return (
      it && {
        vpcId: it.VpcId,
        serviceName: it.ServiceName,
        vpcEndpointType: it.VpcEndpointType,
        routeTableIds: it.RouteTableIds ?? [],
        subnetIds: it.SubnetIds ?? [],
        securityGroupIds: (it.Groups ?? []).map(({ GroupId }) => GroupId ?? ""),
        privateDnsEnabled: it.PrivateDnsEnabled ?? false,
        policy: it.PolicyDocument,
        arn: ec2Arn(context, `vpc-endpoint/${id}`),
        cidrBlocks: [],
        dnsEntries: (it.DnsEntries ?? []).map(({ DnsName, HostedZoneId }) => ({
          dnsName: DnsName ?? "",
          hostedZoneId: HostedZoneId ?? "",
        })),
        networkInterfaceIds: it.NetworkInterfaceIds ?? [],
        ownerId: it.OwnerId ?? context.accountId,
        requesterManaged: it.RequesterManaged ?? false,
        state: it.State,
        tags: tagMap(it.Tags),
      }
    );
  },
  async update(context, { id, now, old, changed, tags, obsoleteTags }) {
    if (changed("routeTableIds", "subnetIds", "securityGroupIds", "privateDnsEnabled", "policy")) {
      const routes = difference(old.routeTableIds, now.routeTableIds);
      const subnets = difference(old.subnetIds, now.subnetIds);
      const groups = difference(old.securityGroupIds, now.securityGroupIds);
      await context.ec2.send(
        new ec2.ModifyVpcEndpointCommand({
          VpcEndpointId: id,
          AddRouteTableIds: routes.added,
          RemoveRouteTableIds: routes.removed,
          AddSubnetIds: subnets.added,
          RemoveSubnetIds: subnets.removed,
          AddSecurityGroupIds: groups.added,
          RemoveSecurityGroupIds: groups.removed,
          PrivateDnsEnabled: changed("privateDnsEnabled") ? now.privateDnsEnabled : undefined,
          PolicyDocument: changed("policy") ? now.policy : undefined,
        }),
      );
    }
    await updateEc2Tags(context, id, tags, obsoleteTags);
  },
  async delete(context, id, state) {
    if ((state.routeTableIds?.length ?? 0) > 0) {
      // moto finds no route to take out of a table that was added later, and then keeps the endpoint.
      await unlessGone(
        context.ec2.send(
          new ec2.ModifyVpcEndpointCommand({
            VpcEndpointId: id,
            RemoveRouteTableIds: state.routeTableIds,
          }),
        ),
      );
    }
    await unlessGone(context.ec2.send(new ec2.DeleteVpcEndpointsCommand({ VpcEndpointIds: [id] })));
    await eventually({ what: `deleting VPC endpoint ${id}`, seconds: 300 }, async () =>
      (await findEndpoint(context, id)) === undefined ? true : undefined,
    );
  },
});

/** What to add and to take away; nothing where the program leaves the choice to AWS. */
function difference(
  old: string[] | undefined,
  now: string[] | undefined,
): { added?: string[]; removed?: string[] } {
  if (now === undefined) {
    return {};
  }
  const before = old ?? [];
  const added = now.filter((id) => !before.includes(id));
  const removed = before.filter((id) => !now.includes(id));
  return {
    ...(added.length > 0 ? { added } : {}),
    ...(removed.length > 0 ? { removed } : {}),
  };
}

async function findEndpoint(
  { ec2: client }: AwsContext,
  id: string,
): Promise<ec2.VpcEndpoint | undefined> {
  const found = await unlessGone(
    client.send(new ec2.DescribeVpcEndpointsCommand({ VpcEndpointIds: [id] })),
  );
  return found?.VpcEndpoints?.find(({ State }) => State?.toLowerCase() !== "deleted");
}

const securityGroup = resource<AwsContext, aws.ec2.SecurityGroupArgs, aws.ec2.SecurityGroupState>({
  type: "aws:ec2/securityGroup:SecurityGroup",
  tagged: true,
  properties: {
    name: { replaces: true, named: {} },
    description: { replaces: true, default: "Managed by Pulumi" },
    vpcId: { replaces: true, computed: true },
    revokeRulesOnDelete: { default: false },
  },
  outputs: ["arn", "ownerId"],
  async create({ ec2: client }, inputs, tags) {
    const { GroupId } = await client.send(
      new ec2.CreateSecurityGroupCommand({
        GroupName: inputs.name,
        Description: inputs.description,
        VpcId: inputs.vpcId,
        TagSpecifications: tagSpecifications("security-group", tags),
      }),
    );
    return GroupId ?? "";
  },
  async complete({ ec2: client }, id) {
    // EC2 lets everything out of a new group; the real provider takes that rule away too.
    const { SecurityGroupRules } = await client.send(
      new ec2.DescribeSecurityGroupRulesCommand({
        Filters: [{ Name: "group-id", Values: [id] }],
      }),
    );
    const everything = (SecurityGroupRules ?? [])
      .filter((rule) => rule.IsEgress === true && rule.IpProtocol === "-1")
      .map((rule) => rule.SecurityGroupRuleId ?? "");
    if (everything.length > 0) {
      await client.send(
        new ec2.RevokeSecurityGroupEgressCommand({
          GroupId: id,
          SecurityGroupRuleIds: everything,
        }),
      );
    }
  },
  async read(context, id) {
    const found = await unlessGone(
      context.ec2.send(new ec2.DescribeSecurityGroupsCommand({ GroupIds: [id] })),
    );
    const it = found?.SecurityGroups?.[0];
    return (
      it && {
        name: it.GroupName,
        description: it.Description,
        vpcId: it.VpcId,
        arn: ec2Arn(context, `security-group/${id}`),
        ownerId: it.OwnerId,
        tags: tagMap(it.Tags),
      }
    );
  },
  update: (context, { id, tags, obsoleteTags }) => updateEc2Tags(context, id, tags, obsoleteTags),
  async delete({ ec2: client }, id, state) {
    if (state.revokeRulesOnDelete === true) {
      await revokeAllRules(client, id);
    }
    await retrying(inUse, 60, () =>
      unlessGone(client.send(new ec2.DeleteSecurityGroupCommand({ GroupId: id }))),
    );
  },
});

async function revokeAllRules(client: ec2.EC2Client, id: string): Promise<void> {
  const { SecurityGroupRules } = await client.send(
    new ec2.DescribeSecurityGroupRulesCommand({ Filters: [{ Name: "group-id", Values: [id] }] }),
  );
  for (const { SecurityGroupRuleId, IsEgress } of SecurityGroupRules ?? []) {
    const input = { GroupId: id, SecurityGroupRuleIds: [SecurityGroupRuleId ?? ""] };
    await (IsEgress === true
      ? client.send(new ec2.RevokeSecurityGroupEgressCommand(input))
      : client.send(new ec2.RevokeSecurityGroupIngressCommand(input)));
  }
}

interface RuleInputs {
  securityGroupId?: string;
  ipProtocol?: string;
  fromPort?: number;
  toPort?: number;
  cidrIpv4?: string;
  referencedSecurityGroupId?: string;
  description?: string;
}

function permissionOf(inputs: RuleInputs): ec2.IpPermission {
  const Description = inputs.description;
  return {
    IpProtocol: inputs.ipProtocol,
    FromPort: inputs.fromPort,
    ToPort: inputs.toPort,
    IpRanges:
      inputs.cidrIpv4 === undefined ? undefined : [{ CidrIp: inputs.cidrIpv4, Description }],
    UserIdGroupPairs:
      inputs.referencedSecurityGroupId === undefined
        ? undefined
        : [{ GroupId: inputs.referencedSecurityGroupId, Description }],
  };
}

/** The two kinds of rules differ in two calls only. */
function securityGroupRule(
  direction: "Ingress" | "Egress",
): ReturnType<
  typeof resource<
    AwsContext,
    aws.vpc.SecurityGroupIngressRuleArgs,
    aws.vpc.SecurityGroupIngressRuleState
  >
> {
  return resource<
    AwsContext,
    aws.vpc.SecurityGroupIngressRuleArgs,
    aws.vpc.SecurityGroupIngressRuleState
  >({
    type: `aws:vpc/securityGroup${direction}Rule:SecurityGroup${direction}Rule`,
    tagged: true,
    properties: {
      securityGroupId: replaces,
      ipProtocol: inPlace,
      fromPort: inPlace,
      toPort: inPlace,
      cidrIpv4: inPlace,
      referencedSecurityGroupId: inPlace,
      description: inPlace,
    },
    outputs: ["arn", "securityGroupRuleId"],
    async create({ ec2: client }, inputs, tags) {
      const input = {
        GroupId: inputs.securityGroupId,
        IpPermissions: [permissionOf(inputs)],
        TagSpecifications: tagSpecifications("security-group-rule", tags),
      };
      const { SecurityGroupRules } =
        direction === "Ingress"
          ? await client.send(new ec2.AuthorizeSecurityGroupIngressCommand(input))
          : await client.send(new ec2.AuthorizeSecurityGroupEgressCommand(input));
      return SecurityGroupRules?.[0]?.SecurityGroupRuleId ?? "";
    },
    async read(context, id) {
      const found = await unlessGone(
        context.ec2.send(new ec2.DescribeSecurityGroupRulesCommand({ SecurityGroupRuleIds: [id] })),
      );
      const it = found?.SecurityGroupRules?.[0];
      return (
        it && {
          securityGroupId: it.GroupId,
          ipProtocol: it.IpProtocol,
          // EC2 tells -1 for the ports of a rule for every protocol.
          fromPort: it.IpProtocol === "-1" ? undefined : it.FromPort,
          toPort: it.IpProtocol === "-1" ? undefined : it.ToPort,
          cidrIpv4: it.CidrIpv4,
          referencedSecurityGroupId: it.ReferencedGroupInfo?.GroupId,
          description: it.Description === "" ? undefined : it.Description,
          arn: ec2Arn(context, `security-group-rule/${id}`),
          securityGroupRuleId: id,
          tags: tagMap(it.Tags),
        }
      );
    },
    async update(context, { id, now, changed, tags, obsoleteTags }) {
      if (
        changed(
          "ipProtocol",
          "fromPort",
          "toPort",
          "cidrIpv4",
          "referencedSecurityGroupId",
          "description",
        )
      ) {
        await context.ec2.send(
          new ec2.ModifySecurityGroupRulesCommand({
            GroupId: now.securityGroupId,
            SecurityGroupRules: [
              {
                SecurityGroupRuleId: id,
                SecurityGroupRule: {
                  IpProtocol: now.ipProtocol,
                  // Both must be given, -1 for every protocol.
                  FromPort: now.fromPort ?? -1,
                  ToPort: now.toPort ?? -1,
                  CidrIpv4: now.cidrIpv4,
                  ReferencedGroupId: now.referencedSecurityGroupId,
                  Description: now.description,
                },
              },
            ],
          }),
        );
      }
      await updateEc2Tags(context, id, tags, obsoleteTags);
    },
    async delete({ ec2: client }, id, state) {
      const input = { GroupId: state.securityGroupId, SecurityGroupRuleIds: [id] };
      await unlessGone(
        direction === "Ingress"
          ? client.send(new ec2.RevokeSecurityGroupIngressCommand(input))
          : client.send(new ec2.RevokeSecurityGroupEgressCommand(input)),
      );
    },
  });
}

export const ec2Network = [
  vpc,
  subnet,
  internetGateway,
  routeTable,
  route,
  routeTableAssociation,
  natGateway,
  vpcEndpoint,
  securityGroup,
  securityGroupRule("Ingress"),
  securityGroupRule("Egress"),
];
