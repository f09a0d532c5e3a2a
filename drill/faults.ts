import { spawn } from "node:child_process";
import { once } from "node:events";
import { copyFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { machinesFolder } from "../local/paths";
import { findMachine, readStatus, runInMachine } from "../local/region/access";
import {
  awsApiAddress,
  inside,
  linkName,
  metadataAddress,
  router,
  runInside,
} from "../local/region/network";
import { installTools } from "../tests/tools";

/** Makes a fault and lifts it again, also when it is aborted. */
export type Fault = (signal: AbortSignal) => Promise<void>;

/** What a shell command prints in a machine, as root; it must end well. */
export async function inMachine(name: string, command: string, input = ""): Promise<string> {
  const { stdout } = await runInMachine(name, ["bash", "-c", command], { input });
  return String(stdout);
}

async function seconds(time: number, signal: AbortSignal): Promise<void> {
  await sleep(time * 1000, undefined, { signal });
}

/** Sends SIGKILL to all processes of a unit. */
export function killUnit(machine: string, unit: string): Fault {
  return async () => {
    await inMachine(machine, `systemctl kill --signal=KILL ${unit}`);
  };
}

/** Stops all processes of a unit for good, as if they hung: only SIGKILL reaches them. */
export function hangUnit(machine: string, unit: string): Fault {
  return async () => {
    await inMachine(machine, `systemctl kill --signal=STOP ${unit}`);
  };
}

/** Stops all processes of a unit for short times. */
export function pauseUnit(
  machine: string,
  unit: string,
  { times, length, between }: { times: number; length: number; between: number },
): Fault {
  return async (signal) => {
    for (let time = 0; time < times; time += 1) {
      await inMachine(machine, `systemctl kill --signal=STOP ${unit}`);
      try {
        await seconds(length, signal);
      } finally {
        await inMachine(machine, `systemctl kill --signal=CONT ${unit}`);
      }
      await seconds(between, signal);
    }
  };
}

function kill(machine: string): void {
  const { leader } = findMachine(machine);
  if (leader === undefined) {
    throw new Error(`${machine} is off, so it can't be killed`);
  }
  process.kill(leader, "SIGKILL");
}

/** Takes a machine away without a word to anybody; it boots when the time is over. */
export function loseMachine(machine: string, time: number): Fault {
  return async (signal) => {
    await whileRuled(rulesAgainst(machine), async () => {
      await seconds(time, signal);
      // Only now, as the region would boot it at once; nobody can tell the difference.
      kill(machine);
      await seconds(0.3, signal);
    });
  };
}

/** Kills all machines of the stack at once; the region boots them, as EC2 would. */
export function crashAll(): Fault {
  return () => {
    readStatus().machines.forEach(({ instanceId }) => {
      kill(instanceId);
    });
    return Promise.resolve();
  };
}

/**
 * A fault of the network: the table is the drill's own, beside all others of the region's router.
 *
 * @param rules for what comes in to the router, before all else
 */
async function whileRuled(rules: string[], action: () => Promise<void>): Promise<void> {
  const chain = `chain in { type filter hook prerouting priority raw; policy accept; ${rules.join("; ")}; }`;
  await runInside(router, "nft", ["-f", "-"], `table ip drill {\n${chain}\n}\n`);
  try {
    await action();
  } finally {
    await runInside(router, "nft", ["delete", "table", "ip", "drill"]);
  }
}

/** Nothing from or to it, but for what the router itself sends. */
function rulesAgainst(machine: string): string[] {
  const address = findMachine(machine).privateAddress;
  return [`ip saddr ${address} drop`, `ip daddr ${address} drop`];
}

/** Drops what matches a rule of nftables, for a while. */
export function drop(match: string, time: number): Fault {
  return (signal) => whileRuled([`${match} drop`], () => seconds(time, signal));
}

/** Lets no packet of a machine through, for a while. */
export function cutOff(machine: string, time: number): Fault {
  return (signal) => whileRuled(rulesAgainst(machine), () => seconds(time, signal));
}

/** Neither the metadata service nor the AWS API answers. */
export function dropAws(time: number): Fault {
  return drop(`ip daddr { ${metadataAddress}, ${awsApiAddress} }`, time);
}

/** A path that loses packets in both directions, and delays those to the second machine. */
export interface WorsePath {
  lossPercent: number;
  /** Seconds. */
  delay: number;
  /** Seconds that the delay is more or less. */
  jitter: number;
  /** How long it lasts, in seconds. */
  lasts: number;
}

/** Makes the path between two machines worse, for a while. */
export function worsenPath(from: string, to: string, path: WorsePath): Fault {
  const device = "drill";
  const table = "4242";
  return async (signal) => {
    const [source, target] = [findMachine(from), findMachine(to)];
    const [sender, receiver] = [source.privateAddress, target.privateAddress];
    const enter = inside(router, "python3", [
      join(__dirname, "delay.py"),
      ...[device, String(path.delay), String(path.jitter)],
    ]);
    const delay = spawn(...enter, { stdio: ["ignore", "pipe", "inherit"] });
    const ended = once(delay, "exit");
    const rule = `fwmark ${table} lookup ${table} pref 100`;
    const route = (line: string): Promise<string> => runInside(router, "ip", line.split(" "));
    try {
      await once(delay.stdout, "data");
      await route(`link set ${device} up`);
      // What comes back from it has the sender's address, which is routed elsewhere; that takes an address.
      await route(`address add 192.0.2.1/32 dev ${device}`);
      await runInside(router, "sysctl", ["-qw", `net.ipv4.conf.${device}.rp_filter=2`]);
      await route(`route add ${receiver}/32 dev ${device} table ${table}`);
      await route(`rule add ${rule}`);
      const lost = `numgen random mod 100 < ${path.lossPercent} drop`;
      const there = `iifname "${linkName(source.instanceId)}" ip daddr ${receiver}`;
      const back = `iifname "${linkName(target.instanceId)}" ip daddr ${sender}`;
      await whileRuled(
        // The way to the device is for marked ones alone: what comes back from it has no mark.
        [`${there} ${lost}`, `${back} ${lost}`, `${there} meta mark set ${table}`],
        () => seconds(path.lasts, signal),
      );
    } finally {
      await route(`rule del ${rule}`).catch(() => undefined);
      delay.kill();
      await ended;
    }
  };
}

/** Lets Meteor's process keep more and more memory outside of Node's heap, by Node's own debugger. */
export function leakMemory(machine: string): Fault {
  const leak = "globalThis.leak = []; setInterval(() => leak.push(Buffer.alloc(2 ** 26, 1)), 50)";
  const program = `
    const evaluate = { id: 1, method: "Runtime.evaluate", params: { expression: ${JSON.stringify(leak)} } };
    const list = async (tries) => {
      try {
        return await (await fetch("http://127.0.0.1:9229/json/list")).json();
      } catch (error) {
        if (tries === 0) throw error;
        await new Promise((resolve) => setTimeout(resolve, 100));
        return list(tries - 1);
      }
    };
    list(30).then(([{ webSocketDebuggerUrl }]) => {
      const socket = new WebSocket(webSocketDebuggerUrl);
      socket.onopen = () => socket.send(JSON.stringify(evaluate));
      socket.onmessage = () => process.exit(0);
    });`;
  return async () => {
    await inMachine(
      machine,
      'kill -USR1 "$(systemctl show -p MainPID --value meteor)"; exec /opt/node-v*/bin/node -',
      program,
    );
  };
}

/** Takes all of some file systems of a machine, for a while. */
export function fillDisks(machine: string, folders: string[], time: number): Fault {
  const fill = `
    set -u
    for folder in ${folders.join(" ")}; do
      mkdir -p "$folder/drill"
      size=$(($(df --output=avail -B1 "$folder" | tail -n 1)))
      # Space is taken without being written, in pieces, as a file system may refuse one that is too large.
      while [ "$size" -ge 4096 ]; do
        fallocate -l "$size" "$(mktemp "$folder/drill/XXXXXX")" 2>/dev/null || size=$((size / 2))
      done
      # What is left of blocks.
      cat /dev/zero >"$folder/drill/rest" 2>/dev/null
      df --output=avail -B1 "$folder" | tail -n 1
    done`;
  const empty = `rm -rf ${folders.map((folder) => join(folder, "drill")).join(" ")}`;
  return async (signal) => {
    try {
      const left = await inMachine(machine, fill);
      if (
        left
          .trim()
          .split(/\s+/)
          .some((bytes) => Number(bytes) > 2 ** 20)
      ) {
        throw new Error(
          `the disks of ${machine} could not be filled: ${left.trim()} bytes are left`,
        );
      }
      await seconds(time, signal);
    } finally {
      await inMachine(machine, empty);
    }
  };
}

/** The programs whose clock can be changed: the kernel's is one for the whole computer. */
const clocks = [
  { machine: "balancer", unit: "haproxy", program: "haproxy" },
  { machine: "balancer", unit: "stud", program: "hitch" },
  { machine: "host1", unit: "meteor", program: "node" },
];
const library = "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1";
const libraryThere = "/usr/local/lib/libfaketimeMT.so.1";
/** The second is what HAProxy finds in its own root folder. */
const offsetFiles = ["/run/drill-clock", "/var/lib/haproxy/run/drill-clock"];

const dropIn = (unit: string): string => `/run/systemd/system/${unit}.service.d/drill-clock.conf`;

async function setClocks(offset: number): Promise<void> {
  const text = `${offset < 0 ? "-" : "+"}${Math.abs(offset)}`;
  for (const machine of new Set(clocks.map((each) => each.machine))) {
    const write = offsetFiles
      .map((file) => `mkdir -p "$(dirname ${file})"; echo "${text}" >${file}`)
      .join("; ");
    await inMachine(machine, write);
  }
}

async function restartWith(change: (unit: string) => string): Promise<void> {
  for (const { machine, unit } of clocks) {
    await inMachine(machine, `${change(unit)}; systemctl daemon-reload; systemctl restart ${unit}`);
  }
}

/** Starts the programs anew with a clock that can be changed. */
export async function prepareClocks(): Promise<void> {
  installTools({ [library]: "libfaketime" });
  for (const machine of new Set(clocks.map((each) => each.machine))) {
    const root = join(machinesFolder, findMachine(machine).instanceId, "root");
    copyFileSync(library, join(root, libraryThere));
  }
  await setClocks(0);
  const variables = [
    `LD_PRELOAD=${libraryThere}`,
    `FAKETIME_TIMESTAMP_FILE=${offsetFiles[0] ?? ""}`,
    // How long it remembers the file, in seconds.
    "FAKETIME_CACHE_DURATION=1",
    // A jump of the wall clock is none of the other one.
    "FAKETIME_DONT_FAKE_MONOTONIC=1",
    "DONT_FAKE_MONOTONIC=1",
  ];
  const text = ["[Service]", ...variables.map((each) => `Environment=${each}`)].join("\\n");
  await restartWith(
    (unit) => `mkdir -p "$(dirname ${dropIn(unit)})"; echo -e "${text}" >${dropIn(unit)}`,
  );
  for (const { machine, program } of clocks) {
    await inMachine(
      machine,
      `for pid in $(pgrep -x ${program}); do grep -q faketime /proc/$pid/maps || exit 1; done`,
    );
  }
}

/** Starts the programs anew as they were. */
export async function restoreClocks(): Promise<void> {
  await restartWith((unit) => `rm -f ${dropIn(unit)}`);
  for (const machine of new Set(clocks.map((each) => each.machine))) {
    await inMachine(machine, `rm -rf ${[...offsetFiles, libraryThere].join(" ")}`);
  }
}

/** Sets the clocks to other times, each for a while. */
export function jumpClocks(offsets: number[], time: number): Fault {
  return async (signal) => {
    try {
      for (const offset of offsets) {
        await setClocks(offset);
        await seconds(time, signal);
        const date = await inMachine(
          "host1",
          `. /etc/meteor-scale/machine.env; curl -sI http://127.0.0.1:$PORT/ | sed -n 's/^Date: //p'`,
        );
        const found = (new Date(date.trim()).getTime() - Date.now()) / 1000;
        if (Math.abs(found - offset) > 5) {
          throw new Error(`Meteor's clock is ${found} s off, not ${offset} s`);
        }
      }
    } finally {
      await setClocks(0);
    }
  };
}
