import { type ChildProcess, spawn } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Document } from "bson";
import fc from "fast-check";
import { repositoryFolder } from "../../../local/paths";
import { installMachineTools, machineToolsFolder } from "../../../local/toolchain/machineTools";
import { type Fault, ReplicaSetModel, type User } from "./model";
import { CommandError, WireServer } from "./wireServer";

jest.setTimeout(900_000);

const folder = mkdtempSync(join(tmpdir(), "meteor-scale-replica-set-"));
const keyFile = "key of the members";

interface Finished {
  status: number;
  output: string[];
}

/** MongoDB's shell, which runs the script as often as it is told, against one model after the other. */
class Shell {
  /** In the place of mongo1.meteor.internal, …: addresses of this computer alone. */
  readonly hosts: [string, string, string];
  model: ReplicaSetModel;
  /** When a run of the script is ended, as the readiness gate would end the wait for it. */
  timeIsOver = Infinity;
  private readonly folder: string;
  private readonly control: WireServer;
  private process: ChildProcess | undefined;
  /** The shell's question for the next run. */
  private next: Promise<(environment: Record<string, string>) => void>;
  private tellNext: (answer: (environment: Record<string, string>) => void) => void = () =>
    undefined;
  /** What a run is under way with. */
  private current: Record<string, string> | undefined;
  private finish: (output: string[]) => void = () => undefined;

  constructor(private readonly number: number) {
    const host = (member: number): string => `127.0.${number}.${member}:27017`;
    this.hosts = [host(1), host(2), host(3)];
    this.model = this.begin("firewall");
    this.folder = join(folder, String(number));
    mkdirSync(this.folder);
    this.next = new Promise((resolve) => (this.tellNext = resolve));
    this.control = new WireServer(`127.0.${number}.100:27017`, (command) => this.answer(command));
  }

  begin(accessControl: "firewall" | "rbac"): ReplicaSetModel {
    this.timeIsOver = Infinity;
    this.model = new ReplicaSetModel(this.hosts, accessControl, keyFile);
    return this.model;
  }

  async start(): Promise<void> {
    await this.control.start();
    mkdirSync(join(this.folder, "bin"));
    const systemctl = join(this.folder, "bin/systemctl");
    writeFileSync(systemctl, "#!/bin/sh\necho 0\n", { mode: 0o755 });
    const program = join(machineToolsFolder, "node_modules/mongosh/bin/mongosh.js");
    const script = join(__dirname, "shell.js");
    const begin = (): void => {
      this.process = spawn(
        process.execPath,
        [program, "--quiet", "--norc", "--nodb", "--file", script],
        {
          env: {
            ...process.env,
            HOME: this.folder,
            PATH: `${join(this.folder, "bin")}:${process.env["PATH"] ?? ""}`,
            CONTROL: `127.0.${this.number}.100:27017`,
          },
          stdio: ["ignore", "ignore", "inherit"],
        },
      );
      // As set-up-replica-set.sh does it.
      this.process.once("exit", (status) => {
        if (status === 75) {
          begin();
        }
      });
    };
    begin();
  }

  async stop(): Promise<void> {
    this.process?.kill();
    await this.control.stop();
  }

  /** Runs the script on a member's machine. */
  async run(
    environment: Record<string, string>,
    secrets: Record<string, string>,
  ): Promise<Finished> {
    for (const [name, content] of Object.entries(secrets)) {
      writeFileSync(join(this.folder, name), content);
    }
    const finished = new Promise<string[]>((resolve) => (this.finish = resolve));
    const answer = await this.next;
    this.next = new Promise((resolve) => (this.tellNext = resolve));
    this.current = {
      ...environment,
      ...{ PREFERRED_PRIMARY: this.hosts[0], REPLICA_SET: "meteor", SECRETS: this.folder },
      SCRIPT: join(repositoryFolder, "userdata/mongo/set-up-replica-set.js"),
    };
    answer(this.current);
    const output = await finished;
    this.current = undefined;
    return { status: output.at(-1) === "status 1" ? 1 : 0, output };
  }

  private async answer(command: Document): Promise<Document> {
    if (command["advance"] !== undefined) {
      await this.model.advance(Number(command["advance"]));
      if (this.model.now > this.timeIsOver) {
        throw new CommandError(262, "time is over");
      }
      return {};
    }
    if (command["next"] !== undefined) {
      const environment =
        this.current ??
        (await new Promise((resolve) => {
          this.tellNext(resolve);
        }));
      return { run: environment };
    }
    if (command["done"] !== undefined) {
      this.finish(command["done"] as string[]);
      return {};
    }
    return {
      ...{ ismaster: true, isWritablePrimary: true, helloOk: true, readOnly: false },
      ...{ minWireVersion: 0, maxWireVersion: 25, version: "8.0.4", modules: [] },
    };
  }
}

const shells = [1, 2].map((number) => new Shell(number));

