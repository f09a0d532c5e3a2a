import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { EC2Client } from "@aws-sdk/client-ec2";
import { parseDocument } from "yaml";
import { dataVolumes, removeMembers } from "../../backup/volumes";
import { awsApiUrl, awsCredentials, awsRegion, repositoryFolder } from "../../local/paths";
import { imageHasMongoStandIn } from "../../local/toolchain/machineImage";
import { crash, eventually, inMachine } from "../local/machines";
import {
  addLine,
  expectUnnoticed,
  lines,
  localCommand,
  npmRun,
  type Stack,
  underTraffic,
  upStack,
  updateWith,
} from "../local/stack/stack";

jest.setTimeout(900_000);

const members = ["mongo1", "mongo2", "mongo3"];
const configFile = join(repositoryFolder, "Pulumi.local.yaml");
const committed = readFileSync(configFile, "utf8");
const client = { region: awsRegion, endpoint: awsApiUrl, credentials: awsCredentials };
let stack: Stack;

beforeAll(async () => {
  stack = await upStack();
  // FerretDB, which stands in elsewhere, has sets of one member.
  expect(imageHasMongoStandIn()).toBe(false);
  await addLine(stack, "from before");
});

afterAll(() => {
  writeFileSync(configFile, committed);
  localCommand("down");
});

/** Sets a value in the stack's own config, as its user would. */
function configure(values: Record<string, unknown>): void {
  const document = parseDocument(readFileSync(configFile, "utf8"));
  for (const [key, value] of Object.entries(values)) {
    document.setIn(["config", `meteor-scale:${key}`], value);
  }
  writeFileSync(configFile, String(document));
}

/** States of the members that a machine's mongod knows, as the set's admin sees them. */
function states(from: string): Record<string, string> {
  const script = `
    const admin = connect("mongodb://127.0.0.1:27017/admin?directConnection=true");
    admin.auth("admin", fs.readFileSync("/etc/meteor-scale/secrets/ADMIN_PASSWORD", "utf8").trim());
    print(JSON.stringify(admin.adminCommand({ replSetGetStatus: 1 }).members.map((one) => [one.name, one.stateStr])));`;
  const output = inMachine(from, `mongosh --quiet --norc --nodb --eval '${script}'`);
  const known = JSON.parse(output) as [string, string][];
  return Object.fromEntries(known.map(([name, state]) => [name.split(".")[0] ?? "", state]));
}

async function everyMemberIsBack(): Promise<void> {
  await eventually(() => {
    for (const name of members) {
      expect(states(name)).toEqual({ mongo1: "PRIMARY", mongo2: "SECONDARY", mongo3: "SECONDARY" });
    }
  }, 180);
}

async function volumes(): Promise<(string | undefined)[]> {
  return (await dataVolumes(new EC2Client(client), "meteor-scale-local")).map(
    ({ VolumeId }) => VolumeId,
  );
}

test("a set of one becomes a set of three, in three zones, with its data", async () => {
  const [first] = await volumes();
  configure({ mongoMembers: 3, mongoZones: ["a", "b", "c"].map((zone) => `${awsRegion}${zone}`) });
  const { report } = await underTraffic(stack, async () => {
    localCommand("up");
    return Promise.resolve();
  });
  expectUnnoticed(report);
  await everyMemberIsBack();
  expect((await volumes())[0]).toBe(first);
  expect(await lines(stack)).toContain("from before");
  expect(inMachine("host1", "cat /etc/meteor-scale/secrets/MONGO_URL")).toMatch(
    /@mongo1\.meteor\.internal:27017,mongo2\.meteor\.internal:27017,mongo3\.meteor\.internal:27017\/app\?/,
  );
});

/** What happens to the primary's machine, and what ends it. */
const faults: Record<string, { begin: () => void; end?: () => void }> = {
  "its machine crashes": {
    begin: () => {
      crash("mongo1");
    },
  },
  "its process is killed": {
    begin: () => inMachine("mongo1", "systemctl kill --signal=KILL mongod"),
  },
  "its disk is full": {
    begin: () =>
      inMachine("mongo1", "dd if=/dev/zero of=/var/lib/mongodb/full bs=1M status=none || true"),
    end: () => inMachine("mongo1", "rm /var/lib/mongodb/full"),
  },
  "its network is cut": {
    begin: () =>
      inMachine(
        "mongo1",
        "nft 'add table inet cut; add chain inet cut in { type filter hook input priority -300; policy drop; }; add chain inet cut out { type filter hook output priority -300; policy drop; }'",
      ),
    end: () => inMachine("mongo1", "nft delete table inet cut"),
  },
};

test.each(Object.keys(faults))(
  "where %s, another takes over within 15 s, and no acknowledged write is lost",
  async (name) => {
    await everyMemberIsBack();
    const { report } = await underTraffic(stack, async () => {
      faults[name]?.begin();
      await new Promise((resolve) => setTimeout(resolve, 30_000));
      await addLine(stack, name);
      faults[name]?.end?.();
      await everyMemberIsBack();
    });
    expect(report).toMatchObject({ failedRequests: [], lostCalls: 0, reconnects: 0 });
    expect(report.longestWait).toBeLessThan(15_000);
    expect(await lines(stack)).toContain(name);
  },
);

test("members change one at a time, and no acknowledged write is lost", async () => {
  configure({ mongoInstanceType: "r7a.medium" });
  const { result, report } = await underTraffic(stack, () => updateWith({}));
  expect(result.status).toBe(0);
  expect(report).toMatchObject({ failedRequests: [], lostCalls: 0, reconnects: 0 });
  expect(report.longestWait).toBeLessThan(15_000);
  await everyMemberIsBack();
});

test("after all three are destroyed, the snapshot of any brings the whole set back", async () => {
  const made = npmRun("backup", "--", "--stack", "local");
  const [, snapshot = ""] = /^(snap-\S+) .*mongo2-data\s+on demand$/m.exec(made.output) ?? [];
  const ec2 = new EC2Client(client);
  await removeMembers(ec2, "meteor-scale-local", await dataVolumes(ec2, "meteor-scale-local"));
  expect(npmRun("restore", "--", snapshot, "--stack", "local", "--yes").status).toBe(0);
  await everyMemberIsBack();
  expect(await lines(stack)).toEqual([...Object.keys(faults), "from before"].sort());
});
