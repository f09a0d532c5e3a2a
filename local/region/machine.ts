import { existsSync, mkdirSync, readFileSync, readlinkSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { imageRootFolder, machinesFolder } from "../paths";
import { forgetMachine } from "./cleanUp";
import type { MachineSpecification, WantedState } from "./awsState";
import { log, messageOf, run, type RunningProcess, start } from "./commands";
import { createControlGroups, removeControlGroups } from "./controlGroups";
import {
  attachNamespace,
  detachNamespace,
  namespacePath,
  namespacePrefix,
  resolverOf,
} from "./network";

/** How long a machine that is to be off may take to stop its services, before it is cut off. */
const powerOffSeconds = 150;
/** What systemd takes as the wish to power off: https://www.freedesktop.org/software/systemd/man/systemd.html#SIGRTMIN+4 */
const powerOffSignal = 34 + 4;
/** How systemd-nspawn ends when the machine wants to start again. */
const rebootExitCode = 133;

/** What a machine is doing, which trails what EC2 says it does. */
export type ActualState = "off" | "booting" | "running" | "stopping" | "terminated";

/** One machine: its file system, its namespace and its systemd. */
export class Machine {
  actual: ActualState = "off";
  /** Why the last try to start or stop it failed. */
  problem: string | undefined;
  private wanted: WantedState = "running";
  private process: RunningProcess | undefined;
  private working: Promise<void> | undefined;
  private abandoned = false;
  /** It has been up since it was last switched off on purpose. */
  private wasUp = false;
  /** EC2 does not know yet that it is to be off. */
  private switchedOffInside = false;

  constructor(
    public specification: MachineSpecification,
    private readonly events: {
      /** Called whenever `actual` changes. */
      changed: () => void;
      /** Called when the machine was switched off from inside. */
      poweredOff: (instanceId: string) => void;
    },
  ) {}

  private get id(): string {
    return this.specification.instanceId;
  }

  private get folder(): string {
    return join(machinesFolder, this.id);
  }

  /** The process id of its systemd, as this computer counts; undefined while there is none. */
  get leader(): number | undefined {
    return this.process && leaderOf(this.process.pid);
  }

  /** Whether it is to be up, and was since it was last told so. */
  get shouldBeUp(): boolean {
    return this.wanted === "running" && this.wasUp;
  }

  /** Tells it what to be. It gets there on its own. */
  want(wanted: WantedState): void {
    if (wanted !== "running") {
      this.switchedOffInside = false;
    }
    this.wanted = this.switchedOffInside ? "stopped" : wanted;
    this.working ??= this.work().finally(() => {
      this.working = undefined;
    });
  }

  /** Resolves when it is what it is to be, or has failed to get there. */
  async settled(): Promise<void> {
    await this.working;
  }

  /** Cuts it off at once and removes it. */
  async abandon(): Promise<void> {
    this.abandoned = true;
    while (this.working || this.process) {
      this.kill();
      await sleep(20);
    }
    await this.remove();
  }

  private async work(): Promise<void> {
    try {
      while (!this.abandoned) {
        if (this.wanted === "running" && this.process === undefined) {
          await this.start();
        } else if (this.wanted !== "running" && this.process !== undefined) {
          await this.powerOff(this.process);
        } else if (this.wanted === "terminated" && this.actual !== "terminated") {
          await this.remove();
          this.become("terminated");
        } else {
          break;
        }
      }
      this.problem = undefined;
    } catch (error) {
      this.problem = messageOf(error);
      log(`${this.specification.name} (${this.id}): ${this.problem}`);
      this.events.changed();
    }
  }

  private become(state: ActualState): void {
    if (this.actual !== state) {
      this.actual = state;
      this.wasUp = state === "running" || (this.wasUp && state !== "stopping");
      log(`${this.specification.name} (${this.id}) is ${state}`);
      this.events.changed();
    }
  }

  private async start(): Promise<void> {
    const { address, macAddress, vpcRange, hostName, cores, memory } = this.specification;
    this.become("booting");
    await attachNamespace(this.id, address, macAddress);
    const root = await this.mountRoot();
    const joinFiles = createControlGroups(this.id, { cores, memory });
    writeFileSync(
      join(root, "etc", "resolv.conf"),
      `nameserver ${resolverOf(vpcRange)}\nsearch ${hostName.replace(/^[^.]+\./, "")}\n`,
    );
    // Machines share one kernel, which would refuse a restored copy of a file system that another one has.
    writeFileSync(
      join(root, "usr", "sbin", "mount.xfs"),
      '#!/bin/sh\nexec mount -i -t xfs "$@" -o nouuid\n',
      { mode: 0o755 },
    );
    // So that the journal outlives a reboot and can be read from here.
    mkdirSync(join(root, "var", "log", "journal"), { recursive: true });
    const nspawn = [
      ...["systemd-nspawn", "--quiet", "--boot", "--settings=no", `--directory=${root}`],
      ...[`--machine=${this.id}`, `--hostname=${hostName.replace(/\..*/, "")}`],
      `--network-namespace-path=${namespacePath(namespacePrefix + this.id)}`,
      // As on EC2, its own network is its own: a NAT machine sets rules and settings in it.
      "--capability=CAP_NET_ADMIN",
      ...["--register=no", "--keep-unit", "--link-journal=no"],
      ...["--resolv-conf=off", "--timezone=off", "--console=read-only"],
    ];
    // The shell joins the control groups, then becomes systemd-nspawn.
    const shell = 'while [ "$1" != -- ]; do echo 0 > "$1"; shift; done; shift; exec "$@"';
    const process = await start(this.id, "sh", ["-c", shell, "sh", ...joinFiles, "--", ...nspawn], {
      logFile: join(this.folder, "console.log"),
      env: { EXIT_ON_REBOOT: "1", SYSTEMD_NSPAWN_API_VFS_WRITABLE: "network" },
    });
    this.process = process;
    void process.ended.then(({ exitCode, signal }) => {
      this.ended(exitCode, signal);
    });
    while (leaderOf(process.pid) === undefined && this.process === process) {
      await sleep(20);
    }
    if (this.process === process) {
      this.become("running");
    }
  }

  private async mountRoot(): Promise<string> {
    const [root, disk] = [join(this.folder, "root"), join(this.folder, "disk")];
    if (!existsSync(join(root, "etc"))) {
      [root, disk].forEach((folder) => mkdirSync(folder, { recursive: true }));
      await this.mountDisk(disk);
      const [upper, work] = [join(disk, "upper"), join(disk, "work")];
      [upper, work].forEach((folder) => mkdirSync(folder, { recursive: true }));
      const options = `lowerdir=${imageRootFolder},upperdir=${upper},workdir=${work}`;
      await run("mount", ["-t", "overlay", "overlay", "-o", options, root]);
    }
    return root;
  }

  /** A file system of its own, which is full when the machine's root volume would be; not this computer's. */
  private async mountDisk(folder: string): Promise<void> {
    const file = join(this.folder, "disk.ext4");
    if (!existsSync(file)) {
      await run("truncate", ["--size", String(this.specification.disk), file]);
      // Its journal would be for a crash of this computer, which no machine outlives.
      await run("mkfs.ext4", ["-q", "-O", "^has_journal", file]);
    }
    await run("mount", ["-o", "loop,discard,noinit_itable", file, folder]);
  }

  /** The system has ended, for whatever reason; EC2's machines then come back unless told to be off. */
  private ended(exitCode: number | undefined, signal: string | undefined): void {
    const expected = this.actual === "stopping" || this.abandoned;
    this.process = undefined;
    this.become("off");
    if (expected) {
      return;
    }
    if (exitCode === 0) {
      this.switchedOffInside = true;
      this.events.poweredOff(this.id);
      return;
    }
    if (exitCode !== rebootExitCode) {
      log(`${this.id} ended with ${signal ?? exitCode}, see ${join(this.folder, "console.log")}`);
    }
    void sleep(exitCode === rebootExitCode ? 0 : 1000).then(() => {
      this.want(this.wanted);
    });
  }

  private async powerOff(process: RunningProcess): Promise<void> {
    this.become("stopping");
    // A systemd that is only just starting misses the signal, so it gets another one.
    const repeated = setInterval(() => {
      this.signal(powerOffSignal);
    }, 3000);
    this.signal(powerOffSignal);
    const late = setTimeout(() => {
      log(`${this.id} did not power off in ${powerOffSeconds} s and is cut off`);
      this.kill();
    }, powerOffSeconds * 1000);
    await process.ended;
    clearInterval(repeated);
    clearTimeout(late);
    // `ended` above has its own handler, which may come later than this.
    this.process = undefined;
  }

  private kill(): void {
    this.signal("SIGKILL");
    signal(this.process?.pid, "SIGKILL");
  }

  /** To the machine's systemd. */
  private signal(name: number | "SIGKILL"): void {
    signal(this.leader, name);
  }

  private async remove(): Promise<void> {
    await detachNamespace(this.id);
    forgetMachine(this.id);
    if (existsSync(join(this.folder, "root", "etc"))) {
      await run("umount", [join(this.folder, "root")]);
      await run("umount", [join(this.folder, "disk")]);
    }
    rmSync(this.folder, { recursive: true, force: true });
    await removeControlGroups(this.id);
  }
}

function signal(pid: number | undefined, name: number | "SIGKILL"): void {
  if (pid !== undefined) {
    try {
      process.kill(pid, name);
    } catch {
      // It has ended by itself.
    }
  }
}

/** @returns the systemd that systemd-nspawn has started, once it is one */
export function leaderOf(nspawn: number): number | undefined {
  try {
    const children = readFileSync(`/proc/${nspawn}/task/${nspawn}/children`, "utf8");
    return children
      .trim()
      .split(" ")
      .map(Number)
      .find((pid) => pid > 0 && readlinkSync(`/proc/${pid}/exe`).endsWith("/systemd"));
  } catch {
    return undefined;
  }
}
