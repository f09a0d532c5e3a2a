import { createHash } from "node:crypto";
import * as ec2 from "@aws-sdk/client-ec2";
import type * as aws from "@pulumi/aws";
import { inPlace, type Plain, replaces, resource } from "../definition";
import type { Values } from "../values";
import {
  type AwsContext,
  ec2Arn,
  errorName,
  eventually,
  retrying,
  tagMap,
  tagSpecifications,
  unlessGone,
  updateEc2Tags,
} from "./context";

type InstanceInputs = Plain<aws.ec2.InstanceArgs>;

/** The machine behind an instance takes a while to shut down. */
const stopSeconds = 300;

const instance = resource<AwsContext, aws.ec2.InstanceArgs, aws.ec2.InstanceState>({
  type: "aws:ec2/instance:Instance",
  tagged: true,
  properties: {
    ami: replaces,
    instanceType: inPlace,
    cpuOptions: { replaces: true, computed: true },
    subnetId: { replaces: true, computed: true },
    availabilityZone: { replaces: true, computed: true },
    privateIp: { replaces: true, computed: true },
    associatePublicIpAddress: { replaces: true, computed: true },
    keyName: { replaces: true, computed: true },
    tenancy: { replaces: true, computed: true },
    ebsOptimized: { replaces: true, default: false },
    vpcSecurityGroupIds: { computed: true, compare: "unordered" },
    iamInstanceProfile: { computed: true },
    userData: {
      // A script runs at first boot only, so without this a change is no more than a restart.
      replaces: (_old, _now, inputs) => inputs["userDataReplaceOnChange"] === true,
    },
    userDataReplaceOnChange: { default: false },
    sourceDestCheck: { default: true },
    monitoring: { computed: true },
    disableApiTermination: { computed: true },
    disableApiStop: { computed: true },
    instanceInitiatedShutdownBehavior: { computed: true },
    creditSpecification: inPlace,
    maintenanceOptions: { computed: true },
    metadataOptions: { computed: true },
    rootBlockDevice: {
      computed: true,
      replaces: (old, now) => differs(old, now, ["encrypted", "kmsKeyId"]),
    },
  },
  outputs: [
    "arn",
    "instanceState",
    "outpostArn",
    "primaryNetworkInterfaceId",
    "privateDns",
    "publicDns",
    "publicIp",
  ],
  unknownAfter: {
    instanceType: ["publicIp", "publicDns"],
    userData: ["publicIp", "publicDns"],
  },
  async create(context, inputs, tags) {
    // A profile that was made a moment ago is not known to EC2 yet.
    const { Instances } = await retrying(
      /InvalidParameterValue.*iamInstanceProfile|NoSuchEntity/i,
      120,
      () => context.ec2.send(new ec2.RunInstancesCommand(runInput(inputs, tags))),
    );
    return Instances?.[0]?.InstanceId ?? "";
  },
  async complete(context, id, inputs) {
    const it = await waitForState(context, id, "running", stopSeconds);
    await completeSettings(context, id, inputs);
    await tagRootVolume(context, it, inputs.rootBlockDevice?.tags);
  },
  async read(context, id) {
    const it = await findInstance(context, id);
    return it && (await instanceState(context, it));
  },
  async update(context, { id, now, old, changed, tags, obsoleteTags }) {
    if (changed("instanceType", "userData")) {
      await whileStopped(context, id, async () => {
        if (changed("instanceType")) {
          await modify(context, { InstanceId: id, InstanceType: { Value: now.instanceType } });
        }
        if (changed("userData")) {
          await modify(context, {
            InstanceId: id,
            // EC2 takes the text itself here, and moto takes it in Base64.
            UserData: { Value: Buffer.from(Buffer.from(now.userData ?? "").toString("base64")) },
          });
        }
      });
    }
    if (changed("vpcSecurityGroupIds")) {
      await modify(context, { InstanceId: id, Groups: now.vpcSecurityGroupIds });
    }
    if (changed("iamInstanceProfile")) {
      await replaceProfile(context, id, now.iamInstanceProfile as string | undefined);
    }
    if (changed("sourceDestCheck")) {
      await modify(context, { InstanceId: id, SourceDestCheck: { Value: now.sourceDestCheck } });
    }
    if (changed("disableApiTermination")) {
      await modify(context, {
        InstanceId: id,
        DisableApiTermination: { Value: now.disableApiTermination ?? false },
      });
    }
    if (changed("disableApiStop")) {
      await modify(context, {
        InstanceId: id,
        DisableApiStop: { Value: now.disableApiStop ?? false },
      });
    }
    if (changed("instanceInitiatedShutdownBehavior")) {
      await modify(context, {
        InstanceId: id,
        Attribute: "instanceInitiatedShutdownBehavior",
        Value: now.instanceInitiatedShutdownBehavior,
      });
    }
    if (changed("monitoring")) {
      const ids = { InstanceIds: [id] };
      await (now.monitoring === true
        ? context.ec2.send(new ec2.MonitorInstancesCommand(ids))
        : context.ec2.send(new ec2.UnmonitorInstancesCommand(ids)));
    }
    if (changed("creditSpecification")) {
      await context.ec2.send(
        new ec2.ModifyInstanceCreditSpecificationCommand({
          InstanceCreditSpecifications: [
            { InstanceId: id, CpuCredits: now.creditSpecification?.cpuCredits ?? "standard" },
          ],
        }),
      );
    }
    if (changed("maintenanceOptions")) {
      await context.ec2.send(
        new ec2.ModifyInstanceMaintenanceOptionsCommand({
          InstanceId: id,
          AutoRecovery: now.maintenanceOptions?.autoRecovery as ec2.InstanceAutoRecoveryState,
        }),
      );
    }
    if (changed("metadataOptions")) {
      await context.ec2.send(
        new ec2.ModifyInstanceMetadataOptionsCommand({
          InstanceId: id,
          ...metadataOptions(now.metadataOptions),
        }),
      );
    }
    if (changed("rootBlockDevice")) {
      await updateRootVolume(context, id, old.rootBlockDevice, now.rootBlockDevice);
    }
    await updateEc2Tags(context, id, tags, obsoleteTags);
  },
  async delete(context, id) {
    await unlessGone(context.ec2.send(new ec2.TerminateInstancesCommand({ InstanceIds: [id] })));
    await eventually({ what: `terminating ${id}`, seconds: stopSeconds }, async () =>
      (await findInstance(context, id)) === undefined ? true : undefined,
    );
  },
});

