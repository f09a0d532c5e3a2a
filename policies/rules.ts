import * as aws from "@pulumi/aws";
import {
  type PolicyProviderResource,
  type PolicyResource,
  type ReportViolation,
  type ResourceValidationPolicy,
  type StackValidationPolicy,
  validateResourceOfType,
} from "@pulumi/policy";
import type { ResolvedResource } from "@pulumi/pulumi/queryable";
import { Netmask } from "netmask";
import { secretsIn, secretsOf } from "./userDataSecrets";
import { eachKnown, known } from "./unknowns";

/** A rule of the pack. None is advice: a preview or an update that breaks one fails. */
export type Rule = (ResourceValidationPolicy | StackValidationPolicy) & {
  enforcementLevel: "mandatory";
};

const { Instance, SecurityGroup, Subnet, Eip, EipAssociation } = aws.ec2;

const encryptedDisks: Rule = {
  name: "encrypted-disks",
  description: "Every disk, and every copy of a snapshot, is encrypted.",
  enforcementLevel: "mandatory",
  // A snapshot itself is encrypted as its volume is.
  validateResource: [
    validateResourceOfType(Instance, ({ rootBlockDevice, ebsBlockDevices }, _, report) => {
      if (rootBlockDevice?.encrypted !== true) {
        report("The root disk is not encrypted: set rootBlockDevice.encrypted.");
      }
      for (const { deviceName, encrypted } of ebsBlockDevices ?? []) {
        if (encrypted !== true) {
          report(`The disk ${deviceName} is not encrypted: set its encrypted.`);
        }
      }
    }),
    validateResourceOfType(aws.ebs.Volume, ({ encrypted }, _, report) => {
      if (encrypted !== true) {
        report("The volume is not encrypted: set encrypted.");
      }
    }),
    validateResourceOfType(aws.ebs.SnapshotCopy, ({ encrypted }, _, report) => {
      if (encrypted !== true) {
        report("The copy of a snapshot is not encrypted: set encrypted.");
      }
    }),
    validateResourceOfType(aws.dlm.LifecyclePolicy, ({ policyDetails }, _, report) => {
      const copies = (policyDetails.schedules ?? []).flatMap(
        ({ crossRegionCopyRules }) => crossRegionCopyRules ?? [],
      );
      if (copies.some(({ encrypted }) => !encrypted)) {
        report("Copies of snapshots in another region are not encrypted: set encrypted.");
      }
    }),
  ],
};

const metadataTokens: Rule = {
  name: "metadata-tokens",
  description:
    "The instance metadata service, which hands out a machine's role, answers IMDSv2 only, and no further than the machine.",
  enforcementLevel: "mandatory",
  validateResource: validateResourceOfType(Instance, ({ metadataOptions }, _, report) => {
    if (metadataOptions?.httpTokens !== "required") {
      report('IMDSv1 answers too: set metadataOptions.httpTokens to "required".');
    }
    if (metadataOptions?.httpPutResponseHopLimit !== 1) {
      report("The token passes further hops: set metadataOptions.httpPutResponseHopLimit to 1.");
    }
  }),
};

const separateRules: Rule = {
  name: "separate-firewall-rules",
  description:
    "Every firewall rule is an aws.vpc.SecurityGroupIngressRule or EgressRule, which is what the other rules look at.",
  enforcementLevel: "mandatory",
  validateResource: [
    validateResourceOfType(SecurityGroup, ({ ingress, egress }, _, report) => {
      if (ingress !== undefined || egress !== undefined) {
        report("The group has rules of its own: make each a resource.");
      }
    }),
    validateResourceOfType(aws.ec2.SecurityGroupRule, (_props, _, report) => {
      report("Use aws.vpc.SecurityGroupIngressRule or EgressRule.");
    }),
    validateResourceOfType(aws.ec2.DefaultSecurityGroup, ({ ingress, egress }, _, report) => {
      if (ingress !== undefined || egress !== undefined) {
        report("The VPC's default group has rules: make a group for what needs them.");
      }
    }),
  ],
};

const singleCoreHosts: Rule = {
  name: "single-core-hosts",
  description: "A Meteor host has one core: one Meteor process uses no second one.",
  enforcementLevel: "mandatory",
  validateResource: validateResourceOfType(Instance, (instance, _, report) => {
    if (instance.tags?.["role"] !== "meteor" || oneCoreType.test(String(instance.instanceType))) {
      return;
    }
    const { coreCount, threadsPerCore } = instance.cpuOptions ?? {};
    if (coreCount !== 1 || threadsPerCore !== 1) {
      report(
        `${String(instance.instanceType)} has more than one core: set cpuOptions.coreCount and threadsPerCore to 1.`,
      );
    }
  }),
};