beforeAll(async () => {
  await installMachineTools({
    progress: () => undefined,
    signal: new AbortController().signal,
  });
  await Promise.all(shells.map((shell) => shell.start()));
}, 900_000);

afterAll(async () => {
  await Promise.all(shells.map((shell) => shell.stop()));
  rmSync(folder, { recursive: true });
});

const app: User = { user: "app-1", pwd: "app1", roles: [{ role: "readWrite", db: "app" }] };
const oplogger: User = { user: "oplogger-1", pwd: "op1", roles: [{ role: "read", db: "local" }] };

/** A stack with a replica set, and an engine that makes one member after the other, the last one first. */
class Stack {
  users = [app, oplogger];
  adminPassword = "admin1";
  /** Those whose gates exist. */
  readonly known = new Set<string>();
  readonly acknowledged: string[] = [];

  readonly hosts: [string, string, string];
  readonly model: ReplicaSetModel;

  constructor(
    private readonly shell: Shell,
    private readonly accessControl: "firewall" | "rbac",
  ) {
    this.hosts = shell.hosts;
    this.model = shell.begin(accessControl);
  }

  /** All three, as the engine makes them. */
  async makeAll(options: { restored?: boolean } = {}): Promise<void> {
    const [first, second, third] = this.hosts;
    expect(await this.make(third, options)).toEqual(ok);
    for (const host of [second, first]) {
      expect(await this.make(host)).toEqual(ok);
    }
  }

  /** From the next command on. */
  expectFaults(faults: Fault[]): void {
    this.model.faults = faults.map((fault) => ({
      ...fault,
      after: fault.after + this.model.commands,
    }));
  }

  /** What the machine's first boot does, up to the gate. */
  async make(host: string, { restored = false } = {}): Promise<Finished> {
    await this.model.boot(this.model.member(host));
    const finished = await this.run(host, restored);
    if (finished.status === 0) {
      this.known.add(host);
      await this.write();
    }
    return finished;
  }

  async replace(host: string): Promise<Finished> {
    await this.model.shutDown(this.model.member(host));
    await this.model.advance(20_000);
    return this.make(host);
  }

  run(host: string, restored = false): Promise<Finished> {
    this.model.here = this.model.member(host);
    return this.shell.run(
      {
        ...{ ACCESS_CONTROL: this.accessControl, MEMBER_HOST: host },
        ...{ KNOWN_MEMBERS: [...this.known].join(), RESTORED: restored ? "yes" : "no" },
      },
      {
        ...{ ADMIN_PASSWORD: this.adminPassword, KEY_FILE: keyFile },
        USERS: JSON.stringify(this.users),
      },
    );
  }

  /** As the application does, which tries again until its write is acknowledged. */
  private async write(): Promise<void> {
    const mark = `write ${this.acknowledged.length}`;
    for (let tries = 0; !this.model.write(mark); tries += 1) {
      if (tries === 120) {
        throw new Error("no write was acknowledged in a minute");
      }
      await this.model.advance(500);
    }
    this.acknowledged.push(mark);
  }

  /** One set, with what was acknowledged, these members and the users that there should be. */
  async expectWhole(names: string[] = this.hosts): Promise<void> {
    await this.model.advance(60_000);
    expect(this.model.initiations).toBe(1);
    expect(this.model.primary?.host).toBe(this.hosts[0]);
    const config = this.model.primary?.disk.config?.members ?? [];
    expect(config.map(({ host }) => host).sort()).toEqual([...names].sort());
    expect(new Set(config.map(({ _id }) => _id)).size).toBe(names.length);
    for (const name of names) {
      const member = this.model.member(name);
      expect(new Set(this.model.marksOf(member))).toEqual(new Set(this.acknowledged));
      const users = [...this.model.usersOf(member).values()];
      const wanted = [{ user: "admin", pwd: this.adminPassword, roles: ["root"] }, ...this.users];
      expect(users).toEqual(this.accessControl === "rbac" ? expect.arrayContaining(wanted) : []);
      expect(users).toHaveLength(this.accessControl === "rbac" ? wanted.length : 0);
    }
  }
}

const faults = fc.array(
  fc.record<Fault>({
    after: fc.integer({ min: 1, max: 150 }),
    kind: fc.constantFrom(
      "mongod dies",
      "network is cut",
      "primary steps down",
      "config is busy",
      "copies slowly",
    ),
    member: fc.integer({ min: 0, max: 2 }),
  }),
  { maxLength: 5 },
);
const accessControl = fc.constantFrom("firewall" as const, "rbac" as const);

