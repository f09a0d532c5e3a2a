import * as route53 from "@aws-sdk/client-route-53";
import type * as aws from "@pulumi/aws";
import { inPlace, type Plain, replaces, resource } from "../definition";
import { type AwsContext, eventually, tagList, tagMap, unlessGone } from "./context";

const zone = resource<AwsContext, aws.route53.ZoneArgs, aws.route53.ZoneState>({
  type: "aws:route53/zone:Zone",
  tagged: true,
  properties: {
    name: replaces,
    comment: { default: "Managed by Pulumi" },
    forceDestroy: { default: false },
    vpcs: { computed: true, compare: "unordered" },
  },
  outputs: ["arn", "nameServers", "primaryNameServer", "zoneId"],
  async create({ route53: client, region }, inputs) {
    const vpc = inputs.vpcs?.[0];
    const { HostedZone } = await client.send(
      new route53.CreateHostedZoneCommand({
        Name: inputs.name,
        CallerReference: `pulumi-${Date.now()}-${Math.random().toString(36).slice(2)}`,
        HostedZoneConfig: { Comment: inputs.comment, PrivateZone: vpc !== undefined },
        VPC: vpc && vpcOf(vpc, region),
      }),
    );
    return (HostedZone?.Id ?? "").replace("/hostedzone/", "");
  },
  async complete(context, id, inputs) {
    for (const vpc of inputs.vpcs?.slice(1) ?? []) {
      await associate(context, id, vpc);
    }
    await tagZone(context.route53, id, { ...context.tagRules.defaults, ...inputs.tags }, []);
  },
  async read({ route53: client }, id) {
    const found = await unlessGone(client.send(new route53.GetHostedZoneCommand({ Id: id })));
    const it = found?.HostedZone;
    if (it === undefined) {
      return undefined;
    }
    const { ResourceTagSet } = await client.send(
      new route53.ListTagsForResourceCommand({ ResourceType: "hostedzone", ResourceId: id }),
    );
    const nameServers = found?.DelegationSet?.NameServers ?? (await nameServersOf(client, id));
    return {
      name: it.Name?.replace(/\.$/, ""),
      comment: it.Config?.Comment,
      vpcs: (found?.VPCs ?? []).map(({ VPCId, VPCRegion }) => ({
        vpcId: VPCId ?? "",
        vpcRegion: VPCRegion,
      })),
      arn: `arn:aws:route53:::hostedzone/${id}`,
      nameServers,
      primaryNameServer: nameServers[0] ?? "",
      zoneId: id,
      tags: tagMap(ResourceTagSet?.Tags),
    };
  },
  async update(context, { id, now, old, changed, tags, obsoleteTags }) {
    if (changed("comment")) {
      await context.route53.send(
        new route53.UpdateHostedZoneCommentCommand({ Id: id, Comment: now.comment }),
      );
    }
    if (changed("vpcs")) {
      await updateVpcs(context, id, old.vpcs ?? [], now.vpcs ?? []);
    }
    await tagZone(context.route53, id, tags, obsoleteTags);
  },
  async delete({ route53: client }, id, state) {
    if (state.forceDestroy === true) {
      await emptyZone(client, id);
    }
    await unlessGone(client.send(new route53.DeleteHostedZoneCommand({ Id: id })));
  },
});

interface ZoneVpc {
  vpcId: string;
  vpcRegion?: string;
}

function vpcOf(vpc: ZoneVpc, region: string): route53.VPC {
  return { VPCId: vpc.vpcId, VPCRegion: (vpc.vpcRegion ?? region) as route53.VPCRegion };
}

async function associate(context: AwsContext, id: string, vpc: ZoneVpc): Promise<void> {
  await context.route53.send(
    new route53.AssociateVPCWithHostedZoneCommand({
      HostedZoneId: id,
      VPC: vpcOf(vpc, context.region),
    }),
  );
}

/** New ones first: a private zone has at least one. */
async function updateVpcs(
  context: AwsContext,
  id: string,
  old: ZoneVpc[],
  now: ZoneVpc[],
): Promise<void> {
  for (const vpc of now.filter(({ vpcId }) => !old.some((before) => before.vpcId === vpcId))) {
    await associate(context, id, vpc);
  }
  for (const vpc of old.filter(({ vpcId }) => !now.some((after) => after.vpcId === vpcId))) {
    await context.route53.send(
      new route53.DisassociateVPCFromHostedZoneCommand({
        HostedZoneId: id,
        VPC: vpcOf(vpc, context.region),
      }),
    );
  }
}

export async function nameServersOf(client: route53.Route53Client, id: string): Promise<string[]> {
  const { ResourceRecordSets } = await client.send(
    new route53.ListResourceRecordSetsCommand({ HostedZoneId: id }),
  );
  const servers = ResourceRecordSets?.find(({ Type }) => Type === "NS")?.ResourceRecords;
  return (servers ?? []).map(({ Value }) => (Value ?? "").replace(/\.$/, ""));
}

async function tagZone(
  client: route53.Route53Client,
  id: string,
  tags: Record<string, string>,
  obsolete: string[],
): Promise<void> {
  if (Object.keys(tags).length > 0 || obsolete.length > 0) {
    await client.send(
      new route53.ChangeTagsForResourceCommand({
        ResourceType: "hostedzone",
        ResourceId: id,
        ...(Object.keys(tags).length > 0 ? { AddTags: tagList(tags) } : {}),
        ...(obsolete.length > 0 ? { RemoveTagKeys: obsolete } : {}),
      }),
    );
  }
}

