import { type ChildProcess, spawn } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { repositoryFolder } from "../../../local/paths";
import { installMachineTools, machineToolsFolder } from "../../../local/toolchain/machineTools";
import { type Disk, type Fault, ReplicaSetModel, type User } from "./model";
import { WireServer } from "./wireServer";

jest.setTimeout(900_000);

/** In the place of mongo1.meteor.internal, …: addresses of this computer alone. */
const hosts = [1, 2, 3].map((number) => `127.0.1.${number}:27017`);
const [first = "", second = "", third = ""] = hosts;
const folder = mkdtempSync(join(tmpdir(), "meteor-scale-replica-set-"));
const keyFile = "key of the members";

interface Finished {
  status: number;
  output: string[];
}

let model: ReplicaSetModel;
let control: WireServer;
let shell: ChildProcess;
/** The shell's question for the next run. */
let ready: (environment: Record<string, string> | null) => void;
let asked: Promise<void>;
let finish: (output: string[]) => void;

beforeAll(async () => {
  await installMachineTools({
    progress: () => undefined,
    signal: new AbortController().signal,
  });
  mkdirSync(join(folder, "bin"));
  writeFileSync(join(folder, "bin/systemctl"), "#!/bin/sh\necho 0\n", { mode: 0o755 });
  let tellAsked: () => void = () => undefined;
  asked = new Promise((resolve) => (tellAsked = resolve));
  control = new WireServer("127.0.2.1", async (command) => {
    if (command["advance"] !== undefined) {
      await model.advance(Number(command["advance"]));
      return {};
    }
    if (command["next"] !== undefined) {
      const run = new Promise((resolve) => (ready = resolve));
      tellAsked();
      return { run: await run };
    }
    if (command["done"] !== undefined) {
      asked = new Promise((resolve) => (tellAsked = resolve));
      finish(command["done"] as string[]);
      return {};
    }
    return {
      ...{ ismaster: true, isWritablePrimary: true, helloOk: true, readOnly: false },
      ...{ minWireVersion: 0, maxWireVersion: 25, version: "8.0.4", modules: [] },
    };
  });
  await control.start();
  const program = join(machineToolsFolder, "node_modules/mongosh/bin/mongosh.js");
  const script = join(__dirname, "shell.js");
  shell = spawn(process.execPath, [program, "--quiet", "--norc", "--nodb", "--file", script], {
    env: { ...process.env, HOME: folder, PATH: `${join(folder, "bin")}:${process.env["PATH"]}` },
    stdio: ["ignore", "ignore", "inherit"],
  });
}, 900_000);

afterAll(async () => {
  shell.kill();
  await control.stop();
  rmSync(folder, { recursive: true });
});

const app: User = { user: "app-1", pwd: "app1", roles: [{ role: "readWrite", db: "app" }] };
const oplogger: User = { user: "oplogger-1", pwd: "op1", roles: [{ role: "read", db: "local" }] };

/** A stack with a replica set, and an engine that makes one member after the other, the last one first. */
class Stack {
  users = [app, oplogger];
  adminPassword = "admin1";
  /** Whether the gate of any member exists. */
  exists = false;
  readonly acknowledged: string[] = [];

  constructor(readonly accessControl: "firewall" | "rbac") {
    model = new ReplicaSetModel(hosts, accessControl, keyFile);
  }

  /** What the machine's first boot does, up to the gate. */
  async make(host: string, { restored = false } = {}): Promise<Finished> {
    await model.boot(model.member(host));
    const finished = await this.run(host, restored);
    if (finished.status === 0) {
      this.exists = true;
      await this.write();
    }
    return finished;
  }

  async replace(host: string): Promise<Finished> {
    await model.shutDown(model.member(host));
    await model.advance(20_000);
    return this.make(host);
  }

  async run(host: string, restored = false): Promise<Finished> {
    for (const [name, content] of Object.entries({
      ADMIN_PASSWORD: this.adminPassword,
      KEY_FILE: keyFile,
      USERS: JSON.stringify(this.users),
    })) {
      writeFileSync(join(folder, name), content);
    }
    model.here = model.member(host);
    const output = new Promise<string[]>((resolve) => (finish = resolve));
    await asked;
    ready({
      ...{
        SCRIPT: join(repositoryFolder, "userdata/mongo/set-up-replica-set.js"),
        SECRETS: folder,
      },
      ...{ ACCESS_CONTROL: this.accessControl, REPLICA_SET: "meteor" },
      ...{ MEMBER_HOST: host, MEMBERS: hosts.join() },
      ...{ SET_EXISTS: this.exists ? "yes" : "no", RESTORED: restored ? "yes" : "no" },
    });
    const lines = await output;
    return { status: lines.at(-1) === "status 1" ? 1 : 0, output: lines };
  }

  /** As the application does, which tries again until its write is acknowledged. */
  private async write(): Promise<void> {
    const mark = `write ${this.acknowledged.length}`;
    for (let tries = 0; !model.write(mark); tries += 1) {
      if (tries === 120) {
        throw new Error("no write was acknowledged in a minute");
      }
      await model.advance(500);
    }
    this.acknowledged.push(mark);
  }