/** So many runs, shared out to the shells. */
async function always<Values extends [unknown, ...unknown[]]>(
  runs: number,
  arbitraries: { [Index in keyof Values]: fc.Arbitrary<Values[Index]> },
  holds: (shell: Shell, ...values: Values) => Promise<void>,
): Promise<void> {
  const check = (shell: Shell): Promise<void> => {
    const property = fc.asyncProperty(...arbitraries, async (...values: Values) => {
      try {
        await holds(shell, ...values);
      } finally {
        await shell.model.stop();
      }
    });
    return fc.assert(property, { numRuns: Math.ceil(runs / shells.length), endOnFailure: true });
  };
  await Promise.all(shells.map(check));
}

const ok = { status: 0, output: [] };

test("three members become one set, whatever dies, steps down or is slow meanwhile", () =>
  always(150, [accessControl, faults], async (shell, access, sequence) => {
    const stack = new Stack(shell, access);
    stack.expectFaults(sequence);
    await stack.makeAll();
    await stack.expectWhole();
  }));

test("a set of one with data becomes a set of three, and keeps the data", () =>
  always(100, [accessControl, faults], async (shell, access, sequence) => {
    const stack = new Stack(shell, access);
    const [first, second, third] = stack.hosts;
    expect(await stack.make(first)).toEqual(ok);
    await stack.expectWhole([first]);
    stack.expectFaults(sequence);
    for (const host of [third, second]) {
      expect(await stack.make(host)).toEqual(ok);
    }
    await stack.expectWhole();
  }));

test("members are replaced one after the other on their volumes, or on a new one, and nothing is lost", () =>
  always(
    120,
    [accessControl, faults, fc.option(fc.nat({ max: 2 }))],
    async (shell, access, sequence, lost) => {
      const stack = new Stack(shell, access);
      const { model } = stack;
      await stack.makeAll();
      await stack.expectWhole();
      stack.expectFaults(sequence);
      for (const [index, host] of [...stack.hosts.entries()].reverse()) {
        if (index === lost) {
          await model.shutDown(model.member(host));
          model.member(host).disk = {};
        }
        expect(await stack.replace(host)).toEqual(ok);
      }
      await stack.expectWhole();
    },
  ));

test("a member that the others do not hear is never ready, and they serve on", () =>
  always<["firewall" | "rbac", number]>(
    20,
    [accessControl, fc.integer({ min: 0, max: 2 })],
    async (shell, control, which) => {
      const stack = new Stack(shell, control);
      await stack.makeAll();
      const member = stack.model.member(stack.hosts[which] ?? "");
      await stack.model.shutDown(member);
      await stack.model.advance(20_000);
      member.cutOffUntil = Infinity;
      shell.timeIsOver = stack.model.now + 600_000;
      expect(await stack.make(member.host)).toEqual({
        status: 1,
        output: ["time is over", "status 1"],
      });
      expect(stack.model.write("goes on")).toBe(true);
    },
  ));

test("where all data is gone, no new set is made in the place of the old one", () =>
  always(4, [accessControl, fc.nat({ max: 2 })], async (shell, access, index) => {
    const stack = new Stack(shell, access);
    stack.hosts.forEach((host) => stack.known.add(host));
    expect(await stack.make(stack.hosts[index] ?? "")).toEqual({
      status: 1,
      output: [
        "this member has no data, and none that has answers as the primary: restore a snapshot if all is lost",
        "status 1",
      ],
    });
    expect(stack.model.initiations).toBe(0);
  }));

test("a snapshot of any member, or of a set of one, restored to the last machine, becomes the whole set again", () =>
  always(
    60,
    [accessControl, faults, fc.nat({ max: 2 }), fc.boolean()],
    async (shell, access, sequence, member, alone) => {
      const stack = new Stack(shell, access);
      const { model, hosts } = stack;
      const source = alone ? 0 : member;
      if (alone) {
        expect(await stack.make(hosts[0])).toEqual(ok);
        await stack.expectWhole([hosts[0]]);
      } else {
        await stack.makeAll();
        await stack.expectWhole();
      }
      const snapshot = structuredClone(model.member(hosts[source] ?? "").disk);
      for (const host of hosts) {
        await model.shutDown(model.member(host));
        model.member(host).disk = {};
      }
      model.member(hosts[2]).disk = snapshot;
      stack.expectFaults(sequence);
      stack.adminPassword = "admin2";
      await stack.makeAll({ restored: true });
      await stack.expectWhole();
    },
  ));

test("passwords change while the set runs: two are valid at a time", () =>
  always(60, [faults, fc.nat({ max: 2 })], async (shell, sequence, index) => {
    const stack = new Stack(shell, "rbac");
    const host = stack.hosts[index] ?? "";
    await stack.makeAll();
    stack.expectFaults(sequence);
    const next = { ...app, user: "app-2", pwd: "app2" };
    stack.users = [app, oplogger, next, { ...oplogger, user: "oplogger-2", pwd: "op2" }];
    stack.adminPassword = "admin2";
    expect(await stack.run(host)).toEqual(ok);
    await stack.expectWhole();
    stack.users = [next];
    expect(await stack.run(host)).toEqual(ok);
    await stack.expectWhole();
  }));
