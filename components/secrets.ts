import * as aws from "@pulumi/aws";
import * as pulumi from "@pulumi/pulumi";

export interface SecretsArgs {
  /** SSM path, without a slash at its end; each machine may read its own path only. */
  path: string;
  /** Name of each secret, as the machine's file or environment variable, and its value. */
  values: Record<string, pulumi.Input<string>>;
}

/**
 * SecureString parameters under one path. User data carries the path, never a value.
 *
 * Cost: none up to 4 KB a value; 0.05 USD a month for one of up to 8 KB.
 */
export class Secrets extends pulumi.ComponentResource {
  readonly path: string;
  /** Another text whenever a secret is added, removed or changed. */
  readonly version: pulumi.Output<string>;
  /** As long as {@link version} can become. */
  readonly longestVersion: string;
  readonly parameters: aws.ssm.Parameter[];

  constructor(name: string, args: SecretsArgs, options?: pulumi.ComponentResourceOptions) {
    super("meteor-scale:secrets:Secrets", name, {}, options);
    this.path = args.path;
    const entries = Object.entries(args.values).map(([key, value]) => {
      const parameter = new aws.ssm.Parameter(
        `${name}-${key}`,
        {
          name: `${args.path}/${key}`,
          type: "SecureString",
          tier: "Intelligent-Tiering",
          value: pulumi.secret(value),
        },
        { parent: this },
      );
      return { key, parameter };
    });
    this.parameters = entries.map(({ parameter }) => parameter);
    this.version = pulumi
      .all(entries.map(({ key, parameter }) => pulumi.interpolate`${key}:${parameter.version}`))
      .apply((versions) => versions.join(" "));
    this.longestVersion = entries.map(({ key }) => `${key}:99999`).join(" ");
    this.registerOutputs({});
  }
}
