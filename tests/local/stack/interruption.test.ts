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

jest.setTimeout(600_000);

const folder = mkdtempSync(join(tmpdir(), "meteor-scale-interruption-"));
let stack: Stack;
let version = 1;

beforeAll(async () => {
  stack = await upStack();
});

afterAll(() => {
  rmSync(folder, { recursive: true });
});

function count(steps: Step[], step: RegExp): number {
  return steps.filter(({ operation, name }) => step.test(`${operation} ${name}`)).length;
}

/** A moment in the middle of a release, at which the engine is killed: as soon as so many steps of a kind were done. */
type Moment = [when: string, step: RegExp, least: number];

const newHost = /^create-replacement meteor-host\d-instance$/;
const movedName = /^update meteor-host\d-name$/;

const start: Moment = ["at its very start", /./, 0];
const bundleThere: Moment = ["when the new bundle is there", /bundle/, 1];
const oneNewHost: Moment = ["when one new host exists", newHost, 1];
const allNewHosts: Moment = ["while the new hosts start", newHost, 3];
const ready: Moment = ["when they are ready", /^update meteor-gate-live$/, 1];
const oneNameMoved: Moment = ["when one name has moved", movedName, 1];
const oneHostGone: Moment = [
  "when one old host is gone",
  /^delete-replaced meteor-host\d-instance$/,
  1,
];

/** Begins the update, or goes on with it, and kills its engine at a moment. */
async function killedAt(
  [when, step, least]: Moment,
  bundle: string,
  flags: string[],
): Promise<void> {
  const { status } = await updateWith(
    { bundle },
    {
      flags,
      watch: (steps, engine) => {
        if (count(steps, step) >= least) {
          engine.kill("SIGKILL");
        }
      },
    },
  );
  expect([when, status]).toEqual([when, null]);
  const locked = await updateWith({ bundle });
  expect(locked.status).not.toBe(0);
  expect(locked.output).toMatch(/the stack is currently locked/);
  expect(pulumi("cancel", "--yes").status).toBe(0);
}

// Each update that follows a kill goes on as wanted: as far as the next kill, and the last one to its end. One moment
// of a release's end each, since it may be past when the next update begins.
test.each<[string, Moment[]]>(
  [
    [start, oneNewHost, oneNameMoved],
    [bundleThere, allNewHosts, ready, oneHostGone],
  ].map((moments) => [moments.map(([when]) => when).join(", again "), moments]),
)(
  "an engine killed %s: the next update ends as wanted, and nobody notices",
  async (_when, moments) => {
    version += 1;
    const before = instanceIds();
    const bundle = variant(folder, String(version));
    const { report } = await underTraffic(stack, async () => {
      let flags: string[] = [];
      for (const moment of moments) {
        await killedAt(moment, bundle, flags);
        flags = ["--refresh"];
      }
      expect(await updateWith({ bundle }, { flags })).toMatchObject({ status: 0 });
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
