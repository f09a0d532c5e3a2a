import { type ChildProcess, spawn } from "node:child_process";
import { createSocket } from "node:dgram";
import { once } from "node:events";
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { run } from "../tools";
import { until } from "./balancerSandbox";

const folder = mkdtempSync(join(tmpdir(), "meteor-scale-reports-"));

afterAll(() => {
  rmSync(folder, { recursive: true });
});

describe("read-journal", () => {
  /** What Telegraf gets where `journalctl --output=short-unix` prints this. */
  function lines(journal: string): string {
    const journalctl = join(folder, "journalctl");
    writeFileSync(join(folder, "journal"), journal);
    writeFileSync(
      journalctl,
      `#!/bin/sh\necho "$@" >${folder}/arguments\ncat ${folder}/journal\n`,
      { mode: 0o755 },
    );
    return run("userdata/machine/read-journal.sh", [], {
      PATH: `${folder}:${String(process.env["PATH"])}`,
      STATE_DIRECTORY: folder,
    });
  }

  const now = Math.floor(Date.now() / 1000);

  test("makes a line of each entry, with its time", () => {
    const journal = `${now}.123456 systemd[1]: Started Meteor.\n${now}.200002 kernel: a b  c\n`;
    expect(lines(journal)).toBe(
      `journal line="systemd[1]: Started Meteor." ${now}123456000\n` +
        `journal line="kernel: a b  c" ${now}200002000\n`,
    );
  });

  test("leaves out what is so old that CloudWatch would refuse what comes with it", () => {
    const journal = `${now - 72_100}.000001 app[7]: old\n    and long\n${now - 71_000}.000001 app[7]: new\n`;
    expect(lines(journal)).toBe(`journal line="app[7]: new" ${now - 71_000}000001000\n`);
  });

  test("keeps an entry of several lines in one, and what the line protocol would take for its own", () => {
    const journal =
      `${now}.123456 app[7]: {"a": "\\n"}\n                        at b (c)\n` +
      `${now}.200000 app[7]: d=e,f 1\n`;
    expect(lines(journal)).toBe(
      `journal line="app[7]: {\\"a\\": \\"\\\\n\\"}\n                        at b (c)" ${now}123456000\n` +
        `journal line="app[7]: d=e,f 1" ${now}200000000\n`,
    );
  });

  test("goes on where it ended", () => {
    expect(lines("")).toBe("");
    expect(readFileSync(join(folder, "arguments"), "utf8")).toContain(
      `--cursor-file=${folder}/journal-cursor`,
    );
  });
});

describe("report-node", () => {
  const report = join(process.cwd(), "userdata/meteor/report-node.js");
  let child: ChildProcess | undefined;

  afterEach(() => {
    child?.kill("SIGKILL");
  });

  function start(name: string, program: string, environment = {}): ChildProcess {
    const file = join(folder, name);
    writeFileSync(file, program);
    child = spawn(process.execPath, ["--require", report, file], {
      stdio: "inherit",
      env: { ...process.env, ...environment },
    });
    return child;
  }

  test("tells how late the event loop is, and how large the heap, and systemd that it turns", async () => {
    const told = join(folder, "told");
    writeFileSync(join(folder, "systemd-notify"), `#!/bin/sh\necho "$@" >>${told}\n`, {
      mode: 0o755,
    });
    const socket = createSocket("udp4");
    socket.bind(8094, "127.0.0.1");
    await once(socket, "listening");
    start(
      "main.js",
      "setInterval(() => { const end = Date.now() + 300; while (Date.now() < end); }, 1000);",
      { PATH: `${folder}:${String(process.env["PATH"])}`, WATCHDOG_USEC: "60000000" },
    );
    const [message] = (await once(socket, "message")) as [Buffer];
    socket.close();
    const [, delay, heap] =
      /^node event_loop_delay=([\d.]+),heap_used=(\d+)$/.exec(String(message)) ?? [];
    expect(Number(delay)).toBeGreaterThan(200);
    expect(Number(heap)).toBeGreaterThan(1_000_000);
    await until(() => existsSync(told));
    expect(readFileSync(told, "utf8")).toBe("WATCHDOG=1\n");
  });

  test("holds no process that has nothing more to do, and nobody need listen", async () => {
    const [status] = (await once(start("main.js", ""), "exit")) as [number];
    expect(status).toBe(0);
  });
});
