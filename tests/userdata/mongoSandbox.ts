import { type ChildProcess, spawn } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { createInterface } from "node:readline";
import { repositoryFolder } from "../../local/paths";
import { environmentFile, type MachineContents } from "../../userdata/cloudConfig";
import { type Outcome, outcomeOf, run } from "../tools";

/**
 * Copy-on-write folders, a user, and a kernel whose settings can't be written, as in a container. In the
 * place of systemd, `systemctl restart` does what the units say of mongod.
 */
const setUp = `
set -euo pipefail
mount -t tmpfs tmpfs /mnt
for folder in etc root usr/local usr/share/keyrings var/lib; do
  mkdir -p /mnt/$folder/upper /mnt/$folder/work
  mount -t overlay -o lowerdir=/$folder,upperdir=/mnt/$folder/upper,workdir=/mnt/$folder/work overlay /$folder
done
rm -rf /root/.mongodb
mkdir -p /dev/disk
mount -t tmpfs tmpfs /dev/disk
mkdir /dev/disk/by-id
mount -t tmpfs tmpfs /run
mount -o bind,ro /sys /sys
mount -o bind,ro /proc/sys /proc/sys
echo mongodb:x:64322:64322::/:/usr/sbin/nologin >>/etc/passwd
echo mongodb:x:64322: >>/etc/group
cat >/usr/local/bin/systemctl <<'END'
#!/bin/bash
case "$*" in
  "restart mongod"*)
    pkill -x mongod && while pgrep -x mongod >/dev/null; do sleep 0.1; done
    setpriv --reuid mongodb --regid mongodb --clear-groups \\
      mongod --config /etc/mongod.conf >>/run/mongod.log 2>&1 &
    ;;
  is-active*) pgrep -x mongod >/dev/null ;;
  show*NRestarts*) pgrep -x mongod >/dev/null && echo 0 || echo 2 ;;
esac
END
chmod 755 /usr/local/bin/systemctl
ip link set lo up
echo ready
while true; do sleep 1000 & wait; done`;

/** What a test puts into /usr/local/bin comes first, as on a machine. */
const machinePath = { PATH: "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin" };

/** A member of a replica set, with its files at their own paths, in namespaces beside this computer's. */
export class MongoSandbox {
  private readonly folder = mkdtempSync(join(tmpdir(), "meteor-scale-mongo-"));
  private readonly disk = join(this.folder, "disk");
  private holder: ChildProcess | undefined;
  private loop = "";
  private enter: string[] = [];

  async start(contents: MachineContents): Promise<void> {
    const flags = ["--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc"];
    this.holder = spawn("unshare", [...flags, "bash", "-c", setUp], {
      stdio: ["ignore", "pipe", "inherit"],
    });
    for await (const line of createInterface({ input: this.holder.stdout ?? process.stdin })) {
      if (line === "ready") {
        break;
      }
    }
    const pid = String(this.holder.pid);
    const inner = readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8").trim();
    this.enter = ["--target", inner, "--mount", "--net", "--pid", `--wd=${repositoryFolder}`, "--"];
    this.install(contents);
  }

  /** Writes what user data would write. */
  install({ environment, files }: MachineContents): void {
    this.write("/etc/meteor-scale/machine.env", environmentFile(environment));
    for (const { path, content, permissions } of files) {
      this.write(path, content, permissions);
    }
  }

  stop(): void {
    this.holder?.kill("SIGKILL");
    if (this.loop !== "") {
      run("losetup", ["--detach", this.loop]);
    }
    rmSync(this.folder, { recursive: true });
  }

  /** Writes a file in one of the folders that are not this computer's own. */
  write(path: string, content: string, permissions = "0644"): void {
    if (!/^\/(etc|run|usr\/local|var\/lib)\//.test(path)) {
      throw new Error(`${path} would be written to this computer`);
    }
    const copy = join(this.folder, "file");
    mkdirSync(dirname(copy), { recursive: true });
    writeFileSync(copy, content);
    this.run("install", "-D", "-m", permissions, copy, path);
  }

  /** Runs a program in the sandbox, which must end well. */
  run(program: string, ...args: string[]): string {
    return run("nsenter", [...this.enter, program, ...args], machinePath);
  }

  outcomeOf(program: string, args: string[], environment: Record<string, string> = {}): Outcome {
    return outcomeOf("nsenter", [...this.enter, program, ...args], {
      ...machinePath,
      ...environment,
    });
  }

  /** Runs one of the machine's steps, as `boot` does. */
  step(name: string, environment: Record<string, string> = {}): Outcome {
    const script =
      "set -a; . /etc/meteor-scale/machine.env; set +a; exec /usr/local/lib/meteor-scale/$0";
    return this.outcomeOf("bash", ["-c", script, name], environment);
  }

  /** A blank disk, attached under the name that an NVMe machine gives to the volume. */
  attachDisk(volume: string, mebibytes: number): string {
    writeFileSync(this.disk, "");
    truncateSync(this.disk, mebibytes * 2 ** 20);
    this.loop = run("losetup", ["--find", "--show", this.disk]).trim();
    const name = `nvme-Amazon_Elastic_Block_Store_${volume.replace("-", "")}`;
    this.run("ln", "-s", this.loop, `/dev/disk/by-id/${name}`);
    return this.loop;
  }

  growDisk(mebibytes: number): void {
    truncateSync(this.disk, mebibytes * 2 ** 20);
    run("losetup", ["--set-capacity", this.loop]);
  }
}
