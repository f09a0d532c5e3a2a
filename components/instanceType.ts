import * as pulumi from "@pulumi/pulumi";
import * as aws from "./aws";
import type { ConfigKey } from "./config";
import type { InstanceType } from "./machine";

export interface InstanceTypeArgs {
  key: ConfigKey;
  name: string;
  /** Whether the machine must have one core: a Meteor process uses no second one. */
  singleCore?: boolean;
  /** The processor that the software was built for. */
  architecture?: InstanceType["architecture"];
}

/**
 * Asks EC2 what a type is.
 *
 * @throws pulumi.RunError if EC2 has no such type, it has the wrong processor, or more than one core
 *   where it must have one and can't be limited
 */
export async function lookUpInstanceType(args: InstanceTypeArgs): Promise<InstanceType> {
  const { key, name } = args;
  const facts = await aws.ec2.getInstanceType({ instanceType: name }).catch((error: unknown) => {
    throw new pulumi.RunError(
      `${key} is ${name}; EC2 does not know that type in this region (${(error as Error).message})`,
    );
  });
  const architecture = facts.supportedArchitectures.includes("arm64") ? "arm64" : "x86_64";
  if (args.architecture !== undefined && architecture !== args.architecture) {
    throw new pulumi.RunError(
      `${key} is ${name}, whose processor is ${architecture}; what runs on it is built for ${args.architecture}`,
    );
  }
  const type: InstanceType = { name, architecture, memory: facts.memorySize };
  if (args.singleCore !== true || facts.defaultVcpus === 1) {
    return type;
  }
  if (!facts.validCores.includes(1)) {
    throw new pulumi.RunError(
      `${key} is ${name}, which has ${facts.defaultVcpus} cores and can't be limited to one; ` +
        "one Meteor process uses one core, so choose c7a.medium, m7a.medium or r7a.medium, and more hosts (hostCount) for more load",
    );
  }
  return { ...type, cpuOptions: { coreCount: 1, threadsPerCore: 1 } };
}