function runInput(
  inputs: InstanceInputs,
  tags: Record<string, string>,
): ec2.RunInstancesCommandInput {
  const root = inputs.rootBlockDevice;
  const network = {
    SubnetId: inputs.subnetId,
    PrivateIpAddress: inputs.privateIp,
  };
  return {
    MinCount: 1,
    MaxCount: 1,
    ImageId: inputs.ami,
    InstanceType: inputs.instanceType as ec2._InstanceType,
    CpuOptions: inputs.cpuOptions && {
      CoreCount: inputs.cpuOptions.coreCount,
      ThreadsPerCore: inputs.cpuOptions.threadsPerCore,
    },
    Placement: {
      AvailabilityZone: inputs.availabilityZone,
      Tenancy: inputs.tenancy as ec2.Tenancy | undefined,
    },
    KeyName: inputs.keyName,
    EbsOptimized: inputs.ebsOptimized,
    // Whether it gets a public address can only be said of an interface.
    ...(inputs.associatePublicIpAddress === undefined
      ? { ...network, SecurityGroupIds: inputs.vpcSecurityGroupIds }
      : {
          NetworkInterfaces: [
            {
              ...network,
              DeviceIndex: 0,
              AssociatePublicIpAddress: inputs.associatePublicIpAddress,
              Groups: inputs.vpcSecurityGroupIds,
            },
          ],
        }),
    IamInstanceProfile:
      inputs.iamInstanceProfile === undefined
        ? undefined
        : { Name: inputs.iamInstanceProfile as string },
    UserData:
      inputs.userData === undefined ? undefined : Buffer.from(inputs.userData).toString("base64"),
    Monitoring: inputs.monitoring === undefined ? undefined : { Enabled: inputs.monitoring },
    DisableApiTermination: inputs.disableApiTermination,
    DisableApiStop: inputs.disableApiStop,
    InstanceInitiatedShutdownBehavior: inputs.instanceInitiatedShutdownBehavior as
      ec2.ShutdownBehavior | undefined,
    CreditSpecification: inputs.creditSpecification && {
      CpuCredits: inputs.creditSpecification.cpuCredits,
    },
    MaintenanceOptions: inputs.maintenanceOptions && {
      AutoRecovery: inputs.maintenanceOptions.autoRecovery as ec2.InstanceAutoRecoveryState,
    },
    MetadataOptions: inputs.metadataOptions && metadataOptions(inputs.metadataOptions),
    BlockDeviceMappings: root && [
      {
        DeviceName: rootDevice,
        Ebs: {
          DeleteOnTermination: root.deleteOnTermination ?? true,
          Encrypted: root.encrypted,
          Iops: root.iops,
          KmsKeyId: root.kmsKeyId,
          Throughput: root.throughput,
          VolumeSize: root.volumeSize,
          VolumeType: root.volumeType as ec2.VolumeType | undefined,
        },
      },
    ],
    TagSpecifications: tagSpecifications("instance", tags),
  };
}

