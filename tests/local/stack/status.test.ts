import { spawn, spawnSync } from "node:child_process";
import { createHash, X509Certificate } from "node:crypto";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { repositoryFolder } from "../../../local/paths";
import type { StackStatus } from "../../../operation/status";
import { outcomeOf } from "../../tools";
import { eventually } from "../machines";
import { instanceIds, npmRun, type Stack, upStack } from "./stack";

jest.setTimeout(600_000);

const hosts = ["host1", "host2", "host3"];
let stack: Stack;

beforeAll(async () => {
  stack = await upStack();
});

/** In a terminal that knows nothing of the local region. */
function status(): { exitCode: number | null; status: StackStatus } {
  const args = ["run", "--silent", "status", "--", "--stack", "local", "--json"];
  const { status: exitCode, output } = outcomeOf("npm", args);
  return { exitCode, status: JSON.parse(output) as StackStatus };
}

test("a stack that is up is well as soon as its metrics are there", async () => {
  const { exitCode, status: found } = await eventually(() => {
    const now = status();
    expect(now.status.hosts.map(({ name, up }) => [name, up])).toEqual(
      hosts.map((name) => [name, true]),
    );
    expect(now.status.members.map(({ name, state }) => [name, state])).toEqual([
      ["mongo1", "PRIMARY"],
    ]);
    return now;
  }, 240);
  const bundle = readFileSync(join(repositoryFolder, "local/app/build/meteor-app.tar.gz"));
  const sha256 = createHash("sha256").update(bundle).digest("hex");
  const ids = instanceIds();
  expect(found).toMatchObject({
    ...{ well: true, url: stack.rootUrl, address: stack.address },
    ...{ problems: [], unread: [] },
    machines: ["balancer", ...hosts, "mongo1"].map((name) => ({
      ...{ name, instanceId: ids[name], state: "running", ready: "true", inService: true },
    })),
    bundles: hosts.map((host) => ({ host, instanceId: ids[host], sha256 })),
    certificates: [{ parameter: "CERTIFICATE", names: ["meteor.localhost"], issuer: "itself" }],
    certificatesEnd: new Date(new X509Certificate(stack.certificate).validTo).toISOString(),
  });
  expect(exitCode).toBe(0);
});

test("people are told the same on one page", () => {
  const { status: exitCode, output } = npmRun("status", "--", "--stack", "local");
  expect(output).toMatch(/^host1 +i-\w+ +c7a\.medium +eu-central-1a +running +yes +yes /m);
  expect(output).toMatch(/\nAll is well\.\n$/);
  expect(exitCode).toBe(0);
});

test("a shell on a machine runs what is typed, and ends as it does", () => {
  const { status: exitCode, stdout } = spawnSync(
    "npm",
    ["run", "--silent", "shell", "--", "host2", "--stack", "local"],
    { cwd: repositoryFolder, encoding: "utf8", input: "hostname\nexit 3\n" },
  );
  expect(stdout).toBe("host2\n");
  expect(exitCode).toBe(3);
});

test("a name that no machine has is answered with those there are", () => {
  const { status: exitCode, output } = npmRun("shell", "--", "host9", "--stack", "local");
  expect(output).toMatch(
    /^There is no machine host9\. There are: balancer, host1, host2, host3, mongo1\.$/m,
  );
  expect(exitCode).toBe(1);
});

test("HAProxy's statistics page can be seen on this computer, until Ctrl-C", async () => {
  const forward = spawn(
    "npm",
    [
      ...["run", "--silent", "shell", "--", "balancer", "--stack", "local"],
      ...["--port", "8404", "--local-port", "18404"],
    ],
    { cwd: repositoryFolder, detached: true, stdio: "ignore" },
  );
  const ended = once(forward, "close");
  const page = async (): Promise<string> => (await fetch("http://127.0.0.1:18404/")).text();
  try {
    await eventually(async () => {
      expect(await page()).toContain("Statistics Report");
    });
  } finally {
    // What a terminal does: all of its processes get the signal.
    process.kill(-(forward.pid ?? 0), "SIGINT");
    await ended;
  }
  await eventually(async () => {
    await expect(page()).rejects.toThrow();
  });
});
