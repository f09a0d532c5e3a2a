import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parse, stringify } from "yaml";
import { awsApiUrl, repositoryFolder, stackName } from "../../local/paths";
import { startProviders } from "../../local/provider/main";
import { installPulumiCli } from "../../local/toolchain/pulumiCli";
import { sampleBundle } from "../sampleBundle";
import { isolatedPulumi, type Outcome, outcomeMeanwhile } from "../tools";
import { type MotoServer, startMotoServer } from "./motoServer";

/*
 * The policy pack as people use it: `pulumi preview --policy-pack policies`, with the CLI itself and the language host
 * that came with it; ours, where that is none.
 */

const folder = mkdtempSync(join(tmpdir(), "policy-pack-"));
const project = join(folder, "project");
const pack = join(repositoryFolder, "policies");
let moto: MotoServer;
let providers: Awaited<ReturnType<typeof startProviders>>;

function pulumi(...args: string[]): Promise<Outcome> {
  return outcomeMeanwhile("pulumi", [...args, "--non-interactive", "--color", "never"], {
    ...isolatedPulumi(folder),
    // That of the stack's own settings.
    PULUMI_CONFIG_PASSPHRASE: "local-region",
    PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION: "true",
    PULUMI_DEBUG_PROVIDERS: Object.entries(providers.ports)
      .map(([name, port]) => `${name}:${port}`)
      .join(","),
  });
}

type Settings = Record<string, unknown>;

/** The settings of the stack `local`, with another AWS. */
function settings(changes: Settings): Settings {
  const text = readFileSync(join(repositoryFolder, `Pulumi.${stackName}.yaml`), "utf8");
  const { config, ...rest } = parse(text.replaceAll(awsApiUrl, moto.url)) as { config: Settings };
  return { ...rest, config: { ...config, ...changes } };
}

beforeAll(async () => {
  await installPulumiCli({ signal: new AbortController().signal, progress: () => undefined });
  moto = await startMotoServer([]);
  providers = await startProviders({ aws: 0, tls: 0, random: 0 });
  mkdirSync(project);
  symlinkSync(join(repositoryFolder, "node_modules"), join(project, "node_modules"));
}, 1_200_000);

afterAll(async () => {
  await providers.stop();
  await moto.stop();
  rmSync(folder, { recursive: true });
});

