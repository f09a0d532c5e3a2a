import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { render } from "../../local/render";
import type { Step } from "../../local/toolchain/step";
import { buildTelegraf } from "../../local/toolchain/telegraf/telegraf";
import { sampleBundle } from "../sampleBundle";
import { outcomeOf, run } from "../tools";

const folder = mkdtempSync(join(tmpdir(), "meteor-scale-telegraf-"));
let telegraf = "";
let machines: string[] = [];

beforeAll(async () => {
  const step: Step = { progress: () => undefined, signal: new AbortController().signal };
  telegraf = await buildTelegraf(step);
  machines = await render("test", folder, {
    "aws:region": "eu-central-1",
    bundle: sampleBundle(),
    rootUrl: "https://app.example.com",
    nat: "instance",
    hostCount: 1,
  });
}, 900_000);

afterAll(() => {
  rmSync(folder, { recursive: true });
});

test("the version that machines install is the one that is built", () => {
  const script = readFileSync("userdata/machine/install-telegraf.sh", "utf8");
  const wanted = /^version=(\S+)$/m.exec(script)?.[1];
  expect(run(telegraf, ["--version"])).toContain(`Telegraf ${String(wanted)}`);
});

test("Telegraf takes the configuration of every machine", () => {
  expect(machines.sort()).toEqual(["balancer", "host1", "mongo1", "nat"]);
  for (const machine of machines) {
    const files = join(folder, machine, "files/etc/telegraf");
    const script =
      "set -a; . $0/files/etc/meteor-scale/machine.env; INSTANCE=i-0123456789abcdef0; set +a; " +
      'exec "$1" --strict-env-handling config check --config "$2/telegraf.conf" --config-directory "$2/telegraf.d"';
    const { status, output } = outcomeOf("bash", [
      ...["-c", script, join(folder, machine), telegraf, files],
    ]);
    expect({ machine, status, complaints: output.match(/^.* E! .*$/gm) }).toEqual({
      machine,
      status: 0,
      complaints: null,
    });
  }
});
