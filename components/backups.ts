import * as pulumi from "@pulumi/pulumi";
import * as aws from "./aws";

export interface BackupsArgs {
  /** When, as EC2 writes it, in UTC: `cron(0 3 * * ? *)`. */
  schedule: string;
  /** How many snapshots of each volume are kept, 1 to 1000. */
  keep: number;
  /** Value of the tag `backup` of the volumes, such as `meteor-scale-dev`. */
  tag: string;
}

const assumedByLifecycleManager = JSON.stringify({
  Version: "2012-10-17",
  Statement: [
    { Effect: "Allow", Principal: { Service: "dlm.amazonaws.com" }, Action: "sts:AssumeRole" },
  ],
});

/**
 * Snapshots of data volumes at a schedule, made and deleted by AWS itself. Each is as consistent as the disk after
 * a power failure, which MongoDB's journal is made for: data and journal are on one volume.
 *
 * Snapshots outlive the stack. Cost: 0.05 USD a month for each GB of the first one's data, and for each that changed
 * between two of them.
 */
export class Backups extends pulumi.ComponentResource {
  constructor(name: string, args: BackupsArgs, options?: pulumi.ComponentResourceOptions) {
    super("meteor-scale:backups:Backups", name, {}, options);
    const role = new aws.iam.Role(
      `${name}-role`,
      { assumeRolePolicy: assumedByLifecycleManager },
      { parent: this },
    );
    const policy = new aws.iam.RolePolicy(
      `${name}-policy`,
      { role: role.id, policy: snapshotPolicy },
      { parent: this },
    );
    new aws.dlm.LifecyclePolicy(
      `${name}-schedule`,
      {
        // The service takes few kinds of characters here.
        description: "Snapshots of the volumes of MongoDB",
        executionRoleArn: role.arn,
        state: "ENABLED",
        policyDetails: {
          resourceTypes: ["VOLUME"],
          targetTags: { backup: args.tag },
          schedules: [
            {
              name: "data volumes",
              createRule: { cronExpression: args.schedule },
              retainRule: { count: args.keep },
              copyTags: true,
            },
          ],
        },
      },
      { parent: this, dependsOn: policy },
    );
    this.registerOutputs({});
  }
}

/** What the service's own role has, for volumes: AWSDataLifecycleManagerServiceRole. */
const snapshotPolicy = JSON.stringify({
  Version: "2012-10-17",
  Statement: [
    {
      Effect: "Allow",
      Action: [
        "ec2:CreateSnapshot",
        "ec2:CreateSnapshots",
        "ec2:DeleteSnapshot",
        "ec2:DescribeInstances",
        "ec2:DescribeVolumes",
        "ec2:DescribeSnapshots",
      ],
      Resource: "*",
    },
    { Effect: "Allow", Action: ["ec2:CreateTags"], Resource: "arn:aws:ec2:*::snapshot/*" },
  ],
});