describe("the program of this repository", () => {
  const file = join(folder, "Pulumi.local.yaml");
  const own = {
    "meteor-scale:bundle": sampleBundle(),
    "meteor-scale:amiId": "ami-0123456789abcdef0",
  };

  function preview(changes: Settings): Promise<Outcome> {
    writeFileSync(file, stringify(settings({ ...own, ...changes })));
    const stack = ["--cwd", repositoryFolder, "--stack", stackName, "--config-file", file];
    return pulumi("preview", ...stack, "--policy-pack", pack);
  }

  beforeAll(async () => {
    const { output } = await pulumi("stack", "init", stackName, "--cwd", repositoryFolder);
    expect(output).toContain("Created stack");
  });

  test("breaks no rule, as far as can be told before anything is there", async () => {
    const { status, output } = await preview({});
    expect(output).toContain("⚠️ meteor-scale@v");
    expect(output).not.toContain("[mandatory]");
    // User data that names a volume, or tells that a secret changed, is not known before these are.
    const unknown = [...output.matchAll(/can't run policy '(\S+)'/g)].map(([, name]) => name);
    expect(unknown).toEqual(["no-secret-in-user-data"]);
    expect([status, output]).toEqual([0, output]);
  }, 120_000);

  test("breaks one where the project's tag is gone, and the preview fails", async () => {
    const { status, output } = await preview({ "aws:defaultTags": { tags: { other: "tag" } } });
    expect(output).toContain("❌ meteor-scale@v");
    expect(output).toMatch(/\[mandatory\] +tags/);
    expect(status).not.toBe(0);
  }, 120_000);
});

const machine = `
const machine = (name: string, more: object): aws.ec2.Instance =>
  new aws.ec2.Instance(name, {
    ami: "ami-0123456789abcdef0",
    instanceType: "c7a.medium",
    tags: { Name: name, role: "meteor" },
    metadataOptions: { httpTokens: "required", httpPutResponseHopLimit: 1 },
    rootBlockDevice: { encrypted: true },
    ...more,
  });
`;

describe("a program of somebody", () => {
  async function preview(statements: string): Promise<Outcome> {
    const imports =
      'import * as aws from "@pulumi/aws";\nimport * as pulumi from "@pulumi/pulumi";\n' +
      'import * as random from "@pulumi/random";\n' +
      "(Error as { prepareStackTrace?: unknown }).prepareStackTrace = undefined;\n";
    writeFileSync(join(project, "index.ts"), imports + machine + statements);
    return pulumi("preview", "--cwd", project, "--policy-pack", pack);
  }

  beforeAll(async () => {
    const compilerOptions = {
      ...{ target: "es2022", module: "commonjs", moduleResolution: "node10", noCheck: true },
    };
    const files: Record<string, string> = {
      "package.json": JSON.stringify({ main: "index.ts" }),
      "Pulumi.yaml": JSON.stringify({ name: "tiny", runtime: "nodejs" }),
      "tsconfig.json": JSON.stringify({ compilerOptions }),
    };
    for (const [name, content] of Object.entries(files)) {
      writeFileSync(join(project, name), content);
    }
    const { output } = await pulumi("stack", "init", "test", "--cwd", project);
    expect(output).toContain("Created stack");
    const own = parse(readFileSync(join(project, "Pulumi.test.yaml"), "utf8")) as Settings;
    const { config } = settings({ "aws:defaultTags": { tags: { project: "tiny" } } });
    const ofAws = Object.entries(config as Settings).filter(([key]) => key.startsWith("aws:"));
    writeFileSync(
      join(project, "Pulumi.test.yaml"),
      stringify({ ...own, config: Object.fromEntries(ofAws) }),
    );
  });

  test("that breaks no rule is previewed", async () => {
    const { status, output } = await preview('machine("host", {});');
    expect(output).toContain("✅ meteor-scale@v");
    expect([status, output]).toEqual([0, output]);
  }, 120_000);

  test.each([
    // A rule that looks at the inputs of one resource, and those that look at what all will be.
    ["metadata-tokens", 'machine("host", { metadataOptions: undefined });'],
    [
      "no-secret-in-user-data",
      'const value = pulumi.secret("a-key-that-nobody-knows");' +
        'new aws.ssm.Parameter("key", { name: "/key", type: "SecureString", value });' +
        'machine("host", { userData: "KEY=a-key-that-nobody-knows" });',
    ],
    [
      "mongo-behind-meteor",
      'const group = new aws.ec2.SecurityGroup("group", { description: "MongoDB" });' +
        'machine("mongo", { tags: { Name: "mongo", role: "mongo" }, vpcSecurityGroupIds: [group.id] });' +
        'new aws.vpc.SecurityGroupIngressRule("in", { securityGroupId: group.id, cidrIpv4: "10.0.0.0/8",' +
        ' ipProtocol: "tcp", fromPort: 27017, toPort: 27017 });',
    ],
    [
      "no-ssh",
      // What can't be known yet does not keep the others from being checked.
      'const password = new random.RandomPassword("password", { length: 32 });' +
        'machine("first", { userData: password.result, keyName: password.result });' +
        'machine("second", { keyName: "mine" });',
    ],
  ])(
    "that breaks %s is not",
    async (rule, statements) => {
      const { status, output } = await preview(statements);
      const named = [...output.matchAll(/\[mandatory\] +(\S+)/g)].map(([, name]) => name);
      expect([...new Set(named)]).toEqual([rule]);
      expect(status).not.toBe(0);
    },
    120_000,
  );

  test("is not previewed with a pack that does not start, and its mistake is told", async () => {
    const broken = join(folder, "broken");
    mkdirSync(broken);
    writeFileSync(join(broken, "PulumiPolicy.yaml"), "runtime: nodejs\n");
    writeFileSync(join(broken, "index.ts"), 'throw new Error("the pack is broken");\n');
    writeFileSync(join(broken, "package.json"), "{}");
    symlinkSync(join(repositoryFolder, "node_modules"), join(broken, "node_modules"));
    const { status, output } = await pulumi("preview", "--cwd", project, "--policy-pack", broken);
    expect(output).toContain("the pack is broken");
    expect(status).not.toBe(0);
  }, 120_000);
});