/**
 * Types with one vCPU: `medium` where there is no smaller size, and the small ones of T2.
 * https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/cpu-options-supported-instances-values.html
 */
const oneCoreType = /^(?!t\d|c1\.)\w+\.medium$|^t2\.(nano|micro|small)$/;

const tags: Rule = {
  name: "tags",
  description: "Machines and volumes can be told apart: by project, Name, and the machine's role.",
  enforcementLevel: "mandatory",
  validateResource: [
    validateResourceOfType(Instance, (instance, { provider }, report) => {
      checkTags(["project", "Name", "role"], instance.tags, provider, report);
    }),
    validateResourceOfType(aws.ebs.Volume, (volume, { provider }, report) => {
      checkTags(["project", "Name"], volume.tags, provider, report);
    }),
  ],
};

function checkTags(
  needed: string[],
  own: Record<string, string> | undefined,
  provider: PolicyProviderResource | undefined,
  report: ReportViolation,
): void {
  const present = { ...defaultTags(provider), ...own };
  const missing = needed.filter((key) => !present[key]);
  if (missing.length > 0) {
    report(`It has no tag ${missing.join(", ")}: set tags, or the project's aws:defaultTags.`);
  }
}

/** The provider that a program does not make itself has its configuration as JSON. */
function defaultTags(provider: PolicyProviderResource | undefined): Record<string, string> {
  const value: unknown = provider?.props["defaultTags"];
  const { tags: present } = (typeof value === "string" ? JSON.parse(value) : (value ?? {})) as {
    tags?: Record<string, string>;
  };
  return present ?? {};
}

const noSsh: Rule = {
  name: "no-ssh",
  description: "Nobody can log in by SSH: no rule opens port 22, and no machine has a key pair.",
  enforcementLevel: "mandatory",
  validateStack: ({ resources }, report) => {
    const nat = groupsOf(resources, "nat");
    eachKnown(ingressRules(resources), ({ resource, rule, group }) => {
      // What a NAT machine passes on has any port; its rule can't tell that from what is meant for itself.
      const passesOn = rule.ipProtocol === "-1" && nat.has(group) && !fromOutside(rule);
      if (opens(rule, 22) && !passesOn) {
        report("It opens port 22. Session Manager needs no open port.", resource.urn);
      }
    });
    for (const { resource, instance } of instances(resources)) {
      if (known(() => instance.keyName)) {
        report("The machine has a key pair: leave keyName out.", resource.urn);
      }
    }
  },
};

const twoPortsFromOutside: Rule = {
  name: "two-ports-from-outside",
  description:
    "From outside of private networks only ports 80 and 443 of the balancer are reached.",
  enforcementLevel: "mandatory",
  validateStack: ({ resources }, report) => {
    const balancer = groupsOf(resources, "balancer");
    eachKnown(ingressRules(resources), ({ resource, rule, group }) => {
      if (!fromOutside(rule)) {
        return;
      }
      const forVisitors = [80, 443].some(
        (port) => isTcp(rule.ipProtocol) && rule.fromPort === port && rule.toPort === port,
      );
      if (!forVisitors || !balancer.has(group)) {
        report(
          "It lets in from outside what is not port 80 or 443 of the balancer's group.",
          resource.urn,
        );
      }
    });
  },
};

const mongoBehindMeteor: Rule = {
  name: "mongo-behind-meteor",
  description: "MongoDB's port is reached from Meteor hosts and members of the set only.",
  enforcementLevel: "mandatory",
  validateStack: ({ resources }, report) => {
    const mongo = groupsOf(resources, "mongo");
    const allowed = groupsOf(resources, "mongo", "meteor");
    eachKnown(ingressRules(resources), ({ resource, rule, group, source }) => {
      if (mongo.has(group) && opens(rule, 27017) && !allowed.has(source)) {
        report(
          "It opens port 27017 to others than the groups of Meteor hosts and of members.",
          resource.urn,
        );
      }
    });
  },
};