/** Debian's images have their root here: https://wiki.debian.org/Cloud/AmazonEC2Image/Bookworm */
const rootDevice = "/dev/xvda";

function metadataOptions(
  options: InstanceInputs["metadataOptions"],
): ec2.InstanceMetadataOptionsRequest {
  return {
    HttpEndpoint: options?.httpEndpoint as ec2.InstanceMetadataEndpointState | undefined,
    HttpProtocolIpv6: options?.httpProtocolIpv6 as ec2.InstanceMetadataProtocolState | undefined,
    HttpPutResponseHopLimit: options?.httpPutResponseHopLimit,
    HttpTokens: options?.httpTokens as ec2.HttpTokensState | undefined,
    InstanceMetadataTags: options?.instanceMetadataTags as
      ec2.InstanceMetadataTagsState | undefined,
  };
}

/** What can be set only once the instance is there. */
async function completeSettings(
  context: AwsContext,
  id: string,
  inputs: InstanceInputs,
): Promise<void> {
  if (inputs.sourceDestCheck === false) {
    await modify(context, { InstanceId: id, SourceDestCheck: { Value: false } });
  }
  if (inputs.disableApiTermination === true) {
    // moto overlooks this in RunInstances.
    await modify(context, { InstanceId: id, DisableApiTermination: { Value: true } });
  }
}

async function modify(
  { ec2: client }: AwsContext,
  input: ec2.ModifyInstanceAttributeCommandInput,
): Promise<void> {
  await client.send(new ec2.ModifyInstanceAttributeCommand(input));
}

/** An instance that is not terminated. */
export async function findInstance(
  { ec2: client }: AwsContext,
  id: string,
): Promise<ec2.Instance | undefined> {
  const found = await unlessGone(
    client.send(new ec2.DescribeInstancesCommand({ InstanceIds: [id] })),
  );
  const it = found?.Reservations?.[0]?.Instances?.[0];
  return it?.State?.Name === "terminated" ? undefined : it;
}

async function waitForState(
  context: AwsContext,
  id: string,
  state: "running" | "stopped",
  seconds: number,
): Promise<ec2.Instance> {
  return eventually({ what: `${id} becoming ${state}`, seconds }, async () => {
    const it = await findInstance(context, id);
    if (it === undefined) {
      throw new Error(`${id} was terminated while it was waited for`);
    }
    return it.State?.Name === state ? it : undefined;
  });
}

async function stop(context: AwsContext, id: string): Promise<void> {
  await context.ec2.send(new ec2.StopInstancesCommand({ InstanceIds: [id] }));
  await waitForState(context, id, "stopped", stopSeconds);
}

