import type { Document } from "bson";
import { CommandError, type Connection, Scram, WireServer } from "./wireServer";

/** A member as a set's config has it. */
export interface ConfigMember {
  _id: number;
  host: string;
  priority: number;
  /** No vote yet: MongoDB adds a member so, and counts it once it has the data. */
  newlyAdded?: boolean;
}

interface Config {
  _id: string;
  version: number;
  term: number;
  members: ConfigMember[];
}

export interface User {
  user: string;
  pwd: string;
  roles: unknown[];
}

/** What is written in the set: the application's documents, and users. */
type Entry = { mark: string } | { set: User } | { drop: string };

/** What a member's volume holds. */
export interface Disk {
  /** Which initiation its data comes from. */
  set?: number;
  config?: Config;
  /** Undefined while the first copy is under way. */
  log?: Entry[];
}

/** What happens to a member by itself. */
export interface Fault {
  /** How many commands of the shell come before it. */
  after: number;
  kind:
    "mongod dies" | "primary steps down" | "config is busy" | "copies slowly" | "network is cut";
  member: number;
}

class Member {
  disk: Disk = {};
  machine = false;
  running = false;
  /** Until then the other members do not hear it, nor it them; clients do. */
  cutOffUntil = 0;
  /** When systemd starts mongod again, in simulated milliseconds. */
  restartsAt = 0;
  /** When the first copy ends. */
  copiedAt = Infinity;
  /** Takes no new entries until then. */
  slowUntil = 0;
  readonly server: WireServer;

  constructor(
    readonly host: string,
    answer: (member: Member, command: Document, connection: Connection) => Document,
  ) {
    this.server = new WireServer(host, (command, connection) => answer(this, command, connection));
  }
}

/** Commands that MongoDB answers to anybody. */
const open = new Set(
  "hello isMaster ismaster saslStart saslContinue ping buildInfo endSessions connectionStatus logout".split(
    " ",
  ),
);

/** What the localhost exception lets through, until the first user exists. */
const exempt = new Set(["replSetInitiate", "createUser"]);

/**
 * A replica set as MongoDB 8.0 documents its behaviour, in simulated time: elections by majority and
 * priority, one change of voting members at a time, new members without a vote until they have copied,
 * reconfigurations by the primary alone, users in the set's own data, the localhost exception.
 *
 * https://www.mongodb.com/docs/v8.0/reference/command/replSetReconfig/
 * https://www.mongodb.com/docs/v8.0/core/localhost-exception/
 */
export class ReplicaSetModel {
  readonly members: Member[];
  now = 0;
  primary: Member | undefined;
  /** How often a set was initiated. */
  initiations = 0;
  /** The machine on which the script runs: its own mongod is local to it. */
  here: Member | undefined;
  faults: Fault[] = [];
  /** Every command that changed something, and who was asked. */
  readonly changes: string[] = [];
  /** How many commands were asked. */
  commands = 0;
  private electionAt = Infinity;
  private takeoverAt = Infinity;
  private busyUntil = 0;
  private term = 0;

  constructor(
    hosts: string[],
    private readonly accessControl: "firewall" | "rbac",
    readonly keyFile: string,
  ) {
    this.members = hosts.map(
      (host) =>
        new Member(host, (member, command, connection) => this.answer(member, command, connection)),
    );
  }

  member(host: string): Member {
    const found = this.members.find((one) => one.host === host);
    if (found === undefined) {
      throw new Error(`the model has no ${host}`);
    }
    return found;
  }

  /** Boots a machine with this member's volume. */
  async boot(member: Member): Promise<void> {
    member.machine = true;
    await this.start(member);
  }

  /** Shuts a machine down, as before it is replaced; its volume stays. */
  async shutDown(member: Member): Promise<void> {
    member.machine = false;
    if (this.primary === member) {
      this.stepDown(1000);
    }
    await this.kill(member);
  }

  async stop(): Promise<void> {
    for (const member of this.members) {
      await this.kill(member);
    }
  }

