import { createHash } from "node:crypto";
import { readFile } from "node:fs/promises";
import { resolve } from "node:path";
import * as s3 from "@aws-sdk/client-s3";
import type * as aws from "@pulumi/aws";
import { inPlace, type Plain, replaces, resource } from "../definition";
import { type Asset, isAsset } from "../values";
import { type AwsContext, tagList, tagMap, unlessGone } from "./context";

const bucket = resource<AwsContext, aws.s3.BucketArgs, aws.s3.BucketState>({
  type: "aws:s3/bucket:Bucket",
  tagged: true,
  properties: {
    bucket: { replaces: true, named: { lowerCase: true, maxLength: 63 } },
    forceDestroy: { default: false },
  },
  outputs: ["arn", "bucketDomainName", "bucketRegion", "bucketRegionalDomainName", "hostedZoneId"],
  async create(context, inputs) {
    await context.s3.send(
      new s3.CreateBucketCommand({
        Bucket: inputs.bucket,
        CreateBucketConfiguration:
          context.region === "us-east-1"
            ? undefined
            : { LocationConstraint: context.region as s3.BucketLocationConstraint },
      }),
    );
    return inputs.bucket ?? "";
  },
  async complete(context, id, inputs) {
    const tags = { ...context.tagRules.defaults, ...inputs.tags };
    await tagBucket(context.s3, id, tags, []);
  },
  async read({ s3: client, region }, id) {
    const found = await unlessGone(client.send(new s3.HeadBucketCommand({ Bucket: id })));
    return (
      found && {
        bucket: id,
        arn: `arn:aws:s3:::${id}`,
        bucketDomainName: `${id}.s3.amazonaws.com`,
        bucketRegion: region,
        bucketRegionalDomainName: `${id}.s3.${region}.amazonaws.com`,
        hostedZoneId: hostedZones[region] ?? "",
        tags: await bucketTags(client, id),
      }
    );
  },
  async update({ s3: client }, { id, tags, obsoleteTags }) {
    await tagBucket(client, id, tags, obsoleteTags);
  },
  async delete({ s3: client }, id, state) {
    if (state.forceDestroy === true) {
      await emptyBucket(client, id);
    }
    await unlessGone(client.send(new s3.DeleteBucketCommand({ Bucket: id })));
  },
});

/** Zones of S3's websites: https://docs.aws.amazon.com/general/latest/gr/s3.html */
const hostedZones: Record<string, string> = {
  "eu-central-1": "Z21DNDUVLTQW6Q",
  "us-east-1": "Z3AQBSTGFYJSTF",
};

async function bucketTags(client: s3.S3Client, id: string): Promise<Record<string, string>> {
  const found = await unlessGone(client.send(new s3.GetBucketTaggingCommand({ Bucket: id })));
  return tagMap(found?.TagSet);
}

/** S3 sets all tags at once, so those that someone else added are read first. */
async function tagBucket(
  client: s3.S3Client,
  id: string,
  tags: Record<string, string>,
  obsolete: string[],
): Promise<void> {
  const current = await bucketTags(client, id);
  const kept = Object.entries(current).filter(([key]) => !obsolete.includes(key));
  const all = { ...Object.fromEntries(kept), ...tags };
  if (Object.keys(all).length > 0) {
    await client.send(
      new s3.PutBucketTaggingCommand({ Bucket: id, Tagging: { TagSet: tagList(all) } }),
    );
  } else if (Object.keys(current).length > 0) {
    await client.send(new s3.DeleteBucketTaggingCommand({ Bucket: id }));
  }
}

async function emptyBucket(client: s3.S3Client, id: string): Promise<void> {
  for (;;) {
    const found = await unlessGone(client.send(new s3.ListObjectVersionsCommand({ Bucket: id })));
    const Objects = [...(found?.Versions ?? []), ...(found?.DeleteMarkers ?? [])].map(
      ({ Key, VersionId }) => ({ Key, VersionId }),
    );
    if (Objects.length === 0) {
      return;
    }
    await client.send(new s3.DeleteObjectsCommand({ Bucket: id, Delete: { Objects } }));
  }
}

const publicAccessBlock = resource<
  AwsContext,
  aws.s3.BucketPublicAccessBlockArgs,
  aws.s3.BucketPublicAccessBlockState
