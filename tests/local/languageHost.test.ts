import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { repositoryFolder } from "../../local/paths";
import { installPulumiCli, writeLanguageHost } from "../../local/toolchain/pulumiCli";
import { isolatedPulumi, outcomeOf, type Outcome } from "../tools";

const folder = mkdtempSync(join(tmpdir(), "language-host-"));
const project = join(folder, "project");
const environment = isolatedPulumi(folder);

const program = `
import { writeFileSync } from "node:fs";
import * as pulumi from "@pulumi/pulumi";

(Error as { prepareStackTrace?: unknown }).prepareStackTrace = undefined;

export = async (): Promise<Record<string, unknown>> => {
  const config = new pulumi.Config();
  switch (config.require("mode")) {
    case "fail":
      throw new pulumi.RunError("hostCount is 9; the balancer lists hosts 1 to 8");
    case "crash":
      process.exit(5);
    case "wait":
      writeFileSync(config.require("pidFile"), String(process.pid));
      await new Promise((resolve) => setTimeout(resolve, 60_000));
  }
  new pulumi.ComponentResource("test:index:Thing", "thing");
  return {
    mode: config.require("mode"),
    isSecret: await pulumi.isSecret(config.requireSecret("password")),
    passwordLength: config.requireSecret("password").apply((text) => text.length),
    dryRun: pulumi.runtime.isDryRun(),
    stack: \`\${pulumi.getOrganization()}/\${pulumi.getProject()}/\${pulumi.getStack()}\`,
    tsconfig: process.env["PULUMI_NODEJS_TSCONFIG_PATH"],
  };
};
`;

function pulumi(...args: string[]): Outcome {
  return outcomeOf("pulumi", [...args, "--cwd", project, "--non-interactive"], environment);
}

beforeAll(async () => {
  await installPulumiCli({ signal: new AbortController().signal, progress: () => undefined });
  await writeLanguageHost(join(folder, "bin", "pulumi-language-nodejs"));
  mkdirSync(project);
  symlinkSync(join(repositoryFolder, "node_modules"), join(project, "node_modules"));
  const files: Record<string, string> = {
    "index.ts": program,
    "package.json": JSON.stringify({ main: "index.ts", dependencies: { "@pulumi/pulumi": "*" } }),
    "Pulumi.yaml": JSON.stringify({
      name: "tiny",
      runtime: { name: "nodejs", options: { tsconfig: "tsconfig.own.json" } },
    }),
    "tsconfig.own.json": JSON.stringify({
      compilerOptions: {
        ...{ target: "es2022", module: "commonjs", moduleResolution: "node10", noCheck: true },
      },
    }),
  };
  for (const [name, content] of Object.entries(files)) {
    writeFileSync(join(project, name), content);
  }
  expect(pulumi("stack", "init", "test").output).toContain("Created stack");
  expect(pulumi("config", "set", "--secret", "password", "secret").status).toBe(0);
  expect(pulumi("config", "set", "pidFile", join(folder, "program.pid")).status).toBe(0);
}, 1_200_000);

afterAll(() => {
  rmSync(folder, { recursive: true });
});

function setMode(mode: string): void {
  expect(pulumi("config", "set", "mode", mode).status).toBe(0);
}

test("a program gets its config, its secrets, its stack's name and the project's tsconfig", () => {
  setMode("run");
  expect(pulumi("preview").output).toMatch(/dryRun +: true/);
  const { status, output } = pulumi("up", "--yes", "--skip-preview");
  expect(output).toContain("test:index:Thing thing");
  expect(status).toBe(0);
  expect(JSON.parse(pulumi("stack", "output", "--json", "--show-secrets").output)).toEqual({
    mode: "run",
    isSecret: true,
    passwordLength: 6,
    dryRun: false,
    stack: "organization/tiny/test",
    tsconfig: join(project, "tsconfig.own.json"),
  });
}, 60_000);

test("a mistake that the program explains is told once, without a stack trace", () => {
  setMode("fail");
  const { status, output } = pulumi("preview");
  expect(status).not.toBe(0);
  expect(output).toContain("error: hostCount is 9; the balancer lists hosts 1 to 8");
  expect(output).not.toMatch(/\n\s+at /);
}, 60_000);

test("a program that dies ends the update with an error, and nothing is deleted", () => {
  setMode("crash");
  const { status, output } = pulumi("up", "--yes", "--skip-preview");
  expect(status).not.toBe(0);
  expect(output).toContain("the program ended with 5");
  expect(pulumi("stack", "export").output).toContain("test:index:Thing");
}, 60_000);

test("`pulumi about` names Node and the program's packages", () => {
  const { output } = pulumi("about");
  expect(output).toContain(process.version);
  expect(output).toMatch(/@pulumi\/pulumi +3\./);
}, 60_000);

test.each([
  // The first is what Ctrl-C does, the second what a computer out of memory does.
  ["SIGINT", 15_000],
  ["SIGKILL", 5_000],
] as const)(
  "a program does not outlive an engine that gets %s",
  async (signal, patience) => {
    setMode("wait");
    const pidFile = join(folder, "program.pid");
    rmSync(pidFile, { force: true });
    const engine = spawn("pulumi", ["preview", "--cwd", project, "--non-interactive"], {
      env: { ...process.env, ...environment },
      stdio: "ignore",
    });
    const ended = once(engine, "exit");
    await until(() => existsSync(pidFile) && readFileSync(pidFile, "utf8") !== "", 30_000);
    const pid = Number(readFileSync(pidFile, "utf8"));
    expect(runs(pid)).toBe(true);
    kill(engine, signal);
    await ended;
    await until(() => !runs(pid), patience);
  },
  60_000,
);

function kill(child: ChildProcess, signal: NodeJS.Signals): void {
  expect(child.kill(signal)).toBe(true);
}

function runs(pid: number): boolean {
  try {
    // A process that ended but was not waited for is still listed, as a zombie.
    return !/^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, "utf8"));
  } catch {
    return false;
  }
}

async function until(condition: () => boolean, milliseconds: number): Promise<void> {
  const end = Date.now() + milliseconds;
  while (!condition()) {
    if (Date.now() > end) {
      throw new Error(`not so after ${milliseconds} ms: ${String(condition)}`);
    }
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}
