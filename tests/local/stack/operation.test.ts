import { execFileSync } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { GetParametersByPathCommand, SSMClient } from "@aws-sdk/client-ssm";
import { pulumiEnvironment } from "../../../local/engine";
import {
  awsApiUrl,
  awsCredentials,
  awsRegion,
  regionFolder,
  toolsBinFolder,
} from "../../../local/paths";
import { outcomeOf } from "../../tools";
import { inMachine } from "../machines";
import { localCommand, machines, pulumi, type Stack, upStack } from "./stack";

const names = ["balancer", "host1", "host2", "host3", "mongo1"];
let stack: Stack;

beforeAll(async () => {
  stack = await upStack();
}, 300_000);

/** Every secret of the stack, as SSM has it. */
async function secrets(): Promise<Map<string, string>> {
  const ssm = new SSMClient({
    region: awsRegion,
    endpoint: awsApiUrl,
    credentials: awsCredentials,
  });
  const found = new Map<string, string>();
  for (let token: string | undefined; ;) {
    const { Parameters, NextToken } = await ssm.send(
      new GetParametersByPathCommand({
        Path: "/meteor-scale/local",
        Recursive: true,
        WithDecryption: true,
        NextToken: token,
      }),
    );
    for (const { Name = "", Type, Value = "" } of Parameters ?? []) {
      // A URL's secret is its password, as are the users', and a key's is its longest line.
      if (Type === "SecureString" && !Name.endsWith("/CERTIFICATE")) {
        const password =
          /^mongodb:\/\/[\w-]+:(\w+)@/.exec(Value)?.[1] ?? /"pwd":"(\w+)"/.exec(Value)?.[1];
        const [, line] = /^(?!-----)(\S{40,})$/m.exec(Value) ?? [];
        found.set(Name, password ?? line ?? Value);
      }
    }
    if (NextToken === undefined) {
      return found;
    }
    token = NextToken;
  }
}

test("a second run changes nothing, and says so", () => {
  expect(localCommand("up")).toContain("\nNothing had to change.\n");
});

test("a terminal with what `env` prints previews the same stack", () => {
  const line = /^export (\w+)='(.*)'$/;
  const printed = localCommand("env")
    .trim()
    .split("\n")
    .map((text) => (line.exec(text) ?? []).slice(1));
  // What else is on the PATH differs from one terminal to the next.
  expect(Object.fromEntries(printed)).toEqual({
    ...pulumiEnvironment(),
    PATH: expect.stringMatching(`^${toolsBinFolder}:`) as string,
  });
  const { status, output } = pulumi("preview", "--expect-no-changes");
  expect(output).toMatch(/\d+ unchanged/);
  expect(status).toBe(0);
});

test("`status` lists the machines with their addresses", () => {
  expect(
    machines()
      .map(({ name }) => name.replace("meteor-scale-local-", ""))
      .sort(),
  ).toEqual(names);
  expect(machines().every(({ ready, state }) => ready === "true" && state === "running")).toBe(
    true,
  );
  expect(localCommand("status")).toContain(`https://${stack.address}/`);
});

test("`logs` shows a machine's journal", () => {
  expect(localCommand("logs", "host1")).toMatch(/host1 listens on port 3000: sample application/);
});

test("a name that no machine has is answered with those there are", () => {
  const { status, output } = outcomeOf("npm", ["run", "--silent", "local", "--", "logs", "host9"]);
  expect(output).toMatch(/^There is no machine host9\. There are: .*host1/m);
  expect(output).not.toMatch(/^\s+at /m);
  expect(status).toBe(1);
});

test("a host has one core", () => {
  const host = machines().find(({ name }) => name.endsWith("host1"));
  expect(host).toMatchObject({ instanceType: "c7a.medium", cores: 1 });
});

test("the stack's outputs tell where everything is, and no secret", async () => {
  const outputs = JSON.parse(pulumi("stack", "output", "--json").output) as Record<string, unknown>;
  expect(outputs).toMatchObject({
    url: "https://meteor.localhost",
    ipAddress: stack.address,
    dnsRecords: [],
    hosts: ["host1", "host2", "host3"],
    mongoMembers: ["mongo1.meteor.internal"],
  });
  const text = JSON.stringify(outputs);
  for (const secret of (await secrets()).values()) {
    expect(text).not.toContain(secret);
  }
});

test("no secret stands in user data, Pulumi's state, a log, a journal or a list of processes", async () => {
  const all = await secrets();
  expect([...all.keys()].sort()).toEqual([
    "/meteor-scale/local/certificate/PRIVATE_KEY",
    "/meteor-scale/local/hosts/MONGO_OPLOG_URL",
    "/meteor-scale/local/hosts/MONGO_URL",
    "/meteor-scale/local/mongo/ADMIN_PASSWORD",
    "/meteor-scale/local/mongo/KEY_FILE",
    "/meteor-scale/local/mongo/MONITOR_PASSWORD",
    "/meteor-scale/local/mongo/USERS",
  ]);
  const places = new Map<string, string>();
  for (const entry of readdirSync(regionFolder, { recursive: true, withFileTypes: true })) {
    const path = join(entry.parentPath, entry.name);
    // Machines' disks are where secrets belong.
    if (entry.isFile() && !/\/region\/(machines|volumes|snapshots)\//.test(path)) {
      places.set(path, readFileSync(path, "utf8"));
    }
  }
  for (const name of names) {
    places.set(
      `${name}'s processes`,
      inMachine(name, "cat /proc/[0-9]*/cmdline | tr '\\0' ' '; true"),
    );
    places.set(`${name}'s journal`, inMachine(name, "journalctl --no-pager"));
    places.set(`${name}'s user data`, inMachine(name, "cat /var/lib/cloud/instance/user-data.txt"));
  }
  places.set("this computer's processes", execFileSync("ps", ["axww"], { encoding: "utf8" }));
  const found = [...places].flatMap(([place, text]) =>
    [...all].flatMap(([name, secret]) => (text.includes(secret) ? [`${name} in ${place}`] : [])),
  );
  expect(found).toEqual([]);
});