  private async start(member: Member): Promise<void> {
    if (!member.running) {
      member.running = true;
      await member.server.start();
    }
  }

  private async kill(member: Member): Promise<void> {
    if (!member.running) {
      return;
    }
    member.running = false;
    member.restartsAt = this.now + 2000;
    // An interrupted first copy starts anew.
    member.copiedAt = Infinity;
    if (this.primary === member) {
      this.stepDown(11_000);
    }
    await member.server.stop();
  }

  private stepDown(electionTakes: number): void {
    this.primary = undefined;
    this.takeoverAt = Infinity;
    this.electionAt = this.now + electionTakes;
  }

  /** Writes as the application does, which is told only when a majority has it. */
  write(mark: string): boolean {
    return this.primary !== undefined && this.append(this.primary, { mark });
  }

  marksOf(member: Member): string[] {
    return (member.disk.log ?? []).flatMap((entry) => ("mark" in entry ? [entry.mark] : []));
  }

  usersOf(member: Member): Map<string, User> {
    const users = new Map<string, User>();
    for (const entry of member.disk.log ?? []) {
      if ("set" in entry) {
        users.set(entry.set.user, entry.set);
      } else if ("drop" in entry) {
        users.delete(entry.drop);
      }
    }
    return users;
  }

  /** Lets time pass, in steps. */
  async advance(milliseconds: number): Promise<void> {
    for (const end = this.now + milliseconds; this.now < end;) {
      this.now += Math.min(500, end - this.now);
      for (const member of this.members) {
        if (member.machine && !member.running && this.now >= member.restartsAt) {
          await this.start(member);
        }
      }
      this.settle();
    }
  }

  /** What heartbeats, copies and elections do. */
  private settle(): void {
    const { primary } = this;
    if (primary !== undefined && !this.hasMajority(primary)) {
      this.stepDown(11_000);
    } else if (primary !== undefined) {
      this.spread(primary);
      this.takeOver(primary);
    } else {
      this.elect();
    }
  }

  private spread(primary: Member): void {
    const { config, log = [], set } = primary.disk;
    for (const member of this.inConfig(primary)) {
      if (member === primary || !this.hears(primary, member)) {
        continue;
      }
      const { disk } = member;
      if (disk.set === undefined) {
        disk.set = set;
      }
      if (disk.set !== set) {
        continue;
      }
      disk.config = config;
      if (disk.log === undefined) {
        member.copiedAt = Math.min(member.copiedAt, this.now + 3000);
        if (this.now >= member.copiedAt) {
          disk.log = [...log];
        }
      } else if (this.now >= member.slowUntil) {
        // What no majority had is rolled back.
        disk.log = [...log];
      }
    }
    // Heartbeats of those that were members reach it too.
    for (const member of this.members) {
      if (
        this.hears(primary, member) &&
        member.disk.set === set &&
        member.disk.config !== undefined
      ) {
        member.disk.config = config;
      }
    }
    if (config !== undefined) {
      const members = config.members.map((one) =>
        this.member(one.host).disk.log === undefined ? one : voting(one),
      );
      primary.disk.config = { ...config, members };
    }
  }

  private elect(): void {
    if (this.now < this.electionAt) {
      return;
    }
    const able = this.members
      .filter((member) => member.running && member.disk.log !== undefined)
      .filter((member) => configOf(member)?.newlyAdded === false && this.hasMajority(member))
      .sort(
        (a, b) =>
          (b.disk.log ?? []).length - (a.disk.log ?? []).length ||
          (configOf(b)?.priority ?? 0) - (configOf(a)?.priority ?? 0),
      );
    this.primary = able[0];
    if (this.primary?.disk.config !== undefined) {
      this.term += 1;
      this.primary.disk.config = { ...this.primary.disk.config, term: this.term };
    } else {
      this.electionAt = this.now + 1000;
    }
  }

