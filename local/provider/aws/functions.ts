import * as ec2 from "@aws-sdk/client-ec2";
import * as route53 from "@aws-sdk/client-route-53";
import * as ssm from "@aws-sdk/client-ssm";
import { GetCallerIdentityCommand } from "@aws-sdk/client-sts";
import type * as aws from "@pulumi/aws";
import { providerFunction } from "../definition";
import { type AwsContext, ec2Arn, tagMap } from "./context";
import { primaryInterface } from "./ec2Instance";
import { nameServersOf, plainName } from "./route53";

interface Filter {
  name: string;
  values: string[];
}

function filters(given: Filter[] | undefined, tags?: Record<string, string>): ec2.Filter[] {
  return [
    ...(given ?? []).map(({ name, values }) => ({ Name: name, Values: values })),
    ...Object.entries(tags ?? {}).map(([key, value]) => ({ Name: `tag:${key}`, Values: [value] })),
  ];
}

/** The real provider leaves ignored tags out of what functions return, too. */
function visibleTags(context: AwsContext, tags: ec2.Tag[] | undefined): Record<string, string> {
  return Object.fromEntries(
    Object.entries(tagMap(tags)).filter(
      ([key]) => !context.tagRules.ignores(key) && !key.startsWith("aws:"),
    ),
  );
}

/** The one that was asked for. */
function single<Item>(items: Item[], what: string): Item {
  const [item, another] = items;
  if (item === undefined) {
    throw new Error(`no ${what} matches; change the search criteria`);
  }
  if (another !== undefined) {
    throw new Error(`${items.length} of ${what} match; make the search criteria more specific`);
  }
  return item;
}

const getAmi = providerFunction<AwsContext, aws.ec2.GetAmiArgs, aws.ec2.GetAmiResult>({
  token: "aws:ec2/getAmi:getAmi",
  arguments: [
    "owners",
    "filters",
    "mostRecent",
    "nameRegex",
    "includeDeprecated",
    "executableUsers",
  ],
  async invoke(context, args) {
    const { Images } = await context.ec2.send(
      new ec2.DescribeImagesCommand({
        Owners: args.owners,
        Filters: filters(args.filters),
        IncludeDeprecated: args.includeDeprecated,
        ExecutableUsers: args.executableUsers,
      }),
    );
    const pattern = new RegExp(args.nameRegex ?? "");
    const found = (Images ?? [])
      .filter(({ Name }) => pattern.test(Name ?? ""))
      .sort((a, b) => (b.CreationDate ?? "").localeCompare(a.CreationDate ?? ""));
    const it = single(args.mostRecent === true ? found.slice(0, 1) : found, "AMI");
    const id = it.ImageId ?? "";
    return {
      id,
      imageId: id,
      arn: `arn:aws:ec2:${context.region}::image/${id}`,
      architecture: it.Architecture,
      creationDate: it.CreationDate,
      deprecationTime: it.DeprecationTime ?? "",
      description: it.Description ?? "",
      enaSupport: it.EnaSupport ?? false,
      hypervisor: it.Hypervisor,
      imageLocation: it.ImageLocation ?? "",
      imageOwnerAlias: it.ImageOwnerAlias ?? "",
      imageType: it.ImageType,
      name: it.Name,
      ownerId: it.OwnerId,
      platformDetails: it.PlatformDetails ?? "",
      public: it.Public ?? false,
      region: context.region,
      rootDeviceName: it.RootDeviceName,
      rootDeviceType: it.RootDeviceType,
      rootSnapshotId: it.BlockDeviceMappings?.find(
        ({ DeviceName }) => DeviceName === it.RootDeviceName,
      )?.Ebs?.SnapshotId,
      state: it.State,
      tags: visibleTags(context, it.Tags),
      virtualizationType: it.VirtualizationType,
    };
  },
});

const getInstance = providerFunction<
  AwsContext,
  aws.ec2.GetInstanceArgs,
  aws.ec2.GetInstanceResult
