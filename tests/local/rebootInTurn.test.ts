import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { script } from "../../userdata/cloudConfig";
import { installTools, type Outcome, outcomeMeanwhile, outcomeOf, run } from "../tools";
import { type MotoServer, startMotoServer } from "./motoServer";

jest.setTimeout(120_000);

const lock = "/meteor-scale/test/reboot";
let moto: MotoServer;
let machines: Machine[] = [];

beforeAll(async () => {
  installTools({ "/usr/bin/aws": "awscli", "/usr/bin/unshare": "util-linux" });
  moto = await startMotoServer([]);
}, 600_000);

afterAll(() => moto.stop());

beforeEach(async () => {
  machines = [new Machine("host1"), new Machine("host2")];
  await Promise.all(machines.map((machine) => machine.start()));
});

afterEach(() => {
  machines.forEach((machine) => {
    machine.stop();
  });
  aws("delete-parameter", "--name", lock);
});

const credentials = {
  AWS_ACCESS_KEY_ID: "local",
  AWS_SECRET_ACCESS_KEY: "local",
  AWS_DEFAULT_REGION: "eu-central-1",
};

function aws(...args: string[]): Outcome {
  return outcomeOf("/usr/bin/aws", ["--endpoint-url", moto.url, "ssm", ...args], credentials);
}

/** Whose turn it is, as SSM has it; undefined while it is nobody's. */
function holder(): string | undefined {
  const { status, output } = aws(
    ...["get-parameter", "--name", lock, "--output", "text", "--query", "Parameter.Value"],
  );
  return status === 0 ? output.trim() : undefined;
}

/** What a machine's system does in the place of its own: folders are copies, and /run is in memory. */
const setUp = `
set -euo pipefail
mount -t tmpfs tmpfs /mnt
for folder in usr/lib usr/local var/lib; do
  mkdir -p /mnt/$folder/upper /mnt/$folder/work
  mount -t overlay -o lowerdir=/$folder,upperdir=/mnt/$folder/upper,workdir=/mnt/$folder/work overlay /$folder
done
mount -t tmpfs tmpfs /run
rm -rf /usr/local/lib/meteor-scale /var/lib/meteor-scale
mkdir -p /var/lib/cloud/data
echo "i-of-$MACHINE" >/var/lib/cloud/data/instance-id
cp -rT "$FOLDER/scripts" /usr/local/lib/meteor-scale
echo ready
while true; do sleep 1000 & wait; done`;

/** The two scripts of one machine, with their files at their own paths. */
class Machine {
  private readonly folder = mkdtempSync(join(tmpdir(), "meteor-scale-reboot-"));
  private readonly holder: { process?: ChildProcess } = {};
  private enter: string[] = [];

  constructor(readonly name: string) {}

  async start(): Promise<void> {
    mkdirSync(join(this.folder, "scripts"));
    mkdirSync(join(this.folder, "programs"));
    for (const name of ["reboot-in-turn", "end-turn"]) {
      this.program(`scripts/${name}`, script("machine", name).content);
    }
    this.program("scripts/serves", `#!/bin/sh\n[ ! -e ${this.folder}/broken ]\n`);
    this.program(
      "programs/aws",
      `#!/bin/sh\nexec /usr/bin/aws --endpoint-url "$(cat ${this.folder}/endpoint)" "$@"\n`,
    );
    this.write("endpoint", moto.url);
    this.program("programs/systemctl", `#!/bin/sh\necho "$*" >>${this.folder}/reboots\n`);
    this.program("programs/sleep", "#!/bin/sh\nexec /bin/sleep 0.2\n");
    this.holder.process = spawn(
      "unshare",
      [...["--mount", "--pid", "--fork", "--kill-child", "--mount-proc"], ...["bash", "-c", setUp]],
      {
        stdio: ["ignore", "pipe", "inherit"],
        env: { ...process.env, FOLDER: this.folder, MACHINE: this.name },
      },
    );
    await once(this.holder.process.stdout ?? process.stdin, "data");
    const pid = String(this.holder.process.pid);
    const inner = readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8").trim();
    this.enter = ["--target", inner, "--mount", "--pid", "--"];
  }

