import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { openStack, terminateUnknownMachines } from "../../../local/engine";
import { Browser } from "../../../local/traffic/browser";
import {
  expectUnnoticed,
  instanceIds,
  machines,
  pulumi,
  type Stack,
  type Step,
  underTraffic,
  upStack,
  updateWith,
} from "./stack";
import { variant } from "./variant";

jest.setTimeout(300_000);

const folder = mkdtempSync(join(tmpdir(), "meteor-scale-interruption-"));
let stack: Stack;
let version = 1;

beforeAll(async () => {
  stack = await upStack();
});

afterAll(async () => {
  rmSync(folder, { recursive: true });
  await upStack();
});

function count(steps: Step[], step: RegExp): number {
  return steps.filter(({ operation, name }) => step.test(`${operation} ${name}`)).length;
}

/** When in the middle of a release the engine is killed: as soon as so many steps of a kind were done. */
test.each<[string, RegExp, number]>([
  ["at its very start", /./, 0],
  ["when the new bundle is there", /bundle/, 1],
  ["when one new host exists", /^create-replacement meteor-host\d-instance$/, 1],
  ["when two new hosts exist", /^create-replacement meteor-host\d-instance$/, 2],
  ["while the new hosts start", /^create-replacement meteor-host\d-instance$/, 3],
  ["when they are ready", /^update meteor-gate-live$/, 1],
  ["when one name has moved", /^update meteor-host\d-name$/, 1],
  ["when two names have moved", /^update meteor-host\d-name$/, 2],
  ["when all names have moved, and old hosts drain", /^update meteor-host\d-name$/, 3],
  ["when one old host is gone", /^delete-replaced meteor-host\d-instance$/, 1],
])(
  "an engine killed %s: the next update ends as wanted, and nobody notices",
  async (_when, step, least) => {
    version += 1;
    const before = instanceIds();
    const bundle = variant(folder, String(version));
    const { report } = await underTraffic(stack, async () => {
      const { status } = await updateWith(
        { bundle },
        {
          watch: (steps, engine) => {
            if (count(steps, step) >= least) {
              engine.kill("SIGKILL");
            }
          },
        },
      );
      expect(status).toBeNull();
      const locked = await updateWith({ bundle });
      expect(locked.status).not.toBe(0);
      expect(locked.output).toMatch(/the stack is currently locked/);
      expect(pulumi("cancel", "--yes").status).toBe(0);
      expect(await updateWith({ bundle }, { flags: ["--refresh"] })).toMatchObject({ status: 0 });
      // What README tells to look for: created, though the engine could not write that down any more.
      console.log(
        `machines that no state knew: ${await terminateUnknownMachines(await openStack())}`,
      );
    });
    expectUnnoticed(report);
    expect(Object.keys(report.hosts)).toHaveLength(3);
    for (const host of ["host1", "host2", "host3"]) {
      const browser = new Browser(stack);
      browser.cookie = host;
      expect(await browser.whoami()).toMatchObject({ host, version: String(version) });
    }
    const now = instanceIds();
    expect(machines()).toHaveLength(5);
    expect([now["balancer"], now["mongo1"]]).toEqual([before["balancer"], before["mongo1"]]);
    const again = await updateWith({ bundle }, { flags: ["--expect-no-changes"] });
    expect(again).toMatchObject({ status: 0, steps: [] });
  },
);
