import { cp, readFile } from "node:fs/promises";
import { join } from "node:path";
import { toolsFolder } from "../../paths";
import { fetchGoModule } from "../goModule";
import { makeOnce, runLogged, type Step } from "../step";

const folder = join(toolsFolder, "telegraf");
const moduleName = "github.com/influxdata/telegraf";

/** What the machines' configuration files ask for: all that it can do takes ten times as long to build. */
const plugins = [
  ...["cpu", "disk", "exec", "haproxy", "mem", "socket_listener", "x509_cert"].map(of("inputs")),
  ...["cloudwatch", "cloudwatch_logs"].map(of("outputs")),
  ...["enum", "rename"].map(of("processors")),
  ...["derivative"].map(of("aggregators")),
  ...["influx"].map(of("parsers")),
  ...["influx"].map(of("serializers")),
];

function of(kind: string): (name: string) => string {
  return (name) => `${kind}.${name}`;
}

/**
 * Builds Telegraf from its source, once, for where InfluxData's own packages can't be reached.
 *
 * @returns path of the program
 */
export async function buildTelegraf(step: Step): Promise<string> {
  const program = join(folder, "telegraf");
  const version = /telegraf v(\S+)/.exec(await readFile(join(__dirname, "go.mod"), "utf8"))?.[1];
  await makeOnce(folder, `${String(version)} ${plugins.join(",")}`, async () => {
    const fetched = await fetchGoModule(
      step,
      "telegraf",
      __dirname,
      moduleName,
      "InfluxData's own repository can't be reached from here, and to build Telegraf takes Go 1.25 or newer",
    );
    step.progress("building it with Go, which takes 1 to 2 minutes the first time");
    await runLogged(
      step,
      "telegraf",
      "go",
      [
        ...["build", "-mod=readonly", "-buildvcs=false", "-trimpath"],
        ...["-tags", ["custom", ...plugins].join(",")],
        ...["-ldflags", `-s -w -X ${moduleName}/internal.Version=${String(version)}`],
        ...["-o", program, "./cmd/telegraf"],
      ],
      // Without the computer's C library, which may be newer than the image's.
      { cwd: fetched, env: { CGO_ENABLED: "0" } },
    );
  });
  return program;
}

/** Puts it into a machine's root file system, where its package would. */
export async function installTelegraf(root: string, step: Step): Promise<void> {
  await cp(await buildTelegraf(step), join(root, "usr", "bin", "telegraf"));
}
