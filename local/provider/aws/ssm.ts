import * as ssm from "@aws-sdk/client-ssm";
import type * as aws from "@pulumi/aws";
import { inPlace, type Plain, resource } from "../definition";
import { type AwsContext, tagList, tagMap, unlessGone } from "./context";

const parameter = resource<AwsContext, aws.ssm.ParameterArgs, aws.ssm.ParameterState>({
  type: "aws:ssm/parameter:Parameter",
  tagged: true,
  properties: {
    name: { replaces: true, named: {} },
    type: inPlace,
    value: inPlace,
    insecureValue: inPlace,
    description: inPlace,
    // Intelligent-Tiering is an order, Standard or Advanced what comes of it.
    tier: { computed: true },
    keyId: { computed: true },
    allowedPattern: inPlace,
    dataType: { computed: true, replaces: true },
    overwrite: inPlace,
    arn: { computed: true, noEffect: "it is an output; the package lists it for old programs" },
  },
  outputs: ["version", "hasValueWo"],
  secrets: ["value"],
  unknownAfter: {
    value: ["version"],
    insecureValue: ["version"],
    type: ["version"],
    description: ["version"],
    tier: ["version"],
    keyId: ["version"],
    allowedPattern: ["version"],
  },
  async create({ ssm: client }, inputs, tags) {
    await client.send(
      new ssm.PutParameterCommand({
        ...parameterInput(inputs),
        // One that exists is taken over only when the program says so.
        Overwrite: inputs.overwrite ?? false,
        // Tags and Overwrite exclude each other.
        ...(inputs.overwrite === true ? {} : { Tags: tagList(tags) }),
      }),
    );
    if (inputs.overwrite === true) {
      await tagParameter(client, inputs.name ?? "", tags, []);
    }
    return inputs.name ?? "";
  },
  async read({ ssm: client }, id, state) {
    const found = await unlessGone(
      client.send(new ssm.GetParameterCommand({ Name: id, WithDecryption: true })),
    );
    const it = found?.Parameter;
    if (it === undefined) {
      return undefined;
    }
    const [{ Parameters }, { TagList }] = await Promise.all([
      client.send(
        new ssm.DescribeParametersCommand({
          ParameterFilters: [{ Key: "Name", Option: "Equals", Values: [id] }],
        }),
      ),
      client.send(
        new ssm.ListTagsForResourceCommand({ ResourceType: "Parameter", ResourceId: id }),
      ),
    ]);
    const facts = Parameters?.[0];
    const open = it.Type !== "SecureString" && state.insecureValue !== undefined;
    return {
      name: it.Name,
      type: it.Type,
      ...(open ? { insecureValue: it.Value } : { value: it.Value }),
      description: facts?.Description === "" ? undefined : facts?.Description,
      ...(state.tier === "Intelligent-Tiering" ? {} : { tier: facts?.Tier ?? "Standard" }),
      ...(it.Type === "SecureString" ? { keyId: facts?.KeyId } : { keyId: undefined }),
      allowedPattern: facts?.AllowedPattern === "" ? undefined : facts?.AllowedPattern,
      dataType: it.DataType,
      arn: it.ARN,
      version: it.Version,
      hasValueWo: false,
      tags: tagMap(TagList),
    };
  },
  async update({ ssm: client }, { id, now, changed, tags, obsoleteTags }) {
    if (
      changed("type", "value", "insecureValue", "description", "tier", "keyId", "allowedPattern")
    ) {
      await client.send(
        new ssm.PutParameterCommand({ ...parameterInput(now), Name: id, Overwrite: true }),
      );
    }
    await tagParameter(client, id, tags, obsoleteTags);
  },
  async delete({ ssm: client }, id) {
    await unlessGone(client.send(new ssm.DeleteParameterCommand({ Name: id })));
  },
});

function parameterInput(inputs: Plain<aws.ssm.ParameterArgs>): ssm.PutParameterCommandInput {
  return {
    Name: inputs.name,
    Type: inputs.type as ssm.ParameterType,
    Value: inputs.value ?? inputs.insecureValue,
    Description: inputs.description,
    Tier: inputs.tier as ssm.ParameterTier | undefined,
    KeyId: inputs.keyId,
    AllowedPattern: inputs.allowedPattern,
    DataType: inputs.dataType,
  };
}

async function tagParameter(
  client: ssm.SSMClient,
  id: string,
  tags: Record<string, string>,
  obsolete: string[],
): Promise<void> {
  const of = { ResourceType: "Parameter", ResourceId: id } as const;
  if (obsolete.length > 0) {
    await client.send(new ssm.RemoveTagsFromResourceCommand({ ...of, TagKeys: obsolete }));
  }
  if (Object.keys(tags).length > 0) {
    await client.send(new ssm.AddTagsToResourceCommand({ ...of, Tags: tagList(tags) }));
  }
}

export const ssmResources = [parameter];
