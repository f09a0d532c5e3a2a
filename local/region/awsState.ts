import {
  DescribeAddressesCommand,
  DescribeInstanceAttributeCommand,
  DescribeInstancesCommand,
  DescribeInstanceTypesCommand,
  DescribeSecurityGroupRulesCommand,
  DescribeSubnetsCommand,
  DescribeVolumesCommand,
  DescribeVpcsCommand,
  EC2Client,
  type Instance,
  type SecurityGroupRule,
  StopInstancesCommand,
  type Volume,
} from "@aws-sdk/client-ec2";
import { GetInstanceProfileCommand, IAMClient } from "@aws-sdk/client-iam";
import {
  ListHostedZonesCommand,
  ListResourceRecordSetsCommand,
  type ListResourceRecordSetsCommandOutput,
  type ResourceRecordSet,
  Route53Client,
  type RRType,
} from "@aws-sdk/client-route-53";
import { awsCredentials, awsRegion } from "../paths";
import { log } from "./commands";
import type { AddressRecord } from "./dns";
import type { FirewallRule } from "./firewall";
import type { MachineMetadata } from "./metadata";
import { motoUrl } from "./moto";

/** An EC2 instance, as far as a machine needs it. */
export interface MachineSpecification extends MachineMetadata {
  /** Its tag `Name`; the instance id where it has none. */
  name: string;
  tags: Record<string, string>;
  vpcRange: string;
  groupIds: string[];
  cores: number;
  /** Bytes. */
  memory: number;
  /** Size of its root volume, in bytes. */
  disk: number;
}

/** What EC2 wants a machine to be. */
export type WantedState = "running" | "stopped" | "terminated";

/** An EBS volume that is not a machine's root. */
export interface VolumeSpecification {
  id: string;
  /** Bytes. */
  size: number;
  /** The machine it is attached to. */
  instanceId?: string;
}

/** An elastic address and where it leads. */
export interface ElasticAddress {
  address: string;
  instanceId: string;
  privateAddress: string;
}

/** All that the region makes real, as the AWS API tells it at one time. */
export interface RegionState {
  /** Machines that are to exist. */
  machines: { specification: MachineSpecification; wanted: WantedState }[];
  rules: Record<string, FirewallRule[]>;
  volumes: VolumeSpecification[];
  addresses: ElasticAddress[];
  records: AddressRecord[];
}

/** Reads the state of the region from the AWS API. */
export class AwsState {
  private readonly ec2 = new EC2Client(clientConfiguration);
  private readonly iam = new IAMClient(clientConfiguration);
  private readonly route53 = new Route53Client(clientConfiguration);
  /** By instance, type and profile: what does not change. */
  private readonly userData = new Map<string, string | undefined>();
  private readonly types = new Map<string, { cores: number; memory: number }>();
  private readonly roles = new Map<string, string>();
  private readonly coreLimits = new Map<string, number>();
  /** Names of records that were already complained about. */
  private readonly unserved = new Set<string>();

