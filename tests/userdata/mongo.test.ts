import { readFileSync } from "node:fs";
import { parse } from "yaml";
import { cloudConfig } from "../../userdata/cloudConfig";
import { withCommon } from "../../userdata/machine/commonMachine";
import { mongodConfig } from "../../userdata/mongo/mongodConfig";
import { mongoMachine, type MongoMachineArgs } from "../../userdata/mongo/mongoMachine";
import { installTools } from "../tools";
import { MongoSandbox } from "./mongoSandbox";

jest.setTimeout(120_000);

const volume = "vol-0123456789abcdef0";
const args: MongoMachineArgs = {
  replicaSet: "meteor",
  memberHost: "mongo1.meteor.internal",
  accessControl: "rbac",
  dataVolume: volume,
  preferredPrimary: "mongo1.meteor.internal",
  gates: ["/meteor-scale/test/gates/mongo1", "/meteor-scale/test/gates/mongo2"],
};

beforeAll(() => {
  installTools({
    "/usr/bin/gpg": "gpg",
    // Makes the tests' own keys.
    "/usr/bin/gpg-agent": "gpg-agent",
    "/usr/bin/shellcheck": "shellcheck",
    "/usr/bin/systemd-analyze": "systemd",
    "/usr/sbin/ip": "iproute2",
    "/usr/sbin/mkfs.xfs": "xfsprogs",
  });
}, 600_000);

let sandbox: MongoSandbox;
beforeEach(async () => {
  sandbox = new MongoSandbox();
  await sandbox.start(
    withCommon(mongoMachine(args), {
      role: "mongo",
      region: "eu-central-1",
      metricNamespace: "meteor-scale-test",
      logGroup: "/meteor-scale/test/mongo",
      secretsPath: "",
      sessionManager: false,
      securityUpgrades: "install",
      rebootLock: "",
    }),
  );
});
afterEach(() => {
  sandbox.stop();
});

