import * as dlm from "@aws-sdk/client-dlm";
import type * as aws from "@pulumi/aws";
import { inPlace, type Plain, resource } from "../definition";
import { isObject, type Values } from "../values";
import { type AwsContext, unlessGone } from "./context";

const lifecyclePolicy = resource<
  AwsContext,
  aws.dlm.LifecyclePolicyArgs,
  aws.dlm.LifecyclePolicyState
>({
  type: "aws:dlm/lifecyclePolicy:LifecyclePolicy",
  tagged: true,
  properties: {
    description: inPlace,
    executionRoleArn: inPlace,
    policyDetails: { replaces: (old, now) => copiesTags(old) !== copiesTags(now) },
    state: { default: "ENABLED" },
  },
  outputs: ["arn"],
  async create({ dlm: client }, inputs, tags) {
    const { PolicyId } = await client.send(
      new dlm.CreateLifecyclePolicyCommand({ ...policyInput(inputs), Tags: tags }),
    );
    return PolicyId ?? "";
  },
  async read({ dlm: client }, id) {
    const found = await unlessGone(
      client.send(new dlm.GetLifecyclePolicyCommand({ PolicyId: id })),
    );
    const it = found?.Policy;
    return (
      it && {
        description: it.Description,
        executionRoleArn: it.ExecutionRoleArn,
        policyDetails: fromService(
          it.PolicyDetails,
        ) as Plain<aws.dlm.LifecyclePolicyArgs>["policyDetails"],
        state: it.State,
        arn: it.PolicyArn,
        tags: it.Tags ?? {},
      }
    );
  },
  async update({ dlm: client }, { id, now, old, tags, obsoleteTags }) {
    await client.send(new dlm.UpdateLifecyclePolicyCommand({ ...policyInput(now), PolicyId: id }));
    const ResourceArn = old.arn;
    if (obsoleteTags.length > 0) {
      await client.send(new dlm.UntagResourceCommand({ ResourceArn, TagKeys: obsoleteTags }));
    }
    if (Object.keys(tags).length > 0) {
      await client.send(new dlm.TagResourceCommand({ ResourceArn, Tags: tags }));
    }
  },
  async delete({ dlm: client }, id) {
    await unlessGone(client.send(new dlm.DeleteLifecyclePolicyCommand({ PolicyId: id })));
  },
});

function policyInput({
  description,
  executionRoleArn,
  policyDetails,
  state,
}: Plain<aws.dlm.LifecyclePolicyArgs>): Omit<dlm.CreateLifecyclePolicyCommandInput, "Tags"> {
  return {
    Description: description,
    ExecutionRoleArn: executionRoleArn,
    PolicyDetails: toService(policyDetails) as dlm.PolicyDetails,
    State: state as dlm.SettablePolicyStateValues | undefined,
  };
}

/** Which schedules copy tags, the one thing in the details that replaces a policy. */
function copiesTags(details: unknown): string {
  const { schedules = [] } = (details ?? {}) as { schedules?: { copyTags?: boolean }[] };
  return schedules.map(({ copyTags = false }) => copyTags).join();
}

/** Maps here, lists of key and value there. */
const tagMaps = ["TargetTags", "TagsToAdd"];
/** Values here, lists of one there. */
const singles = ["Times", "ResourceLocations"];

/** Pulumi's names and shapes to those of the service, which says what it does not know. */
function toService(value: unknown): unknown {
  if (Array.isArray(value)) {
    return value.map(toService);
  }
  if (!isObject(value)) {
    return value;
  }
  return Object.fromEntries(
    Object.entries(value).map(([key, inner]) => {
      const name = key.charAt(0).toUpperCase() + key.slice(1);
      if (tagMaps.includes(name)) {
        const tags = Object.entries(inner as Values);
        return [name, tags.map(([Key, Value]) => ({ Key, Value }))];
      }
      return [name, singles.includes(name) ? [inner] : toService(inner)];
    }),
  );
}

function fromService(value: unknown): unknown {
  if (Array.isArray(value)) {
    return value.map(fromService);
  }
  if (!isObject(value)) {
    return value;
  }
  return Object.fromEntries(
    Object.entries(value).map(([name, inner]) => {
      const key = name.charAt(0).toLowerCase() + name.slice(1);
      if (tagMaps.includes(name)) {
        const tags = inner as dlm.Tag[];
        return [key, Object.fromEntries(tags.map(({ Key, Value }) => [Key, Value]))];
      }
      return [key, singles.includes(name) ? (inner as unknown[])[0] : fromService(inner)];
    }),
  );
}

export const dlmResources = [lifecyclePolicy];
