/** What the metadata service tells a machine about itself. */
export interface MachineMetadata {
  instanceId: string;
  imageId: string;
  instanceType: string;
  hostName: string;
  address: string;
  macAddress: string;
  subnetRange: string;
  zone: string;
  region: string;
  accountId: string;
  securityGroups: string[];
  role?: string;
  userData?: string;
}

/** A directory of the metadata service, or the text of one value. */
export type MetadataTree = string | { [name: string]: MetadataTree };

/**
 * One version of the instance metadata service, below its date.
 *
 * Names as in https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/ec2-instance-metadata.html
 */
export function metadataTree(machine: MachineMetadata): MetadataTree {
  const { address, instanceId, zone, region } = machine;
  return {
    ...(machine.userData === undefined ? {} : { "user-data": machine.userData }),
    dynamic: {
      "instance-identity": {
        document: JSON.stringify({
          accountId: machine.accountId,
          architecture: "x86_64",
          availabilityZone: zone,
          imageId: machine.imageId,
          instanceId,
          instanceType: machine.instanceType,
          privateIp: address,
          region,
          version: "2017-09-30",
        }),
      },
    },
    "meta-data": {
      "ami-id": machine.imageId,
      "ami-launch-index": "0",
      hostname: machine.hostName,
      "instance-id": instanceId,
      "instance-life-cycle": "on-demand",
      "instance-type": machine.instanceType,
      "local-hostname": machine.hostName,
      "local-ipv4": address,
      mac: machine.macAddress,
      network: {
        interfaces: {
          macs: {
            [machine.macAddress]: {
              "device-number": "0",
              "local-hostname": machine.hostName,
              "local-ipv4s": address,
              mac: machine.macAddress,
              "subnet-ipv4-cidr-block": machine.subnetRange,
            },
          },
        },
      },
      placement: { "availability-zone": zone, region },
      "security-groups": machine.securityGroups.join("\n"),
      services: { domain: "amazonaws.com", partition: "aws" },
      ...(machine.role === undefined ? {} : { iam: roleTree(machine.role, machine.accountId) }),
    },
  };
}

/** The region asks nobody for credentials, so any will do; the role's name is the real one. */
function roleTree(role: string, accountId: string): MetadataTree {
  const now = Date.now();
  return {
    info: JSON.stringify({
      Code: "Success",
      LastUpdated: timestamp(now),
      InstanceProfileArn: `arn:aws:iam::${accountId}:instance-profile/${role}`,
    }),
    "security-credentials": {
      [role]: JSON.stringify({
        Code: "Success",
        LastUpdated: timestamp(now),
        Type: "AWS-HMAC",
        AccessKeyId: "ASIALOCALLOCALLOCAL0",
        SecretAccessKey: "local",
        Token: "local",
        Expiration: timestamp(now + 6 * 3600 * 1000),
      }),
    },
  };
}

function timestamp(time: number): string {
  return new Date(time).toISOString().replace(/\.\d+Z$/, "Z");
}

/**
 * What one path answers.
 *
 * @param path such as `/latest/meta-data/placement/region`; any version is the same
 * @returns a value, the names in a directory, or undefined for 404
 */
export function readMetadata(tree: MetadataTree, path: string): string | undefined {
  const [version, ...names] = path.split("/").filter((name) => name !== "");
  if (version === undefined || !/^(latest|\d{4}-\d{2}-\d{2})$/.test(version)) {
    return undefined;
  }
  let found: MetadataTree | undefined = tree;
  for (const name of names) {
    found = typeof found === "string" ? undefined : found?.[name];
  }
  if (found === undefined || typeof found === "string") {
    return found;
  }
  return Object.entries(found)
    .map(([name, value]) => (typeof value === "string" ? name : `${name}/`))
    .join("\n");
}