describe("the files", () => {
  test.each(["rbac", "firewall"] as const)("mongod.conf with %s", (accessControl) => {
    expect(mongodConfig({ replicaSet: "meteor", accessControl })).toMatchSnapshot();
  });

  test("mongod.conf reads back as what MongoDB calls its options", () => {
    expect(parse(mongodConfig({ replicaSet: "main", accessControl: "rbac" }))).toEqual({
      storage: { dbPath: "/var/lib/mongodb" },
      net: { port: 27017, bindIp: "0.0.0.0" },
      replication: { replSetName: "main", oplogSizeMB: 1024 },
      security: { authorization: "enabled", keyFile: "/etc/mongod.key" },
    });
  });

  test("of a member", () => {
    const { environment, files, steps } = mongoMachine(args);
    expect({ environment, steps, files: files.map(({ path }) => path) }).toMatchSnapshot();
  });

  test("leave room in the user data", () => {
    const programs = { address: "s3://".padEnd(200, "x"), sha256: "0".repeat(64) };
    const contents = withCommon(mongoMachine(args), {
      role: "mongo",
      region: "eu-central-1",
      metricNamespace: "meteor-scale-test",
      logGroup: "/meteor-scale/test/mongo",
      secretsPath: "/meteor-scale/production/mongo",
      sessionManager: true,
      securityUpgrades: "install",
      rebootLock: "",
    });
    expect(Buffer.byteLength(cloudConfig("mongo1", contents, programs))).toBeLessThan(8_000);
  });

  test("no secret is among them", () => {
    const { environment, files } = mongoMachine(args);
    expect(JSON.stringify({ environment, files })).not.toMatch(/pwd: ?"|password=|--password/i);
  });

  test("systemd takes the units", () => {
    sandbox.write(
      "/etc/systemd/system/mongod.service",
      readFileSync("local/toolchain/mongoStandIn/mongod.service", "utf8").replace(
        "/usr/bin/mongod",
        "/usr/bin/env",
      ),
    );
    const units = ["mongod.service", "mongo-data.service", "mongo-data.timer"];
    const { status, output } = sandbox.outcomeOf("systemd-analyze", ["verify", ...units]);
    expect({ status, output }).toEqual({ status: 0, output: "" });
  });
});

describe("install-mongodb", () => {
  const signed = "/etc/apt/sources.list.d/mongodb-8.0.list";

  beforeEach(() => {
    sandbox.write(
      "/usr/local/lib/meteor-scale/install-packages",
      '#!/bin/sh\necho "$@" >>/run/installed\n',
      "0755",
    );
    // Anybody's key, in the place of MongoDB's.
    sandbox.write(
      "/usr/local/bin/curl",
      `#!/bin/sh
export GNUPGHOME=$(mktemp -d)
gpg --batch --quiet --passphrase "" --quick-generate-key "\${NAME:-MongoDB 8.0 Release Signing Key}" >&2
exec gpg --batch --armor --export
`,
      "0755",
    );
  });

  test("a machine that has mongod needs nothing but tools of Debian", () => {
    sandbox.write("/usr/local/bin/mongod", "#!/bin/sh\n", "0755");
    expect(sandbox.step("install-mongodb").status).toBe(0);
    expect(sandbox.run("cat", "/run/installed")).toBe("xfsprogs\n");
  });

  test("a key that is not MongoDB's is refused, and no repository added", () => {
    const { status, output } = sandbox.step("install-mongodb");
    expect(status).not.toBe(0);
    expect(output.trim().split("\n").at(-1)).toBe(
      "the key at https://pgp.mongodb.com/server-8.0.asc is not the one with the fingerprint 4B0752C1BCA238C0B4EE14DC41DE058A4E7DCA05",
    );
    expect(sandbox.outcomeOf("test", ["-e", signed]).status).toBe(1);
    expect(sandbox.run("cat", "/run/installed")).toBe("xfsprogs\ngpg\n");
  });

  test("with the right key, packages come from MongoDB's repository, signed by that key alone", () => {
    // The test's own key, put in the script's place of MongoDB's.
    sandbox.run(...["bash", "-c", "NAME=mine curl >/run/key && export GNUPGHOME=$(mktemp -d)"]);
    const fingerprint = sandbox
      .run(
        "bash",
        "-c",
        "export GNUPGHOME=$(mktemp -d); gpg -q --batch --import /run/key && gpg --list-keys --with-colons",
      )
      .split("\n")
      .find((line) => line.startsWith("fpr:"))
      ?.split(":")[9];
    sandbox.write("/usr/local/bin/curl", "#!/bin/sh\nexec cat /run/key\n", "0755");
    sandbox.write("/usr/local/bin/apt-mark", '#!/bin/sh\necho "$@" >>/run/marked\n', "0755");
    sandbox.run(
      "sed",
      "-i",
      `s/4B0752C1BCA238C0B4EE14DC41DE058A4E7DCA05/${fingerprint ?? ""}/`,
      "/usr/local/lib/meteor-scale/install-mongodb",
    );
    expect(sandbox.step("install-mongodb")).toMatchObject({ status: 0 });
    expect(sandbox.run("cat", "/run/installed", "/run/marked")).toBe(
      "xfsprogs\ngpg\nmongodb-org-server mongodb-mongosh\nhold mongodb-org-server mongodb-mongosh\n",
    );
    expect(sandbox.run("cat", signed)).toBe(
      "deb [signed-by=/usr/share/keyrings/mongodb-8.0.gpg] https://repo.mongodb.org/apt/debian bookworm/mongodb-org/8.0 main\n",
    );
    expect(sandbox.run("gpg", "--show-keys", "/usr/share/keyrings/mongodb-8.0.gpg")).toContain(
      fingerprint,
    );
  });
});

describe("mount-data", () => {
  const target = "/var/lib/mongodb";
  const mounted = (): string =>
    sandbox.run("findmnt", "--noheadings", "--output", "SOURCE,FSTYPE,OPTIONS", target);

  test("a blank volume gets a file system, which is mounted", () => {
    const device = sandbox.attachDisk(volume, 400);
    expect(sandbox.step("mount-data")).toEqual({ status: 0, output: "" });
    expect(mounted()).toMatch(new RegExp(`^${device} +xfs +rw,noatime`));
    expect(sandbox.run("stat", "--format", "%U:%G", target)).toBe("mongodb:mongodb\n");
  });

  test("a volume with data is mounted as it is, whoever wrote it", () => {
    sandbox.attachDisk(volume, 400);
    sandbox.step("mount-data");
    sandbox.run("bash", "-c", `echo kept >${target}/data && chown -R 4711:4711 ${target}`);
    sandbox.run("umount", target);
    expect(sandbox.step("mount-data")).toEqual({ status: 0, output: "" });
    expect(sandbox.run("cat", `${target}/data`)).toBe("kept\n");
    expect(sandbox.run("stat", "--format", "%U", `${target}/data`)).toBe("mongodb\n");
  });

  test("once it is mounted, running it again changes nothing", () => {
    sandbox.attachDisk(volume, 400);
    sandbox.step("mount-data");
    const before = mounted();
    expect(sandbox.step("mount-data")).toEqual({ status: 0, output: "" });
    expect(mounted()).toBe(before);
  });

  test("a volume made from a snapshot still has the name of the one it is a copy of", () => {
    sandbox.attachDisk(volume, 400);
    sandbox.step("mount-data");
    expect(sandbox.run("cat", `${target}/.volume`)).toBe(`${volume}\n`);
    sandbox.run("bash", "-c", `echo vol-0aaaaaaaaaaaaaaaa >${target}/.volume; umount ${target}`);
    expect(sandbox.step("mount-data")).toEqual({ status: 0, output: "" });
    expect(sandbox.run("cat", `${target}/.volume`)).toBe("vol-0aaaaaaaaaaaaaaaa\n");
  });

  test("a volume with something else on it is left alone", () => {
    const device = sandbox.attachDisk(volume, 400);
    sandbox.run("mkswap", device);
    const { status, output } = sandbox.step("mount-data");
    expect(status).not.toBe(0);
    expect(output).toBe(`the data volume ${volume} holds swap, not XFS; it is left alone\n`);
    expect(sandbox.run("wipefs", "--noheadings", "--output", "TYPE", device)).toBe("swap\n");
  });

  test("a volume that has grown gives its file system the new size, while it is in use", () => {
    const size = (): number =>
      Number(sandbox.run("bash", "-c", `df --block-size=1M --output=size ${target} | tail -n 1`));
    sandbox.attachDisk(volume, 400);
    sandbox.step("mount-data");
    const before = size();
    sandbox.growDisk(800);
    expect(sandbox.step("mount-data")).toEqual({ status: 0, output: "" });
    expect(size()).toBeGreaterThan(before + 350);
  });

  test("a volume that never comes is the reason of the failure", () => {
    sandbox.write("/usr/local/bin/sleep", "#!/bin/sh\n", "0755");
    const { status, output } = sandbox.step("mount-data");
    expect(status).not.toBe(0);
    expect(output).toBe(`the data volume ${volume} was not attached within 5 minutes\n`);
  });
});