>({
  token: "aws:ec2/getInstance:getInstance",
  arguments: ["instanceId", "filters", "instanceTags", "getUserData"],
  async invoke(context, args) {
    const { Reservations } = await context.ec2.send(
      new ec2.DescribeInstancesCommand({
        InstanceIds: args.instanceId === undefined ? undefined : [args.instanceId],
        Filters: filters(args.filters, args.instanceTags),
      }),
    );
    const found = (Reservations ?? [])
      .flatMap(({ Instances }) => Instances ?? [])
      .filter(({ State }) => State?.Name !== "terminated");
    const it = single(found, "EC2 instance");
    const id = it.InstanceId ?? "";
    const userData =
      args.getUserData === true
        ? (
            await context.ec2.send(
              new ec2.DescribeInstanceAttributeCommand({ InstanceId: id, Attribute: "userData" }),
            )
          ).UserData?.Value
        : undefined;
    return {
      id,
      arn: ec2Arn(context, `instance/${id}`),
      ami: it.ImageId,
      availabilityZone: it.Placement?.AvailabilityZone,
      ebsOptimized: it.EbsOptimized,
      iamInstanceProfile: it.IamInstanceProfile?.Arn?.split("/").pop() ?? "",
      instanceState: it.State?.Name,
      instanceTags: args.instanceTags ?? {},
      instanceType: it.InstanceType,
      keyName: it.KeyName ?? "",
      launchTime: it.LaunchTime?.toISOString(),
      monitoring: it.Monitoring?.State === "enabled",
      networkInterfaceId: primaryInterface(it)?.NetworkInterfaceId ?? "",
      privateDns: it.PrivateDnsName ?? "",
      privateIp: it.PrivateIpAddress ?? "",
      publicDns: it.PublicDnsName ?? "",
      publicIp: it.PublicIpAddress ?? "",
      region: context.region,
      sourceDestCheck: it.SourceDestCheck,
      subnetId: it.SubnetId ?? "",
      tags: visibleTags(context, it.Tags),
      tenancy: it.Placement?.Tenancy ?? "default",
      userDataBase64: userData ?? "",
      vpcSecurityGroupIds: (it.SecurityGroups ?? []).map(({ GroupId }) => GroupId ?? ""),
    };
  },
});

const getInstanceType = providerFunction<
  AwsContext,
  aws.ec2.GetInstanceTypeArgs,
  aws.ec2.GetInstanceTypeResult
>({
  token: "aws:ec2/getInstanceType:getInstanceType",
  arguments: ["instanceType"],
  async invoke(context, args) {
    const { InstanceTypes } = await context.ec2.send(
      new ec2.DescribeInstanceTypesCommand({
        InstanceTypes: [args.instanceType as ec2._InstanceType],
      }),
    );
    const it = single(InstanceTypes ?? [], `EC2 instance type ${args.instanceType}`);
    return {
      id: args.instanceType,
      instanceType: args.instanceType,
      bareMetal: it.BareMetal ?? false,
      burstablePerformanceSupported: it.BurstablePerformanceSupported ?? false,
      currentGeneration: it.CurrentGeneration ?? false,
      defaultCores: it.VCpuInfo?.DefaultCores,
      defaultThreadsPerCore: it.VCpuInfo?.DefaultThreadsPerCore,
      defaultVcpus: it.VCpuInfo?.DefaultVCpus,
      ebsOptimizedSupport: it.EbsInfo?.EbsOptimizedSupport,
      hypervisor: it.Hypervisor ?? "",
      instanceStorageSupported: it.InstanceStorageSupported ?? false,
      memorySize: it.MemoryInfo?.SizeInMiB,
      networkPerformance: it.NetworkInfo?.NetworkPerformance,
      region: context.region,
      supportedArchitectures: it.ProcessorInfo?.SupportedArchitectures ?? [],
      supportedRootDeviceTypes: it.SupportedRootDeviceTypes ?? [],
      supportedVirtualizationTypes: it.SupportedVirtualizationTypes ?? [],
      sustainedClockSpeed: it.ProcessorInfo?.SustainedClockSpeedInGhz,
      validCores: it.VCpuInfo?.ValidCores ?? [],
      validThreadsPerCores: it.VCpuInfo?.ValidThreadsPerCore ?? [],
    };
  },
});

const getRegion = providerFunction<AwsContext, aws.GetRegionArgs, aws.GetRegionResult>({
  token: "aws:index/getRegion:getRegion",
  arguments: [],
  invoke: ({ region }) =>
    Promise.resolve({
      id: region,
      name: region,
      region,
      description: region,
      endpoint: `ec2.${region}.amazonaws.com`,
    }),
});

const getCallerIdentity = providerFunction<
  AwsContext,
  aws.GetCallerIdentityArgs,
  aws.GetCallerIdentityResult
>({
  token: "aws:index/getCallerIdentity:getCallerIdentity",
  arguments: [],
  async invoke({ sts }) {
    const { Account, Arn, UserId } = await sts.send(new GetCallerIdentityCommand({}));
    return { id: Account, accountId: Account, arn: Arn, userId: UserId };
  },
});

const getParameter = providerFunction<
  AwsContext,
  aws.ssm.GetParameterArgs,
  aws.ssm.GetParameterResult