async function whileStopped(
  context: AwsContext,
  id: string,
  work: () => Promise<void>,
): Promise<void> {
  await stop(context, id);
  await work();
  await context.ec2.send(new ec2.StartInstancesCommand({ InstanceIds: [id] }));
  await waitForState(context, id, "running", stopSeconds);
}

async function replaceProfile(
  { ec2: client }: AwsContext,
  id: string,
  name: string | undefined,
): Promise<void> {
  const { IamInstanceProfileAssociations } = await client.send(
    new ec2.DescribeIamInstanceProfileAssociationsCommand({
      Filters: [{ Name: "instance-id", Values: [id] }],
    }),
  );
  const AssociationId = IamInstanceProfileAssociations?.[0]?.AssociationId;
  const IamInstanceProfile = { Name: name };
  if (name === undefined) {
    await client.send(new ec2.DisassociateIamInstanceProfileCommand({ AssociationId }));
  } else if (AssociationId === undefined) {
    await client.send(
      new ec2.AssociateIamInstanceProfileCommand({ InstanceId: id, IamInstanceProfile }),
    );
  } else {
    await client.send(
      new ec2.ReplaceIamInstanceProfileAssociationCommand({ AssociationId, IamInstanceProfile }),
    );
  }
}

async function instanceState(
  context: AwsContext,
  it: ec2.Instance,
): Promise<Partial<Plain<aws.ec2.InstanceState>>> {
  const id = it.InstanceId ?? "";
  const attribute = async (
    Attribute: ec2.InstanceAttributeName,
  ): Promise<ec2.DescribeInstanceAttributeCommandOutput> =>
    context.ec2.send(new ec2.DescribeInstanceAttributeCommand({ InstanceId: id, Attribute }));
  const [userData, termination, stopping, shutdown, root] = await Promise.all([
    attribute("userData"),
    attribute("disableApiTermination"),
    attribute("disableApiStop"),
    attribute("instanceInitiatedShutdownBehavior"),
    rootBlockDevice(context, it),
  ]);
  const encoded = userData.UserData?.Value;
  return {
    ami: it.ImageId,
    instanceType: it.InstanceType,
    subnetId: it.SubnetId,
    availabilityZone: it.Placement?.AvailabilityZone,
    tenancy: it.Placement?.Tenancy ?? "default",
    privateIp: it.PrivateIpAddress,
    privateDns: it.PrivateDnsName,
    publicIp: it.PublicIpAddress ?? "",
    publicDns: it.PublicDnsName ?? "",
    keyName: it.KeyName,
    ebsOptimized: it.EbsOptimized,
    vpcSecurityGroupIds: (it.SecurityGroups ?? []).map(({ GroupId }) => GroupId ?? ""),
    iamInstanceProfile: it.IamInstanceProfile?.Arn?.split("/").pop(),
    userData:
      encoded === undefined || encoded === ""
        ? undefined
        : Buffer.from(encoded, "base64").toString("utf8"),
    sourceDestCheck: it.SourceDestCheck,
    monitoring: it.Monitoring?.State === "enabled" || it.Monitoring?.State === "pending",
    disableApiTermination: termination.DisableApiTermination?.Value,
    disableApiStop: stopping.DisableApiStop?.Value,
    instanceInitiatedShutdownBehavior: shutdown.InstanceInitiatedShutdownBehavior?.Value,
    metadataOptions: {
      httpEndpoint: it.MetadataOptions?.HttpEndpoint,
      httpProtocolIpv6: it.MetadataOptions?.HttpProtocolIpv6,
      httpPutResponseHopLimit: it.MetadataOptions?.HttpPutResponseHopLimit,
      httpTokens: it.MetadataOptions?.HttpTokens,
      instanceMetadataTags: it.MetadataOptions?.InstanceMetadataTags,
    },
    ...(root === undefined ? {} : { rootBlockDevice: root }),
    arn: ec2Arn(context, `instance/${id}`),
    instanceState: it.State?.Name,
    outpostArn: it.OutpostArn ?? "",
    primaryNetworkInterfaceId: primaryInterface(it)?.NetworkInterfaceId,
    tags: tagMap(it.Tags),
  };
}

