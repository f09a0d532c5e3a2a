import { randomUUID } from "node:crypto";
import { existsSync, mkdirSync, renameSync, rmSync, statSync } from "node:fs";
import { join } from "node:path";
import { DescribeVolumesCommand, type EC2Client } from "@aws-sdk/client-ec2";
import { snapshotsFolder } from "../paths";
import { type AskMoto, type AwsAnswer, type AwsRequest, ec2Error } from "./awsApi";
import { isRootVolume } from "./awsState";
import { run } from "./commands";
import type { Volumes } from "./volumes";

const gibibyte = 2 ** 30;

/**
 * What is in the snapshots of EBS volumes: a file for each. moto hears of a snapshot when its file is
 * whole, so each one that there is is completed.
 */
export class Snapshots {
  /**
   * @param ec2 asks moto
   * @param looked resolves when the region's volumes are what EC2 says by now
   */
  constructor(
    private readonly ec2: EC2Client,
    private readonly volumes: Volumes,
    private readonly looked: () => Promise<void>,
  ) {}

  /** Answers a request, with moto's words where there are any. */
  async answer({ action, form }: AwsRequest, askMoto: AskMoto): Promise<AwsAnswer> {
    switch (action) {
      case "CreateSnapshot":
        return this.create(form, askMoto);
      case "CreateVolume":
        return form.has("SnapshotId") ? this.restore(form, askMoto) : askMoto();
      case "DescribeSnapshots":
        return withSizes(await askMoto());
      case "DeleteSnapshot": {
        const answer = await askMoto();
        if (answer.status < 300) {
          rmSync(fileOf(form.get("SnapshotId") ?? ""), { force: true });
        }
        return answer;
      }
      case "CreateSnapshots":
      case "CopySnapshot":
        return ec2Error(
          "UnsupportedOperation",
          `The local region has no ${action}, only CreateSnapshot.`,
        );
      default:
        return askMoto();
    }
  }

  /** What the volume holds when this is asked is in the snapshot; what is written after the answer is not. */
  private async create(form: URLSearchParams, askMoto: AskMoto): Promise<AwsAnswer> {
    const { Volumes: all } = await this.ec2.send(new DescribeVolumesCommand({}));
    const volume = all?.find(({ VolumeId }) => VolumeId === form.get("VolumeId"));
    if (volume === undefined || form.get("DryRun") === "true") {
      return askMoto();
    }
    const { VolumeId: id = "", Size = 0 } = volume;
    if (isRootVolume(volume)) {
      return ec2Error(
        "UnsupportedOperation",
        `The local region takes no snapshots of a machine's root volume, such as ${id}.`,
      );
    }
    const file = unfinishedFile();
    try {
      await this.volumes.copy({ id, size: Size * gibibyte }, file);
      const answer = await askMoto();
      const snapshotId = idIn(answer, "snapshotId");
      if (snapshotId !== undefined) {
        renameSync(file, fileOf(snapshotId));
      }
      return answer;
    } finally {
      rmSync(file, { force: true });
    }
  }

  /** The volume is there when it has the snapshot's data. */
  private async restore(form: URLSearchParams, askMoto: AskMoto): Promise<AwsAnswer> {
    const id = form.get("SnapshotId") ?? "";
    const least = sizeOf(id);
    if (least === undefined) {
      return ec2Error("InvalidSnapshot.NotFound", `The snapshot '${id}' does not exist.`);
    }
    const size = Number(form.get("Size") ?? least);
    if (size < least) {
      return ec2Error(
        "InvalidParameterValue",
        `Volume of size ${size}GB is smaller than snapshot '${id}', expect size >= ${least}GB`,
      );
    }
    const file = unfinishedFile();
    try {
      await run("cp", ["--reflink=auto", "--sparse=always", fileOf(id), file]);
      await run("truncate", ["--size", String(size * gibibyte), file]);
      const sized = new URLSearchParams(form);
      // moto would take the size that the snapshot's volume has by now.
      sized.set("Size", String(size));
      const answer = await askMoto(sized);
      const volumeId = idIn(answer, "volumeId");
      if (volumeId !== undefined) {
        this.volumes.adopt(volumeId, file);
        await this.looked();
      }
      return answer;
    } finally {
      rmSync(file, { force: true });
    }
  }
}

function fileOf(id: string): string {
  return join(snapshotsFolder, id);
}

/** @returns a name that nobody looks for, for a copy that is not whole yet */
function unfinishedFile(): string {
  mkdirSync(snapshotsFolder, { recursive: true });
  return fileOf(`unfinished-${randomUUID()}`);
}

/** @returns GiB; undefined where there is no such snapshot */
function sizeOf(id: string): number | undefined {
  return /^snap-\w+$/.test(id) && existsSync(fileOf(id))
    ? statSync(fileOf(id)).size / gibibyte
    : undefined;
}

/** moto tells the size that a snapshot's volume has by now. */
function withSizes(answer: AwsAnswer): AwsAnswer {
  const body = answer.body
    .toString()
    .replace(
      /(<snapshotId>(.+?)<\/snapshotId>(?:(?!<snapshotId>)[^])*?<volumeSize>)(\d+)/g,
      (_, before: string, id: string, size: string) => `${before}${sizeOf(id) ?? size}`,
    );
  const headers = { ...answer.headers };
  delete headers["content-length"];
  return { ...answer, headers, body };
}

/** @returns the id of what moto has just made, unless it refused */
function idIn({ status, body }: AwsAnswer, element: string): string | undefined {
  const found = new RegExp(`<${element}>(.+?)</${element}>`).exec(body.toString());
  return status < 300 ? found?.[1] : undefined;
}