  /** A member of a higher priority that has everything is elected in the primary's place. */
  private takeOver(primary: Member): void {
    const better = this.inConfig(primary).find(
      (member) =>
        this.hears(primary, member) &&
        configOf(member)?.newlyAdded === false &&
        (configOf(member)?.priority ?? 0) > (configOf(primary)?.priority ?? 0) &&
        member.disk.log?.length === primary.disk.log?.length,
    );
    if (better === undefined) {
      this.takeoverAt = Infinity;
    } else if (this.takeoverAt === Infinity) {
      this.takeoverAt = this.now + 10_000;
    } else if (this.now >= this.takeoverAt) {
      this.primary = better;
      this.takeoverAt = Infinity;
    }
  }

  private inConfig(member: Member): Member[] {
    return (member.disk.config?.members ?? []).map(({ host }) => this.member(host));
  }

  /** Whether it reaches more than half of those with a vote, itself included. */
  private hasMajority(member: Member): boolean {
    const voters = (member.disk.config?.members ?? []).filter(({ newlyAdded }) => !newlyAdded);
    const reached = voters.filter(({ host }) => {
      const other = this.member(host);
      return (
        this.hears(member, other) &&
        other.disk.set === member.disk.set &&
        other.disk.log !== undefined
      );
    });
    return reached.length * 2 > voters.length;
  }

  /** Whether heartbeats go from one to the other. */
  private hears(member: Member, other: Member): boolean {
    const cutOff = [member, other].some(({ cutOffUntil }) => this.now < cutOffUntil);
    return other === member || (other.running && !cutOff);
  }

  /** Acknowledged once more than half of those with a vote have it. */
  private append(primary: Member, entry: Entry): boolean {
    const log = (primary.disk.log ??= []);
    const before = [...log];
    log.push(entry);
    let having = 0;
    const voters = (primary.disk.config?.members ?? []).filter(({ newlyAdded }) => !newlyAdded);
    for (const { host } of voters) {
      const member = this.member(host);
      if (member === primary) {
        having += 1;
      } else if (
        this.hears(primary, member) &&
        member.disk.set === primary.disk.set &&
        this.now >= member.slowUntil &&
        member.disk.log?.length === before.length
      ) {
        member.disk.log.push(entry);
        having += 1;
      }
    }
    return having * 2 > voters.length;
  }

  private async fault({ kind, member: index }: Fault): Promise<void> {
    const member = this.members[index];
    if (kind === "primary steps down") {
      this.stepDown(1000);
    } else if (kind === "config is busy") {
      this.busyUntil = this.now + 5000;
    } else if (kind === "copies slowly" && member !== undefined) {
      member.slowUntil = this.now + 20_000;
    } else if (kind === "network is cut" && member !== undefined) {
      member.cutOffUntil = this.now + 15_000;
    } else if (kind === "mongod dies" && member?.running === true) {
      await this.kill(member);
    }
  }

  private answer(member: Member, command: Document, connection: Connection): Document {
    const name = Object.keys(command)[0] ?? "";
    this.commands += 1;
    const due = this.faults.filter(({ after }) => after <= this.commands);
    this.faults = this.faults.filter(({ after }) => after > this.commands);
    for (const fault of due) {
      void this.fault(fault);
    }
    if (!member.running) {
      throw new Error("its process is dead");
    }
    this.authorize(member, name, connection);
    const commands: Record<string, () => Document> = {
      hello: () => this.hello(member),
      ping: () => ({}),
      endSessions: () => ({}),
      buildInfo: () => ({ version: "8.0.4", versionArray: [8, 0, 4, 0], modules: [] }),
      connectionStatus: () => ({
        authInfo: { authenticatedUsers: [], authenticatedUserRoles: [] },
      }),
      saslStart: () => this.authenticate(member, command, connection),
      saslContinue: () => this.authenticate(member, command, connection),
      logout: () => ({}),
      replSetInitiate: () => this.initiate(member, command["replSetInitiate"] as Config),
      replSetGetConfig: () => this.getConfig(member),
      replSetGetStatus: () => this.getStatus(member),
      replSetReconfig: () =>
        this.reconfigure(member, command["replSetReconfig"] as Config, command["force"] === true),
      usersInfo: () => this.usersInfo(member, command["usersInfo"]),
      createUser: () => this.createUser(member, command),
      updateUser: () => this.updateUser(member, command),
      dropUser: () => this.dropUser(member, String(command["dropUser"])),
    };
    const run = commands[/^ismaster$/i.test(name) ? "hello" : name];
    if (run === undefined) {
      throw new CommandError(59, `no such command: '${name}'`);
    }
    if (/^(replSetInitiate|replSetReconfig|\w+User)$/.test(name)) {
      const answer = run();
      this.changes.push(`${member.host} ${name}`);
      return answer;
    }
    return run();
  }

