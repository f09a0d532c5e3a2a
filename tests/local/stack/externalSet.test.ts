import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { imageRootFolder } from "../../../local/paths";
import { Browser } from "../../../local/traffic/browser";
import { mongodConfig } from "../../../userdata/mongo/mongodConfig";
import { outcomeOf } from "../../tools";
import { eventually, inMachine } from "../machines";
import {
  expectUnnoticed,
  instanceIds,
  localCommand,
  network,
  type Stack,
  underTraffic,
  upStack,
  updateWith,
} from "./stack";

jest.setTimeout(400_000);

/** A set that is not the stack's, where its hosts can reach it. */
const external = { name: "external", address: "10.20.32.210" };
const folder = mkdtempSync(join(tmpdir(), "meteor-scale-external-"));
let stack: Stack;
let mongod: ChildProcess | undefined;

beforeAll(async () => {
  stack = await upStack();
  network("attachNamespace", external.name, external.address);
  writeFileSync(
    join(folder, "mongod.conf"),
    mongodConfig({ replicaSet: "elsewhere", accessControl: "firewall" }),
  );
  mongod = spawn("nsenter", enter("mongod", "--config", "/var/lib/mongodb/mongod.conf"), {
    stdio: "ignore",
  });
  const members = `[{ _id: 0, host: "${external.address}:27017" }]`;
  await eventually(() => {
    const { output } = shell(`rs.initiate({ _id: "elsewhere", members: ${members} }).ok`);
    expect(output.trim()).toMatch(/^1$|already initialized/);
  });
});

afterAll(async () => {
  localCommand("down");
  if (mongod?.exitCode === null) {
    mongod.kill("SIGKILL");
    await once(mongod, "close");
  }
  network("detachNamespace", external.name);
  rmSync(folder, { recursive: true });
});

/** Arguments for nsenter: a program of the machine image, in the namespace of the set's own. */
function enter(...command: string[]): string[] {
  const prepare = `mount --bind ${folder} ${imageRootFolder}/var/lib/mongodb
    mount --rbind /dev ${imageRootFolder}/dev
    mount -t proc proc ${imageRootFolder}/proc
    exec chroot ${imageRootFolder} "$@"`;
  return [
    ...[`--net=/run/netns/meteor-${external.name}`, "--", "unshare", "--mount"],
    ...["bash", "-euc", prepare, "bash", ...command],
  ];
}

function shell(expression: string): { output: string } {
  const address = `mongodb://${external.address}:27017/app?directConnection=true`;
  return outcomeOf("nsenter", enter("mongosh", address, "--quiet", "--norc", "--eval", expression));
}

function urls(start: string, query: string): Record<string, string> {
  return { mongoUrl: `${start}/app?${query}`, mongoOplogUrl: `${start}/local?${query}` };
}

test("a wrong password is the reason why a release fails, and what ran before runs on", async () => {
  const secrets = urls(
    "mongodb://app:wrong@mongo1.meteor.internal",
    "replicaSet=meteor&authSource=admin",
  );
  const before = instanceIds();
  const { result, report } = await underTraffic(stack, () => updateWith({}, { secrets }));
  expect(result.status).not.toBe(0);
  expect(result.output).toMatch(
    /host\d .* failed in check-mongo: .*MONGO_URL: Authentication failed/s,
  );
  expect(result.output).not.toContain("wrong@");
  expectUnnoticed(report);
  expect(report.reconnects).toBe(0);
  expect(instanceIds()["mongo1"]).toBe(before["mongo1"]);
});

test("a set of somebody else's takes the place of the stack's own, which is gone then", async () => {
  const secrets = urls(`mongodb://${external.address}:27017`, "replicaSet=elsewhere");
  expect((await updateWith({}, { secrets })).status).toBe(0);
  expect(Object.keys(instanceIds()).sort()).toEqual(["balancer", "host1", "host2", "host3"]);
  const browser = new Browser(stack);
  const client = await browser.connect("websocket");
  await client.call("tasks.insert", "elsewhere");
  browser.close();
  expect(shell("db.tasks.findOne().text").output.trim()).toBe("elsewhere");
  expect(inMachine("host1", "journalctl -u meteor -o cat --no-pager")).not.toMatch(/Error/);
});
