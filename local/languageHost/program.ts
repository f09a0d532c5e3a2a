import { type ChildProcess, type ChildProcessByStdio, spawn } from "node:child_process";
import { createRequire } from "node:module";
import { join } from "node:path";
import type { Readable } from "node:stream";
import type { RunPluginRequest, RunRequest } from "@pulumi/pulumi/proto/language_pb";

/**
 * Starts the Node process of a Pulumi program.
 *
 * @param engineAddress host and port of the engine that asks for it
 */
export function startProgram(request: RunRequest, engineAddress: string): ChildProcess {
  const info = request.getInfo();
  if (info === undefined) {
    throw new Error("the engine did not say which program to run");
  }
  const folder = info.getProgramDirectory();
  const options = (info.getOptions()?.toJavaScript() ?? {}) as { tsconfig?: string };
  const config: Record<string, string> = {};
  request.getConfigMap().forEach((value, key) => {
    config[key] = value;
  });
  return spawn(
    process.execPath,
    [
      partOfSdk("run", folder),
      ...["--monitor", request.getMonitorAddress()],
      ...["--engine", engineAddress],
      ...["--organization", request.getOrganization()],
      ...["--project", request.getProject()],
      ...["--root-directory", info.getRootDirectory()],
      ...["--stack", request.getStack()],
      ...["--pwd", folder],
      ...["--parallel", String(request.getParallel())],
      ...(request.getDryrun() ? ["--dry-run"] : []),
      info.getEntryPoint(),
      ...request.getArgsList(),
    ],
    {
      cwd: folder,
      stdio: ["ignore", "inherit", "inherit"],
      env: {
        ...process.env,
        PULUMI_CONFIG: JSON.stringify(config),
        PULUMI_CONFIG_SECRET_KEYS: JSON.stringify(request.getConfigsecretkeysList()),
        PULUMI_NODEJS_TYPESCRIPT: "true",
        ...(options.tsconfig === undefined
          ? {}
          : { PULUMI_NODEJS_TSCONFIG_PATH: join(info.getRootDirectory(), options.tsconfig) }),
      },
    },
  );
}

/**
 * Starts the Node process of a policy pack, with its output in pipes. The one plugin that is not a pack, a provider
 * written in TypeScript, no program here has.
 */
export function startPolicyPack(
  request: RunPluginRequest,
): ChildProcessByStdio<null, Readable, Readable> {
  const folder = request.getInfo()?.getProgramDirectory();
  if (folder === undefined || request.getKind() !== "analyzer") {
    throw new Error(
      `the engine asked for a plugin of kind ${request.getKind()}, not a policy pack`,
    );
  }
  const environment = request.getEnvList().map((text): [string, string] => {
    const split = text.indexOf("=");
    return [text.slice(0, split), text.slice(split + 1)];
  });
  return spawn(
    process.execPath,
    [partOfSdk("run-policy-pack", folder), ...request.getArgsList(), folder],
    { cwd: folder, stdio: ["ignore", "pipe", "pipe"], env: Object.fromEntries(environment) },
  );
}

/** The SDK that a folder's programs use: its own, or that of a folder above. */
function partOfSdk(command: "run" | "run-policy-pack", folder: string): string {
  return createRequire(join(folder, "package.json")).resolve(`@pulumi/pulumi/cmd/${command}`);
}