  /** @returns one snapshot */
  async read(): Promise<RegionState> {
    const [reservations, rules, subnets, vpcs, volumes, addresses, records] = await Promise.all([
      this.ec2.send(new DescribeInstancesCommand({})),
      this.ec2.send(new DescribeSecurityGroupRulesCommand({})),
      this.ec2.send(new DescribeSubnetsCommand({})),
      this.ec2.send(new DescribeVpcsCommand({})),
      this.ec2.send(new DescribeVolumesCommand({})),
      this.ec2.send(new DescribeAddressesCommand({})),
      this.readRecords(),
    ]);
    const rangeOfVpc = new Map(vpcs.Vpcs?.map(({ VpcId, CidrBlock }) => [VpcId, CidrBlock]));
    const rangeOfSubnet = new Map(subnets.Subnets?.map((each) => [each.SubnetId, each.CidrBlock]));
    const owner = vpcs.Vpcs?.[0]?.OwnerId ?? "";
    const rootSizes = new Map(
      volumes.Volumes?.filter(isRootVolume).map((volume) => [
        volume.Attachments?.[0]?.InstanceId,
        volume.Size,
      ]),
    );
    const instances = (reservations.Reservations ?? []).flatMap((each) => each.Instances ?? []);
    return {
      machines: await Promise.all(
        instances.map(async (instance) => ({
          wanted: wantedState(instance.State?.Name),
          specification: await this.specification(instance, {
            vpcRange: rangeOfVpc.get(instance.VpcId) ?? "",
            subnetRange: rangeOfSubnet.get(instance.SubnetId) ?? "",
            accountId: owner,
            // What Debian's own image has, where moto knows of none.
            disk: (rootSizes.get(instance.InstanceId) ?? 8) * 2 ** 30,
          }),
        })),
      ),
      rules: rulesByGroup(rules.SecurityGroupRules ?? []),
      volumes: (volumes.Volumes ?? []).flatMap((volume) => {
        return isRootVolume(volume)
          ? []
          : [
              {
                id: volume.VolumeId ?? "",
                size: (volume.Size ?? 0) * 2 ** 30,
                instanceId: volume.Attachments?.[0]?.InstanceId,
              },
            ];
      }),
      addresses: (addresses.Addresses ?? []).flatMap((each) =>
        each.PublicIp && each.InstanceId && each.PrivateIpAddress
          ? [
              {
                address: each.PublicIp,
                instanceId: each.InstanceId,
                privateAddress: each.PrivateIpAddress,
              },
            ]
          : [],
      ),
      records,
    };
  }

  /** Limits a machine to fewer cores than its type has. */
  limitCores(instanceId: string, cores: number): void {
    this.coreLimits.set(instanceId, cores);
  }

  /** Tells EC2 that a machine was switched off from inside. */
  async tellStopped(instanceId: string): Promise<void> {
    await this.ec2.send(new StopInstancesCommand({ InstanceIds: [instanceId] }));
  }

  private async specification(
    instance: Instance,
    place: { vpcRange: string; subnetRange: string; accountId: string; disk: number },
  ): Promise<MachineSpecification> {
    const instanceId = instance.InstanceId ?? "";
    const tags = Object.fromEntries(
      (instance.Tags ?? []).map(({ Key, Value }) => [Key ?? "", Value ?? ""]),
    );
    const instanceType = instance.InstanceType ?? "";
    const gone = wantedState(instance.State?.Name) === "terminated";
    const type = gone ? { cores: 1, memory: 0 } : await this.readType(instanceType);
    const address = instance.PrivateIpAddress ?? "";
    return {
      ...place,
      instanceId,
      name: tags.Name ?? instanceId,
      tags,
      imageId: instance.ImageId ?? "",
      instanceType,
      hostName: `ip-${address.replaceAll(".", "-")}.${awsRegion}.compute.internal`,
      address,
      macAddress: instance.NetworkInterfaces?.[0]?.MacAddress ?? "",
      zone: instance.Placement?.AvailabilityZone ?? "",
      region: awsRegion,
      groupIds: (instance.SecurityGroups ?? []).map(({ GroupId }) => GroupId ?? ""),
      securityGroups: (instance.SecurityGroups ?? []).map(({ GroupName }) => GroupName ?? ""),
      role: gone ? undefined : await this.readRole(instance.IamInstanceProfile?.Arn),
      userData: gone ? undefined : await this.readUserData(instanceId),
      cores: this.coreLimits.get(instanceId) ?? type.cores,
      memory: type.memory,
    };
  }

  private async readUserData(instanceId: string): Promise<string | undefined> {
    if (!this.userData.has(instanceId)) {
      const { UserData } = await this.ec2.send(
        new DescribeInstanceAttributeCommand({ InstanceId: instanceId, Attribute: "userData" }),
      );
      const text = UserData?.Value;
      this.userData.set(
        instanceId,
        text === undefined ? undefined : Buffer.from(text, "base64").toString("utf8"),
      );
    }
    return this.userData.get(instanceId);
  }