const noPublicAddress: Rule = {
  name: "no-public-address",
  description: "Only the balancer and a NAT machine have a public address.",
  enforcementLevel: "mandatory",
  validateStack: ({ resources }, report) => {
    const inside = instances(resources).filter(
      ({ instance }) => !["balancer", "nat"].includes(String(instance.tags?.["role"])),
    );
    eachKnown(inside, ({ resource, instance }) => {
      const subnets = originsOf(resource, "subnetId", Subnet);
      if (subnets.some((subnet) => subnet.asType(Subnet)?.mapPublicIpOnLaunch === true)) {
        report("Its subnet gives machines a public address: use a private one.", resource.urn);
      }
      // Before a machine is there, this is known only where the program sets it.
      if (known(() => instance.associatePublicIpAddress) === true) {
        report("It asks for a public address: leave associatePublicIpAddress out.", resource.urn);
      }
    });
    const machines = new Set(inside.map(({ resource }) => resource));
    for (const resource of resources.filter(
      (one) => one.isType(Eip) || one.isType(EipAssociation),
    )) {
      const holders = ["instance", "instanceId"].flatMap((property) =>
        originsOf(resource, property, Instance),
      );
      if (holders.some((holder) => machines.has(holder))) {
        report("It gives an elastic IP to a machine that has to have none.", resource.urn);
      }
    }
  },
};

const noSecretInUserData: Rule = {
  name: "no-secret-in-user-data",
  description:
    "User data and the programs that a machine fetches, which every process there can read, have no secret.",
  enforcementLevel: "mandatory",
  validateStack: ({ resources }, report) => {
    const secrets = secretsOf(resources);
    eachKnown(instances(resources), ({ resource, instance }) => {
      for (const userData of [instance.userData, instance.userDataBase64]) {
        for (const found of secretsIn(userData, secrets)) {
          report(`The user data has ${found}: let the machine read it from SSM.`, resource.urn);
        }
      }
    });
    eachKnown(resources, (resource) => {
      const object = resource.asType(aws.s3.BucketObjectv2);
      for (const found of secretsIn(object?.content, secrets)) {
        report(`The object has ${found}: let the machine read it from SSM.`, resource.urn);
      }
    });
  },
};

/** All of them, as the pack and the tests use them. */
export const rules: Rule[] = [
  encryptedDisks,
  metadataTokens,
  singleCoreHosts,
  tags,
  separateRules,
  noSsh,
  twoPortsFromOutside,
  mongoBehindMeteor,
  noPublicAddress,
  noSecretInUserData,
];

/** The machines of the stack. */
function instances(
  resources: PolicyResource[],
): { resource: PolicyResource; instance: ResolvedResource<aws.ec2.Instance> }[] {
  return resources.flatMap((resource) => {
    const instance = resource.asType(Instance);
    return instance === undefined ? [] : [{ resource, instance }];
  });
}

type Ingress = ResolvedResource<aws.vpc.SecurityGroupIngressRule>;

/**
 * The rules that let traffic in, each with its group and the group that it lets in. Ids are not known before a
 * group is there; where they come from is.
 */
function ingressRules(resources: PolicyResource[]): {
  resource: PolicyResource;
  rule: Ingress;
  group: PolicyResource | undefined;
  source: PolicyResource | undefined;
}[] {
  return resources.flatMap((resource) => {
    const rule = resource.asType(aws.vpc.SecurityGroupIngressRule);
    if (rule === undefined) {
      return [];
    }
    const [group] = originsOf(resource, "securityGroupId", SecurityGroup);
    const [source] = originsOf(resource, "referencedSecurityGroupId", SecurityGroup);
    return [{ resource, rule, group, source }];
  });
}

/** The groups that machines of these roles are in. */
function groupsOf(
  resources: PolicyResource[],
  ...roles: string[]
): Set<PolicyResource | undefined> {
  return new Set(
    instances(resources)
      .filter(({ instance }) => roles.includes(String(instance.tags?.["role"])))
      .flatMap(({ resource }) => originsOf(resource, "vpcSecurityGroupIds", SecurityGroup)),
  );
}

/** The resources of a kind that the value of a property comes from. */
function originsOf(
  resource: PolicyResource,
  property: string,
  kind: Parameters<PolicyResource["isType"]>[0],
): PolicyResource[] {
  return (resource.propertyDependencies[property] ?? []).filter((origin) => origin.isType(kind));
}

/** Whether a rule lets TCP in on a port; the protocol has a number too. */
function opens({ ipProtocol, fromPort = 0, toPort = 65_535 }: Ingress, port: number): boolean {
  return ipProtocol === "-1" || (isTcp(ipProtocol) && fromPort <= port && port <= toPort);
}

function isTcp(protocol: string): boolean {
  return ["tcp", "6"].includes(protocol);
}

/** https://www.rfc-editor.org/rfc/rfc1918 */
const privateRanges = ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"].map(
  (range) => new Netmask(range),
);

/** A list of prefixes may have any range; no network here has IPv6. */
function fromOutside({ cidrIpv4, cidrIpv6, prefixListId }: Ingress): boolean {
  return (
    Boolean(cidrIpv6) ||
    Boolean(prefixListId) ||
    (Boolean(cidrIpv4) && !privateRanges.some((range) => range.contains(String(cidrIpv4))))
  );
}
