import { readFileSync } from "node:fs";
import { join } from "node:path";
import { version } from "@pulumi/pulumi/package.json";
import { sampleNodeVersion } from "../../local/app/buildSampleBundle";
import { machineNodeVersion } from "../../local/toolchain/machineTools";
import { isAtLeast } from "../../local/toolchain/pulumiCli";

const toolchain = join(__dirname, "..", "..", "local", "toolchain");

test("the image has the Node that the sample bundle asks for", () => {
  expect(machineNodeVersion).toBe(sampleNodeVersion);
});

test.each(["pkg", "sdk"])("the CLI is built from the SDK's own version of %s", (part) => {
  expect(readFileSync(join(toolchain, "pulumiCli", "go.mod"), "utf8")).toMatch(
    new RegExp(`github.com/pulumi/pulumi/${part}/v3 v${version.replaceAll(".", "\\.")}\\b`),
  );
});

test("every Python package of moto is pinned by its hash", () => {
  const blocks = readFileSync(join(toolchain, "moto", "requirements.txt"), "utf8")
    .split(/\n(?=\S)/)
    .filter(Boolean);
  expect(blocks.length).toBeGreaterThan(30);
  for (const block of blocks) {
    expect(block).toMatch(/^[\w.-]+(\[\w+\])?==\S+ .*--hash=sha256:[0-9a-f]{64}/s);
  }
});

test.each([
  ["v3.248.0", true],
  ["v3.249.1", true],
  ["3.300.0", true],
  ["v3.247.9", false],
  ["v4.0.0", false],
  ["v2.999.0", false],
  ["not a version", false],
])("a CLI %s will do for the SDK 3.248.0: %s", (found, expected) => {
  expect(isAtLeast(found, "3.248.0")).toBe(expected);
});
