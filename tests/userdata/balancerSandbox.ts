import { type ChildProcess, type ChildProcessWithoutNullStreams, spawn } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { type IncomingMessage, request as httpRequest } from "node:http";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { Duplex } from "node:stream";
import { connect, type ConnectionOptions, type PeerCertificate, type TLSSocket } from "node:tls";
import { repositoryFolder } from "../../local/paths";
import { environmentFile, type MachineContents } from "../../userdata/cloudConfig";
import { type Outcome, outcomeOf, run } from "../tools";

/** What a client got, and what reached the host that answered. */
export interface Answer {
  status: number;
  headers: IncomingMessage["headers"];
  body: string;
  /** The host's name; empty if HAProxy answered itself. */
  host: string;
  hostHeaders: IncomingMessage["headers"];
}

export interface Request {
  path?: string;
  headers?: Record<string, string>;
  /** The client's address, of 127.0.0.0/8. */
  from?: string;
}

/** What the file tree and the network of a sandbox are made of. */
const setUp = `
set -euo pipefail
mount -t tmpfs tmpfs /mnt
for folder in etc usr/local var/lib; do
  mkdir -p /mnt/$folder/upper /mnt/$folder/work
  mount -t overlay -o lowerdir=/$folder,upperdir=/mnt/$folder/upper,workdir=/mnt/$folder/work overlay /$folder
done
mount -t tmpfs tmpfs /run
mount -t tmpfs tmpfs /var/lib/haproxy
mkdir /run/haproxy /var/lib/haproxy/dev
chmod 755 /var/lib/haproxy
echo stud:x:64321:64321::/:/usr/sbin/nologin >>/etc/passwd
echo stud:x:64321: >>/etc/group
ip link set lo up
for address in 169.254.169.253 10.77.0.1 10.77.0.2 10.77.0.3 10.77.0.4; do
  ip address add $address/32 dev lo
done
echo ready
exec sleep infinity`;

/**
 * A balancer whose files lie at their own paths, and whose programs listen on their own ports, beside
 * this computer's: in namespaces of its own, over a copy-on-write /etc and /usr/local.
 */
export class Sandbox {
  /** Files that the sandbox and the test share. */
  readonly folder = mkdtempSync(join(tmpdir(), "meteor-scale-balancer-"));
  private readonly children: ChildProcess[] = [];
  private enter: string[] = [];

  /** Makes the sandbox with the machine's files in it; starts none of the machine's programs. */
  async start({ environment, files }: MachineContents): Promise<void> {
    const flags = ["--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc"];
    const holder = spawn("unshare", [...flags, "bash", "-c", setUp]);
    this.children.push(holder);
    await saying(holder, "ready");
    const pid = String(holder.pid);
    const inner = readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8").trim();
    this.enter = ["--target", inner, "--mount", "--net", "--pid", `--wd=${repositoryFolder}`];
    this.write("/etc/meteor-scale/machine.env", environmentFile(environment));
    for (const { path, content, permissions } of files) {
      this.write(path, content, permissions);
    }
  }

  /** Ends everything in it. */
  stop(): void {
    this.children.forEach((child) => child.kill("SIGKILL"));
    rmSync(this.folder, { recursive: true });
  }

  write(path: string, content: string, permissions = "0644"): void {
    const copy = join(this.folder, "file");
    mkdirSync(dirname(copy), { recursive: true });
    writeFileSync(copy, content);
    this.run("install", "-D", "-m", permissions, copy, path);
  }

  /** Runs a program in the sandbox, which must end well. */
  run(program: string, ...args: string[]): string {
    return run("nsenter", [...this.enter, "--", program, ...args]);
  }

  outcomeOf(program: string, args: string[], environment: Record<string, string> = {}): Outcome {
    return outcomeOf("nsenter", [...this.enter, "--", program, ...args], environment);
  }

  /** Starts a program that stays, and waits until it says `word`. */
  async serve(word: string, program: string, ...args: string[]): Promise<ChildProcess> {
    const child = this.spawn(program, ...args);
    await saying(child, word);
    return child;
  }

  /** Starts a program that ends by itself, or with the sandbox. */
  spawn(program: string, ...args: string[]): ChildProcessWithoutNullStreams {
    const child = spawn("nsenter", [...this.enter, "--", program, ...args]);
    this.children.push(child);
    return child;
  }

  /**
   * Serves the names of a hosts file in the sandbox's folder.
   *
   * @param address where; by default as a VPC's resolver
   */
  async serveNames(file = "names", address = "169.254.169.253"): Promise<void> {
    await this.serve(
      "read ",
      "dnsmasq",
      ...["--keep-in-foreground", "--log-facility=-", "--conf-file=/dev/null", "--pid-file="],
      ...["--no-resolv", "--no-hosts", "--bind-interfaces", `--listen-address=${address}`],
      ...["--user=root", `--addn-hosts=${join(this.folder, file)}`],
    );
  }

  /** HAProxy's answer on its runtime socket. */
  runtime(command: string): string {
    return this.run("sh", "-c", `echo "${command}" | socat - /run/haproxy/admin.sock`);
  }

  /** HAProxy's statistics of each host: a value of `show stat` by the host's name. */
  statistic(column: string): Record<string, string> {
    return readStatistic(this.runtime("show stat"), column);
  }

