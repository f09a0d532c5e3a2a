import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  truncateSync,
} from "node:fs";
import { basename, join } from "node:path";
import { volumeCopyLock, volumesFolder } from "../paths";
import type { VolumeSpecification } from "./awsState";
import { log, markerVariable, messageOf, run } from "./commands";

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
  /** Files that are to be the volumes with these ids. */
  private readonly restored = new Map<string, string>();

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

  /**
   * Copies a volume as it is at one moment, as a machine would find it that crashed at that moment. A file
   * system stands still meanwhile, and whoever writes to it waits.
   *
   * @param file gets the copy
   */
  async copy({ id, size }: VolumeSpecification, file: string): Promise<void> {
    const source = this.restored.get(id) ?? join(volumesFolder, id);
    if (existsSync(source)) {
      await this.copyFile(id, source, file);
    }
    // One that no machine ever had has no file, and one that has grown only now may have a short one.
    await run("truncate", ["--size", `>${size}`, file]);
  }

  /** Takes a file as what is on a volume that no machine has had. */
  adopt(id: string, file: string): void {
    this.restored.set(id, file);
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

  private async copyFile(id: string, source: string, target: string): Promise<void> {
    for (let tries = 0; tries < 5; tries += 1) {
      const volume = this.attached.get(id);
      const leader = volume && this.leaderOf(volume.instanceId);
      const mount = volume && leader && mountPoint(leader, volume.loop);
      const before = volume && writesTo(volume.loop);
      const script = join(__dirname, "copy-volume.sh");
      const files = [source, target, volumeCopyLock, ...(mount ? [mount] : [])];
      // Without the region's mark, so that it can end its work when the region is killed.
      await run("env", ["-u", markerVariable, script, ...files]);
      if (mount || (volume && writesTo(volume.loop)) === before) {
        return;
      }
    }
    throw new Error(
      `${id} has no file system that could stand still, and is written to all the time`,
    );
  }

  private async keep({ id, size, instanceId }: VolumeSpecification): Promise<void> {
    const file = join(volumesFolder, id);
    const restored = this.restored.get(id);
    if (restored !== undefined) {
      renameSync(restored, file);
      this.restored.delete(id);
    }
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
      if (mountPoint(leader, volume.loop) !== undefined) {
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

/** @returns where a machine has a device mounted, as this computer reaches it */
function mountPoint(leader: number, loop: string): string | undefined {
  const { major, minor } = deviceNumbers(loop);
  // https://man7.org/linux/man-pages/man5/proc_pid_mountinfo.5.html
  const path = readFileSync(`/proc/${leader}/mountinfo`, "utf8")
    .split("\n")
    .map((line) => line.split(" "))
    .find((fields) => fields[2] === `${major}:${minor}`)?.[4];
  return (
    path &&
    `/proc/${leader}/root${path.replaceAll(/\\(\d{3})/g, (_, octal: string) => String.fromCharCode(Number.parseInt(octal, 8)))}`
  );
}

/** @returns how many writes a device has had: https://docs.kernel.org/block/stat.html */
function writesTo(loop: string): number {
  const file = join("/sys/block", basename(loop), "stat");
  return Number(readFileSync(file, "utf8").trim().split(/\s+/)[4]);
}