  private authorize(member: Member, name: string, connection: Connection): void {
    if (
      this.accessControl === "firewall" ||
      open.has(name) ||
      connection.user !== undefined ||
      (exempt.has(name) && this.usersOf(member).size === 0 && member === this.here)
    ) {
      return;
    }
    throw new CommandError(13, `Command ${name} requires authentication`);
  }

  private authenticate(member: Member, command: Document, connection: Connection): Document {
    return Scram.answer(command, connection, (user) =>
      user === "__system" ? this.keyFile : this.usersOf(member).get(user)?.pwd,
    );
  }

  private hello(member: Member): Document {
    const { config, log } = member.disk;
    const own = configOf(member);
    return {
      ...{ helloOk: true, minWireVersion: 0, maxWireVersion: 25, readOnly: false },
      ...{
        maxBsonObjectSize: 16_777_216,
        maxMessageSizeBytes: 48_000_000,
        maxWriteBatchSize: 100_000,
      },
      localTime: new Date(this.now),
      logicalSessionTimeoutMinutes: 30,
      saslSupportedMechs: ["SCRAM-SHA-256"],
      isWritablePrimary: this.primary === member,
      ismaster: this.primary === member,
      ...(config === undefined || own === undefined
        ? { isreplicaset: true, info: "Does not have a valid replica set config", secondary: false }
        : {
            setName: config._id,
            setVersion: config.version,
            secondary: this.primary !== member && log !== undefined,
            hosts: config.members.map(({ host }) => host),
            ...(this.primary !== undefined && { primary: this.primary.host }),
            me: member.host,
            lastWrite: { lastWriteDate: new Date(this.lastWrite(member)) },
          }),
    };
  }

  /** A slow member is as far behind as it has been slow; the primary writes all the time. */
  private lastWrite(member: Member): number {
    return this.now < member.slowUntil && member !== this.primary
      ? member.slowUntil - 20_000
      : this.now;
  }

  private initiate(member: Member, { _id, members }: Config): Document {
    if (member.disk.config !== undefined) {
      throw new CommandError(23, "already initialized");
    }
    if (members.length !== 1 || members[0]?.host !== member.host) {
      throw new CommandError(93, "No host described in new configuration maps to this node");
    }
    this.initiations += 1;
    member.disk = {
      set: this.initiations,
      config: { _id, version: 1, term: 1, members: members.map(voting) },
      log: [],
    };
    this.electionAt = this.now + 500;
    return {};
  }

  private getConfig(member: Member): Document {
    const { config } = member.disk;
    if (config === undefined) {
      throw new CommandError(94, "no replset config has been received");
    }
    // The real one does not show newlyAdded.
    const members = config.members.map(({ _id, host, priority }) => ({
      _id,
      host,
      priority,
      votes: 1,
    }));
    return { config: { ...config, members } };
  }

  private getStatus(member: Member): Document {
    const { config } = member.disk;
    if (config === undefined) {
      throw new CommandError(94, "no replset config has been received");
    }
    const members = config.members.map(({ _id, host }) => {
      const other = this.member(host);
      const state =
        other === this.primary
          ? "PRIMARY"
          : other.disk.log === undefined
            ? "STARTUP2"
            : "SECONDARY";
      return {
        ...{ _id, name: host, optimeDate: new Date(this.lastWrite(other)) },
        ...(this.hears(member, other)
          ? { health: 1, stateStr: state }
          : { health: 0, stateStr: "(not reachable/healthy)" }),
        ...(other === member && { self: true }),
      };
    });
    return { set: config._id, members };
  }

