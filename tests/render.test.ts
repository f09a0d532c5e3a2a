import {
  chmodSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parse, stringify } from "yaml";
import { projectFolder } from "../local/mockEngine";
import { render } from "../local/render";
import { sampleBundle } from "./sampleBundle";
import { installTools, outcomeOf, run } from "./tools";

const out = mkdtempSync(join(tmpdir(), "meteor-scale-render-"));
let machines: string[] = [];

beforeAll(async () => {
  installTools({
    "/usr/bin/cloud-init": "cloud-init",
    "/usr/bin/shellcheck": "shellcheck",
    "/usr/bin/systemd-analyze": "systemd",
    "/usr/sbin/haproxy": "haproxy",
    "/usr/sbin/hitch": "hitch",
    "/usr/sbin/nft": "nftables",
  });
  const config = {
    "aws:region": "eu-central-1",
    bundle: sampleBundle(),
    hostCount: 2,
    nat: "instance",
  };
  machines = await render("rendered", out, { ...config, rootUrl: "https://app.example.com" });
});

/** Every rendered file of all machines: its path on the machine, and on this computer. */
function files(): { machine: string; path: string; copy: string }[] {
  return machines.flatMap((machine) =>
    readdirSync(join(out, machine, "files"), { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile())
      .map((entry) => {
        const copy = join(entry.parentPath, entry.name);
        return { machine, path: copy.slice(join(out, machine, "files").length), copy };
      }),
  );
}

test("every machine is rendered, each file as the machine gets it", () => {
  expect(machines.sort()).toEqual(["balancer", "host1", "host2", "mongo1", "nat"]);
  const texts = files()
    .filter(({ machine }) => machine !== "host2")
    .sort((a, b) => (a.copy < b.copy ? -1 : 1))
    .map(({ machine, path, copy }) => `===== ${machine} ${path}\n${readFileSync(copy, "utf8")}`);
  expect(texts.join("\n").replaceAll(/[0-9a-f]{64}/g, "SHA256")).toMatchSnapshot();
});

test("hosts are identical but for their name", () => {
  const [one, two] = ["host1", "host2"].map((host) =>
    readFileSync(join(out, host, "user-data"), "utf8").replaceAll(host, "HOST"),
  );
  expect(one).toBe(two);
});

test("cloud-init knows every key of the user data", () => {
  for (const machine of machines) {
    expect(
      outcomeOf("cloud-init", ["schema", "--config-file", join(out, machine, "user-data")]),
    ).toMatchObject({ status: 0, output: expect.stringMatching(/Valid/) as string });
  }
});

test("ShellCheck finds nothing in any script as the machine gets it", () => {
  const scripts = files().filter(({ copy }) =>
    readFileSync(copy, "utf8").startsWith("#!/bin/bash"),
  );
  expect(scripts.length).toBeGreaterThan(10);
  // The rendered copies have lost the comments that excuse these two.
  run("shellcheck", ["--exclude=SC1091,SC2016", ...scripts.map(({ copy }) => copy)]);
});

test("systemd reads every unit without a complaint", () => {
  const units = files().filter(({ path }) =>
    /^\/etc\/systemd\/system\/[^/]+\.(service|timer)$/.test(path),
  );
  expect(units.length).toBeGreaterThan(3);
  // What the units start must exist, or systemd cannot judge them.
  const root = mkdtempSync(join(tmpdir(), "meteor-scale-units-"));
  const copies = units.map(({ path, copy }) => {
    const text = readFileSync(copy, "utf8").replaceAll(
      /^(Exec\w+=\+?)(\/usr\/local\/\S+)/gm,
      (_line, key: string, program: string) => {
        const standIn = join(root, program.replaceAll("/", "-"));
        writeFileSync(standIn, "#!/bin/sh\n");
        chmodSync(standIn, 0o755);
        return key + standIn;
      },
    );
    const file = join(root, path.slice(path.lastIndexOf("/") + 1));
    writeFileSync(file, text);
    return file;
  });
  const { output, status } = outcomeOf("systemd-analyze", ["verify", "--man=no", ...copies]);
  const complaints = output
    .split("\n")
    .filter((line) => copies.some((copy) => line.startsWith(copy)));
  expect({ status, complaints }).toEqual({ status: 0, complaints: [] });
});

test("each unit is confined: systemd scores its exposure at most 4.0 of 10", async () => {
  const folder = mkdtempSync(join(tmpdir(), "meteor-scale-exposure-"));
  // With the units that the first rendering lacks.
  const acme = { tls: "acme", acmeEmail: "ops@example.com", securityUpgrades: "reboot" };
  await render("acme", folder, {
    ...{ "aws:region": "eu-central-1", bundle: sampleBundle(), nat: "instance" },
    ...{ rootUrl: "https://app.example.com", ...acme },
  });
  // Those of packages, which have only a drop-in of ours.
  const packaged: Record<string, string> = {
    "haproxy.service": "/usr/lib/systemd/system/haproxy.service",
    "mongod.service": join(projectFolder, "local/toolchain/mongoStandIn/mongod.service"),
  };
  const below = "files/etc/systemd/system";
  const scores: Record<string, string> = {};
  for (const machine of ["balancer", "host1", "mongo1", "nat"]) {
    const units = join(folder, machine, below);
    mkdirSync(units, { recursive: true });
    for (const name of readdirSync(units).filter((one) => one.endsWith(".service.d"))) {
      const unit = name.slice(0, -".d".length);
      if (existsSync(join(units, unit))) {
        continue;
      }
      copyFileSync(packaged[unit] ?? `the unit of the package that has ${unit}`, join(units, unit));
    }
    for (const name of readdirSync(units).filter((one) => one.endsWith(".service"))) {
      const flags = ["security", "--offline=true", "--threshold=40", "--no-pager"];
      const { status, output } = outcomeOf("systemd-analyze", [...flags, join(units, name)]);
      scores[name] = status === 0 ? "confined" : output;
    }
  }
  expect(Object.keys(scores).length).toBeGreaterThan(7);
  expect(Object.values(scores).filter((score) => score !== "confined")).toEqual([]);
});

test("nft takes the NAT machine's rules", () => {
  const rules = join(out, "nat/files/etc/nftables.conf");
  // It asks a kernel, so one without this computer's own rules.
  run("unshare", ["--map-root-user", "--net", "/usr/sbin/nft", "--check", "--file", rules]);
});

test("mongod.conf is the YAML that mongod takes", () => {
  const text = readFileSync(join(out, "mongo1/files/etc/mongod.conf"), "utf8");
  expect(stringify(parse(text))).toBe(text);
  expect(parse(text)).toMatchObject({
    replication: { replSetName: "meteor" },
    security: { authorization: "enabled" },
  });
});

test("the development stack renders as it stands, but for its bundle", async () => {
  const stack = parse(readFileSync(join(projectFolder, "Pulumi.dev.yaml"), "utf8")) as {
    config: Record<string, unknown>;
  };
  const folder = mkdtempSync(join(tmpdir(), "meteor-scale-render-"));
  const rendered = await render("dev", folder, {
    ...stack.config,
    "meteor-scale:bundle": sampleBundle(),
  });
  expect(rendered.sort()).toEqual(["balancer", "host1", "host2", "mongo1"]);
});
