import { type ChildProcess, spawn } from "node:child_process";
import { createRequire } from "node:module";
import { join } from "node:path";
import type { RunRequest } from "@pulumi/pulumi/proto/language_pb";

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
      createRequire(join(folder, "package.json")).resolve("@pulumi/pulumi/cmd/run"),
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