export function primaryInterface(it: ec2.Instance): ec2.InstanceNetworkInterface | undefined {
  return it.NetworkInterfaces?.find(({ Attachment }) => Attachment?.DeviceIndex === 0);
}

function rootVolumeId(it: ec2.Instance): string | undefined {
  const mapping =
    it.BlockDeviceMappings?.find(({ DeviceName }) => DeviceName === rootDevice) ??
    it.BlockDeviceMappings?.find(({ DeviceName }) => DeviceName === it.RootDeviceName);
  return mapping?.Ebs?.VolumeId;
}

async function rootBlockDevice(
  context: AwsContext,
  it: ec2.Instance,
): Promise<Plain<aws.ec2.InstanceState>["rootBlockDevice"]> {
  const id = rootVolumeId(it);
  const volume = id === undefined ? undefined : await findVolume(context, id);
  return (
    volume && {
      deleteOnTermination: it.BlockDeviceMappings?.find(({ Ebs }) => Ebs?.VolumeId === id)?.Ebs
        ?.DeleteOnTermination,
      deviceName: it.RootDeviceName,
      encrypted: volume.Encrypted,
      iops: volume.Iops,
      kmsKeyId: volume.KmsKeyId,
      tags: tagMap(volume.Tags),
      throughput: volume.Throughput,
      volumeId: id,
      volumeSize: volume.Size,
      volumeType: volume.VolumeType,
    }
  );
}

function differs(old: unknown, now: unknown, keys: string[]): boolean {
  const [before, after] = [(old ?? {}) as Values, (now ?? {}) as Values];
  return keys.some((key) => after[key] !== undefined && before[key] !== after[key]);
}

async function updateRootVolume(
  context: AwsContext,
  instanceId: string,
  old: InstanceInputs["rootBlockDevice"],
  now: InstanceInputs["rootBlockDevice"],
): Promise<void> {
  const it = await findInstance(context, instanceId);
  const VolumeId = it && rootVolumeId(it);
  if (VolumeId === undefined || now === undefined) {
    return;
  }
  if (differs(old, now, ["volumeSize", "volumeType", "iops", "throughput"])) {
    await context.ec2.send(
      new ec2.ModifyVolumeCommand({
        VolumeId,
        Size: now.volumeSize,
        VolumeType: now.volumeType as ec2.VolumeType | undefined,
        Iops: now.iops,
        Throughput: now.throughput,
      }),
    );
  }
  await tagRootVolume(context, it, now.tags, old?.tags);
  if (differs(old, now, ["deleteOnTermination"])) {
    await modify(context, {
      InstanceId: instanceId,
      BlockDeviceMappings: [
        { DeviceName: rootDevice, Ebs: { DeleteOnTermination: now.deleteOnTermination } },
      ],
    });
  }
}

async function tagRootVolume(
  context: AwsContext,
  it: ec2.Instance | undefined,
  tags: Record<string, string> | undefined,
  old: Record<string, string> = {},
): Promise<void> {
  const id = it && rootVolumeId(it);
  if (id !== undefined && tags !== undefined) {
    const obsolete = Object.keys(old).filter((key) => !(key in tags));
    await updateEc2Tags(context, id, tags, obsolete);
  }
}

