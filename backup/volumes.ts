import {
  CreateSnapshotCommand,
  DeleteVolumeCommand,
  DescribeInstancesCommand,
  DescribeSnapshotsCommand,
  DescribeVolumesCommand,
  type EC2Client,
  type Snapshot,
  StopInstancesCommand,
  TerminateInstancesCommand,
  type Volume,
  waitUntilInstanceStopped,
  waitUntilInstanceTerminated,
  waitUntilSnapshotCompleted,
  waitUntilVolumeAvailable,
  waitUntilVolumeDeleted,
} from "@aws-sdk/client-ec2";
import { UserError } from "../local/toolchain/step";

/** A first snapshot of a large volume takes hours. */
const patience = 6 * 3600;

/** Data volumes of the stack's members, the first member's first. */
export async function dataVolumes(client: EC2Client, prefix: string): Promise<Volume[]> {
  const { Volumes } = await client.send(
    new DescribeVolumesCommand({ Filters: [{ Name: "tag:backup", Values: [prefix] }] }),
  );
  return (Volumes ?? []).sort((a, b) => nameOf(a).localeCompare(nameOf(b)));
}

/** The stack's snapshots, the newest first, those of the schedule among them. */
export async function snapshots(client: EC2Client, prefix: string): Promise<Snapshot[]> {
  const { Snapshots } = await client.send(
    new DescribeSnapshotsCommand({
      OwnerIds: ["self"],
      Filters: [{ Name: "tag:backup", Values: [prefix] }],
    }),
  );
  const time = ({ StartTime }: Snapshot): number => StartTime?.getTime() ?? 0;
  return (Snapshots ?? []).sort((a, b) => time(b) - time(a));
}

/**
 * Makes a snapshot of each member's volume, and waits until all are whole.
 *
 * @param description what the snapshots are for
 * @throws UserError where the stack has no volumes
 */
export async function snapshotAll(
  client: EC2Client,
  prefix: string,
  description: string,
): Promise<Snapshot[]> {
  const volumes = await dataVolumes(client, prefix);
  if (volumes.length === 0) {
    throw new UserError(
      `${prefix} has no data volumes: is it up, and does it have members of its own?`,
    );
  }
  const made = await Promise.all(
    volumes.map((volume) =>
      client.send(
        new CreateSnapshotCommand({
          VolumeId: volume.VolumeId,
          Description: description,
          TagSpecifications: [
            {
              ResourceType: "snapshot",
              Tags: [
                { Key: "Name", Value: nameOf(volume) },
                { Key: "backup", Value: prefix },
              ],
            },
          ],
        }),
      ),
    ),
  );
  await waitUntilSnapshotCompleted(
    { client, maxWaitTime: patience },
    { SnapshotIds: made.map(({ SnapshotId }) => SnapshotId ?? "") },
  );
  return made;
}

/**
 * Removes the members' machines and volumes, whose data is in snapshots, so that the next update makes new ones.
 *
 * @throws UserError where a volume is not in one of the snapshots
 */
export async function removeMembers(
  client: EC2Client,
  prefix: string,
  saved: Pick<Snapshot, "VolumeId">[],
): Promise<void> {
  const volumes = await dataVolumes(client, prefix);
  for (const volume of volumes) {
    if (!saved.some(({ VolumeId }) => VolumeId === volume.VolumeId)) {
      throw new UserError(
        `${nameOf(volume)} (${String(volume.VolumeId)}) has no snapshot; nothing was removed`,
      );
    }
  }
  const machines = await memberMachines(client, prefix);
  if (machines.length > 0) {
    await client.send(new TerminateInstancesCommand({ InstanceIds: machines }));
    await waitUntilInstanceTerminated({ client, maxWaitTime: 900 }, { InstanceIds: machines });
  }
  for (const { VolumeId = "" } of volumes) {
    await waitUntilVolumeAvailable({ client, maxWaitTime: 900 }, { VolumeIds: [VolumeId] });
    await client.send(new DeleteVolumeCommand({ VolumeId }));
    await waitUntilVolumeDeleted({ client, maxWaitTime: 900 }, { VolumeIds: [VolumeId] });
  }
}

/** Stops the members, so that nothing is written that a snapshot made now would not have. */
export async function stopMembers(client: EC2Client, prefix: string): Promise<void> {
  const machines = await memberMachines(client, prefix);
  if (machines.length > 0) {
    await client.send(new StopInstancesCommand({ InstanceIds: machines }));
    await waitUntilInstanceStopped({ client, maxWaitTime: 900 }, { InstanceIds: machines });
  }
}

/** Ids of the members' machines that are there, running or not. */
export async function memberMachines(client: EC2Client, prefix: string): Promise<string[]> {
  const { Reservations } = await client.send(
    new DescribeInstancesCommand({
      Filters: [
        { Name: "tag:Name", Values: [1, 2, 3].map((number) => `${prefix}-mongo${number}`) },
        { Name: "instance-state-name", Values: ["pending", "running", "stopping", "stopped"] },
      ],
    }),
  );
  return (Reservations ?? [])
    .flatMap(({ Instances }) => Instances ?? [])
    .map(({ InstanceId }) => InstanceId ?? "");
}

export function nameOf({ Tags }: Volume | Snapshot): string {
  return Tags?.find(({ Key }) => Key === "Name")?.Value ?? "";
}
