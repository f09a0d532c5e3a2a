import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
} from "node:fs";
import { join } from "node:path";
import { volumesFolder } from "../paths";
import type { VolumeSpecification } from "./awsState";
import { log, messageOf, run } from "./commands";

/** A volume as it is now. */
interface AttachedVolume {
  loop: string;
  instanceId: string;
  /** The number in /dev/nvmeNn1; 0 would be the root. */
  number: number;
  /** The machine's systemd when its device was made: a machine that starts again has none. */
  leader?: number;
}

/** Where a volume is found in a machine, as on AWS: https://docs.aws.amazon.com/ebs/latest/userguide/identify-nvme-ebs-device.html */
export function deviceNames(volumeId: string, number: number): { device: string; link: string } {
  return {
    device: `/dev/nvme${number}n1`,
    link: `/dev/disk/by-id/nvme-Amazon_Elastic_Block_Store_${volumeId.replace("-", "")}`,
  };
}

/** EBS volumes as files of this computer, seen by machines through loop devices. */
export class Volumes {
  private readonly attached = new Map<string, AttachedVolume>();

  /** @param leaderOf gives the process id of a machine's systemd, if it is on */
  constructor(private readonly leaderOf: (instanceId: string) => number | undefined) {}

  /** Makes files, loop devices and the machines' devices what EC2 says. */
  async reconcile(wanted: VolumeSpecification[]): Promise<void> {
    mkdirSync(volumesFolder, { recursive: true });
    const known = new Set(wanted.map(({ id }) => id));
    for (const [id, volume] of this.attached) {
      const instanceId = wanted.find((each) => each.id === id)?.instanceId;
      if (instanceId !== volume.instanceId) {
        await this.attempt(id, () => this.detach(id, volume));
      }
    }
    for (const volume of wanted) {
      await this.attempt(volume.id, () => this.keep(volume));
    }
    for (const file of readdirSync(volumesFolder)) {
      if (!known.has(file) && !this.attached.has(file)) {
        rmSync(join(volumesFolder, file));
      }
    }
  }

  /** @returns whether EC2 still has to wait for the volumes of a machine, or one volume */
  holds(id: string): boolean {
    return (
      this.attached.has(id) || [...this.attached.values()].some((each) => each.instanceId === id)
    );
  }

  /** Takes all loop devices away; no machine may be on. */
  async close(): Promise<void> {
    for (const { loop } of this.attached.values()) {
      await run("losetup", ["--detach", loop]);
    }
  }

  private async attempt(id: string, work: () => Promise<void>): Promise<void> {
    try {
      await work();
    } catch (error) {
      log(`${id}: ${messageOf(error)}`);
    }
  }

  private async keep({ id, size, instanceId }: VolumeSpecification): Promise<void> {
    const file = join(volumesFolder, id);
    const grown = existsSync(file) && statSync(file).size < size;
    if (!existsSync(file) && instanceId !== undefined) {
      await run("truncate", ["--size", String(size), file]);
    }
    if (grown) {
      truncateSync(file, size);
    }
    const leader = instanceId && this.leaderOf(instanceId);
    if (instanceId && leader && !this.attached.has(id)) {
      const loop = (await run("losetup", ["--find", "--show", file])).trim();
      this.attached.set(id, { loop, instanceId, number: this.freeNumber(instanceId) });
    }
    const volume = this.attached.get(id);
    if (volume === undefined) {
      return;
    }
    if (grown) {
      await run("losetup", ["--set-capacity", volume.loop]);
    }
    if (volume.instanceId === instanceId && leader && volume.leader !== leader) {
      await this.makeDevice(id, volume, leader);
      log(`${id} is attached to ${instanceId}`);
    }
  }

  private freeNumber(instanceId: string): number {
    const taken = [...this.attached.values()]
      .filter((each) => each.instanceId === instanceId)
      .map(({ number }) => number);
    let number = 1;
    while (taken.includes(number)) {
      number += 1;
    }
    return number;
  }

  private async makeDevice(id: string, volume: AttachedVolume, leader: number): Promise<void> {
    const { device, link } = deviceNames(id, volume.number);
    const { major, minor } = deviceNumbers(volume.loop);
    const script =
      'rm -f "$1"; mkdir -p "${2%/*}"; ln -sfn "../../${1##*/}" "$2"; umask 006; mknod "$1" b "$3" "$4"';
    await inMachine(leader, [script, device, link, String(major), String(minor)]);
    volume.leader = leader;
  }

  private async detach(id: string, volume: AttachedVolume): Promise<void> {
    const leader = this.leaderOf(volume.instanceId);
    if (leader !== undefined && volume.leader === leader) {
      if (isMounted(leader, volume.loop)) {
        // On AWS it stays "busy" until the machine lets go of it.
        return;
      }
      const { device, link } = deviceNames(id, volume.number);
      await inMachine(leader, ['rm -f "$1" "$2"', device, link]);
    }
    await run("losetup", ["--detach", volume.loop]);
    this.attached.delete(id);
    log(`${id} is detached from ${volume.instanceId}`);
  }
}

async function inMachine(leader: number, [script = "", ...args]: string[]): Promise<void> {
  const shell = ["sh", "-ec", script, "sh", ...args];
  await run("nsenter", [`--mount=/proc/${leader}/ns/mnt`, "--", ...shell]);
}

function deviceNumbers(device: string): { major: number; minor: number } {
  // https://man7.org/linux/man-pages/man3/makedev.3.html, for numbers below 2^20
  const { rdev } = statSync(device);
  return { major: (rdev >> 8) & 0xfff, minor: (rdev & 0xff) | ((rdev >> 12) & 0xfff00) };
}

function isMounted(leader: number, loop: string): boolean {
  const { major, minor } = deviceNumbers(loop);
  return readFileSync(`/proc/${leader}/mountinfo`, "utf8")
    .split("\n")
    .some((line) => line.split(" ")[2] === `${major}:${minor}`);
}