>({
  type: "aws:s3/bucketPublicAccessBlock:BucketPublicAccessBlock",
  properties: {
    bucket: replaces,
    blockPublicAcls: { default: false },
    blockPublicPolicy: { default: false },
    ignorePublicAcls: { default: false },
    restrictPublicBuckets: { default: false },
    skipDestroy: inPlace,
  },
  outputs: [],
  async create({ s3: client }, inputs) {
    await client.send(new s3.PutPublicAccessBlockCommand(accessBlock(inputs)));
    return inputs.bucket;
  },
  async read({ s3: client }, id) {
    const found = await unlessGone(client.send(new s3.GetPublicAccessBlockCommand({ Bucket: id })));
    const it = found?.PublicAccessBlockConfiguration;
    return (
      it && {
        bucket: id,
        blockPublicAcls: it.BlockPublicAcls,
        blockPublicPolicy: it.BlockPublicPolicy,
        ignorePublicAcls: it.IgnorePublicAcls,
        restrictPublicBuckets: it.RestrictPublicBuckets,
      }
    );
  },
  async update({ s3: client }, { now }) {
    await client.send(new s3.PutPublicAccessBlockCommand(accessBlock(now)));
  },
  async delete({ s3: client }, id, state) {
    if (state.skipDestroy !== true) {
      await unlessGone(client.send(new s3.DeletePublicAccessBlockCommand({ Bucket: id })));
    }
  },
});

function accessBlock(
  inputs: Plain<aws.s3.BucketPublicAccessBlockArgs>,
): s3.PutPublicAccessBlockCommandInput {
  return {
    Bucket: inputs.bucket,
    PublicAccessBlockConfiguration: {
      BlockPublicAcls: inputs.blockPublicAcls,
      BlockPublicPolicy: inputs.blockPublicPolicy,
      IgnorePublicAcls: inputs.ignorePublicAcls,
      RestrictPublicBuckets: inputs.restrictPublicBuckets,
    },
  };
}

type Encryption = Plain<aws.s3.BucketServerSideEncryptionConfigurationArgs>;

const encryption = resource<
  AwsContext,
  aws.s3.BucketServerSideEncryptionConfigurationArgs,
  aws.s3.BucketServerSideEncryptionConfigurationState
>({
  type: "aws:s3/bucketServerSideEncryptionConfiguration:BucketServerSideEncryptionConfiguration",
  properties: { bucket: replaces, expectedBucketOwner: replaces, rules: inPlace },
  outputs: [],
  async create({ s3: client }, inputs) {
    await client.send(new s3.PutBucketEncryptionCommand(encryptionInput(inputs)));
    return inputs.bucket;
  },
  async read({ s3: client }, id) {
    const found = await unlessGone(client.send(new s3.GetBucketEncryptionCommand({ Bucket: id })));
    const rules = found?.ServerSideEncryptionConfiguration?.Rules;
    return (
      rules && {
        bucket: id,
        rules: rules.map((rule) => ({
          bucketKeyEnabled: rule.BucketKeyEnabled,
          ...(rule.ApplyServerSideEncryptionByDefault === undefined
            ? {}
            : {
                applyServerSideEncryptionByDefault: {
                  sseAlgorithm: rule.ApplyServerSideEncryptionByDefault.SSEAlgorithm ?? "",
                  kmsMasterKeyId: rule.ApplyServerSideEncryptionByDefault.KMSMasterKeyID,
                },
              }),
        })),
      }
    );
  },
  async update({ s3: client }, { now }) {
    await client.send(new s3.PutBucketEncryptionCommand(encryptionInput(now)));
  },
  async delete({ s3: client }, id) {
    await unlessGone(client.send(new s3.DeleteBucketEncryptionCommand({ Bucket: id })));
  },
});

function encryptionInput(inputs: Encryption): s3.PutBucketEncryptionCommandInput {
  return {
    Bucket: inputs.bucket,
    // eslint-disable-next-line @typescript-eslint/no-deprecated -- the program may still set it
    ExpectedBucketOwner: inputs.expectedBucketOwner,
    ServerSideEncryptionConfiguration: {
      Rules: inputs.rules.map((rule) => ({
        BucketKeyEnabled: rule.bucketKeyEnabled,
        ApplyServerSideEncryptionByDefault: rule.applyServerSideEncryptionByDefault && {
          SSEAlgorithm: rule.applyServerSideEncryptionByDefault
            .sseAlgorithm as s3.ServerSideEncryption,
          KMSMasterKeyID: rule.applyServerSideEncryptionByDefault.kmsMasterKeyId,
        },
      })),
    },
  };
}

type ObjectInputs = Plain<aws.s3.BucketObjectv2Args>;

