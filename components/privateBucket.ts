import * as pulumi from "@pulumi/pulumi";
import * as aws from "./aws";

/** What an object has: a text, or a file of this computer. */
export type ObjectBody = { content: string } | { source: pulumi.asset.FileAsset };

/** An object of a private bucket. */
export interface PrivateObject {
  /** Such as `s3://BUCKET/KEY`. */
  address: pulumi.Output<string>;
  arn: pulumi.Output<string>;
}

/**
 * A private, encrypted bucket, which goes with the stack.
 *
 * Cost: 0.023 USD a month for each GB.
 */
export class PrivateBucket extends pulumi.ComponentResource {
  private readonly bucket: aws.s3.Bucket;
  private readonly block: aws.s3.BucketPublicAccessBlock;

  constructor(name: string, options?: pulumi.ComponentResourceOptions) {
    super("meteor-scale:bucket:PrivateBucket", name, {}, options);
    this.bucket = new aws.s3.Bucket(`${name}-bucket`, { forceDestroy: true }, { parent: this });
    this.block = new aws.s3.BucketPublicAccessBlock(
      `${name}-private`,
      {
        bucket: this.bucket.id,
        blockPublicAcls: true,
        blockPublicPolicy: true,
        ignorePublicAcls: true,
        restrictPublicBuckets: true,
      },
      { parent: this },
    );
    this.registerOutputs({});
  }

  /**
   * An object that stays until the stack goes: what is set back has the key of its first time, whose deletion
   * would take it away again.
   *
   * @param key has the content's hash
   */
  upload(name: string, key: string, body: ObjectBody, parent: pulumi.Resource): PrivateObject {
    const object = new aws.s3.BucketObjectv2(
      name,
      { bucket: this.bucket.id, key, ...body, serverSideEncryption: "AES256" },
      { parent, dependsOn: this.block, retainOnDelete: true },
    );
    return {
      address: pulumi.interpolate`s3://${object.bucket}/${object.key}`,
      arn: pulumi.interpolate`${this.bucket.arn}/${object.key}`,
    };
  }
}
