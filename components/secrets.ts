import { createHmac } from "node:crypto";
import * as pulumi from "@pulumi/pulumi";
import * as aws from "./aws";

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
  readonly parameters: aws.ssm.Parameter[];
  /** As long as {@link digest} can become. */
  readonly longestDigest: string;
  private readonly values: SecretsArgs["values"];

  constructor(name: string, args: SecretsArgs, options?: pulumi.ComponentResourceOptions) {
    super("meteor-scale:secrets:Secrets", name, {}, options);
    this.path = args.path;
    this.values = args.values;
    this.parameters = Object.entries(args.values).map(
      ([key, value]) =>
        new aws.ssm.Parameter(
          `${name}-${key}`,
          {
            name: `${args.path}/${key}`,
            type: "SecureString",
            tier: "Intelligent-Tiering",
            value: pulumi.secret(value),
          },
          { parent: this },
        ),
    );
    this.longestDigest = digestOf("", args.values);
    this.registerOutputs({});
  }

  /**
   * Another text whenever a secret is added, removed or changed, which tells reviewers of a preview the
   * secret's name.
   *
   * @param key a secret itself, so that nobody can find a value by its digest
   */
  digest(key: pulumi.Input<string>): pulumi.Output<string> {
    return pulumi.unsecret(
      pulumi.all([key, this.values]).apply(([secret, values]) => digestOf(secret, values)),
    );
  }
}

function digestOf(key: string, values: Record<string, unknown>): string {
  return Object.entries(values)
    .map(([name, value]) => {
      const digest = createHmac("sha256", key).update(String(value)).digest("hex");
      return `${name}:${digest.slice(0, 12)}`;
    })
    .join(" ");
}
