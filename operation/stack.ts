import { spawnSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import type { Command } from "commander";
import { parse } from "yaml";
import { awsApiUrl } from "../local/paths";
import { UserError } from "../local/toolchain/step";

/** As Pulumi.yaml has it. */
const project = "meteor-scale";

/** A stack of any kind, as the commands that work on one find it. */
export interface Stack {
  /** As it was given, such as `dev` or `organization/meteor-scale/dev`. */
  name: string;
  /** Start of its resources' names, such as `meteor-scale-dev`; also the namespace of its metrics. */
  prefix: string;
  /** Start of its SSM paths, such as `/meteor-scale/dev`. */
  parameterPath: string;
  region: string;
  /** Whether it is on this computer's local region. */
  local: boolean;
  /** What Pulumi needs in its environment, beside what is there. */
  environment: Record<string, string>;
  /** A value of its config as text, such as `rootUrl` or `aws:profile`; undefined if it is not set, or a secret. */
  setting: (key: string) => string | undefined;
  /** What a client of the AWS SDK is made with. */
  clientOptions: (service: "cloudwatch" | "ec2" | "ssm") => ClientOptions;
}

interface ClientOptions {
  region: string;
  /** Of this computer's AWS configuration. */
  profile?: string;
  endpoint?: string;
  credentials?: { accessKeyId: string; secretAccessKey: string };
}

/** What a run of Pulumi has come to. */
export interface PulumiOutcome {
  status: number | null;
  stdout: string;
  stderr: string;
}

/**
 * Finds a stack's account and region, which its own config names.
 *
 * @throws UserError where there is no such stack, or where it is on a local region that does not run
 */
export async function openStack(name: string): Promise<Stack> {
  const local = isLocal(name);
  const environment = local ? await localEnvironment() : {};
  const { status, stdout, stderr } = pulumi({ name, environment }, ["config", "--json"]);
  if (status !== 0) {
    throw new UserError(stderr.trim());
  }
  const config = JSON.parse(stdout) as Record<string, { value?: string } | undefined>;
  const setting = (key: string): string | undefined =>
    config[key.includes(":") ? key : `${project}:${key}`]?.value;
  const region = setting("aws:region") ?? process.env["AWS_REGION"];
  if (region === undefined) {
    throw new UserError(
      `aws:region is not set; it must be the stack's AWS region: pulumi config set aws:region eu-central-1 --stack ${name}`,
    );
  }
  const credentials = keys(setting("aws:accessKey"), setting("aws:secretKey"));
  const profile = setting("aws:profile");
  const [endpoints = {}] = JSON.parse(setting("aws:endpoints") ?? "[]") as Endpoints[];
  return {
    name,
    prefix: `${project}-${shortNameOf(name)}`,
    parameterPath: `/${project}/${shortNameOf(name)}`,
    region,
    local,
    environment,
    setting,
    clientOptions: (service) => ({
      region,
      ...(profile !== undefined && { profile }),
      ...(endpoints[service] !== undefined && { endpoint: endpoints[service] }),
      ...(credentials !== undefined && { credentials }),
    }),
  };
}

type Endpoints = Record<string, string | undefined>;

/** The stack's own file, whose config is what Pulumi reads. */
export function configFileOf(stack: string): string {
  return `Pulumi.${shortNameOf(stack)}.yaml`;
}

/** Without the organization and the project, which Pulumi's service puts before it. */
function shortNameOf(stack: string): string {
  return stack.split("/").at(-1) ?? "";
}

/** Read from the file: Pulumi itself may only be found in the local region's environment. */
function isLocal(stack: string): boolean {
  const file = configFileOf(stack);
  if (!existsSync(file)) {
    return false;
  }
  const { config } = (parse(readFileSync(file, "utf8")) ?? {}) as {
    config?: { "aws:endpoints"?: Endpoints[] };
  };
  return config?.["aws:endpoints"]?.[0]?.["ec2"] === awsApiUrl;
}

/** Loaded for a local stack only: these load the engine's own interface. */
async function localEnvironment(): Promise<Record<string, string>> {
  const { regionProcess } = await import("../local/processes");
  if (regionProcess() === undefined) {
    throw new UserError("The local region does not run. `npm run local` starts it.");
  }
  const { pulumiEnvironment } = await import("../local/engine");
  return pulumiEnvironment();
}

function keys(
  accessKeyId: string | undefined,
  secretAccessKey: string | undefined,
): ClientOptions["credentials"] {
  return accessKeyId === undefined || secretAccessKey === undefined
    ? undefined
    : { accessKeyId, secretAccessKey };
}

/**
 * Runs Pulumi on a stack.
 *
 * @param stdio `inherit`: its output is the command's own, and none is returned
 * @param environment of its program, beside the stack's
 * @throws UserError where there is no Pulumi
 */
export function pulumi(
  stack: Pick<Stack, "name" | "environment">,
  args: string[],
  stdio: "pipe" | "inherit" = "pipe",
  environment: Record<string, string> = {},
): PulumiOutcome {
  const { status, stdout, stderr, error } = spawnSync("pulumi", [...args, "--stack", stack.name], {
    encoding: "utf8",
    stdio,
    env: { ...process.env, ...stack.environment, ...environment },
  });
  if (error !== undefined) {
    throw new UserError(
      `pulumi can't be run (${error.message}). If it is not installed: https://www.pulumi.com/docs/iac/download-install/`,
    );
  }
  return { status, stdout, stderr };
}

/** Runs a command of the command line; what went wrong is told in words and with exit code 1. */
export async function runCommand(command: Command): Promise<void> {
  try {
    await command.parseAsync();
  } catch (error) {
    const told = error instanceof UserError ? error.message : explanation(error as AwsError);
    console.error(told ?? error);
    process.exitCode = 1;
  }
}

/** What the AWS SDK throws. */
interface AwsError extends Error {
  /** Where a connection failed. */
  code?: string;
}

/** Errors by which AWS says that it does not know the credentials. */
const refusedCredentials = [
  "AuthFailure",
  "InvalidClientTokenId",
  "InvalidSignatureException",
  "SignatureDoesNotMatch",
  "UnrecognizedClientException",
];

const expiredCredentials = ["ExpiredToken", "ExpiredTokenException", "RequestExpired"];

/** What a person can do about an error of the AWS SDK; undefined where that is not known. */
function explanation({ name, message, code = "" }: AwsError): string | undefined {
  if (["CredentialsProviderError", "TokenProviderError"].includes(name)) {
    return `There are no credentials for AWS (${message}): set AWS_PROFILE, run aws sso login, or see https://www.pulumi.com/registry/packages/aws/installation-configuration/`;
  }
  if (expiredCredentials.includes(name)) {
    return `The credentials for AWS have expired (${message}): get new ones, such as by aws sso login.`;
  }
  if (refusedCredentials.includes(name)) {
    return `AWS does not take the credentials (${message}): are they of the account that the stack is in?`;
  }
  if (deniedAction({ name, message }) !== undefined) {
    return `AWS does not allow it: ${message}`;
  }
  if (["ECONNREFUSED", "ENOTFOUND", "EAI_AGAIN", "ETIMEDOUT"].includes(code)) {
    return `AWS can't be reached (${message || code}): is aws:region right, and is this computer online?`;
  }
  return undefined;
}

/** The permission that was missing, such as `ssm:GetParameters`, if that is what the error says. */
export function deniedAction({
  name,
  message,
}: Pick<AwsError, "name" | "message">): string | undefined {
  if (!["AccessDenied", "AccessDeniedException", "UnauthorizedOperation"].includes(name)) {
    return undefined;
  }
  return /not authorized to perform: ([\w-]+:\w+)/.exec(message)?.[1] ?? "unknown";
}
