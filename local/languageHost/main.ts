/**
 * Pulumi's language host for Node, as far as the engine needs it to run a program and a policy pack: used only
 * where the CLI was built from source, since the official host comes with the official CLI alone.
 * The engine starts it as `pulumi-language-nodejs` and reads its port from the first line.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import * as grpc from "@grpc/grpc-js";
import { version as sdkVersion } from "@pulumi/pulumi/package.json";
import { LanguageRuntimeService } from "@pulumi/pulumi/proto/language_grpc_pb";
import {
  AboutResponse,
  DependencyInfo,
  type GetProgramDependenciesRequest,
  GetProgramDependenciesResponse,
  GetRequiredPackagesResponse,
  GetRequiredPluginsResponse,
  type InstallDependenciesRequest,
  InstallDependenciesResponse,
  LanguageHandshakeResponse,
  type RunPluginRequest,
  RunPluginResponse,
  type RunRequest,
  RunResponse,
} from "@pulumi/pulumi/proto/language_pb";
import { PluginInfo } from "@pulumi/pulumi/proto/plugin_pb";
import { Empty } from "google-protobuf/google/protobuf/empty_pb";
import { listen, unary } from "../grpc";
import { startPolicyPack, startProgram } from "./program";

/** The SDK's own word for "failed, and the user has been told why" (@pulumi/pulumi/cmd/run). */
const failureWasReported = 32;

const children = new Set<ChildProcess>();

function stopChildren(): void {
  for (const child of children) {
    child.kill("SIGKILL");
  }
}

/** Resolves to the exit code, or to the name of the signal that ended the process. */
function ended(child: ChildProcess): Promise<number | string> {
  children.add(child);
  return new Promise((resolve, reject) => {
    child.once("error", reject);
    child.once("exit", (code, signal) => {
      children.delete(child);
      resolve(code ?? signal ?? "unknown");
    });
  });
}

async function run(request: RunRequest): Promise<RunResponse> {
  const outcome = await ended(startProgram(request, engineAddress));
  const response = new RunResponse();
  if (outcome === failureWasReported) {
    response.setBail(true);
  } else if (outcome !== 0) {
    response.setError(`the program ended with ${outcome}`);
  }
  return response;
}

/** Passes on what the policy pack prints: the port that the engine asks it on, and then its mistakes. */
async function runPlugin(
  call: grpc.ServerWritableStream<RunPluginRequest, RunPluginResponse>,
): Promise<void> {
  const child = startPolicyPack(call.request);
  child.stdout.on("data", (chunk: Buffer) => {
    call.write(new RunPluginResponse().setStdout(chunk));
  });
  child.stderr.on("data", (chunk: Buffer) => {
    call.write(new RunPluginResponse().setStderr(chunk));
  });
  // The engine hangs up when it needs the pack no more.
  call.on("cancelled", () => child.kill("SIGKILL"));
  const outcome = await ended(child);
  call.write(new RunPluginResponse().setExitcode(typeof outcome === "number" ? outcome : 1));
}

async function installDependencies(
  call: grpc.ServerWritableStream<InstallDependenciesRequest, InstallDependenciesResponse>,
): Promise<void> {
  const folder = call.request.getInfo()?.getProgramDirectory() ?? call.request.getDirectory();
  const child = spawn("npm", ["install", "--no-audit", "--no-fund"], {
    cwd: folder,
    stdio: ["ignore", "pipe", "pipe"],
  });
  child.stdout.on("data", (chunk: Buffer) => {
    call.write(new InstallDependenciesResponse().setStdout(chunk));
  });
  child.stderr.on("data", (chunk: Buffer) => {
    call.write(new InstallDependenciesResponse().setStderr(chunk));
  });
  const outcome = await ended(child);
  if (outcome !== 0) {
    throw new Error(`npm install ended with ${outcome}`);
  }
}

interface Package {
  version?: string;
  dependencies?: Record<string, string>;
  devDependencies?: Record<string, string>;
}

function readPackage(path: string): Package {
  return JSON.parse(readFileSync(path, "utf8")) as Package;
}

function programDependencies(
  request: GetProgramDependenciesRequest,
): GetProgramDependenciesResponse {
  const folder = request.getInfo()?.getProgramDirectory() ?? request.getPwd();
  const { dependencies, devDependencies } = readPackage(join(folder, "package.json"));
  return new GetProgramDependenciesResponse().setDependenciesList(
    Object.keys({ ...dependencies, ...devDependencies }).map((name) =>
      new DependencyInfo()
        .setName(name)
        .setVersion(
          readPackage(join(folder, "node_modules", name, "package.json")).version ?? "unknown",
        ),
    ),
  );
}

/** Ends a call of many messages when its handler has, or with the handler's error. */
function streaming<Request, Response>(
  handler: (call: grpc.ServerWritableStream<Request, Response>) => Promise<void>,
): grpc.handleServerStreamingCall<Request, Response> {
  return (call) => {
    handler(call).then(
      () => {
        call.end();
      },
      (error: unknown) => {
        call.emit("error", { code: grpc.status.UNKNOWN, details: (error as Error).message });
      },
    );
  };
}

let engineAddress = process.argv[2] ?? "";

const server = new grpc.Server();
server.addService(LanguageRuntimeService, {
  handshake: unary((request: { getEngineAddress(): string }) => {
    engineAddress = request.getEngineAddress();
    return new LanguageHandshakeResponse();
  }),
  getPluginInfo: unary(() => new PluginInfo().setVersion(sdkVersion)),
  // Providers are attached to the engine by PULUMI_DEBUG_PROVIDERS, so none is to be fetched.
  getRequiredPackages: unary(() => new GetRequiredPackagesResponse()),
  getRequiredPlugins: unary(() => new GetRequiredPluginsResponse()),
  about: unary(() =>
    new AboutResponse().setExecutable(process.execPath).setVersion(process.version),
  ),
  getProgramDependencies: unary(programDependencies),
  run: unary(run),
  installDependencies: streaming(installDependencies),
  runPlugin: streaming(runPlugin),
  cancel: unary(() => {
    stopChildren();
    return new Empty();
  }),
});

// An engine that was killed closes this end of the pipe; a program must not outlive it.
process.stdin.resume().on("close", () => process.exit(1));
for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
  process.on(signal, () => process.exit(1));
}
process.on("exit", stopChildren);

void listen(server).then((port) => {
  process.stdout.write(`${port}\n`);
});
