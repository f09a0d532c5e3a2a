import * as pulumi from "@pulumi/pulumi";
import { natMachine } from "../userdata/nat/natMachine";
import { type InstanceType, Machine, type MachineDefaults } from "./machine";
import { ReadinessGate } from "./readinessGate";

export interface NatInstanceArgs {
  defaults: MachineDefaults;
  /** Start of the SSM paths, such as `/meteor-scale/dev`. */
  parameterPath: string;
  /** Range of the VPC, whose machines go out under this one's address. */
  vpcCidr: string;
  /** A public subnet, which gives the machine its address. */
  subnetId: pulumi.Input<string>;
  securityGroupId: pulumi.Input<string>;
  readyTimeoutSeconds: number;
  dependsOn: pulumi.Resource[];
}

// x86_64 as Mongo's type is, so that one `amiId` fits all. The next smaller one has 512 MiB and no swap, too
// little for apt (80 MB and more), cloud-init and Debian's unattended upgrades beside the system.
export const natInstanceType: InstanceType = {
  name: "t3.micro",
  architecture: "x86_64",
  memory: 1024,
};

/**
 * A small machine through which the private subnet reaches the internet, in place of a NAT gateway.
 *
 * Another user data or image boots a second one, to which the route turns when it is ready; then the first
 * one goes. Connections out end at that moment, and later ones come from another address. Nothing stands
 * in for it while it is down.
 *
 * Cost: about 8 USD a month for a t3.micro and its disk, nothing for a GB, and 3.65 USD for its address.
 */
export class NatInstance extends pulumi.ComponentResource {
  /** Where the private subnet's default route leads. */
  readonly networkInterfaceId: pulumi.Output<string>;
  /** What that route waits for. */
  readonly gate: pulumi.Resource;
  readonly machine: Machine;

  constructor(name: string, args: NatInstanceArgs, options?: pulumi.ComponentResourceOptions) {
    super("meteor-scale:nat:NatInstance", name, {}, options);
    const contents = natMachine({ vpcCidr: args.vpcCidr });
    this.machine = new Machine(
      name,
      {
        defaults: args.defaults,
        role: "nat",
        machine: "nat",
        instanceType: natInstanceType,
        subnetId: args.subnetId,
        securityGroupIds: [args.securityGroupId],
        contents,
        contentsForSize: contents,
        sourceDestCheck: false,
        dependsOn: args.dependsOn,
      },
      { parent: this },
    );
    const { instance } = this.machine;
    const gate = new ReadinessGate(
      `${name}-gate`,
      {
        parameterName: `${args.parameterPath}/gates/nat`,
        instanceIds: [instance.id],
        timeoutSeconds: args.readyTimeoutSeconds,
      },
      { parent: this },
    );
    this.networkInterfaceId = instance.primaryNetworkInterfaceId;
    this.gate = gate.parameter;
    this.registerOutputs({});
  }
}