>({
  token: "aws:ssm/getParameter:getParameter",
  arguments: ["name", "withDecryption"],
  secrets: ["value"],
  async invoke(context, args) {
    const { Parameter: it } = await context.ssm.send(
      new ssm.GetParameterCommand({
        Name: args.name,
        WithDecryption: args.withDecryption ?? true,
      }),
    );
    return {
      id: it?.Name,
      name: it?.Name,
      arn: it?.ARN,
      type: it?.Type,
      value: it?.Value,
      insecureValue: it?.Type === "SecureString" ? "" : it?.Value,
      version: it?.Version,
      withDecryption: args.withDecryption ?? true,
      region: context.region,
    };
  },
});

const getParametersByPath = providerFunction<
  AwsContext,
  aws.ssm.GetParametersByPathArgs,
  aws.ssm.GetParametersByPathResult
>({
  token: "aws:ssm/getParametersByPath:getParametersByPath",
  arguments: ["path", "recursive", "withDecryption"],
  secrets: ["values"],
  async invoke(context, args) {
    const found: ssm.Parameter[] = [];
    const pages = ssm.paginateGetParametersByPath(
      { client: context.ssm },
      {
        Path: args.path,
        Recursive: args.recursive ?? false,
        WithDecryption: args.withDecryption ?? true,
      },
    );
    for await (const page of pages) {
      found.push(...(page.Parameters ?? []));
    }
    return {
      id: args.path,
      path: args.path,
      arns: found.map(({ ARN }) => ARN ?? ""),
      names: found.map(({ Name }) => Name ?? ""),
      types: found.map(({ Type }) => Type ?? ""),
      values: found.map(({ Value }) => Value ?? ""),
      recursive: args.recursive ?? false,
      withDecryption: args.withDecryption ?? true,
      region: context.region,
    };
  },
});

/** In the real provider's words, which the program reads. */
const getZone = providerFunction<AwsContext, aws.route53.GetZoneArgs, aws.route53.GetZoneResult>({
  token: "aws:route53/getZone:getZone",
  arguments: ["name", "zoneId", "privateZone"],
  async invoke(context, args) {
    const client = context.route53;
    if (args.name !== undefined && args.zoneId !== undefined) {
      throw new Error("only one of `zone_id` or `name` may be set");
    }
    const id = args.zoneId ?? (await zoneOfName(client, args.name, args.privateZone ?? false));
    const { HostedZone: it, DelegationSet } = await client.send(
      new route53.GetHostedZoneCommand({ Id: id }),
    );
    const { ResourceTagSet } = await client.send(
      new route53.ListTagsForResourceCommand({ ResourceType: "hostedzone", ResourceId: id }),
    );
    const nameServers = DelegationSet?.NameServers ?? (await nameServersOf(client, id));
    return {
      id,
      zoneId: id,
      arn: `arn:aws:route53:::hostedzone/${id}`,
      callerReference: it?.CallerReference ?? "",
      comment: it?.Config?.Comment ?? "",
      linkedServiceDescription: it?.LinkedService?.Description ?? "",
      linkedServicePrincipal: it?.LinkedService?.ServicePrincipal ?? "",
      name: plainName(it?.Name),
      nameServers,
      primaryNameServer: nameServers[0] ?? "",
      privateZone: it?.Config?.PrivateZone ?? false,
      resourceRecordSetCount: it?.ResourceRecordSetCount ?? 0,
      tags: visibleTags(context, ResourceTagSet?.Tags),
    };
  },
});

async function zoneOfName(
  client: route53.Route53Client,
  name: string | undefined,
  privateZone: boolean,
): Promise<string> {
  const found: route53.HostedZone[] = [];
  for await (const page of route53.paginateListHostedZones({ client }, {})) {
    found.push(...(page.HostedZones ?? []));
  }
  const [zone, another] = found.filter(
    ({ Name, Config }) =>
      (name === undefined || plainName(Name) === plainName(name)) &&
      (Config?.PrivateZone ?? false) === privateZone,
  );
  if (zone === undefined) {
    throw new Error("no matching Route 53 Hosted Zone found");
  }
  if (another !== undefined) {
    throw new Error(
      "multiple Route 53 Hosted Zones matched; use additional constraints to reduce matches to a single Route 53 Hosted Zone",
    );
  }
  return (zone.Id ?? "").replace("/hostedzone/", "");
}

export const functions = [
  getAmi,
  getInstance,
  getInstanceType,
  getRegion,
  getCallerIdentity,
  getParameter,
  getParametersByPath,
  getZone,
];