  /** One set, with what was acknowledged, these members and the users that there should be. */
  async expectWhole(names: string[]): Promise<void> {
    await model.advance(60_000);
    expect(model.initiations).toBe(1);
    expect(model.primary?.host).toBe(first);
    const config = model.primary?.disk.config?.members ?? [];
    expect(config.map(({ host }) => host).sort()).toEqual([...names].sort());
    expect(new Set(config.map(({ _id }) => _id)).size).toBe(names.length);
    for (const name of names) {
      const member = model.member(name);
      expect(new Set(model.marksOf(member))).toEqual(new Set(this.acknowledged));
      const users = [...model.usersOf(member).values()];
      const wanted = [{ user: "admin", pwd: this.adminPassword, roles: ["root"] }, ...this.users];
      expect(users).toEqual(this.accessControl === "rbac" ? expect.arrayContaining(wanted) : []);
      expect(users).toHaveLength(this.accessControl === "rbac" ? wanted.length : 0);
    }
  }
}

afterEach(() => model.stop());

const faults = fc.array(
  fc.record<Fault>({
    after: fc.integer({ min: 1, max: 150 }),
    kind: fc.constantFrom("mongod dies", "primary steps down", "config is busy", "copies slowly"),
    member: fc.integer({ min: 0, max: 2 }),
  }),
  { maxLength: 5 },
);
const accessControl = fc.constantFrom("firewall" as const, "rbac" as const);

async function always<Values extends [unknown, ...unknown[]]>(
  runs: number,
  arbitraries: { [Index in keyof Values]: fc.Arbitrary<Values[Index]> },
  holds: (...values: Values) => Promise<void>,
): Promise<void> {
  const property = fc.asyncProperty(...arbitraries, async (...values: Values) => {
    try {
      await holds(...values);
    } finally {
      await model.stop();
    }
  });
  await fc.assert(property, { numRuns: runs, endOnFailure: true });
}

const ok = { status: 0, output: [] };

test("three members become one set, whatever dies, steps down or is slow meanwhile", () =>
  always(40, [accessControl, faults], async (access, sequence) => {
    const stack = new Stack(access);
    model.faults = sequence;
    for (const host of [third, second, first]) {
      expect(await stack.make(host)).toEqual(ok);
    }
    await stack.expectWhole(hosts);
  }));

test("a set of one with data becomes a set of three, and keeps the data", () =>
  always(30, [accessControl, faults], async (access, sequence) => {
    const stack = new Stack(access);
    expect(await stack.make(first)).toEqual(ok);
    await stack.expectWhole([first]);
    model.faults = sequence.map((fault) => ({ ...fault, after: fault.after + model.commands }));
    for (const host of [third, second]) {
      expect(await stack.make(host)).toEqual(ok);
    }
    await stack.expectWhole(hosts);
  }));

test("members are replaced one after the other on their volumes, or on a new one, and nothing is lost", () =>
  always(
    40,
    [accessControl, faults, fc.subarray(hosts, { maxLength: 1 })],
    async (access, sequence, lost) => {
      const stack = new Stack(access);
      for (const host of [third, second, first]) {
        expect(await stack.make(host)).toEqual(ok);
      }
      await stack.expectWhole(hosts);
      model.faults = sequence.map((fault) => ({ ...fault, after: fault.after + model.commands }));
      for (const host of [third, second, first]) {
        if (lost.includes(host)) {
          await model.shutDown(model.member(host));
          model.member(host).disk = {};
        }
        expect(await stack.replace(host)).toEqual(ok);
      }
      await stack.expectWhole(hosts);
    },
  ));

test("where all data is gone, no new set is made in the place of the old one", () =>
  always(5, [accessControl, fc.constantFrom(...hosts)], async (access, host) => {
    const stack = new Stack(access);
    stack.exists = true;
    expect(await stack.make(host)).toEqual({
      status: 1,
      output: [
        "this member has no data, and none that has answers as the primary: restore a snapshot if all is lost",
        "status 1",
      ],
    });
    expect(model.initiations).toBe(0);
  }));

test("a snapshot of any member, restored to the first machine, becomes the whole set again", () =>
  always(
    15,
    [accessControl, faults, fc.constantFrom(...hosts)],
    async (access, sequence, source) => {
      const stack = new Stack(access);
      for (const host of [third, second, first]) {
        expect(await stack.make(host)).toEqual(ok);
      }
      await stack.expectWhole(hosts);
      const snapshot: Disk = structuredClone(model.member(source).disk);
      for (const host of hosts) {
        await model.shutDown(model.member(host));
        model.member(host).disk = {};
      }
      model.member(third).disk = snapshot;
      model.faults = sequence.map((fault) => ({ ...fault, after: fault.after + model.commands }));
      stack.adminPassword = "admin2";
      for (const host of [third, second, first]) {
        expect(await stack.make(host, { restored: host === third })).toEqual(ok);
      }
      await stack.expectWhole(hosts);
    },
  ));

test("passwords change while the set runs: two are valid at a time, and users of others stay", () =>
  always(15, [faults, fc.constantFrom(...hosts)], async (sequence, host) => {
    const stack = new Stack("rbac");
    for (const one of [third, second, first]) {
      expect(await stack.make(one)).toEqual(ok);
    }
    model.faults = sequence.map((fault) => ({ ...fault, after: fault.after + model.commands }));
    const next = { ...app, user: "app-2", pwd: "app2" };
    stack.users = [app, oplogger, next, { ...oplogger, user: "oplogger-2", pwd: "op2" }];
    stack.adminPassword = "admin2";
    expect(await stack.run(host)).toEqual(ok);
    await stack.expectWhole(hosts);
    stack.users = [next];
    expect(await stack.run(host)).toEqual(ok);
    await stack.expectWhole(hosts);
  }));