  stop(): void {
    this.holder.process?.kill("SIGKILL");
    rmSync(this.folder, { recursive: true });
  }

  write(name: string, text: string): void {
    writeFileSync(join(this.folder, name), text);
  }

  program(name: string, text: string): void {
    this.write(name, text);
    chmodSync(join(this.folder, name), 0o755);
  }

  forget(name: string): void {
    rmSync(join(this.folder, name));
  }

  /** Another boot. */
  boot(): void {
    this.shell("rm -r /run/meteor-scale");
  }

  shell(command: string): string {
    return run("nsenter", [...this.enter, "bash", "-c", command]);
  }

  /** What a reboot leaves: an update needs none any more. */
  comeBack(): void {
    this.boot();
    this.shell("rm -f /run/reboot-required");
  }

  async script(name: "reboot-in-turn" | "end-turn"): Promise<Outcome> {
    return outcomeMeanwhile("nsenter", [...this.enter, `/usr/local/lib/meteor-scale/${name}`], {
      ...credentials,
      ...{ MACHINE: this.name, REGION: "eu-central-1", ROLE: "balancer", REBOOT_LOCK: lock },
      PATH: `${this.folder}/programs:/usr/sbin:/usr/bin:/sbin:/bin`,
    });
  }

  /** How often it has told systemd to reboot. */
  get reboots(): number {
    const { output } = outcomeOf("cat", [join(this.folder, "reboots")]);
    return output.match(/^reboot$/gm)?.length ?? 0;
  }
}

function both(): [Machine, Machine] {
  return machines as [Machine, Machine];
}

function updated(): void {
  for (const machine of machines) {
    machine.shell("touch /run/reboot-required");
  }
}

test("a machine that no update asks to reboot does not ask SSM either", async () => {
  const [one] = both();
  one.write("endpoint", "http://127.0.0.1:1");
  expect(await one.script("reboot-in-turn")).toEqual({ status: 0, output: "" });
  expect(one.reboots).toBe(0);
});

test("of two that want to reboot at once one does, and the other when that one serves again", async () => {
  updated();
  const outcomes = await Promise.all(machines.map((machine) => machine.script("reboot-in-turn")));
  expect(outcomes.map(({ status }) => status)).toEqual([0, 0]);
  expect(machines.map(({ reboots }) => reboots).sort()).toEqual([0, 1]);
  const [first, second] = [...machines].sort((a, b) => b.reboots - a.reboots);
  const name = first?.name ?? "";
  expect(outcomes.map(({ output }) => output).join("")).toContain(
    `it is the turn of ${name} i-of-${name}, since `,
  );
  expect(holder()).toBe(`${name} i-of-${name}`);
  first?.comeBack();
  first?.write("broken", "");
  const ended = first?.script("end-turn");
  await second?.script("reboot-in-turn");
  expect(second?.reboots).toBe(0);
  first?.forget("broken");
  expect(await ended).toMatchObject({ status: 0 });
  expect(holder()).toBeUndefined();
  await second?.script("reboot-in-turn");
  expect(second?.reboots).toBe(1);
});

test("a machine that is killed after it took its turn goes on at its next run", async () => {
  const [one] = both();
  updated();
  one.program("programs/sleep", "#!/bin/sh\nkill -KILL $PPID\n");
  await one.script("reboot-in-turn");
  expect([holder(), one.reboots]).toEqual(["host1 i-of-host1", 0]);
  one.program("programs/sleep", "#!/bin/sh\n");
  expect(await one.script("reboot-in-turn")).toMatchObject({ status: 0 });
  expect(one.reboots).toBe(1);
});

test("a machine whose power fails after it took its turn ends it once it is back", async () => {
  const [one] = both();
  updated();
  one.program("programs/sleep", "#!/bin/sh\nkill -KILL $PPID\n");
  await one.script("reboot-in-turn");
  one.program("programs/sleep", "#!/bin/sh\n");
  one.comeBack();
  expect(await one.script("end-turn")).toMatchObject({ status: 0 });
  expect(holder()).toBeUndefined();
});