const volume = resource<AwsContext, aws.ebs.VolumeArgs, aws.ebs.VolumeState>({
  type: "aws:ebs/volume:Volume",
  tagged: true,
  properties: {
    availabilityZone: replaces,
    encrypted: { replaces: true, computed: true },
    kmsKeyId: { replaces: true, computed: true },
    snapshotId: { replaces: true, computed: true },
    multiAttachEnabled: { replaces: true },
    size: { computed: true },
    type: { computed: true },
    iops: { computed: true },
    throughput: { computed: true },
    finalSnapshot: inPlace,
  },
  outputs: ["arn", "createTime"],
  async create({ ec2: client }, inputs, tags) {
    const { VolumeId } = await client.send(
      new ec2.CreateVolumeCommand({
        AvailabilityZone: inputs.availabilityZone,
        Encrypted: inputs.encrypted,
        KmsKeyId: inputs.kmsKeyId,
        SnapshotId: inputs.snapshotId,
        MultiAttachEnabled: inputs.multiAttachEnabled,
        Size: inputs.size,
        VolumeType: inputs.type as ec2.VolumeType | undefined,
        Iops: inputs.iops,
        Throughput: inputs.throughput,
        TagSpecifications: tagSpecifications("volume", tags),
      }),
    );
    return VolumeId ?? "";
  },
  async complete(context, id) {
    await waitForVolume(context, id, ["available", "in-use"], `creating ${id}`);
  },
  async read(context, id) {
    const it = await findVolume(context, id);
    return (
      it && {
        availabilityZone: it.AvailabilityZone,
        encrypted: it.Encrypted,
        kmsKeyId: it.KmsKeyId,
        snapshotId: it.SnapshotId ?? "",
        multiAttachEnabled: it.MultiAttachEnabled,
        size: it.Size,
        type: it.VolumeType,
        iops: it.Iops,
        throughput: it.Throughput,
        arn: ec2Arn(context, `volume/${id}`),
        createTime: it.CreateTime?.toISOString(),
        tags: tagMap(it.Tags),
      }
    );
  },
  async update(context, { id, now, old, changed, tags, obsoleteTags }) {
    if (changed("size", "type", "iops", "throughput")) {
      if ((now.size ?? 0) < (old.size ?? 0)) {
        // EC2's own words; moto would let the volume shrink.
        throw new Error(
          `InvalidParameterValue: New size cannot be smaller than existing size (${id}: ${old.size} GiB, not ${now.size} GiB)`,
        );
      }
      await context.ec2.send(
        new ec2.ModifyVolumeCommand({
          VolumeId: id,
          Size: now.size,
          VolumeType: now.type as ec2.VolumeType | undefined,
          Iops: now.iops,
          Throughput: now.throughput,
        }),
      );
    }
    await updateEc2Tags(context, id, tags, obsoleteTags);
  },
  async delete(context, id, state) {
    if (state.finalSnapshot === true) {
      await context.ec2.send(new ec2.CreateSnapshotCommand({ VolumeId: id }));
    }
    // moto would delete a volume that a machine uses.
    const it = await findVolume(context, id);
    if (it?.State === "in-use") {
      throw new Error(
        `VolumeInUse: Volume ${id} is currently attached to ${it.Attachments?.[0]?.InstanceId}`,
      );
    }
    await unlessGone(context.ec2.send(new ec2.DeleteVolumeCommand({ VolumeId: id })));
  },
});

async function findVolume(
  { ec2: client }: AwsContext,
  id: string,
): Promise<ec2.Volume | undefined> {
  const found = await unlessGone(client.send(new ec2.DescribeVolumesCommand({ VolumeIds: [id] })));
  return found?.Volumes?.find(({ State }) => State !== "deleted");
}

async function waitForVolume(
  context: AwsContext,
  id: string,
  states: ec2.VolumeState[],
  what: string,
): Promise<void> {
  await eventually({ what, seconds: stopSeconds }, async () => {
    const it = await findVolume(context, id);
    return it?.State !== undefined && states.includes(it.State) ? true : undefined;
  });
}

interface AttachmentKey {
  deviceName: string;
  volumeId: string;
  instanceId: string;
}

/** An attachment has no id of its own. Imported as DEVICE:VOLUME:INSTANCE. */
function attachmentKey(
  id: string,
  state: { deviceName?: string; volumeId?: string; instanceId?: string },
): AttachmentKey {
  const [device = "", volumeId = "", instanceId = ""] = id.split(":");
  return {
    deviceName: state.deviceName ?? device,
    volumeId: state.volumeId ?? volumeId,
    instanceId: state.instanceId ?? instanceId,
  };
}

const volumeAttachment = resource<
  AwsContext,
  aws.ec2.VolumeAttachmentArgs,
  aws.ec2.VolumeAttachmentState
