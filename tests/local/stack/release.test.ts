import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { create, extract } from "tar";
import { sampleBundleFile } from "../../../local/app/buildSampleBundle";
import { inMachine } from "../machines";
import { Browser } from "./browser";
import { machines, pulumi, type Stack, upStack, updateWith } from "./stack";

jest.setTimeout(300_000);

const folder = mkdtempSync(join(tmpdir(), "meteor-scale-release-"));
let stack: Stack;

beforeAll(async () => {
  stack = await upStack();
});

afterAll(async () => {
  rmSync(folder, { recursive: true });
  await upStack();
});

/** The sample application with another configuration, such as one that fails at its start. */
function variant(version: string, config: Record<string, unknown>): string {
  const source = join(folder, version);
  const file = join(folder, `${version}.tar.gz`);
  const bundle = mkdtempSync(`${source}-`);
  extract({ file: sampleBundleFile, cwd: bundle, sync: true });
  const configFile = join(bundle, "bundle/programs/server/config.json");
  const before = JSON.parse(readFileSync(configFile, "utf8")) as object;
  writeFileSync(configFile, JSON.stringify({ ...before, version, ...config }));
  create({ file, cwd: bundle, gzip: true, sync: true }, ["bundle"]);
  return file;
}

async function everyHostServes(version: string): Promise<void> {
  for (const host of ["host1", "host2", "host3"]) {
    const browser = new Browser(stack);
    browser.cookie = host;
    expect(await browser.whoami()).toMatchObject({ host, version });
  }
}

function hostIds(): string[] {
  return machines()
    .filter(({ name }) => /-host\d$/.test(name))
    .map(({ instanceId }) => instanceId)
    .sort();
}

test("a release whose process dies fails with the host's name and the end of its log, as often as it is run, and touches nothing that serves", async () => {
  const before = hostIds();
  const bundle = variant("2", { failAtStart: true });
  for (const run of ["first", "second"]) {
    const { status, output } = updateWith({ bundle });
    expect([run, status]).not.toEqual([run, 0]);
    expect(output).toMatch(
      /meteor-scale-local-host\d \(i-[0-9a-f]+\).* failed in start-meteor: .*Version 2 of the sample application fails at start on purpose/s,
    );
    expect(output).toContain("What ran before keeps all traffic");
    expect(output).not.toMatch(/\n\s+at .*\.js:\d+/);
    await everyHostServes("1");
    expect(hostIds()).toEqual(expect.arrayContaining(before));
  }
});

test("the earlier bundle set back is a release too: it clears what failed, and is still there for a host to come", async () => {
  const before = hostIds();
  expect(before).toHaveLength(6);
  expect(updateWith({}).status).toBe(0);
  await everyHostServes("1");
  const now = hostIds();
  expect(now).toHaveLength(3);
  expect(now.filter((id) => before.includes(id))).toEqual([]);
  expect(pulumi("preview", "--expect-no-changes").status).toBe(0);
  inMachine(
    "host1",
    '. /etc/meteor-scale/machine.env && aws s3 --region "$REGION" cp --only-show-errors "$BUNDLE" - | sha256sum | grep -q "^$BUNDLE_SHA256 "',
  );
});

test("a good release takes over, and the hosts before it go", async () => {
  const before = hostIds();
  const { status, output } = updateWith({ bundle: variant("3", {}) });
  expect(output).not.toMatch(/error/);
  expect(status).toBe(0);
  await everyHostServes("3");
  const now = hostIds();
  expect(now).toHaveLength(3);
  expect(now.filter((id) => before.includes(id))).toEqual([]);
});
