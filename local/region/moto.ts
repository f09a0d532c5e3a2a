import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { motoServerProgram, regionFolder } from "../paths";
import { type RunningProcess, start } from "./commands";

/** Where moto itself listens, behind the AWS API's front doors. */
export const motoPort = 4565;
export const motoUrl = `http://127.0.0.1:${motoPort}`;

/** Two machine images, as Debian publishes them on AWS. Machines here all start from the same one. */
const images = [
  {
    ami_id: "ami-0deb1a12a3d640001",
    version: "20250814-2204",
    creation_date: "2025-08-14T13:07:32.000Z",
  },
  {
    ami_id: "ami-0deb1a12a3d640000",
    version: "20250520-2118",
    creation_date: "2025-05-20T21:18:00.000Z",
  },
].map(({ version, ...image }) => ({
  ...image,
  name: `debian-12-amd64-${version}`,
  description: `Debian 12 (${version})`,
  owner_id: "136693071363",
  architecture: "x86_64",
  root_device_name: "/dev/xvda",
  root_device_type: "ebs",
  virtualization_type: "hvm",
  hypervisor: "xen",
  image_type: "machine",
  image_location: `amazon/debian-12-amd64-${version}`,
  public: true,
  state: "available",
  sriov: "simple",
  platform: null,
}));

/** Starts moto and waits until it answers. */
export async function startMoto(): Promise<RunningProcess> {
  const imagesFile = join(regionFolder, "images.json");
  writeFileSync(imagesFile, JSON.stringify(images));
  const moto = await start(
    "moto",
    motoServerProgram,
    ["--host", "127.0.0.1", "--port", String(motoPort)],
    { env: { MOTO_AMIS_PATH: imagesFile, MOTO_IAM_LOAD_MANAGED_POLICIES: "true" } },
  );
  const answers = await Promise.race([answering(), moto.ended.then(() => false)]);
  if (answers) {
    return moto;
  }
  throw new Error(`moto does not answer; see ${join(regionFolder, "logs", "moto.log")}`);
}

async function answering(): Promise<boolean> {
  for (let tries = 0; tries < 300; tries += 1) {
    try {
      await fetch(`${motoUrl}/moto-api/`);
      return true;
    } catch {
      await sleep(100);
    }
  }
  return false;
}