>({
  type: "aws:ec2/volumeAttachment:VolumeAttachment",
  properties: {
    deviceName: replaces,
    volumeId: replaces,
    instanceId: replaces,
    forceDetach: inPlace,
    skipDestroy: inPlace,
    stopInstanceBeforeDetaching: inPlace,
  },
  outputs: [],
  async create(context, inputs) {
    const key = attachmentKey("", inputs);
    const volume = await findVolume(context, key.volumeId);
    if (volume?.State === "in-use") {
      // moto would attach it twice.
      throw new Error(
        `VolumeInUse: ${key.volumeId} is already attached to an instance (${volume.Attachments?.[0]?.InstanceId})`,
      );
    }
    await context.ec2.send(
      new ec2.AttachVolumeCommand({
        Device: key.deviceName,
        VolumeId: key.volumeId,
        InstanceId: key.instanceId,
      }),
    );
    const digest = createHash("sha256").update(Object.values(key).join("-")).digest("hex");
    return `vai-${digest.slice(0, 10)}`;
  },
  async complete(context, _id, inputs) {
    const key = attachmentKey("", inputs);
    await eventually({ what: `attaching ${key.volumeId}`, seconds: stopSeconds }, async () =>
      (await findAttachment(context, key))?.State === "attached" ? true : undefined,
    );
  },
  async read(context, id, state) {
    const key = attachmentKey(id, state);
    return (await findAttachment(context, key)) && { ...key };
  },
  async delete(context, id, state) {
    if (state.skipDestroy === true) {
      return;
    }
    const key = attachmentKey(id, state);
    if ((await findAttachment(context, key)) === undefined) {
      return;
    }
    if (state.stopInstanceBeforeDetaching === true) {
      const machine = await findInstance(context, key.instanceId);
      if (machine?.State?.Name !== "stopped" && machine !== undefined) {
        await stop(context, key.instanceId);
      }
    }
    try {
      await unlessGone(
        context.ec2.send(
          new ec2.DetachVolumeCommand({
            Device: key.deviceName,
            VolumeId: key.volumeId,
            InstanceId: key.instanceId,
            Force: state.forceDetach,
          }),
        ),
      );
    } catch (error) {
      // It went with its instance, or someone else took it off meanwhile.
      if (!["IncorrectState", "InvalidAttachment"].includes(errorName(error).split(".")[0] ?? "")) {
        throw error;
      }
    }
    await waitForVolume(
      context,
      key.volumeId,
      ["available"],
      `detaching ${key.volumeId} from ${key.instanceId} (busy: is it still mounted there?)`,
    );
  },
});

async function findAttachment(
  context: AwsContext,
  key: AttachmentKey,
): Promise<ec2.VolumeAttachment | undefined> {
  const it = await findVolume(context, key.volumeId);
  return it?.Attachments?.find(
    ({ InstanceId, Device }) => InstanceId === key.instanceId && Device === key.deviceName,
  );
}

