import { execFileSync } from "node:child_process";
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { TopLevelSpec } from "vega-lite";
import { machinesFolder, regionLogFile, repositoryFolder, toolsFolder } from "../local/paths";
import { localCommand, machines } from "../tests/local/stack/stack";
import { writeResult } from "./results";
import { median, spread, spreadText } from "./statistics";

/** A part of a boot, in order. */
interface Phase {
  name: string;
  seconds: number;
}

/** One boot of one machine. */
interface Boot {
  role: string;
  phases: Phase[];
}

/** What a machine's journal says, and when. */
export interface JournalEntry {
  /** Milliseconds since 1970. */
  at: number;
  text: string;
}

export interface BootOptions {
  /** How often all machines boot, and how often the packages are installed. */
  repeats: number;
  out: string;
}

/**
 * Measures how long machines of each role take from their creation until they are ready, and by what; prints what
 * comes out and writes it to `out/boot.json` and `out/boot.svg`. It makes the local region anew for each repeat.
 *
 * The region's machines start from an image that has all packages, as a baked one (`amiId`) does. They can't reach
 * Debian's mirror, so what installing takes is measured beside them, with the network of this computer.
 */
export async function benchBoot({ repeats, out }: BootOptions): Promise<void> {
  const boots: Boot[] = [];
  for (let repeat = 0; repeat < repeats; repeat += 1) {
    console.log(`${repeat + 1} of ${repeats}: all machines boot …`);
    localCommand("down");
    localCommand("up");
    boots.push(...machines().map(({ role = "", instanceId }) => readBoot(role, instanceId)));
  }
  localCommand("down");
  const installs = measureInstalls(Math.min(installRepeats, repeats));
  await writeResult(
    {
      name: "boot",
      title: `Seconds from a machine's creation until it is ready: median (least–most) of ${repeats} times all machines`,
      data: { repeats, boots, installs },
      table: [...bootTable(boots), ...installTable(installs)],
      goals: [],
      picture: picture(boots),
    },
    out,
  );
}

function readBoot(role: string, instanceId: string): Boot {
  const log = readFileSync(regionLogFile, "utf8");
  const [, created = ""] =
    new RegExp(`^(\\S+) .*\\(${instanceId}\\) is booting$`, "m").exec(log) ?? [];
  const journal = join(machinesFolder, instanceId, "root", "var", "log", "journal");
  const lines = execFileSync(
    "journalctl",
    ["--directory", journal, "--no-pager", "--output=json", "--output-fields=MESSAGE"],
    { encoding: "utf8", maxBuffer: Infinity },
  );
  const entries = lines
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line) as { MESSAGE: unknown; __REALTIME_TIMESTAMP: string })
    .map(({ MESSAGE, __REALTIME_TIMESTAMP }) => ({
      at: Number(__REALTIME_TIMESTAMP) / 1000,
      text: String(MESSAGE),
    }));
  return { role, phases: phasesOf(Date.parse(created), entries) };
}

/**
 * The parts of a boot.
 *
 * @param created when the region began to start the machine, in milliseconds since 1970
 * @throws Error if the journal has no whole boot
 */
export function phasesOf(created: number, entries: JournalEntry[]): Phase[] {
  const when = (pattern: RegExp): number => {
    const entry = entries.find(({ text }) => pattern.test(text));
    if (entry === undefined) {
      throw new Error(`the journal has nothing like ${String(pattern)}`);
    }
    return entry.at;
  };
  const steps = entries.flatMap(({ at, text }) => {
    const name = /^step (\S+)$/.exec(text)?.[1];
    return name === undefined ? [] : [{ name, at }];
  });
  const marks = [
    { name: "start of systemd", at: created },
    { name: "systemd", at: entries[0]?.at ?? NaN },
    { name: "cloud-init", at: when(/^Cloud-init .* running 'init-local'/) },
    { name: "look for packages", at: when(/^Starting cloud-final\.service/) },
    ...steps,
    // The tag `ready` is set by what ends with it, so it counts to the last step.
    { name: "end", at: when(/^Finished cloud-final\.service/) },
  ];
  return marks.slice(0, -1).map(({ name, at }, index) => ({
    name,
    seconds: ((marks[index + 1]?.at ?? NaN) - at) / 1000,
  }));
}

function rolesOf(boots: Boot[]): string[] {
  return [...new Set(boots.map(({ role }) => role))].sort();
}

/** Names of the phases of a role, in order. */
function phaseNames(boots: Boot[], role: string): string[] {
  return boots.find((boot) => boot.role === role)?.phases.map(({ name }) => name) ?? [];
}

function secondsOf(boots: Boot[], role: string, phase: string): number[] {
  return boots
    .filter((boot) => boot.role === role)
    .map(({ phases }) => phases.find(({ name }) => name === phase)?.seconds ?? 0);
}

/** One row for each phase of each role, and their sum. */
function bootTable(boots: Boot[]): string[][] {
  return [
    ["from an image that has all packages", "seconds"],
    ...rolesOf(boots).flatMap((role) => {
      const all = boots
        .filter((boot) => boot.role === role)
        .map(({ phases }) => phases.reduce((sum, { seconds }) => sum + seconds, 0));
      return [
        [`${role}, ${all.length} boots`, spreadText(spread(all))],
        ...phaseNames(boots, role).map((phase) => [
          `  ${phase}`,
          spreadText(spread(secondsOf(boots, role, phase))),
        ]),
      ];
    }),
  ];
}