  private reconfigure(member: Member, wanted: Config, force: boolean): Document {
    const { config } = member.disk;
    if (config === undefined) {
      throw new CommandError(94, "no replset config has been received");
    }
    if (!force) {
      this.checkReconfiguration(member, config, wanted);
    }
    const known = new Map(config.members.map((one) => [one.host, one]));
    member.disk.config = {
      ...wanted,
      version: force ? wanted.version + 50_000 : wanted.version,
      members: wanted.members.map(
        (one) => known.get(one.host) ?? { ...voting(one), newlyAdded: !force },
      ),
    };
    if (force) {
      this.electionAt = this.now + 500;
    }
    return {};
  }

  private checkReconfiguration(member: Member, config: Config, wanted: Config): void {
    if (this.primary !== member) {
      throw new CommandError(10107, "New config is rejected as this node is not the primary");
    }
    if (this.now < this.busyUntil) {
      throw new CommandError(109, "another replica set reconfiguration is in progress");
    }
    if (wanted.version <= config.version) {
      throw new CommandError(103, "the new version must be greater than the old");
    }
    const hosts = new Set(config.members.map(({ host }) => host));
    const added = wanted.members.filter(({ host }) => !hosts.has(host));
    const removed = config.members.filter(
      ({ host }) => !wanted.members.some((one) => one.host === host),
    );
    if (added.length + removed.length > 1) {
      throw new CommandError(103, "only one voting member may be added or removed at a time");
    }
    if (new Set(wanted.members.map(({ _id }) => _id)).size !== wanted.members.length) {
      throw new CommandError(93, "two members have the same _id");
    }
    if (added.some(({ host }) => !this.hears(member, this.member(host)))) {
      throw new CommandError(74, "quorum check failed: not enough voting nodes responded");
    }
    if (
      added.some(({ host }) => ![undefined, member.disk.set].includes(this.member(host).disk.set))
    ) {
      throw new CommandError(93, "the new member's replica set id differs");
    }
  }

  private usersInfo(member: Member, which: unknown): Document {
    const users = [...this.usersOf(member).values()].filter(({ user }) =>
      typeof which === "string"
        ? user === which
        : typeof which !== "object" || (which as { user: string }).user === user,
    );
    return {
      users: users.map(({ user, roles }) => ({ _id: `admin.${user}`, user, db: "admin", roles })),
    };
  }

  private createUser(member: Member, command: Document): Document {
    const user = String(command["createUser"]);
    this.requirePrimary(member);
    if (this.usersOf(member).has(user)) {
      throw new CommandError(51003, `User "${user}@admin" already exists`);
    }
    return this.commit(member, { set: userOf(user, command) });
  }

  private updateUser(member: Member, command: Document): Document {
    const user = String(command["updateUser"]);
    this.requirePrimary(member);
    if (!this.usersOf(member).has(user)) {
      throw new CommandError(11, `User ${user}@admin not found`);
    }
    return this.commit(member, { set: userOf(user, command) });
  }

  private dropUser(member: Member, user: string): Document {
    this.requirePrimary(member);
    if (!this.usersOf(member).has(user)) {
      throw new CommandError(11, `User '${user}@admin' not found`);
    }
    return this.commit(member, { drop: user });
  }

  private requirePrimary(member: Member): void {
    if (this.primary !== member) {
      throw new CommandError(10107, "not primary");
    }
  }

  private commit(member: Member, entry: Entry): Document {
    if (!this.append(member, entry)) {
      throw new CommandError(64, "waiting for replication timed out");
    }
    return {};
  }
}

function userOf(user: string, command: Document): User {
  return { user, pwd: String(command["pwd"]), roles: command["roles"] as unknown[] };
}

function voting(member: ConfigMember): ConfigMember {
  return { ...member, newlyAdded: false };
}

function configOf(member: Member): ConfigMember | undefined {
  return member.disk.config?.members.find(({ host }) => host === member.host);
}
