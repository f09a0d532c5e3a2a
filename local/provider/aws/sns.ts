import * as sns from "@aws-sdk/client-sns";
import type * as aws from "@pulumi/aws";
import { inPlace, type Plain, replaces, resource } from "../definition";
import { type AwsContext, tagList, tagMap, unlessGone } from "./context";

const topic = resource<AwsContext, aws.sns.TopicArgs, aws.sns.TopicState>({
  type: "aws:sns/topic:Topic",
  tagged: true,
  properties: {
    name: { replaces: true, named: { maxLength: 256 } },
    displayName: inPlace,
    policy: { compare: "json", computed: true },
    deliveryPolicy: { compare: "json" },
    kmsMasterKeyId: inPlace,
  },
  outputs: ["arn", "owner"],
  async create({ sns: client }, inputs, tags) {
    const { TopicArn } = await client.send(
      new sns.CreateTopicCommand({ Name: inputs.name, Tags: tagList(tags) }),
    );
    return TopicArn ?? "";
  },
  async complete({ sns: client }, id, inputs) {
    for (const [name, value] of Object.entries(topicAttributes(inputs))) {
      if (value !== undefined) {
        await setTopicAttribute(client, id, name, value);
      }
    }
  },
  async read({ sns: client }, id) {
    const found = await unlessGone(
      client.send(new sns.GetTopicAttributesCommand({ TopicArn: id })),
    );
    if (found === undefined) {
      return undefined;
    }
    const it = found.Attributes ?? {};
    const { Tags } = await client.send(new sns.ListTagsForResourceCommand({ ResourceArn: id }));
    return {
      name: id.split(":").at(-1),
      displayName: it.DisplayName || undefined,
      policy: it.Policy,
      deliveryPolicy: it.DeliveryPolicy || undefined,
      kmsMasterKeyId: it.KmsMasterKeyId || undefined,
      arn: it.TopicArn,
      owner: it.Owner,
      tags: tagMap(Tags),
    };
  },
  async update({ sns: client }, { id, now, old, tags, obsoleteTags }) {
    const before = topicAttributes(old);
    for (const [name, value] of Object.entries(topicAttributes(now))) {
      // A topic is never without a policy.
      const wanted = name === "Policy" ? (value ?? before[name]) : value;
      if (wanted !== before[name]) {
        await setTopicAttribute(client, id, name, wanted ?? "");
      }
    }
    if (obsoleteTags.length > 0) {
      await client.send(new sns.UntagResourceCommand({ ResourceArn: id, TagKeys: obsoleteTags }));
    }
    if (Object.keys(tags).length > 0) {
      await client.send(new sns.TagResourceCommand({ ResourceArn: id, Tags: tagList(tags) }));
    }
  },
  async delete({ sns: client }, id) {
    await unlessGone(client.send(new sns.DeleteTopicCommand({ TopicArn: id })));
  },
});

/** What SNS keeps as attributes, by its own names. */
function topicAttributes({
  displayName,
  policy,
  deliveryPolicy,
  kmsMasterKeyId,
}: Partial<Plain<aws.sns.TopicArgs>>): Record<string, string | undefined> {
  return {
    DisplayName: displayName,
    Policy: policy,
    DeliveryPolicy: deliveryPolicy,
    KmsMasterKeyId: kmsMasterKeyId,
  };
}

async function setTopicAttribute(
  client: sns.SNSClient,
  TopicArn: string,
  AttributeName: string,
  AttributeValue: string,
): Promise<void> {
  await client.send(new sns.SetTopicAttributesCommand({ TopicArn, AttributeName, AttributeValue }));
}

const topicSubscription = resource<
  AwsContext,
  aws.sns.TopicSubscriptionArgs,
  aws.sns.TopicSubscriptionState
>({
  type: "aws:sns/topicSubscription:TopicSubscription",
  properties: {
    topic: replaces,
    protocol: replaces,
    endpoint: replaces,
    endpointAutoConfirms: { default: false, noEffect: "nothing waits for a confirmation here" },
    confirmationTimeoutInMinutes: {
      default: 1,
      noEffect: "nothing waits for a confirmation here",
    },
    rawMessageDelivery: { default: false },
    filterPolicy: { compare: "json" },
    filterPolicyScope: { computed: true },
  },
  outputs: ["arn", "confirmationWasAuthenticated", "ownerId", "pendingConfirmation"],
  async create({ sns: client }, inputs) {
    const { SubscriptionArn } = await client.send(
      new sns.SubscribeCommand({
        TopicArn: inputs.topic as string,
        Protocol: inputs.protocol,
        Endpoint: inputs.endpoint,
        Attributes: subscriptionAttributes(inputs),
        // Else it has none before somebody has confirmed it.
        ReturnSubscriptionArn: true,
      }),
    );
    return SubscriptionArn ?? "";
  },
  async read({ sns: client }, id) {
    const found = await unlessGone(
      client.send(new sns.GetSubscriptionAttributesCommand({ SubscriptionArn: id })),
    );
    const it = found?.Attributes;
    return (
      it && {
        topic: it.TopicArn,
        protocol: it.Protocol,
        endpoint: it.Endpoint,
        rawMessageDelivery: it.RawMessageDelivery === "true",
        filterPolicy: it.FilterPolicy === "{}" ? undefined : it.FilterPolicy,
        filterPolicyScope: it.FilterPolicyScope,
        arn: it.SubscriptionArn,
        confirmationWasAuthenticated: it.ConfirmationWasAuthenticated === "true",
        ownerId: it.Owner,
        pendingConfirmation: it.PendingConfirmation === "true",
      }
    );
  },
  async update({ sns: client }, { id, now, old, changed }) {
    const values = {
      ...(changed("filterPolicyScope") ? { FilterPolicyScope: now.filterPolicyScope } : {}),
      ...(changed("filterPolicy") ? { FilterPolicy: now.filterPolicy ?? "{}" } : {}),
      ...(changed("rawMessageDelivery")
        ? { RawMessageDelivery: String(now.rawMessageDelivery ?? false) }
        : {}),
    };
    // A nested filter is only valid for bodies, so it comes after that is said, and goes before.
    const names = Object.keys(values) as (keyof typeof values)[];
    for (const AttributeName of old.filterPolicyScope === "MessageBody" ? names.reverse() : names) {
      await client.send(
        new sns.SetSubscriptionAttributesCommand({
          SubscriptionArn: id,
          AttributeName,
          AttributeValue: values[AttributeName],
        }),
      );
    }
  },
  async delete({ sns: client }, id) {
    try {
      await unlessGone(client.send(new sns.UnsubscribeCommand({ SubscriptionArn: id })));
    } catch (error) {
      // The real provider leaves such a one to the service too, which forgets it after some days.
      if (!(error instanceof Error) || !/pending confirmation/.test(error.message)) {
        throw error;
      }
    }
  },
});

function subscriptionAttributes({
  rawMessageDelivery,
  filterPolicy,
  filterPolicyScope,
}: Plain<aws.sns.TopicSubscriptionArgs>): Record<string, string> {
  return {
    ...(rawMessageDelivery === true ? { RawMessageDelivery: "true" } : {}),
    ...(filterPolicyScope === undefined ? {} : { FilterPolicyScope: filterPolicyScope }),
    ...(filterPolicy === undefined ? {} : { FilterPolicy: filterPolicy }),
  };
}

export const snsResources = [topic, topicSubscription];