/** What a script took to install, each time. */
interface Install {
  script: string;
  seconds: number[];
}

/** In what the toolchain keeps of Debian, but not on a new machine on AWS. */
const alreadyThere = ["awscli", "haproxy", "nftables", "socat", "xfsprogs"];
/** Each takes minutes, and most of them is the mirror's and the compiler's. */
const installRepeats = 3;
/** Scripts whose packages are Debian's, so that they can be had wherever the region can be made. */
const installScripts = [
  {
    title: "install-packages awscli …",
    command: ["install-packages", "awscli", "ca-certificates", "curl"],
  },
  { title: "install-balancer, Hitch from its source", command: ["install-balancer"] },
];

/** Runs install scripts on a new Debian, as many times as told. */
function measureInstalls(repeats: number): Install[] {
  const folder = mkdtempSync(join(tmpdir(), "meteor-scale-install-"));
  const [base, upper, work, root] = ["base", "upper", "work", "root"].map((name) => {
    mkdirSync(join(folder, name));
    return join(folder, name);
  }) as [string, string, string, string];
  const installs = installScripts.map(({ title }) => ({ script: title, seconds: [] as number[] }));
  try {
    execFileSync("tar", [
      ...["--extract", "--zstd", "--file", join(toolsFolder, "debian", "base.tar.zst")],
      ...["--directory", base, "--numeric-owner", "--xattrs", "--xattrs-include=*"],
    ]);
    prepare(base);
    inRoot(base, "apt-get", "--quiet", "purge", "--yes", "--autoremove", ...alreadyThere);
    for (let repeat = 0; repeat < repeats; repeat += 1) {
      console.log(`${repeat + 1} of ${repeats}: packages are installed …`);
      const options = `lowerdir=${base},upperdir=${upper},workdir=${work}`;
      execFileSync("mount", ["-t", "overlay", "overlay", "-o", options, root]);
      try {
        for (const [index, { command }] of installScripts.entries()) {
          const start = performance.now();
          const [script = "", ...args] = command;
          inRoot(root, `/usr/local/lib/meteor-scale/${script}`, ...args);
          installs[index]?.seconds.push((performance.now() - start) / 1000);
        }
      } finally {
        execFileSync("umount", [root]);
        for (const used of [upper, work]) {
          rmSync(used, { recursive: true, force: true });
          mkdirSync(used);
        }
      }
    }
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
  return installs;
}

/** Puts the scripts where a machine has them. */
function prepare(root: string): void {
  const scripts = join(root, "usr", "local", "lib", "meteor-scale");
  mkdirSync(scripts, { recursive: true });
  for (const file of [
    "machine/install-packages",
    "balancer/install-balancer",
    "balancer/build-hitch",
  ]) {
    cpSync(
      join(repositoryFolder, "userdata", `${file}.sh`),
      join(scripts, file.replace(/.*\//, "")),
    );
  }
  execFileSync("chmod", ["-R", "755", scripts]);
  // Services are not started here.
  writeFileSync(join(root, "usr/sbin/policy-rc.d"), "#!/bin/sh\nexit 101\n", { mode: 0o755 });
}

function inRoot(root: string, ...command: string[]): void {
  execFileSync(
    "systemd-nspawn",
    [
      ...["--quiet", "--directory", root, "--register=no", "--keep-unit", "--as-pid2"],
      ...["--console=pipe", "--resolv-conf=replace-host", "--timezone=off"],
      ...["--setenv=STUD_INSTALL=source", "--setenv=DEBIAN_FRONTEND=noninteractive"],
      ...["--setenv=LC_ALL=C.UTF-8", "--setenv=SYSTEMD_OFFLINE=1", ...command],
    ],
    { stdio: ["ignore", "ignore", "pipe"] },
  );
}

function installTable(installs: Install[]): string[][] {
  return [
    ["what a machine without the packages installs beside", ""],
    ...installs.map(({ script, seconds }) => [`  ${script}`, spreadText(spread(seconds))]),
  ];
}

function picture(boots: Boot[]): TopLevelSpec {
  const values = rolesOf(boots).flatMap((role) =>
    phaseNames(boots, role).map((phase, index) => ({
      role,
      phase,
      index,
      seconds: median(secondsOf(boots, role, phase)),
    })),
  );
  return {
    data: { values },
    width: 560,
    height: 140,
    mark: { type: "bar", stroke: "white" },
    encoding: {
      y: { field: "role", type: "nominal", title: null },
      x: {
        field: "seconds",
        type: "quantitative",
        stack: "zero",
        title: "seconds, median of each phase",
      },
      order: { field: "index", type: "quantitative" },
      color: {
        field: "phase",
        type: "nominal",
        title: null,
        sort: [...new Set(values.map(({ phase }) => phase))],
        scale: { scheme: "tableau20" },
      },
    },
  };
}
