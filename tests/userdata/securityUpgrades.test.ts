import { mkdirSync, mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { environmentFile, type MachineContents } from "../../userdata/cloudConfig";
import { balancerMachine } from "../../userdata/balancer/balancerMachine";
import { aptConfig, type SecurityUpgrades } from "../../userdata/machine/aptConfig";
import { withCommon } from "../../userdata/machine/commonMachine";
import { installTools, run } from "../tools";

beforeAll(() => {
  installTools({ "/usr/bin/apt-config": "apt", "/usr/bin/systemd-analyze": "systemd" });
}, 600_000);

function balancer(securityUpgrades: SecurityUpgrades): MachineContents {
  const slots = Array.from({ length: 8 }, (_, index) => `host${index + 1}`);
  return withCommon(
    balancerMachine({
      ...{ slots, zone: "meteor.internal", meteorPort: 3000, studInstall: "source", acme: true },
      tlsPath: "/meteor-scale/production/certificate",
    }),
    {
      ...{ role: "balancer", region: "eu-central-1", secretsPath: "", sessionManager: true },
      ...{
        metricNamespace: "meteor-scale-production",
        logGroup: "/meteor-scale/production/balancer",
      },
      ...{ securityUpgrades, rebootLock: "/meteor-scale/production/reboot" },
    },
  );
}

/** What apt and unattended-upgrades make of it, after the file that Debian brings. */
function asAptReads(securityUpgrades: SecurityUpgrades): string {
  const folder = mkdtempSync(join(tmpdir(), "meteor-scale-apt-"));
  mkdirSync(join(folder, "parts"));
  // As in unattended-upgrades 2.9.1 of Debian 12.
  const debian = `Unattended-Upgrade::Origins-Pattern {
  "origin=Debian,codename=\${distro_codename},label=Debian";
  "origin=Debian,codename=\${distro_codename}-security,label=Debian-Security";
};
APT::Periodic::Unattended-Upgrade "1";
`;
  writeFileSync(join(folder, "parts/50unattended-upgrades"), debian);
  writeFileSync(join(folder, "parts/60meteor-scale"), aptConfig(securityUpgrades));
  writeFileSync(join(folder, "main"), `Dir::Etc::parts "${folder}/parts";\n`);
  return run("apt-config", ["dump"], { APT_CONFIG: join(folder, "main") });
}

test.each(["install", "reboot"] as const)(
  "%s: apt takes Debian's security updates alone",
  (mode) => {
    const read = asAptReads(mode);
    expect(read.match(/^Unattended-Upgrade::Origins-Pattern::.*/gm)).toEqual([
      'Unattended-Upgrade::Origins-Pattern:: "origin=Debian,codename=${distro_codename}-security,label=Debian-Security";',
    ]);
    expect(read).toContain('APT::Periodic::Unattended-Upgrade "1";');
    expect(read).toContain('APT::Periodic::Update-Package-Lists "1";');
    // The turn to reboot is the stack's affair.
    expect(read).toContain('Unattended-Upgrade::Automatic-Reboot "false";');
    // Our own haproxy.cfg would keep HAProxy's updates away otherwise.
    expect(read).toContain('DPkg::Options:: "--force-confold";');
  },
);

test("off: nothing is upgraded by itself, not even where the image would", () => {
  expect(asAptReads("off")).toContain('APT::Periodic::Unattended-Upgrade "0";');
  const { environment, files, steps } = balancer("off");
  const rest = files.filter(({ path }) => /reboot|upgrade|turn/.test(path));
  expect(rest.map(({ path }) => path)).toEqual([]);
  expect(steps).not.toContain("install-security-upgrades");
  expect(environment).not.toHaveProperty("REBOOT_LOCK");
});

test("only a machine that may reboot has what does it, and knows the lock", () => {
  const of = (mode: SecurityUpgrades): string => JSON.stringify(balancer(mode));
  expect(of("install")).not.toMatch(/reboot-in-turn\.(service|timer)"/);
  expect(environmentFile(balancer("install").environment)).not.toContain("REBOOT_LOCK");
  expect(of("reboot")).toMatch(/reboot-in-turn\.service/);
  expect(environmentFile(balancer("reboot").environment)).toContain(
    "REBOOT_LOCK='/meteor-scale/production/reboot'",
  );
});

test("updates are installed last, when a machine has all that it needs", () => {
  expect(balancer("install").steps.at(-1)).toBe("install-security-upgrades");
});

test("updates come before the reboots of the same night, each machine's at a time of its own", () => {
  const night = (name: string): string =>
    balancer("reboot").files.find(({ path }) => path.includes(name))?.content ?? "";
  expect(night("apt-daily-upgrade.timer.d")).toContain("OnCalendar=*-*-* 00:00 UTC\n");
  expect(night("apt-daily-upgrade.timer.d")).toContain("RandomizedDelaySec=2h\n");
  const calendar = /OnCalendar=(.*)/.exec(night("reboot-in-turn.timer"))?.[1] ?? "";
  const flags = ["--iterations=100", "--base-time=2026-01-01 00:00:00 UTC"];
  const times = run("systemd-analyze", ["calendar", ...flags, calendar]).match(
    /\d\d:\d\d:\d\d UTC/g,
  );
  const ofOneNight = [...new Set(times)].sort();
  expect([ofOneNight[0], ofOneNight.at(-1)]).toEqual(["02:00:00 UTC", "04:58:00 UTC"]);
});