const object = resource<AwsContext, aws.s3.BucketObjectv2Args, aws.s3.BucketObjectv2State>({
  type: "aws:s3/bucketObjectv2:BucketObjectv2",
  tagged: true,
  properties: {
    bucket: replaces,
    key: replaces,
    source: inPlace,
    content: inPlace,
    contentType: { computed: true },
    cacheControl: inPlace,
    metadata: inPlace,
    serverSideEncryption: { computed: true },
    storageClass: { computed: true },
    forceDestroy: { default: false },
    etag: { computed: true, noEffect: "a change of the content is seen by its own hash" },
  },
  outputs: ["arn", "versionId"],
  unknownAfter: { source: ["etag", "versionId"], content: ["etag", "versionId"] },
  async create(context, inputs, tags) {
    await putObject(context, inputs, tags);
    return `${inputs.bucket as string}/${inputs.key}`;
  },
  async read({ s3: client }, id, state) {
    const { Bucket, Key } = objectKey(id, state);
    const it = await unlessGone(client.send(new s3.HeadObjectCommand({ Bucket, Key })));
    if (it === undefined) {
      return undefined;
    }
    const tagging = await unlessGone(client.send(new s3.GetObjectTaggingCommand({ Bucket, Key })));
    return {
      bucket: Bucket,
      key: Key,
      contentType: it.ContentType,
      cacheControl: it.CacheControl,
      metadata: Object.keys(it.Metadata ?? {}).length > 0 ? it.Metadata : undefined,
      serverSideEncryption: it.ServerSideEncryption,
      storageClass: it.StorageClass ?? "STANDARD",
      etag: it.ETag?.replaceAll('"', ""),
      arn: `arn:aws:s3:::${Bucket}/${Key}`,
      versionId: it.VersionId ?? "",
      tags: tagMap(tagging?.TagSet),
    };
  },
  async update(context, { id, now, old, changed, tags, obsoleteTags }) {
    if (
      changed(
        "source",
        "content",
        "contentType",
        "cacheControl",
        "metadata",
        "serverSideEncryption",
        "storageClass",
      )
    ) {
      await putObject(context, now, tags);
    } else if (changed("tags")) {
      await tagObject(context.s3, objectKey(id, old), tags, obsoleteTags);
    }
  },
  async delete({ s3: client }, id, state) {
    await unlessGone(client.send(new s3.DeleteObjectCommand(objectKey(id, state))));
  },
});

function objectKey(
  id: string,
  state: { bucket?: unknown; key?: string },
): { Bucket: string; Key: string } {
  const slash = id.indexOf("/");
  return {
    Bucket: typeof state.bucket === "string" ? state.bucket : id.slice(0, slash),
    Key: state.key ?? id.slice(slash + 1),
  };
}

async function putObject(
  { s3: client, directory }: AwsContext,
  inputs: ObjectInputs,
  tags: Record<string, string>,
): Promise<void> {
  await client.send(
    new s3.PutObjectCommand({
      Bucket: inputs.bucket as string,
      Key: inputs.key,
      Body: await contentOf(inputs, directory),
      ContentType: inputs.contentType,
      CacheControl: inputs.cacheControl,
      Metadata: inputs.metadata,
      ServerSideEncryption: inputs.serverSideEncryption as s3.ServerSideEncryption | undefined,
      StorageClass: inputs.storageClass as s3.StorageClass | undefined,
      Tagging: new URLSearchParams(tags).toString(),
    }),
  );
}

async function contentOf(inputs: ObjectInputs, directory: string): Promise<Buffer | string> {
  const source: unknown = inputs.source;
  if (source === undefined) {
    return inputs.content ?? "";
  }
  if (!isAsset(source)) {
    throw new Error(
      "aws:s3/bucketObjectv2:BucketObjectv2 takes an asset as its source here, not an archive",
    );
  }
  return assetContent(source, directory);
}

async function assetContent(asset: Asset, directory: string): Promise<Buffer | string> {
  if (asset.text !== undefined && asset.path === undefined) {
    return asset.text;
  }
  if (asset.path === undefined) {
    throw new Error(`an asset at ${asset.uri} can't be fetched here; use a file`);
  }
  const path = resolve(directory, asset.path);
  const content = await readFile(path);
  if (
    asset.hash !== undefined &&
    createHash("sha256").update(content).digest("hex") !== asset.hash
  ) {
    // A relative path could lead to another file than the program's.
    throw new Error(`${path} is not the file that the program meant, or it changed meanwhile`);
  }
  return content;
}

async function tagObject(
  client: s3.S3Client,
  of: { Bucket: string; Key: string },
  tags: Record<string, string>,
  obsolete: string[],
): Promise<void> {
  const { TagSet } = await client.send(new s3.GetObjectTaggingCommand(of));
  const kept = Object.entries(tagMap(TagSet)).filter(([key]) => !obsolete.includes(key));
  await client.send(
    new s3.PutObjectTaggingCommand({
      ...of,
      Tagging: { TagSet: tagList({ ...Object.fromEntries(kept), ...tags }) },
    }),
  );
}

export const s3Resources = [bucket, publicAccessBlock, encryption, object];