const eip = resource<AwsContext, aws.ec2.EipArgs, aws.ec2.EipState>({
  type: "aws:ec2/eip:Eip",
  tagged: true,
  properties: {
    domain: { replaces: true, computed: true },
    publicIpv4Pool: { replaces: true, computed: true },
    instance: { computed: true },
  },
  outputs: [
    "allocationId",
    "arn",
    "associationId",
    "privateDns",
    "privateIp",
    "publicDns",
    "publicIp",
  ],
  unknownAfter: { instance: ["associationId", "privateIp", "privateDns"] },
  async create({ ec2: client }, inputs, tags) {
    const { AllocationId } = await client.send(
      new ec2.AllocateAddressCommand({
        Domain: inputs.domain as ec2.DomainType | undefined,
        PublicIpv4Pool: inputs.publicIpv4Pool,
        TagSpecifications: tagSpecifications("elastic-ip", tags),
      }),
    );
    return AllocationId ?? "";
  },
  async complete(context, id, inputs) {
    if (inputs.instance !== undefined) {
      await context.ec2.send(
        new ec2.AssociateAddressCommand({ AllocationId: id, InstanceId: inputs.instance }),
      );
    }
  },
  async read(context, id) {
    const it = await findAddress(context, id);
    return (
      it && {
        domain: it.Domain,
        publicIpv4Pool: it.PublicIpv4Pool ?? "amazon",
        instance: it.InstanceId ?? "",
        allocationId: id,
        arn: ec2Arn(context, `elastic-ip/${id}`),
        associationId: it.AssociationId ?? "",
        privateDns: privateName(context, it.PrivateIpAddress),
        privateIp: it.PrivateIpAddress ?? "",
        publicDns: publicName(context, it.PublicIp ?? ""),
        publicIp: it.PublicIp,
        tags: tagMap(it.Tags),
      }
    );
  },
  async update(context, { id, now, changed, tags, obsoleteTags }) {
    if (changed("instance")) {
      await disassociate(context, id);
      if (now.instance !== undefined) {
        await context.ec2.send(
          new ec2.AssociateAddressCommand({ AllocationId: id, InstanceId: now.instance }),
        );
      }
    }
    await updateEc2Tags(context, id, tags, obsoleteTags);
  },
  async delete(context, id, state) {
    if (state.instance !== undefined && state.instance !== "") {
      await disassociate(context, id);
    }
    await retrying(/InUse/, 60, () =>
      unlessGone(context.ec2.send(new ec2.ReleaseAddressCommand({ AllocationId: id }))),
    );
  },
});

function privateName({ region }: AwsContext, address: string | undefined): string {
  return address === undefined || address === ""
    ? ""
    : `ip-${address.replaceAll(".", "-")}.${region}.compute.internal`;
}

function publicName({ region }: AwsContext, address: string): string {
  return `ec2-${address.replaceAll(".", "-")}.${region}.compute.amazonaws.com`;
}

async function findAddress(
  { ec2: client }: AwsContext,
  allocationId: string,
): Promise<ec2.Address | undefined> {
  const found = await unlessGone(
    client.send(new ec2.DescribeAddressesCommand({ AllocationIds: [allocationId] })),
  );
  return found?.Addresses?.[0];
}

async function disassociate(context: AwsContext, allocationId: string): Promise<void> {
  const AssociationId = (await findAddress(context, allocationId))?.AssociationId;
  if (AssociationId !== undefined) {
    await unlessGone(context.ec2.send(new ec2.DisassociateAddressCommand({ AssociationId })));
  }
}

const eipAssociation = resource<
  AwsContext,
  aws.ec2.EipAssociationArgs,
  aws.ec2.EipAssociationState
>({
  type: "aws:ec2/eipAssociation:EipAssociation",
  properties: {
    instanceId: { replaces: true, computed: true },
    allocationId: { replaces: true, computed: true },
    allowReassociation: replaces,
    networkInterfaceId: { replaces: true, computed: true },
    privateIpAddress: { replaces: true, computed: true },
  },
  outputs: [],
  async create({ ec2: client }, inputs) {
    const { AssociationId } = await client.send(
      new ec2.AssociateAddressCommand({
        AllocationId: inputs.allocationId,
        InstanceId: inputs.instanceId,
        NetworkInterfaceId: inputs.networkInterfaceId,
        PrivateIpAddress: inputs.privateIpAddress,
        AllowReassociation: inputs.allowReassociation ?? false,
      }),
    );
    return AssociationId ?? "";
  },
  async read({ ec2: client }, id) {
    const { Addresses } = await client.send(
      new ec2.DescribeAddressesCommand({
        Filters: [{ Name: "association-id", Values: [id] }],
      }),
    );
    const it = Addresses?.[0];
    return (
      it && {
        instanceId: it.InstanceId,
        allocationId: it.AllocationId,
        networkInterfaceId: it.NetworkInterfaceId,
        privateIpAddress: it.PrivateIpAddress,
        publicIp: it.PublicIp,
      }
    );
  },
  async delete({ ec2: client }, id) {
    await unlessGone(client.send(new ec2.DisassociateAddressCommand({ AssociationId: id })));
  },
});

export const ec2Instance = [instance, volume, volumeAttachment, eip, eipAssociation];
