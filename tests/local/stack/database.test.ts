import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { findMachine } from "../../../local/region/access";
import { eventually, inMachine, outcomeIn } from "../machines";
import {
  configFile,
  expectUnnoticed,
  instanceIds as ids,
  localCommand,
  pulumi,
  type Stack,
  underTraffic,
  upStack,
  updateWith,
} from "./stack";

jest.setTimeout(600_000);

/** What stays changed from one test to the next. */
const changed = { mongoVolumeSize: 25, mongoInstanceType: "r7a.medium" };
let stack: Stack;

beforeAll(async () => {
  stack = await upStack();
});

afterAll(() => {
  // A volume can't shrink again, and the committed config's passwords are older than those that run now.
  localCommand("down");
});

test("Mongo's machine has the settings that MongoDB asks for", () => {
  expect(inMachine("mongo1", "findmnt -no FSTYPE,OPTIONS /var/lib/mongodb")).toMatch(
    /^xfs .*\bnoatime\b/,
  );
  expect(inMachine("mongo1", "systemctl show --value -p LimitNOFILE mongod")).toBe("64000");
  // The kernel is this computer's own, so the machine can only tell what it would set.
  const told = inMachine(
    "mongo1",
    `export SYSTEMD_LOG_LEVEL=debug
    /lib/systemd/systemd-sysctl /etc/sysctl.d/60-mongod.conf 2>&1
    systemd-tmpfiles --create /etc/tmpfiles.d/mongod.conf 2>&1`,
  );
  for (const setting of [
    "'/proc/sys/vm/swappiness' to '1'",
    "'/proc/sys/vm/max_map_count' to '102400'",
    "'/proc/sys/vm/overcommit_memory' to '1'",
    "/sys/kernel/mm/transparent_hugepage/enabled",
    "/sys/kernel/mm/transparent_hugepage/defrag",
  ]) {
    expect(told).toContain(setting);
  }
  expect(inMachine("mongo1", "cat /etc/tmpfiles.d/mongod.conf")).toMatch(
    /^w- \S+\/enabled - - - - always$/m,
  );
});

test("destroying a stack is refused while its data is protected, before anything is deleted", async () => {
  expect((await updateWith({ protectData: true })).status).toBe(0);
  const before = ids();
  const { status, output } = pulumi("destroy", "--yes");
  expect(status).not.toBe(0);
  expect(output).toMatch(/mongo-member1-data.*cannot be deleted/s);
  expect(ids()).toEqual(before);
  expect((await updateWith({})).status).toBe(0);
});

test.each([
  [{ availabilityZone: "eu-central-1b" }, /mongo1 would be in eu-central-1b, but its data volume/],
  [{ mongoPasswordVersion: 3 }, /mongoPasswordVersion is 3, .* it must be 1, or 2 for new ones/s],
])("%j is refused at the preview while Mongo has data", (values, reason) => {
  const folder = mkdtempSync(join(tmpdir(), "meteor-scale-refused-"));
  const { status, output } = pulumi("preview", "--config-file", configFile(folder, values));
  rmSync(folder, { recursive: true });
  expect(output).toMatch(reason);
  expect(output).not.toMatch(/\n\s+at .*\.[jt]s:\d+/);
  expect(status).not.toBe(0);
});

test("Mongo's volume grows in place, and its file system with it, while it is in use", async () => {
  const size = (): number =>
    Number(inMachine("mongo1", "df --block-size=1G --output=size /var/lib/mongodb | tail -n 1"));
  const before = ids();
  const { result, report } = await underTraffic(stack, async () => {
    const update = await updateWith({ mongoVolumeSize: 25 });
    await eventually(() => {
      expect(size()).toBe(25);
    }, 90);
    return update;
  });
  expect(result).toMatchObject({
    status: 0,
    steps: [{ operation: "update", name: "mongo-member1-data" }],
  });
  expectUnnoticed(report);
  expect(ids()).toEqual(before);
});

test("another image replaces every machine when it is pinned, and a newer one replaces none", async () => {
  const before = ids();
  const pinned = { mongoVolumeSize: 25, amiId: "ami-0deb1a12a3d640000" };
  expect(await updateWith(pinned)).toMatchObject({ status: 0 });
  const now = ids();
  expect(Object.keys(now).sort()).toEqual(Object.keys(before).sort());
  expect(Object.values(now).filter((id) => Object.values(before).includes(id))).toEqual([]);
  expect(await updateWith({ mongoVolumeSize: 25 })).toMatchObject({ status: 0, steps: [] });
  expect(ids()).toEqual(now);
});

test("another size of Mongo's machine: the application waits, its data and all other machines stay", async () => {
  const before = ids();
  const { result, report } = await underTraffic(stack, () => updateWith(changed));
  expect(result).toMatchObject({ status: 0 });
  // A page and a file need no database.
  expect(report).toMatchObject({ failedRequests: [], lostCalls: 0, reconnects: 0 });
  const now = ids();
  expect({ ...now, mongo1: "" }).toEqual({ ...before, mongo1: "" });
  expect(now["mongo1"]).not.toBe(before["mongo1"]);
  expect(
    result.steps
      .map(({ operation, name }) => `${operation} ${name}`)
      .filter((step) => !step.endsWith("-recovery")),
  ).toEqual([
    "delete-replaced mongo-member1-attachment",
    "delete-replaced mongo-member1-instance",
    "create-replacement mongo-member1-instance",
    "update mongo-member1-name",
    "create-replacement mongo-member1-attachment",
    "update mongo-member1-gate-live",
  ]);
});

function mongoUrl(): string {
  return inMachine("host1", "cat /etc/meteor-scale/secrets/MONGO_URL");
}

/** Whether MongoDB lets in who has this URL. */
function opens(url: string): boolean {
  const command = `mongosh '${url}' --quiet --norc --eval 'db.tasks.countDocuments()'`;
  const { status, output } = outcomeIn(findMachine("mongo1").leader, command);
  if (status !== 0) {
    expect(output).toMatch(/Authentication failed/i);
  }
  return status === 0;
}

test("new passwords are a release that nobody notices; those before them go with the next change", async () => {
  const mongo = ids()["mongo1"];
  const first = mongoUrl();
  const { result, report } = await underTraffic(stack, () =>
    updateWith({ ...changed, mongoPasswordVersion: 2 }),
  );
  expect(result).toMatchObject({ status: 0 });
  expectUnnoticed(report);
  const second = mongoUrl();
  expect(second).not.toBe(first);
  expect([opens(first), opens(second)]).toEqual([true, true]);

  const next = await underTraffic(stack, () => updateWith({ ...changed, mongoPasswordVersion: 3 }));
  expect(next.result).toMatchObject({ status: 0 });
  expectUnnoticed(next.report);
  expect([opens(first), opens(second), opens(mongoUrl())]).toEqual([false, true, true]);
  expect(ids()["mongo1"]).toBe(mongo);
});

test.each([2, 5])("version %i after 3 is refused before anything changes", async (version) => {
  const { status, output, steps } = await updateWith({ ...changed, mongoPasswordVersion: version });
  expect(output).toMatch(/mongoPasswordVersion is \d, but .* it must be 3, or 4 for new ones/s);
  expect(output).not.toMatch(/\n\s+at .*\.[jt]s:\d+/);
  expect([status === 0, steps]).toEqual([false, []]);
});