  /** Ids of Hitch's processes; the first is the parent. */
  studProcesses(): string[] {
    return this.outcomeOf("pgrep", ["-x", "hitch"]).output.split("\n").filter(Boolean);
  }

  /**
   * Reloads Hitch, and waits until no worker from before it accepts: a while they still do, with the certificates
   * that they have, and what they accept last may be lost.
   */
  async afterReload(reload: () => void): Promise<void> {
    const [, ...workers] = this.studProcesses();
    reload();
    await until(() => {
      const listeners = this.run("ss", "-Hltnp", "sport = :443");
      return !workers.some((worker) => listeners.includes(`pid=${worker},`));
    });
  }

  /** A TLS connection to port 443, as a client elsewhere would have it. */
  async connect(from = "127.0.0.1", options: ConnectionOptions = {}): Promise<TLSSocket> {
    const socat = spawn("nsenter", [
      ...this.enter,
      "--",
      "socat",
      "-",
      `TCP:127.0.0.1:443,bind=${from}`,
    ]);
    const socket = connect({
      socket: Duplex.from({ readable: socat.stdout, writable: socat.stdin }),
      rejectUnauthorized: false,
      ALPNProtocols: ["h2", "http/1.1"],
      ...options,
    });
    socket.once("close", () => socat.kill());
    await new Promise((resolve, reject) => {
      socket.once("secureConnect", resolve);
      socket.once("error", reject);
    });
    return socket;
  }

  /**
   * The certificate that a client gets by SNI.
   *
   * @param authority PEM of the only authority that it trusts
   */
  async certificate(servername: string, authority: string): Promise<PeerCertificate> {
    const socket = await this.connect("127.0.0.1", {
      servername,
      ca: authority,
      rejectUnauthorized: true,
    });
    const certificate = socket.getPeerCertificate();
    socket.destroy();
    return certificate;
  }

  /** An HTTPS request over a connection of its own, or over the one given. */
  async get({ path = "/", headers = {}, from }: Request = {}): Promise<Answer> {
    const socket = await this.connect(from);
    const request = httpRequest({
      createConnection: () => socket,
      path,
      headers: { Host: "app.example.com", ...headers },
    });
    const response = await new Promise<IncomingMessage>((resolve, reject) => {
      request.once("response", resolve).once("error", reject).end();
    });
    let body = "";
    for await (const chunk of response) {
      body += String(chunk);
    }
    socket.destroy();
    const told = (body.startsWith("{") ? JSON.parse(body) : {}) as {
      host?: string;
      headers?: IncomingMessage["headers"];
    };
    return {
      status: response.statusCode ?? 0,
      headers: response.headers,
      body,
      host: told.host ?? "",
      hostHeaders: told.headers ?? {},
    };
  }

  /** A WebSocket's upgrade; afterwards the host sends back what is written to the socket. */
  async upgrade(
    headers: Record<string, string> = {},
  ): Promise<{ socket: TLSSocket; headers: IncomingMessage["headers"] }> {
    const socket = await this.connect();
    const request = httpRequest({
      createConnection: () => socket,
      path: "/sockjs/123/abcdefgh/websocket",
      headers: {
        Host: "app.example.com",
        Connection: "Upgrade",
        Upgrade: "websocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
        ...headers,
      },
    });
    const response = await new Promise<IncomingMessage>((resolve, reject) => {
      request.once("upgrade", resolve);
      request.once("response", (refusal) => {
        reject(new Error(`no upgrade: ${String(refusal.statusCode)}`));
      });
      request.once("error", reject).end();
    });
    return { socket, headers: response.headers };
  }
}

/** One column of what HAProxy answers to `show stat`, by the host's name. */
export function readStatistic(table: string, column: string): Record<string, string> {
  const [head = "", ...lines] = table.trim().split("\n");
  const index = head.split(",").indexOf(column);
  return Object.fromEntries(
    lines
      .map((line) => line.split(","))
      .filter(([proxy, server]) => proxy === "apps" && server !== "BACKEND")
      .map((values) => [values[1] ?? "", values[index] ?? ""]),
  );
}

/** What comes back when a text is written to an upgraded socket. */
export async function echo(socket: TLSSocket, text: string): Promise<string> {
  const answer = new Promise<string>((resolve, reject) => {
    if (socket.destroyed) {
      reject(new Error("the connection had been closed before"));
    }
    socket.once("data", (data: Buffer) => {
      resolve(data.toString());
    });
    socket.once("close", () => {
      reject(new Error("the connection has been closed"));
    });
  });
  socket.write(text);
  return answer;
}

/** Waits until a condition holds, 20 s at most if nothing else is said. */
export async function until(
  condition: () => boolean | Promise<boolean>,
  seconds = 20,
): Promise<void> {
  const end = Date.now() + seconds * 1000;
  while (!(await condition())) {
    if (Date.now() > end) {
      throw new Error(`${seconds} s have passed, and still not: ${condition.toString()}`);
    }
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

/** Waits until a program says a word; fails with all it said if it ends before. */
function saying(child: ChildProcess, word: string): Promise<void> {
  let said = "";
  return new Promise((resolve, reject) => {
    for (const stream of [child.stdout, child.stderr]) {
      stream?.on("data", (data: Buffer) => {
        said += data.toString();
        if (said.includes(word)) {
          resolve();
        }
      });
    }
    child.once("exit", () => {
      reject(new Error(`${child.spawnargs.join(" ")} has ended: ${said}`));
    });
  });
}