/** All records but those that Route 53 keeps itself. */
async function emptyZone(client: route53.Route53Client, id: string): Promise<void> {
  const found = await unlessGone(
    client.send(new route53.ListResourceRecordSetsCommand({ HostedZoneId: id })),
  );
  const Changes = (found?.ResourceRecordSets ?? [])
    .filter(({ Type }) => Type !== "NS" && Type !== "SOA")
    .map((ResourceRecordSet) => ({ Action: "DELETE" as const, ResourceRecordSet }));
  if (Changes.length > 0) {
    await client.send(
      new route53.ChangeResourceRecordSetsCommand({ HostedZoneId: id, ChangeBatch: { Changes } }),
    );
  }
}

type RecordInputs = Partial<Plain<aws.route53.RecordArgs>>;

const record = resource<AwsContext, aws.route53.RecordArgs, aws.route53.RecordState>({
  type: "aws:route53/record:Record",
  properties: {
    zoneId: replaces,
    name: {
      // Route 53 knows no case and no end dot.
      replaces: (old, now) => plainName(old) !== plainName(now),
    },
    type: inPlace,
    ttl: inPlace,
    records: { compare: "unordered" },
    allowOverwrite: inPlace,
  },
  outputs: ["fqdn"],
  async create(context, inputs) {
    const id = `${inputs.zoneId}_${inputs.name.toLowerCase()}_${inputs.type}`;
    // What CREATE is for; but moto 5 refuses to create anew a record that was deleted.
    const exists = (await findRecord(context, recordKey(id, inputs))) !== undefined;
    if (exists && inputs.allowOverwrite !== true) {
      throw new Error(`the record ${inputs.name} of type ${inputs.type} already exists`);
    }
    await change(context, inputs.zoneId, [["UPSERT", inputs]]);
    return id;
  },
  async read(context, id, state) {
    const key = recordKey(id, state);
    const it = await findRecord(context, key);
    return (
      it && {
        zoneId: key.zoneId,
        name: state.name ?? plainName(it.Name),
        type: it.Type,
        ttl: it.TTL,
        records: (it.ResourceRecords ?? []).map(({ Value }) => Value ?? ""),
        fqdn: plainName(it.Name),
      }
    );
  },
  async update(context, { now, old, changed }) {
    // Another type is another record set: one change takes the old away and makes the new.
    const before: [route53.ChangeAction, RecordInputs][] = changed("type") ? [["DELETE", old]] : [];
    await change(context, now.zoneId, [...before, ["UPSERT", now]]);
  },
  async delete(context, id, state) {
    const key = recordKey(id, state);
    const it = await findRecord(context, key);
    if (it !== undefined) {
      await submit(context, key.zoneId, [{ Action: "DELETE", ResourceRecordSet: it }]);
    }
  },
});

/** As people write it: Route 53 knows no case, ends names with a dot, and gives `*` as an octal code. */
export function plainName(name: unknown): string {
  return String(name)
    .toLowerCase()
    .replace(/\.$/, "")
    .replace(/^\\052(?=\.)/, "*");
}

/** Imported as ZONE_NAME_TYPE. */
function recordKey(
  id: string,
  state: RecordInputs,
): { zoneId: string; name: string; type: string } {
  const parts = id.split("_");
  return {
    zoneId: state.zoneId ?? parts[0] ?? "",
    name: state.name ?? parts.slice(1, -1).join("_"),
    type: state.type ?? parts.at(-1) ?? "",
  };
}

async function findRecord(
  { route53: client }: AwsContext,
  { zoneId, name, type }: { zoneId: string; name: string; type: string },
): Promise<route53.ResourceRecordSet | undefined> {
  const found = await unlessGone(
    client.send(
      new route53.ListResourceRecordSetsCommand({
        HostedZoneId: zoneId,
        StartRecordName: name,
        StartRecordType: type as route53.RRType,
      }),
    ),
  );
  return found?.ResourceRecordSets?.find(
    ({ Name, Type }) => plainName(Name) === plainName(name) && Type === type,
  );
}

async function change(
  context: AwsContext,
  zoneId: string,
  changes: [route53.ChangeAction, RecordInputs][],
): Promise<void> {
  await submit(
    context,
    zoneId,
    changes.map(([Action, inputs]) => ({
      Action,
      ResourceRecordSet: {
        Name: inputs.name,
        Type: inputs.type as route53.RRType,
        TTL: inputs.ttl,
        ResourceRecords: (inputs.records ?? []).map((Value) => ({ Value })),
      },
    })),
  );
}

/** Instances are deleted right after records have moved, so a change counts once it is in sync. */
async function submit(
  { route53: client }: AwsContext,
  zoneId: string,
  Changes: route53.Change[],
): Promise<void> {
  const { ChangeInfo } = await client.send(
    new route53.ChangeResourceRecordSetsCommand({ HostedZoneId: zoneId, ChangeBatch: { Changes } }),
  );
  const Id = ChangeInfo?.Id;
  if (Id === undefined) {
    return;
  }
  await eventually({ what: `syncing the records of ${zoneId}`, seconds: 300 }, async () => {
    const { ChangeInfo: now } = await client.send(new route53.GetChangeCommand({ Id }));
    return now?.Status === "INSYNC" ? true : undefined;
  });
}

export const route53Resources = [zone, record];
