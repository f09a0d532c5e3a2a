import { setTimeout as sleep } from "node:timers/promises";
import { CloudWatchClient } from "@aws-sdk/client-cloudwatch";
import { CloudWatchLogsClient } from "@aws-sdk/client-cloudwatch-logs";
import { DLMClient } from "@aws-sdk/client-dlm";
import {
  CreateTagsCommand,
  DeleteTagsCommand,
  EC2Client,
  type ResourceType,
  type Tag,
  type TagSpecification,
} from "@aws-sdk/client-ec2";
import { IAMClient } from "@aws-sdk/client-iam";
import { Route53Client } from "@aws-sdk/client-route-53";
import { S3Client } from "@aws-sdk/client-s3";
import { SNSClient } from "@aws-sdk/client-sns";
import { SSMClient } from "@aws-sdk/client-ssm";
import { GetCallerIdentityCommand, STSClient } from "@aws-sdk/client-sts";
import type { TagRules } from "../definition";
import type { Values } from "../values";

/** What every operation of the aws package works with. */
export interface AwsContext {
  ec2: EC2Client;
  iam: IAMClient;
  ssm: SSMClient;
  s3: S3Client;
  route53: Route53Client;
  cloudwatch: CloudWatchClient;
  logs: CloudWatchLogsClient;
  sns: SNSClient;
  dlm: DLMClient;
  sts: STSClient;
  region: string;
  accountId: string;
  tagRules: TagRules;
  /** Where relative paths of assets start. */
  directory: string;
}

/** The keys of `aws:…` that a stack may set. */
export const configuration: Record<string, { noEffect?: string }> = {
  region: {},
  endpoints: {},
  accessKey: {},
  secretKey: {},
  token: {},
  s3UsePathStyle: {},
  defaultTags: {},
  ignoreTags: {},
  skipCredentialsValidation: { noEffect: "credentials are never validated here" },
  skipMetadataApiCheck: { noEffect: "the metadata service is never asked for credentials" },
  skipRegionValidation: { noEffect: "a region is never validated here" },
  skipRequestingAccountId: {
    noEffect: "the account's id is part of most ARNs, so it is asked for",
  },
};

const services = [
  "ec2",
  "iam",
  "ssm",
  "s3",
  "route53",
  "cloudwatch",
  "cloudwatchlogs",
  "sns",
  "dlm",
  "sts",
] as const;

interface Configuration {
  region?: string;
  endpoints?: Partial<Record<(typeof services)[number], string>>[];
  accessKey?: string;
  secretKey?: string;
  token?: string;
  s3UsePathStyle?: boolean | string;
  defaultTags?: { tags?: Record<string, string> };
  ignoreTags?: { keys?: string[]; keyPrefixes?: string[] };
}

/** Makes the clients that a stack's `aws:…` configuration asks for. */
export async function configure(values: Values, directory: string): Promise<AwsContext> {
  const { region, endpoints, accessKey, secretKey, token, ...rest } = values as Configuration;
  const endpoint = Object.assign({}, ...(endpoints ?? [])) as NonNullable<
    Configuration["endpoints"]
  >[number];
  const missing = services.filter((service) => endpoint[service] === undefined);
  if (region === undefined || missing.length > 0) {
    // Without an endpoint the SDK would call AWS itself.
    const what = region === undefined ? "aws:region" : `aws:endpoints of ${missing.join(", ")}`;
    throw new Error(`the local region's provider needs ${what}; Pulumi.local.yaml shows how`);
  }
  const shared = {
    region,
    ...(accessKey !== undefined && secretKey !== undefined
      ? {
          credentials: {
            accessKeyId: accessKey,
            secretAccessKey: secretKey,
            ...(token !== undefined ? { sessionToken: token } : {}),
          },
        }
      : {}),
  };
  const of = (service: (typeof services)[number]): typeof shared & { endpoint: string } => ({
    ...shared,
    endpoint: endpoint[service] ?? "",
  });
  const sts = new STSClient(of("sts"));
  const { Account } = await sts.send(new GetCallerIdentityCommand({}));
  return {
    ec2: new EC2Client(of("ec2")),
    iam: new IAMClient(of("iam")),
    ssm: new SSMClient(of("ssm")),
    s3: new S3Client({ ...of("s3"), forcePathStyle: String(rest.s3UsePathStyle) === "true" }),
    route53: new Route53Client(of("route53")),
    cloudwatch: new CloudWatchClient(of("cloudwatch")),
    logs: new CloudWatchLogsClient(of("cloudwatchlogs")),
    sns: new SNSClient(of("sns")),
    dlm: new DLMClient(of("dlm")),
    sts,
    region,
    accountId: Account ?? "",
    tagRules: tagRules(rest),
    directory,
  };
}

