import * as iam from "@aws-sdk/client-iam";
import type * as aws from "@pulumi/aws";
import { inPlace, replaces, resource } from "../definition";
import { type AwsContext, retrying, tagList, tagMap, unlessGone } from "./context";

const role = resource<AwsContext, aws.iam.RoleArgs, aws.iam.RoleState>({
  type: "aws:iam/role:Role",
  tagged: true,
  properties: {
    name: { replaces: true, named: { maxLength: 64 } },
    path: { replaces: true, default: "/" },
    assumeRolePolicy: { compare: "json" },
    description: inPlace,
    maxSessionDuration: { default: 3600 },
    permissionsBoundary: inPlace,
    forceDetachPolicies: { default: false },
  },
  outputs: ["arn", "createDate", "uniqueId"],
  async create({ iam: client }, inputs, tags) {
    const { Role } = await client.send(
      new iam.CreateRoleCommand({
        RoleName: inputs.name,
        Path: inputs.path,
        AssumeRolePolicyDocument: inputs.assumeRolePolicy as string,
        Description: inputs.description,
        MaxSessionDuration: inputs.maxSessionDuration,
        PermissionsBoundary: inputs.permissionsBoundary,
        Tags: tagList(tags),
      }),
    );
    return Role?.RoleName ?? "";
  },
  async read({ iam: client }, id) {
    const found = await unlessGone(client.send(new iam.GetRoleCommand({ RoleName: id })));
    const it = found?.Role;
    return (
      it && {
        name: it.RoleName,
        path: it.Path,
        assumeRolePolicy: decodeURIComponent(it.AssumeRolePolicyDocument ?? ""),
        description: it.Description === "" ? undefined : it.Description,
        maxSessionDuration: it.MaxSessionDuration,
        permissionsBoundary: it.PermissionsBoundary?.PermissionsBoundaryArn,
        arn: it.Arn,
        createDate: it.CreateDate?.toISOString(),
        uniqueId: it.RoleId,
        tags: tagMap(it.Tags),
      }
    );
  },
  async update({ iam: client }, { id, now, changed, tags, obsoleteTags }) {
    const RoleName = id;
    if (changed("assumeRolePolicy")) {
      await client.send(
        new iam.UpdateAssumeRolePolicyCommand({
          RoleName,
          PolicyDocument: now.assumeRolePolicy as string,
        }),
      );
    }
    if (changed("description", "maxSessionDuration")) {
      await client.send(
        new iam.UpdateRoleCommand({
          RoleName,
          Description: now.description ?? "",
          MaxSessionDuration: now.maxSessionDuration,
        }),
      );
    }
    if (changed("permissionsBoundary")) {
      await (now.permissionsBoundary === undefined
        ? client.send(new iam.DeleteRolePermissionsBoundaryCommand({ RoleName }))
        : client.send(
            new iam.PutRolePermissionsBoundaryCommand({
              RoleName,
              PermissionsBoundary: now.permissionsBoundary,
            }),
          ));
    }
    if (obsoleteTags.length > 0) {
      await client.send(new iam.UntagRoleCommand({ RoleName, TagKeys: obsoleteTags }));
    }
    if (Object.keys(tags).length > 0) {
      await client.send(new iam.TagRoleCommand({ RoleName, Tags: tagList(tags) }));
    }
  },
  async delete({ iam: client }, id, state) {
    if (state.forceDetachPolicies === true) {
      await detachPolicies(client, id);
    }
    await retrying(/DeleteConflict/, 60, () =>
      unlessGone(client.send(new iam.DeleteRoleCommand({ RoleName: id }))),
    );
  },
});

async function detachPolicies(client: iam.IAMClient, RoleName: string): Promise<void> {
  const attached = await unlessGone(
    client.send(new iam.ListAttachedRolePoliciesCommand({ RoleName })),
  );
  for (const { PolicyArn } of attached?.AttachedPolicies ?? []) {
    await unlessGone(client.send(new iam.DetachRolePolicyCommand({ RoleName, PolicyArn })));
  }
  const inline = await unlessGone(client.send(new iam.ListRolePoliciesCommand({ RoleName })));
  for (const PolicyName of inline?.PolicyNames ?? []) {
    await unlessGone(client.send(new iam.DeleteRolePolicyCommand({ RoleName, PolicyName })));
  }
}

/** A policy's id names its role too: ROLE:POLICY. */
function policyKey(id: string): { RoleName: string; PolicyName: string } {
  const [RoleName = "", PolicyName = ""] = id.split(":");
  return { RoleName, PolicyName };
}

const rolePolicy = resource<AwsContext, aws.iam.RolePolicyArgs, aws.iam.RolePolicyState>({
  type: "aws:iam/rolePolicy:RolePolicy",
  properties: {
    name: { replaces: true, named: { maxLength: 128 } },
    role: replaces,
    policy: { compare: "json" },
  },
  outputs: [],
  async create({ iam: client }, inputs) {
    await client.send(
      new iam.PutRolePolicyCommand({
        RoleName: inputs.role as string,
        PolicyName: inputs.name,
        PolicyDocument: inputs.policy as string,
      }),
    );
    return `${inputs.role as string}:${inputs.name}`;
  },
  async read({ iam: client }, id) {
    const it = await unlessGone(client.send(new iam.GetRolePolicyCommand(policyKey(id))));
    return (
      it && {
        role: it.RoleName,
        name: it.PolicyName,
        policy: decodeURIComponent(it.PolicyDocument ?? ""),
      }
    );
  },
  async update({ iam: client }, { id, now }) {
    await client.send(
      new iam.PutRolePolicyCommand({ ...policyKey(id), PolicyDocument: now.policy as string }),
    );
  },
  async delete({ iam: client }, id) {
    await unlessGone(client.send(new iam.DeleteRolePolicyCommand(policyKey(id))));
  },
});

