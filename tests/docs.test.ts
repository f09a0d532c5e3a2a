import { existsSync, readdirSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { type ConfigKey, configKeys } from "../components/config";
import { changes, type Role } from "../docs/changes";
import { pages } from "../docs/generate";
import {
  projectFolder,
  type RegisteredResource,
  runProgram,
  withDefaults,
} from "../local/mockEngine";
import { otherConfig } from "./otherConfig";
import { sampleBundle } from "./sampleBundle";

const texts = new Map(
  [
    "README.md",
    ...readdirSync(join(projectFolder, "docs"))
      .filter((name) => name.endsWith(".md"))
      .map((name) => `docs/${name}`),
  ].map((path) => [path, readFileSync(join(projectFolder, path), "utf8")]),
);
const names = [...texts.keys()];

function textOf(path: string): string {
  return texts.get(path) ?? readFileSync(join(projectFolder, path), "utf8");
}

test.each(Object.entries(pages()))(
  "%s has the tables that npm run docs writes",
  (path, generated) => {
    expect(generated).toBe(textOf(path));
    expect(generated).toMatch(/: written by npm run docs -->\n\n\|/);
  },
);

test.each(names)("every npm script that %s names exists", (path) => {
  const { scripts } = JSON.parse(textOf("package.json")) as { scripts: Record<string, string> };
  const named = [...textOf(path).matchAll(/\bnpm (?:run (?:-s )?([a-z:]+)|(test)\b)/g)].map(
    ([, script, test]) => String(script ?? test),
  );
  expect(Object.keys(scripts)).toEqual(expect.arrayContaining(named));
});

/** Text without what GitHub does not read as prose. */
function prose(text: string): string {
  return text.replaceAll(/^```[\s\S]*?^```/gm, "");
}

/** Anchors of a page's headings, as GitHub makes them. */
function anchors(path: string): string[] {
  return [...prose(textOf(path)).matchAll(/^#+ (.+)$/gm)].map(([, heading]) =>
    String(heading)
      .toLowerCase()
      .replaceAll(/[^\p{L}\p{N}_ -]/gu, "")
      .replaceAll(" ", "-"),
  );
}

test.each(names)("every file and heading that %s links to exists", (path) => {
  const links = [...prose(textOf(path)).matchAll(/\]\((?!https?:)([^)#\s]*)(?:#([^)\s]*))?\)/g)];
  for (const [link, file = "", anchor] of links) {
    const target = file === "" ? path : join(dirname(path), file);
    expect([link, existsSync(join(projectFolder, target))]).toEqual([link, true]);
    if (anchor !== undefined) {
      expect([link, anchors(target)]).toEqual([link, expect.arrayContaining([anchor])]);
    }
  }
});

test("every page of docs/ can be reached from the README", () => {
  const pagesLinked = [...textOf("README.md").matchAll(/\]\((docs\/[a-z-]+\.md)/g)].map(
    ([, page]) => page,
  );
  expect(pagesLinked).toEqual(
    expect.arrayContaining(names.filter((name) => name.startsWith("docs/"))),
  );
});

test.each(names)("every config key that %s sets exists", (path) => {
  const set = [
    ...textOf(path).matchAll(
      /pulumi config set (?:--secret )?(?:--path )?'?([a-zA-Z]+)(?![a-zA-Z:])/g,
    ),
  ].map(([, key]) => String(key));
  expect([...configKeys, "KEY"]).toEqual(expect.arrayContaining(set));
});

describe("what docs/configuration.md says of a change", () => {
  const external = {
    mongoUrl: "mongodb://before.example.com/app",
    mongoOplogUrl: "mongodb://before.example.com/local",
  };
  /** Where the default, with a NAT instance, is not what the change begins from. */
  const before: Partial<Record<ConfigKey, Record<string, unknown>>> = {
    bundleSha256: otherConfig.bundle,
    mongoUrl: external,
    mongoOplogUrl: external,
    acmeEmail: { tls: "acme", acmeEmail: "before@example.com" },
    acmeDirectory: otherConfig.acmeEmail,
    nat: { nat: "gateway" },
    amiId: { amiId: "ami-11111111" },
  };
  // Refused while there is data: tests/program.test.ts.
  const refused: ConfigKey[] = ["mongoZones", "availabilityZone"];
  /** What the provider can't change in place, of what the program sets. */
  const fixed = ["ami", "instanceType", "subnetId", "cpuOptions", "userData"];
  const bundle = sampleBundle();

  const runs = new Map<string, ReturnType<typeof runMachines>>();

  function machines(values: Record<string, unknown>): ReturnType<typeof runMachines> {
    const key = JSON.stringify(values);
    const run = runs.get(key) ?? runMachines(values);
    runs.set(key, run);
    return run;
  }

  async function runMachines(
    values: Record<string, unknown>,
  ): Promise<{ vpc: unknown; instances: Map<string, RegisteredResource> }> {
    const { resources } = await runProgram(
      "test",
      withDefaults({
        "aws:region": "eu-central-1",
        bundle,
        rootUrl: "https://app.example.com",
        nat: "instance",
        hostCount: 1,
        maxHosts: 2,
        ...values,
      }),
    );
    const vpc = resources.find(({ type }) => type === "aws:ec2/vpc:Vpc")?.inputs["cidrBlock"];
    const instances = resources.filter(({ type }) => type === "aws:ec2/instance:Instance");
    return { vpc, instances: new Map(instances.map((one) => [one.name, one])) };
  }

  test.each(configKeys.filter((key) => !refused.includes(key)))(
    "names the machines that another %s replaces",
    async (key) => {
      const old = await machines(before[key] ?? {});
      const next = await machines({ ...before[key], ...otherConfig[key] });
      const replaced = new Set<Role>();
      for (const [name, { inputs }] of old.instances) {
        const now = next.instances.get(name)?.inputs;
        const pick = (from: Record<string, unknown>): unknown[] => fixed.map((one) => from[one]);
        if (now !== undefined) {
          const same = JSON.stringify(pick(inputs)) === JSON.stringify(pick(now));
          if (!same || old.vpc !== next.vpc) {
            replaced.add((inputs["tags"] as { role: Role }).role);
          }
        }
      }
      expect([...replaced].sort()).toEqual([...changes[key].replaces].sort());
    },
  );
});
