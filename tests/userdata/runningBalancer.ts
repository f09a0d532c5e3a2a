import type { ChildProcess } from "node:child_process";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { balancerMachine } from "../../userdata/balancer/balancerMachine";
import { builtHitch, installTools } from "../tools";
import { Sandbox, until } from "./balancerSandbox";

/** What the balancer in a sandbox is made of. */
export interface RunningBalancerArgs {
  studInstall: "source" | "package";
  /** Key, certificate and intermediates. */
  pem: string;
  /** Rewrites a file of the machine, such as a time in it that would keep a test waiting. */
  edit?: (path: string, content: string) => string;
}

/** Installs what a balancer in a sandbox and its clients need. */
export function installBalancerTools(): void {
  installTools({
    "/usr/bin/curl": "curl",
    "/usr/bin/openssl": "openssl",
    "/usr/bin/socat": "socat",
    "/usr/sbin/dnsmasq": "dnsmasq-base",
    "/usr/sbin/haproxy": "haproxy",
    "/usr/sbin/hitch": "hitch",
    "/usr/sbin/ip": "iproute2",
  });
  builtHitch();
}

/** HAProxy, Hitch and one host, host1, at work in a sandbox, and what they say. */
export class RunningBalancer {
  readonly sandbox = new Sandbox();
  private readonly files: Record<string, string> = {};
  private said = "";
  private stud: ChildProcess | undefined;

  async start({
    studInstall,
    pem,
    edit = (_path, content): string => content,
  }: RunningBalancerArgs): Promise<void> {
    const { sandbox } = this;
    const contents = balancerMachine({
      slots: ["host1"],
      zone: "meteor.internal",
      meteorPort: 3000,
      studInstall,
      tlsPath: "/meteor-scale/test/certificate",
      acme: false,
    });
    const files = contents.files.map((file) => ({
      ...file,
      content: edit(file.path, file.content),
    }));
    files.forEach(({ path, content }) => (this.files[path] = content));
    await sandbox.start({ ...contents, files });
    const hitch = String(contents.environment["HITCH"]);
    if (studInstall === "source") {
      sandbox.run("install", "-D", builtHitch(), hitch);
    }
    this.setPem(pem);

    writeFileSync(join(sandbox.folder, "names"), "10.77.0.1 host1.meteor.internal\n");
    await sandbox.serveNames();
    const host = ["--import", "tsx", "tests/userdata/balancerHost.ts", "host1", "10.77.0.1"];
    await sandbox.serve("listening", process.execPath, ...host);
    await sandbox.serve(
      "starting data transfer",
      "socat",
      ...["-u", "-d", "-d", "UNIX-RECV:/var/lib/haproxy/dev/log,mode=666"],
      `OPEN:${this.haproxyLogFile},creat,append`,
    );
    await sandbox.serve("Loading success", "haproxy", "-Ws", "-f", "/etc/haproxy/haproxy.cfg");
    const [program = "", ...rest] = this.unitCommand("ExecStart")
      .replace("${HITCH}", hitch)
      .split(" ");
    this.stud = await sandbox.serve("initialization complete", program, ...rest);
    for (const stream of [this.stud.stdout, this.stud.stderr]) {
      stream?.on("data", (data: Buffer) => (this.said += data.toString()));
    }
    await until(() => sandbox.statistic("status")["host1"]?.startsWith("UP") === true);
  }

  stop(): void {
    this.sandbox.stop();
  }

  /** The text of the machine's file whose path ends so. */
  file(ending: string): string {
    const found = Object.entries(this.files).find(([path]) => path.endsWith(ending));
    if (found === undefined) {
      throw new Error(`no file of the balancer ends with ${ending}`);
    }
    return found[1];
  }

  setPem(pem: string): void {
    this.sandbox.write("/etc/stud/pem/000.pem", pem, "0600");
  }

  /** As systemd reloads stud.service. */
  reloadStud(): void {
    const [main = ""] = this.sandbox.studProcesses();
    this.sandbox.run("env", `MAINPID=${main}`, "sh", "-c", this.unitCommand("ExecReload"));
  }

  /** What Hitch has said since it was up. */
  studLog(): string {
    return this.said;
  }

  haproxyLog(): string {
    return existsSync(this.haproxyLogFile) ? readFileSync(this.haproxyLogFile, "utf8") : "";
  }

  private get haproxyLogFile(): string {
    return join(this.sandbox.folder, "haproxy-log");
  }

  private unitCommand(key: string): string {
    return new RegExp(`^${key}=(.*)$`, "m").exec(this.file("stud.service"))?.[1] ?? "";
  }
}