const rolePolicyAttachment = resource<
  AwsContext,
  aws.iam.RolePolicyAttachmentArgs,
  aws.iam.RolePolicyAttachmentState
>({
  type: "aws:iam/rolePolicyAttachment:RolePolicyAttachment",
  properties: { role: replaces, policyArn: replaces },
  outputs: [],
  async create({ iam: client }, inputs) {
    await client.send(
      new iam.AttachRolePolicyCommand({
        RoleName: inputs.role as string,
        PolicyArn: inputs.policyArn,
      }),
    );
    return `${inputs.role as string}/${inputs.policyArn}`;
  },
  async read({ iam: client }, id) {
    const { RoleName, PolicyArn } = attachmentKey(id);
    const found = await unlessGone(
      client.send(new iam.ListAttachedRolePoliciesCommand({ RoleName })),
    );
    const it = found?.AttachedPolicies?.find((policy) => policy.PolicyArn === PolicyArn);
    return it && { role: RoleName, policyArn: PolicyArn };
  },
  async delete({ iam: client }, id) {
    await unlessGone(client.send(new iam.DetachRolePolicyCommand(attachmentKey(id))));
  },
});

function attachmentKey(id: string): { RoleName: string; PolicyArn: string } {
  const slash = id.indexOf("/");
  return { RoleName: id.slice(0, slash), PolicyArn: id.slice(slash + 1) };
}

const instanceProfile = resource<
  AwsContext,
  aws.iam.InstanceProfileArgs,
  aws.iam.InstanceProfileState
>({
  type: "aws:iam/instanceProfile:InstanceProfile",
  tagged: true,
  properties: {
    name: { replaces: true, named: { maxLength: 128 } },
    path: { replaces: true, default: "/" },
    role: inPlace,
  },
  outputs: ["arn", "createDate", "uniqueId"],
  async create({ iam: client }, inputs, tags) {
    const { InstanceProfile } = await client.send(
      new iam.CreateInstanceProfileCommand({
        InstanceProfileName: inputs.name,
        Path: inputs.path,
        Tags: tagList(tags),
      }),
    );
    return InstanceProfile?.InstanceProfileName ?? "";
  },
  async complete({ iam: client }, id, inputs) {
    await setRole(client, id, inputs.role as string | undefined);
  },
  async read({ iam: client }, id) {
    const it = await findProfile(client, id);
    return (
      it && {
        name: it.InstanceProfileName,
        path: it.Path,
        role: it.Roles?.[0]?.RoleName,
        arn: it.Arn,
        createDate: it.CreateDate?.toISOString(),
        uniqueId: it.InstanceProfileId,
        tags: tagMap(it.Tags),
      }
    );
  },
  async update({ iam: client }, { id, now, changed, tags, obsoleteTags }) {
    if (changed("role")) {
      await setRole(client, id, now.role as string | undefined);
    }
    if (obsoleteTags.length > 0) {
      await client.send(
        new iam.UntagInstanceProfileCommand({ InstanceProfileName: id, TagKeys: obsoleteTags }),
      );
    }
    if (Object.keys(tags).length > 0) {
      await client.send(
        new iam.TagInstanceProfileCommand({ InstanceProfileName: id, Tags: tagList(tags) }),
      );
    }
  },
  async delete({ iam: client }, id) {
    if ((await findProfile(client, id)) !== undefined) {
      await setRole(client, id, undefined);
      await unlessGone(
        client.send(new iam.DeleteInstanceProfileCommand({ InstanceProfileName: id })),
      );
    }
  },
});

async function findProfile(
  client: iam.IAMClient,
  InstanceProfileName: string,
): Promise<iam.InstanceProfile | undefined> {
  const found = await unlessGone(
    client.send(new iam.GetInstanceProfileCommand({ InstanceProfileName })),
  );
  return found?.InstanceProfile;
}

/** A profile holds one role at most. */
async function setRole(
  client: iam.IAMClient,
  InstanceProfileName: string,
  role: string | undefined,
): Promise<void> {
  const current = (await findProfile(client, InstanceProfileName))?.Roles ?? [];
  for (const { RoleName } of current.filter(({ RoleName }) => RoleName !== role)) {
    await unlessGone(
      client.send(new iam.RemoveRoleFromInstanceProfileCommand({ InstanceProfileName, RoleName })),
    );
  }
  if (role !== undefined && !current.some(({ RoleName }) => RoleName === role)) {
    await client.send(
      new iam.AddRoleToInstanceProfileCommand({ InstanceProfileName, RoleName: role }),
    );
  }
}

export const iamResources = [role, rolePolicy, rolePolicyAttachment, instanceProfile];
