import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import {
  makeOnce,
  outputOf,
  runLogged,
  type Step,
  toolLogFile,
  UserError,
} from "../../local/toolchain/step";

const folder = mkdtempSync(join(tmpdir(), "step-"));
const interrupt = new AbortController();
const lines: string[] = [];
const step: Step = { signal: interrupt.signal, progress: (line) => lines.push(line) };
const tool = `step-test-${process.pid}`;

afterAll(() => {
  rmSync(folder, { recursive: true });
  rmSync(toolLogFile(tool), { force: true });
});

describe("a folder made once", () => {
  const made = join(folder, "made");
  const make = (stamp: string, content: string): Promise<boolean> =>
    makeOnce(made, stamp, async (path) => {
      await Promise.resolve();
      writeFileSync(join(path, content), "");
    });

  test("is not made again while it is made of the same", async () => {
    expect(await make("1", "first")).toBe(true);
    expect(await make("1", "second")).toBe(false);
    expect(existsSync(join(made, "second"))).toBe(false);
  });

  test("is made anew, without the old, when that changes", async () => {
    expect(await make("2", "third")).toBe(true);
    expect(existsSync(join(made, "first"))).toBe(false);
  });

  test("counts as not made when making it was interrupted", async () => {
    const interrupted = makeOnce(made, "3", (path) => {
      writeFileSync(join(path, "half"), "");
      return Promise.reject(new Error("interrupted"));
    });
    await expect(interrupted).rejects.toThrow("interrupted");
    expect(await make("3", "whole")).toBe(true);
    expect(existsSync(join(made, "half"))).toBe(false);
  });
});

describe("a program that is run", () => {
  test("shows each line as progress and keeps it in the log", async () => {
    await runLogged(step, tool, "sh", ["-c", "echo fetching; echo building >&2"]);
    expect(lines).toEqual(expect.arrayContaining(["fetching", "building"]));
    expect(readFileSync(toolLogFile(tool), "utf8")).toContain("building");
  });

  test("that fails gives one error with its last words and its log", async () => {
    const failing = runLogged(step, tool, "sh", ["-c", "echo no space left; exit 7"]);
    await expect(failing).rejects.toThrow(UserError);
    await expect(failing).rejects.toThrow(
      `sh ended with 7 after "no space left". Its whole output is in ${toolLogFile(tool)}.`,
    );
  });

  test("that is not there gives such an error too", async () => {
    await expect(runLogged(step, tool, "no-such-program", [])).rejects.toThrow(UserError);
    expect(await outputOf("no-such-program", [])).toBeUndefined();
  });

  test("ends when the person presses Ctrl-C", async () => {
    const start = Date.now();
    const running = runLogged(step, tool, "sleep", ["60"]);
    setTimeout(() => {
      interrupt.abort();
    }, 100);
    await expect(running).rejects.toThrow("aborted");
    expect(Date.now() - start).toBeLessThan(5000);
  });
});
