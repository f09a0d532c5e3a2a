import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { repositoryFolder } from "../../local/paths";
import { serve } from "../../local/provider/protocol";
import { randomProvider } from "../../local/provider/random";
import { installPulumiCli, writeLanguageHost } from "../../local/toolchain/pulumiCli";
import { isolatedPulumi, type Outcome, outcomeMeanwhile } from "../tools";

/*
 * A mistake in a program must never look to the engine like a program that wants fewer resources. The
 * program is run by the CLI, as this project's always is.
 */

/** Each way of failing, put before the last of three resources. */
const failures: Record<string, string> = {
  "a throw": 'throw new Error("mistake");',
  "a RunError": 'throw new pulumi.RunError("mistake");',
  "a ResourceError": 'throw new pulumi.ResourceError("mistake", undefined);',
  "a rejection that is awaited": 'await Promise.reject(new Error("mistake"));',
  "a rejection that nobody awaits": 'void Promise.reject(new Error("mistake"));',
  "a throw in a timer": 'setTimeout(() => { throw new Error("mistake"); }, 0);',
  "a throw in a component's constructor":
    "class Broken extends pulumi.ComponentResource {" +
    ' constructor() { super("test:index:Broken", "broken"); throw new Error("mistake"); } }' +
    " new Broken();",
  "a throw in a component's initialize":
    "class Broken extends pulumi.ComponentResource {" +
    ' constructor() { super("test:index:Broken", "broken"); }' +
    ' override async initialize() { throw new Error("mistake"); } }' +
    " new Broken();",
  "a throw in an apply that nothing awaits":
    'first.id.apply(() => { throw new Error("mistake"); });',
  "a throw in an apply that feeds a resource":
    'new random.RandomId("fed", { byteLength: first.id.apply((): number => { throw new Error("mistake"); }) });',
  "a throw in an apply that feeds a resource on which others depend":
    'const fed = new random.RandomId("fed", { byteLength: first.id.apply((): number => { throw new Error("mistake"); }) });' +
    ' new random.RandomId("after", { byteLength: 4 }, { dependsOn: fed });',
  "a rejected promise as an input":
    'new random.RandomId("fed", { byteLength: Promise.reject(new Error("mistake")) });',
  "two resources of one name": 'new random.RandomId("first", { byteLength: 4 });',
  "a resource that the provider refuses": 'new random.RandomPet("mistake");',
  "a hook that fails":
    'const hook = new pulumi.ResourceHook("hook", async () => { throw new Error("mistake"); });' +
    ' new random.RandomId("hooked", { byteLength: 4 }, { hooks: { beforeCreate: [hook] } });',
  "an exit code": "process.exitCode = 1; return {};",
};

const folder = mkdtempSync(join(tmpdir(), "program-errors-"));
const project = join(folder, "project");
let provider: Awaited<ReturnType<typeof serve>>;

function program(mistake: string): string {
  return `
import * as pulumi from "@pulumi/pulumi";
import * as random from "@pulumi/random";

(Error as { prepareStackTrace?: unknown }).prepareStackTrace = undefined;

export = async (): Promise<Record<string, unknown>> => {
  const first = new random.RandomId("first", { byteLength: 4 });
  new random.RandomId("second", { byteLength: 4 });
  ${mistake}
  new random.RandomId("third", { byteLength: 4 });
  return {};
};
`;
}

function pulumi(...args: string[]): Promise<Outcome> {
  const command = [...args, "--cwd", project, "--non-interactive", "--color", "never"];
  return outcomeMeanwhile("pulumi", command, {
    ...isolatedPulumi(folder),
    PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION: "true",
    PULUMI_DEBUG_PROVIDERS: `random:${provider.port}`,
  });
}

function write(files: Record<string, string>): void {
  for (const [name, content] of Object.entries(files)) {
    writeFileSync(join(project, name), content);
  }
}

async function resources(): Promise<string[]> {
  const { output } = await pulumi("stack", "export");
  const { deployment } = JSON.parse(output) as {
    deployment: { resources: { urn: string; delete?: boolean }[] };
  };
  return deployment.resources
    .filter((resource) => !resource.delete)
    .map(({ urn }) => urn.split("::").at(-1) ?? "");
}

beforeAll(async () => {
  await installPulumiCli({ signal: new AbortController().signal, progress: () => undefined });
  await writeLanguageHost(join(folder, "bin", "pulumi-language-nodejs"));
  provider = await serve(randomProvider, 0);
  mkdirSync(project);
  symlinkSync(join(repositoryFolder, "node_modules"), join(project, "node_modules"));
  const compilerOptions = {
    ...{ target: "es2022", module: "commonjs", moduleResolution: "node10", noCheck: true },
  };
  write({
    "index.ts": program(""),
    "package.json": JSON.stringify({ main: "index.ts" }),
    "Pulumi.yaml": JSON.stringify({ name: "tiny", runtime: "nodejs" }),
    "tsconfig.json": JSON.stringify({ compilerOptions }),
  });
  expect((await pulumi("stack", "init", "test")).output).toContain("Created stack");
  expect((await pulumi("up", "--yes", "--skip-preview")).status).toBe(0);
}, 1_200_000);

afterAll(async () => {
  await provider.stop();
  rmSync(folder, { recursive: true });
});

test.each(Object.entries(failures))(
  "after %s nothing is deleted, and the update ends with an error",
  async (_, mistake) => {
    write({ "index.ts": program(mistake) });
    const { status, output } = await pulumi("up", "--yes", "--skip-preview");
    expect([status, output]).not.toEqual([0, output]);
    // For the reason that was meant.
    expect(output).toMatch(/mistake|Duplicate resource URN|the program ended with 1/);
    expect(await resources()).toEqual(expect.arrayContaining(["first", "second", "third"]));
  },
);
