import * as pulumi from "@pulumi/pulumi";
import { balancerMachine } from "../userdata/balancer/balancerMachine";
import * as aws from "./aws";
import type { Certificate } from "./certificate";
import { type InstanceType, Machine, type MachineDefaults, secretsPermission } from "./machine";
import { meteorPort } from "./meteorPool";
import { zoneName } from "./network";
import { readinessHook } from "./readinessGate";

export interface BalancerArgs {
  defaults: MachineDefaults;
  instanceType: InstanceType;
  /** Names that the balancer lists, in order, whether or not a host is behind them. */
  slots: string[];
  /** How the TLS terminator gets on the machine. */
  studInstall: "source" | "package";
  certificate: Certificate;
  subnetId: pulumi.Input<string>;
  securityGroupId: pulumi.Input<string>;
  readyTimeoutSeconds: number;
  dependsOn: pulumi.Resource[];
}

/**
 * HAProxy with the TLS terminator in front of it, and the address that the world knows. Another
 * setting or size boots a second balancer, which takes the address over when it is ready.
 *
 * Cost: one machine, and 3.65 USD a month for the address.
 */
export class Balancer extends pulumi.ComponentResource {
  readonly ipAddress: pulumi.Output<string>;
  readonly machine: Machine;

  constructor(name: string, args: BalancerArgs, options?: pulumi.ComponentResourceOptions) {
    super("meteor-scale:balancer:Balancer", name, {}, options);
    const address = new aws.ec2.Eip(
      `${name}-address`,
      { domain: "vpc", tags: { Name: `${args.defaults.prefix}-balancer` } },
      { parent: this },
    );
    const { certificate } = args;
    const contents = balancerMachine({
      slots: args.slots,
      zone: zoneName,
      meteorPort,
      studInstall: args.studInstall,
      tlsPath: certificate.path,
      acme: certificate.acme,
    });
    this.machine = new Machine(
      name,
      {
        defaults: args.defaults,
        role: "balancer",
        machine: "balancer",
        instanceType: args.instanceType,
        subnetId: args.subnetId,
        securityGroupIds: [args.securityGroupId],
        contents,
        contentsForSize: contents,
        permissions: [
          secretsPermission(args.defaults.region, certificate.path),
          ...(certificate.acme
            ? [
                {
                  actions: ["ssm:PutParameter"],
                  resources: certificate.writtenByBalancer.map(({ arn }) => arn),
                },
              ]
            : []),
        ],
        dependsOn: args.dependsOn,
      },
      { parent: this },
    );
    const hook = readinessHook(`${name}-gate`, args.readyTimeoutSeconds, (inputs) => [
      String(inputs["instanceId"]),
    ]);
    new aws.ec2.EipAssociation(
      `${name}-address-of-machine`,
      {
        instanceId: this.machine.instance.id,
        allocationId: address.id,
        // The address moves in one step, from the old machine to the new one.
        allowReassociation: true,
      },
      { parent: this, hooks: { beforeCreate: [hook] } },
    );
    this.ipAddress = address.publicIp;
    this.registerOutputs({ ipAddress: this.ipAddress });
  }
}
