import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { configFile, pulumi, upStack } from "./stack";
import { variant } from "./variant";

jest.setTimeout(300_000);

const folder = mkdtempSync(join(tmpdir(), "meteor-scale-preview-"));

beforeAll(async () => {
  await upStack();
});

afterAll(() => {
  rmSync(folder, { recursive: true });
});

/**
 * What a reviewer sees of a change: by resource the lines that differ, without what differs from one
 * stack to the next.
 */
function preview(
  values: Record<string, unknown>,
  secrets: Record<string, string> = {},
): Record<string, string[]> {
  const file = configFile(folder, values, secrets);
  const { status, output } = pulumi("preview", "--diff", "--config-file", file);
  expect(status).toBe(0);
  for (const secret of Object.values(secrets)) {
    expect(output).not.toContain(secret);
  }
  const changes: Record<string, string[]> = {};
  let operation = "";
  let lines: string[] = [];
  for (const line of output.split("\n")) {
    const [, begun] = /^\s+\S+ ?\S+:\S+: \((\w+)\)$/.exec(line) ?? [];
    const [, name = ""] = /^\s+\[urn=.*::(.*)\]$/.exec(line) ?? [];
    if (begun !== undefined) {
      operation = begun;
    } else if (name !== "") {
      lines = changes[`${operation} ${name}`] = [];
    } else if (/^(Resources|\s*--outputs:--)/.test(line)) {
      lines = [];
    } else if (/^\s*[~+-] /.test(line)) {
      lines.push(withoutIds(line));
    }
  }
  return changes;
}

function withoutIds(line: string): string {
  return line
    .replace(/\b(i|eipassoc|vol|ami|subnet|sg)-[0-9a-f]{17}\b/g, "$1-ID")
    .replace(/\b[0-9a-f]{64}\b/g, "SHA256")
    .replace(/\b10(\.\d+){3}\b/g, "ADDRESS")
    .replace(/:[0-9a-f]{12}\b/g, ":DIGEST")
    .replace(/((?:bundle|programs)-bucket-|asset\(file:)[0-9a-f]+/g, "$1ID")
    .replaceAll(folder, "FOLDER");
}

test("more hosts", () => {
  expect(preview({ hostCount: 4 })).toMatchSnapshot();
});

test("more slots: the balancer's configuration, line by line", () => {
  expect(preview({ maxHosts: 9 })).toMatchSnapshot();
});

test("another bundle", () => {
  expect(preview({ bundle: variant(folder, "2") })).toMatchSnapshot();
});

test("a secret: its name, and nothing of its value", () => {
  const text = preview({}, { mailUrl: "smtps://user:open-sesame@mail.example.com:465" });
  expect(text).toMatchSnapshot();
});

test("a variable", () => {
  expect(preview({ env: { ANSWER: "forty-two" } })).toMatchSnapshot();
});

test("who may come", () => {
  expect(preview({ allowedCidrs: ["203.0.113.0/24"] })).toMatchSnapshot();
});

test("nothing, where nothing changes", () => {
  expect(preview({})).toEqual({ "same meteor-scale-local": [] });
});