test("the turn of a machine that has been away for a day ends, and then one machine takes it", async () => {
  const [one, two] = both();
  updated();
  const value = ["--value", "host9 i-gone", "--type", "String"];
  expect(aws("put-parameter", "--name", lock, ...value).status).toBe(0);
  await one.script("reboot-in-turn");
  expect([holder(), one.reboots]).toEqual(["host9 i-gone", 0]);
  const later = `#!/bin/bash
[ "$2" != "1 day ago" ] || set -- -d "1 hour" +%s
exec /usr/bin/date "$@"
`;
  for (const machine of machines) {
    machine.program("programs/date", later);
  }
  expect((await one.script("reboot-in-turn")).output).toContain("the turn of host9 i-gone, since");
  expect([holder(), one.reboots]).toEqual([undefined, 0]);
  await Promise.all([one.script("reboot-in-turn"), two.script("reboot-in-turn")]);
  expect(one.reboots + two.reboots).toBe(1);
});

test("a turn that another one ended by mistake is taken anew before the reboot", async () => {
  const [one] = both();
  updated();
  const remove = `env ${Object.entries(credentials)
    .map((pair) => pair.join("="))
    .join(" ")} /usr/bin/aws --endpoint-url ${moto.url} ssm delete-parameter --name ${lock}`;
  one.program("programs/sleep", `#!/bin/sh\n${remove}\n`);
  await one.script("reboot-in-turn");
  expect(one.reboots).toBe(0);
  one.program("programs/sleep", "#!/bin/sh\n");
  await one.script("reboot-in-turn");
  expect([holder(), one.reboots]).toEqual(["host1 i-of-host1", 1]);
});

test("while SSM is away nobody reboots, and who has rebooted keeps its turn", async () => {
  const [one] = both();
  updated();
  one.write("endpoint", "http://127.0.0.1:1");
  expect(await one.script("reboot-in-turn")).toMatchObject({
    status: 1,
    output: expect.stringContaining(
      "an update needs a reboot, but SSM can't be asked: Could not connect",
    ) as string,
  });
  expect(one.reboots).toBe(0);
  one.write("endpoint", moto.url);
  await one.script("reboot-in-turn");
  one.comeBack();
  one.write("endpoint", "http://127.0.0.1:1");
  expect(await one.script("end-turn")).toMatchObject({ status: 1 });
  one.write("endpoint", moto.url);
  expect(await one.script("end-turn")).toMatchObject({ status: 0 });
  expect(holder()).toBeUndefined();
});

test("a machine that does not serve is left as it is", async () => {
  const [one] = both();
  updated();
  one.write("broken", "");
  expect(await one.script("reboot-in-turn")).toEqual({
    status: 0,
    output: "an update needs a reboot, but this machine does not serve as it is\n",
  });
  expect([holder(), one.reboots]).toEqual([undefined, 0]);
});

test("a reboot that did not help is not tried again in the same night", async () => {
  const [one] = both();
  updated();
  await one.script("reboot-in-turn");
  one.boot();
  await one.script("end-turn");
  await one.script("reboot-in-turn");
  expect([holder(), one.reboots]).toEqual([undefined, 1]);
  one.shell("touch -d '1 day ago' /var/lib/meteor-scale/rebooted");
  await one.script("reboot-in-turn");
  expect(one.reboots).toBe(2);
});

test("a program that runs with a library that an update has replaced asks for a reboot", async () => {
  const [one] = both();
  one.shell(`cp -L /usr/lib/x86_64-linux-gnu/libm.so.6 /usr/lib/libreplaced.so.1
LD_PRELOAD=/usr/lib/libreplaced.so.1 sleep 100 >/dev/null 2>&1 &
until grep -q libreplaced /proc/$!/maps; do :; done`);
  await one.script("reboot-in-turn");
  expect(one.reboots).toBe(0);
  one.shell("rm /usr/lib/libreplaced.so.1");
  await one.script("reboot-in-turn");
  expect(one.reboots).toBe(1);
});