function tagRules({ defaultTags, ignoreTags }: Configuration): TagRules {
  const keys = ignoreTags?.keys ?? [];
  const prefixes = ignoreTags?.keyPrefixes ?? [];
  return {
    defaults: defaultTags?.tags ?? {},
    ignores: (key) => keys.includes(key) || prefixes.some((prefix) => key.startsWith(prefix)),
  };
}

/** The ARN of something of EC2. */
export function ec2Arn(context: AwsContext, resource: string): string {
  return `arn:aws:ec2:${context.region}:${context.accountId}:${resource}`;
}

/** The answer, or undefined if the service says that the thing does not exist. */
export async function unlessGone<Result>(answer: Promise<Result>): Promise<Result | undefined> {
  try {
    return await answer;
  } catch (error) {
    if (isGone(error)) {
      return undefined;
    }
    throw error;
  }
}

export function isGone(error: unknown): boolean {
  return /NotFound|NoSuch/.test(errorName(error));
}

export function errorName(error: unknown): string {
  return error instanceof Error ? error.name : "";
}

export interface Wait {
  /** What is waited for, for the error. */
  what: string;
  seconds: number;
}

/**
 * Asks until there is an answer.
 *
 * @throws Error when the time is over
 */
export async function eventually<Result>(
  { what, seconds }: Wait,
  ask: () => Promise<Result | undefined>,
): Promise<Result> {
  const end = Date.now() + seconds * 1000;
  for (let pause = 100; ; pause = Math.min(pause * 1.5, 2000)) {
    const answer = await ask();
    if (answer !== undefined) {
      return answer;
    }
    if (Date.now() >= end) {
      throw new Error(`${what} took longer than ${seconds} s`);
    }
    await sleep(pause);
  }
}

/** Does something again while the service says that something else is not that far yet. */
export async function retrying<Result>(
  names: RegExp,
  seconds: number,
  act: () => Promise<Result>,
): Promise<Result> {
  const end = Date.now() + seconds * 1000;
  for (let pause = 100; ; pause = Math.min(pause * 1.5, 2000)) {
    try {
      return await act();
    } catch (error) {
      if (Date.now() >= end || !names.test(`${errorName(error)}: ${(error as Error).message}`)) {
        throw error;
      }
      await sleep(pause);
    }
  }
}

/** Tags of something that EC2 is asked to create. */
export function tagSpecifications(
  type: ResourceType,
  tags: Record<string, string>,
): TagSpecification[] {
  return Object.keys(tags).length === 0 ? [] : [{ ResourceType: type, Tags: tagList(tags) }];
}

export function tagList(tags: Record<string, string>): { Key: string; Value: string }[] {
  return Object.entries(tags).map(([Key, Value]) => ({ Key, Value }));
}

export function tagMap(tags: Tag[] | undefined): Record<string, string> {
  return Object.fromEntries((tags ?? []).map(({ Key, Value }) => [Key ?? "", Value ?? ""]));
}

/** Brings the tags of something of EC2 up to date. */
export async function updateEc2Tags(
  { ec2 }: AwsContext,
  id: string,
  tags: Record<string, string>,
  obsolete: string[],
): Promise<void> {
  if (obsolete.length > 0) {
    await ec2.send(
      new DeleteTagsCommand({ Resources: [id], Tags: obsolete.map((Key) => ({ Key })) }),
    );
  }
  if (Object.keys(tags).length > 0) {
    await ec2.send(new CreateTagsCommand({ Resources: [id], Tags: tagList(tags) }));
  }
}
