import * as logs from "@aws-sdk/client-cloudwatch-logs";
import type * as aws from "@pulumi/aws";
import { inPlace, resource } from "../definition";
import { type AwsContext, unlessGone } from "./context";

const logGroup = resource<AwsContext, aws.cloudwatch.LogGroupArgs, aws.cloudwatch.LogGroupState>({
  type: "aws:cloudwatch/logGroup:LogGroup",
  tagged: true,
  properties: {
    name: { replaces: true, named: {} },
    logGroupClass: { replaces: true, computed: true },
    retentionInDays: { default: 0 },
    kmsKeyId: inPlace,
    skipDestroy: { default: false },
  },
  outputs: ["arn"],
  async create({ logs: client }, inputs, tags) {
    await client.send(
      new logs.CreateLogGroupCommand({
        logGroupName: inputs.name,
        logGroupClass: inputs.logGroupClass as logs.LogGroupClass | undefined,
        kmsKeyId: inputs.kmsKeyId,
        tags,
      }),
    );
    return inputs.name ?? "";
  },
  async complete({ logs: client }, id, { retentionInDays = 0 }) {
    if (retentionInDays > 0) {
      await keepFor(client, id, retentionInDays);
    }
  },
  async read({ logs: client }, id) {
    const it = await findGroup(client, id);
    if (it === undefined) {
      return undefined;
    }
    const { tags } = await client.send(
      new logs.ListTagsForResourceCommand({ resourceArn: arnOf(it) }),
    );
    return {
      name: it.logGroupName,
      ...(it.logGroupClass === undefined ? {} : { logGroupClass: it.logGroupClass }),
      retentionInDays: it.retentionInDays ?? 0,
      kmsKeyId: it.kmsKeyId,
      arn: arnOf(it),
      tags: tags ?? {},
    };
  },
  async update({ logs: client }, { id, now, old, changed, tags, obsoleteTags }) {
    if (changed("retentionInDays")) {
      await keepFor(client, id, now.retentionInDays ?? 0);
    }
    if (changed("kmsKeyId")) {
      const { kmsKeyId } = now;
      await (kmsKeyId === undefined
        ? client.send(new logs.DisassociateKmsKeyCommand({ logGroupName: id }))
        : client.send(new logs.AssociateKmsKeyCommand({ logGroupName: id, kmsKeyId })));
    }
    const resourceArn = old.arn;
    if (obsoleteTags.length > 0) {
      await client.send(new logs.UntagResourceCommand({ resourceArn, tagKeys: obsoleteTags }));
    }
    if (Object.keys(tags).length > 0) {
      await client.send(new logs.TagResourceCommand({ resourceArn, tags }));
    }
  },
  async delete({ logs: client }, id, state) {
    if (state.skipDestroy !== true) {
      await unlessGone(client.send(new logs.DeleteLogGroupCommand({ logGroupName: id })));
    }
  },
});

/** The service only looks for beginnings of names. */
async function findGroup(
  client: logs.CloudWatchLogsClient,
  name: string,
): Promise<logs.LogGroup | undefined> {
  const pages = logs.paginateDescribeLogGroups({ client }, { logGroupNamePrefix: name });
  for await (const { logGroups } of pages) {
    const found = logGroups?.find(({ logGroupName }) => logGroupName === name);
    if (found !== undefined) {
      return found;
    }
  }
  return undefined;
}

/** Its streams' ARN is the one that ends in `:*`. */
function arnOf({ arn = "" }: logs.LogGroup): string {
  return arn.replace(/:\*$/, "");
}

/** @param days 0: for ever */
async function keepFor(
  client: logs.CloudWatchLogsClient,
  logGroupName: string,
  days: number,
): Promise<void> {
  await (days === 0
    ? client.send(new logs.DeleteRetentionPolicyCommand({ logGroupName }))
    : client.send(new logs.PutRetentionPolicyCommand({ logGroupName, retentionInDays: days })));
}

export const logsResources = [logGroup];