  private async readType(name: string): Promise<{ cores: number; memory: number }> {
    let type = this.types.get(name);
    if (type === undefined) {
      const { InstanceTypes } = await this.ec2.send(
        new DescribeInstanceTypesCommand({ InstanceTypes: [name as "c7a.medium"] }),
      );
      const found = InstanceTypes?.[0];
      type = {
        cores: found?.VCpuInfo?.DefaultVCpus ?? 1,
        memory: (found?.MemoryInfo?.SizeInMiB ?? 1024) * 2 ** 20,
      };
      this.types.set(name, type);
    }
    return type;
  }

  private async readRole(profileArn: string | undefined): Promise<string | undefined> {
    const profile = profileArn?.split("/").at(-1);
    if (profile === undefined) {
      return undefined;
    }
    if (!this.roles.has(profile)) {
      const { InstanceProfile } = await this.iam.send(
        new GetInstanceProfileCommand({ InstanceProfileName: profile }),
      );
      const role = InstanceProfile?.Roles?.[0]?.RoleName;
      if (role === undefined) {
        return undefined;
      }
      this.roles.set(profile, role);
    }
    return this.roles.get(profile);
  }

  private async readRecords(): Promise<AddressRecord[]> {
    const { HostedZones } = await this.route53.send(new ListHostedZonesCommand({}));
    const sets = await Promise.all(
      (HostedZones ?? []).map(async ({ Id, Config }) =>
        (await this.readZone(Id)).map((set) => ({ ...set, public: !Config?.PrivateZone })),
      ),
    );
    return sets.flat().flatMap((set) => {
      const name = (set.Name ?? "").replace(/\.$/, "");
      if (set.Type === "A") {
        const addresses = (set.ResourceRecords ?? []).map(({ Value }) => Value ?? "");
        return [{ name, ttl: set.TTL ?? 60, addresses, public: set.public }];
      }
      if (set.Type !== "NS" && set.Type !== "SOA" && !this.unserved.has(name)) {
        this.unserved.add(name);
        log(`The local region serves A records only, so not ${name} of type ${set.Type}`);
      }
      return [];
    });
  }

  private async readZone(zoneId: string | undefined): Promise<ResourceRecordSet[]> {
    const sets: ResourceRecordSet[] = [];
    let next: { StartRecordName?: string; StartRecordType?: RRType } | undefined = {};
    while (next) {
      const page: ListResourceRecordSetsCommandOutput = await this.route53.send(
        new ListResourceRecordSetsCommand({ HostedZoneId: zoneId, ...next }),
      );
      sets.push(...(page.ResourceRecordSets ?? []));
      next = page.IsTruncated
        ? { StartRecordName: page.NextRecordName, StartRecordType: page.NextRecordType }
        : undefined;
    }
    return sets;
  }
}

/** Names kept for the root volume: https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/device_naming.html */
const rootDevices = ["/dev/sda1", "/dev/xvda"];

/** Whether a machine boots from it; here it is no file of its own then. */
export function isRootVolume({ Attachments }: Volume): boolean {
  return rootDevices.includes(Attachments?.[0]?.Device ?? "");
}

const clientConfiguration = {
  region: awsRegion,
  endpoint: motoUrl,
  credentials: awsCredentials,
};

/** moto skips the states in between, which a machine passes through on its own. */
function wantedState(state: string | undefined): WantedState {
  switch (state) {
    case "stopping":
    case "stopped":
      return "stopped";
    case "shutting-down":
    case "terminated":
      return "terminated";
    default:
      return "running";
  }
}

function rulesByGroup(rules: SecurityGroupRule[]): Record<string, FirewallRule[]> {
  const groups: Record<string, FirewallRule[]> = {};
  for (const rule of rules) {
    const group = rule.ReferencedGroupInfo?.GroupId;
    // A rule for IPv6 or for a prefix list lets nothing through here, where there is neither.
    const peer = group ? { group } : rule.CidrIpv4 ? { cidr: rule.CidrIpv4 } : undefined;
    if (rule.GroupId !== undefined && peer !== undefined) {
      const { FromPort: from = -1, ToPort: to = -1 } = rule;
      (groups[rule.GroupId] ??= []).push({
        direction: rule.IsEgress ? "egress" : "ingress",
        protocol: rule.IpProtocol ?? "-1",
        ...(from < 0 || to < 0 ? {} : { ports: { from, to } }),
        peer,
      });
    }
  }
  return groups;
}
