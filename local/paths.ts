import { homedir } from "node:os";
import { join, resolve } from "node:path";

/** The repository's folder: the Pulumi program that the local region runs. */
export const repositoryFolder = resolve(__dirname, "..");

/** Everything that the local region keeps on this computer is below this folder. */
export const cacheFolder =
  process.env.METEOR_SCALE_CACHE ||
  join(process.env.XDG_CACHE_HOME || join(homedir(), ".cache"), "meteor-scale");

/** Programs that are fetched or built once: Pulumi, moto, the database stand-in, … */
export const toolsFolder = join(cacheFolder, "tools");

/** Put first on the PATH of everything that runs Pulumi. */
export const toolsBinFolder = join(toolsFolder, "bin");

/** The machine image: `root/` is the file system that every machine's own is laid over. */
export const imageFolder = join(cacheFolder, "image");
export const imageRootFolder = join(imageFolder, "root");

/** Holds `bin/pulumi` as the Automation API wants it: in a session of its own. */
export const engineFolder = join(toolsFolder, "engine");

/** The region's certificate authority. The image trusts it, so it outlives a region. */
export const certificateAuthorityFolder = join(cacheFolder, "certificate-authority");

/** State of the running region; `down` removes it. */
export const regionFolder = join(cacheFolder, "region");
export const regionPidFile = join(regionFolder, "pid");
export const regionLogFile = join(regionFolder, "region.log");
/** Exists while the region answers. */
export const regionReadyFile = join(regionFolder, "ready");
/** What the region's machines are doing, as JSON. */
export const regionStatusFile = join(regionFolder, "status.json");
/** Pulumi's own state, in its file backend. */
export const pulumiStateFolder = join(regionFolder, "state");
/** All that the engine printed. */
export const engineLogFile = join(regionFolder, "engine.log");
/** One folder for each machine: overlay, console, … */
export const machinesFolder = join(regionFolder, "machines");
/** One file for each EBS volume. */
export const volumesFolder = join(regionFolder, "volumes");
/** One file for each snapshot of a volume. */
export const snapshotsFolder = join(regionFolder, "snapshots");
/** One file for each mail that SNS sends. */
export const mailFolder = join(regionFolder, "mail");
/** Held by whoever copies a volume. */
export const volumeCopyLock = join(regionFolder, "volume-copy.lock");

/** The moto server's own program, in its virtual environment. */
export const motoServerProgram = join(toolsFolder, "moto", "bin", "moto_server");

/** The Pulumi stack and the AWS region that the local region stands for. */
export const stackName = "local";
export const awsRegion = "eu-central-1";
export const awsCredentials = { accessKeyId: "local", secretAccessKey: "local" };

/** Where the AWS API answers this computer; machines reach it by AWS's own names. */
export const awsApiPort = 4566;
export const awsApiUrl = `http://127.0.0.1:${awsApiPort}`;

/** Where the stand-ins for Pulumi's resource providers listen, on 127.0.0.1. */
export const providerPorts = { aws: 4567, tls: 4568, random: 4569 };
