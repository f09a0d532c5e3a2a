import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Browser } from "../../../local/traffic/browser";
import { inMachine } from "../machines";
import {
  expectUnnoticed,
  hostAddresses,
  machines,
  pulumi,
  type Stack,
  statistic,
  underTraffic,
  upStack,
  updateWith,
} from "./stack";
import { type Variant, variant } from "./variant";

jest.setTimeout(400_000);

const folder = mkdtempSync(join(tmpdir(), "meteor-scale-release-"));
const hosts = ["host1", "host2", "host3"];
let stack: Stack;

beforeAll(async () => {
  stack = await upStack();
});

afterAll(() => {
  rmSync(folder, { recursive: true });
});

async function everyHostServes(version: string): Promise<void> {
  for (const host of hosts) {
    const browser = new Browser(stack);
    browser.cookie = host;
    expect(await browser.whoami()).toMatchObject({ host, version });
  }
}

function hostIds(): string[] {
  return machines()
    .filter(({ name }) => /-host\d$/.test(name))
    .map(({ instanceId }) => instanceId)
    .sort();
}

describe("a good release", () => {
  test("of another version, with another variable and size, takes over without anybody noticing more than a page that connects again", async () => {
    const before = hostIds();
    const { result, report } = await underTraffic(stack, () =>
      updateWith({
        bundle: variant(folder, "2"),
        env: { ANSWER: "42" },
        hostInstanceType: "m7a.medium",
      }),
    );
    expect(result).toMatchObject({ status: 0 });
    expectUnnoticed(report);
    inMachine("host2", "grep -qx 42 /etc/meteor-scale/secrets/ANSWER");
    expect(Object.keys(report.hosts).sort()).toEqual(hosts.map((host) => `${host} version 2`));
    expect(report.movedCookies).toBe(0);
    // Each page once, when its host went; one in many may need a second try.
    expect(report.reconnects).toBeGreaterThanOrEqual(report.sessions);
    expect(report.reconnects).toBeLessThan(report.sessions * 1.1);
    const now = hostIds();
    expect(now).toHaveLength(3);
    expect(now.filter((id) => before.includes(id))).toEqual([]);
    await everyHostServes("2");

    // All are there before any name moves, and nobody goes before all names have moved.
    const order = result.steps.map(({ operation, name }) => `${operation} ${name}`);
    const at = (step: RegExp): number[] =>
      order.flatMap((one, index) => (step.test(one) ? [index] : []));
    const created = at(/^create-replacement meteor-host\d-instance$/);
    const gate = at(/^update meteor-gate-live$/);
    const moved = at(/^update meteor-host\d-name$/);
    const gone = at(/^delete-replaced meteor-host\d-instance$/);
    expect([created.length, gate.length, moved.length, gone.length]).toEqual([3, 1, 3, 3]);
    expect([created, gate, moved, gone].flat()).toEqual(
      [created, gate, moved, gone].flat().sort((a, b) => a - b),
    );
    const touched = result.steps.map(({ name }) => name);
    expect(touched.filter((name) => /^(balancer|mongo|network|firewall)/.test(name))).toEqual([]);
  });

  test("leaves the balancer with the addresses of the new hosts, and parked slots parked", () => {
    expect(statistic("status")).toMatchObject({ host1: "UP", host3: "UP", host4: "DOWN" });
    const addresses = statistic("addr");
    for (const [host, address] of Object.entries(hostAddresses())) {
      expect([host, addresses[host]]).toEqual([host, `${address}:3000`]);
    }
    expect(addresses["host8"]).toBe("127.0.0.1:3000");
  });

  test("can be rolled back by the earlier bundle, in the same way", async () => {
    const { result, report } = await underTraffic(stack, () => updateWith({}));
    expect(result).toMatchObject({ status: 0 });
    expectUnnoticed(report);
    await everyHostServes("1");
    expect(pulumi("preview", "--expect-no-changes").status).toBe(0);
    inMachine(
      "host1",
      '. /etc/meteor-scale/machine.env && aws s3 --region "$REGION" cp --only-show-errors "$BUNDLE" - | sha256sum | grep -q "^$BUNDLE_SHA256 "',
    );
  });
});

describe("a release that can't start", () => {
  const host = String.raw`meteor-scale-local-host\d \(i-[0-9a-f]+\)`;
  test.each<[string, Variant, Record<string, unknown>, string, string[]?]>([
    [
      "since its process dies at once",
      { failAtStart: true },
      {},
      `${host}.* failed in start-meteor: .*Version 3 of the sample application fails at start on purpose`,
      ["first", "second"],
    ],
    [
      "since its process dies after a minute",
      { crashAfterSeconds: 60 },
      { minReadySeconds: 75 },
      `${host}.* failed in start-meteor: .*crashes after a while on purpose`,
    ],
    [
      "since it never answers",
      { hangAtStart: true },
      { readyTimeout: 60 },
      `${host} is not ready after 60 s \\(readyTimeout\\); its last word: starting: start-meteor`,
    ],
    [
      "since its Node can't be had",
      { nodeVersion: "v99.0.0" },
      {},
      `${host}.* failed in install-node: .*Node 99.0.0 which the bundle needs could not be had from nodejs.org`,
    ],
  ])(
    "%s, touches nothing that serves, as often as it is run",
    async (_why, difference, config, reason, runs = ["only"]) => {
      const before = hostIds();
      const bundle = variant(folder, "3", difference);
      const { report } = await underTraffic(stack, async () => {
        for (const run of runs) {
          const { status, output } = await updateWith({ bundle, ...config });
          expect([run, status]).not.toEqual([run, 0]);
          expect(output).toMatch(new RegExp(reason, "s"));
          expect(output).toContain("What ran before keeps all traffic");
          expect(output).not.toMatch(/\n\s+at .*\.js:\d+/);
          await everyHostServes("1");
          expect(hostIds()).toEqual(expect.arrayContaining(before));
        }
      });
      expectUnnoticed(report);
      expect(report.reconnects).toBe(0);
      expect(hostIds()).toHaveLength(6);

      // The next good one clears both sets.
      const good = await underTraffic(stack, () => updateWith({}));
      expect(good.result).toMatchObject({ status: 0 });
      expectUnnoticed(good.report);
      await everyHostServes("1");
      const now = hostIds();
      expect(now).toHaveLength(3);
      expect(now.filter((id) => before.includes(id))).toEqual([]);
      expect(pulumi("preview", "--expect-no-changes").status).toBe(0);
    },
  );
});
