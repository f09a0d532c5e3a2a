import { join } from "node:path";
import { repositoryFolder } from "../../local/paths";
import { installMachineTools, machineToolsFolder } from "../../local/toolchain/machineTools";
import { buildMongoStandIn } from "../../local/toolchain/mongoStandIn/mongoStandIn";
import type { Step } from "../../local/toolchain/step";
import type { MachineContents } from "../../userdata/cloudConfig";
import { withCommon } from "../../userdata/machine/commonMachine";
import { mongoMachine } from "../../userdata/mongo/mongoMachine";
import { installTools, type Outcome } from "../tools";
import { MongoSandbox } from "../userdata/mongoSandbox";

jest.setTimeout(120_000);

const users = (...versions: number[]): string =>
  JSON.stringify(
    versions.flatMap((version) => [
      {
        user: `app-${version}`,
        pwd: `app${version}Password`,
        roles: [{ role: "readWrite", db: "app" }],
      },
      {
        user: `oplogger-${version}`,
        pwd: `oplog${version}Password`,
        roles: [{ role: "read", db: "local" }],
      },
    ]),
  );
const secrets = {
  ADMIN_PASSWORD: "admin0Password",
  USERS: users(1),
  KEY_FILE: Buffer.alloc(512, "key file of the test").toString("base64"),
};
let program = "";

beforeAll(async () => {
  installTools({ "/usr/sbin/ip": "iproute2" });
  const step: Step = { progress: () => undefined, signal: new AbortController().signal };
  await installMachineTools(step);
  program = await buildMongoStandIn(step);
}, 900_000);

function machine(accessControl: "firewall" | "rbac"): MachineContents {
  const role = mongoMachine({
    replicaSet: "meteor",
    memberHost: "mongo1.meteor.internal",
    accessControl,
    dataVolume: "vol-0123456789abcdef0",
    preferredPrimary: "mongo1.meteor.internal",
    gates: ["/meteor-scale/test/gates/mongo1"],
  });
  return withCommon(role, {
    role: "mongo",
    region: "eu-central-1",
    metricNamespace: "meteor-scale-test",
    logGroup: "/meteor-scale/test/mongo",
    secretsPath: "/meteor-scale/test/mongo",
    sessionManager: false,
    securityUpgrades: "install",
    rebootLock: "",
  });
}

let sandbox: MongoSandbox;
async function start(accessControl: "firewall" | "rbac"): Promise<void> {
  sandbox = new MongoSandbox();
  await sandbox.start(machine(accessControl));
  sandbox.run("install", program, "/usr/local/bin/mongod");
  const shell = join(machineToolsFolder, "node_modules/mongosh/bin/mongosh.js");
  sandbox.write(
    "/usr/local/bin/mongosh",
    `#!/bin/sh\necho "$@" >>/run/arguments\nexec ${process.execPath} ${shell} "$@"\n`,
    "0755",
  );
  sandbox.run("install", "-d", "-o", "mongodb", "-g", "mongodb", "/var/lib/mongodb");
  sandbox.write("/var/lib/mongodb/.volume", "vol-0123456789abcdef0\n");
  // As long as no member was ready.
  aws("echo None");
}
afterEach(() => {
  sandbox.stop();
});

function writeSecrets(changed: Partial<typeof secrets> = {}): void {
  for (const [name, value] of Object.entries({ ...secrets, ...changed })) {
    sandbox.write(`/etc/meteor-scale/secrets/${name}`, value, "0600");
  }
}

/** What the AWS API answers to the machine. */
function aws(commands: string): void {
  sandbox.write("/usr/local/bin/aws", `#!/bin/sh\n${commands}\n`, "0755");
}

function setUp(): Outcome {
  return sandbox.step("set-up-replica-set");
}

/** What Telegraf gets of the member. */
function report(): Outcome {
  return sandbox.step("report-mongo", { CREDENTIALS_DIRECTORY: "/run/credentials" });
}

/** The URLs that the hosts get. */
function url(database: string, user = "", password = ""): string {
  const query = "replicaSet=meteor&readPreference=primary&w=majority";
  return user === ""
    ? `mongodb://mongo1.meteor.internal:27017/${database}?${query}`
    : `mongodb://${user}:${password}@mongo1.meteor.internal:27017/${database}?${query}&authSource=admin`;
}

/** What an expression gives in MongoDB's shell. */
function evaluate(address: string, expression: string): string {
  return sandbox.outcomeOf("mongosh", [address, "--quiet", "--norc", "--eval", expression]).output;
}

function tail(oplogUrl: string, appUrl: string): unknown {
  const script = join(repositoryFolder, "tests/local/oplogTail.mjs");
  const modules = join(machineToolsFolder, "node_modules");
  return JSON.parse(sandbox.run(process.execPath, script, modules, oplogUrl, appUrl)) as unknown;
}

const seenByMeteor = {
  hello: { setName: "meteor", hosts: ["mongo1.meteor.internal:27017"], primary: true },
  alive: "alive",
  entries: [
    { op: "i", o: { _id: 1, text: "a", extra: true } },
    { op: "u", o: { _id: 1, text: "b" }, o2: { _id: 1 } },
    { op: "d", o: { _id: 1 } },
    { op: "c", o: { drop: "things" } },
  ],
  count: 50,
};

describe("with rbac", () => {
  const app = url("app", "app-1", "app1Password");

  beforeEach(async () => {
    await start("rbac");
    writeSecrets();
    expect(setUp()).toEqual({ status: 0, output: "" });
  });

  test("the application and the oplog work through the URLs that the hosts get", () => {
    const oplog = url("local", "oplogger-1", "oplog1Password");
    const seen = tail(oplog, app);
    expect(seen).toMatchObject(seenByMeteor);
    expect((seen as { slowest: number }).slowest).toBeLessThan(1000);
  });

  test("nothing but a greeting is answered without authentication, from the machine itself either", () => {
    expect(evaluate(url("app"), "db.things.findOne()")).toMatch(/requires authentication/);
    expect(
      evaluate(
        "mongodb://127.0.0.1/admin?directConnection=true",
        "db.createUser({user:'other',pwd:'other',roles:['root']})",
      ),
    ).toMatch(/requires authentication/);
    expect(evaluate(url("app", "app-1", "wrong"), "db.things.findOne()")).toMatch(
      /Authentication failed/,
    );
  });

  test("the member tells how it is, by a user of its own", () => {
    const monitor = { user: "monitor", pwd: "monitorPassword", roles: [] };
    writeSecrets({ USERS: JSON.stringify([...(JSON.parse(users(1)) as object[]), monitor]) });
    expect(setUp()).toEqual({ status: 0, output: "" });
    sandbox.write("/run/credentials/mongo-password", monitor.pwd);
    expect(report().output).toMatch(
      /^mongo connections=[1-9]\d*,state=1,oplog_window=[1-9][\d.]*,replication_lag=0\n$/,
    );
    sandbox.write("/run/credentials/mongo-password", "wrong");
    expect(report()).toMatchObject({
      status: 1,
      output: expect.stringMatching(/Authentication failed/) as string,
    });
  });

  test("set up again, it keeps data and users", () => {
    evaluate(app, "db.things.insertOne({_id: 1})");
    expect(setUp()).toEqual({ status: 0, output: "" });
    expect(evaluate(app, "JSON.stringify(db.things.find().toArray())")).toBe('[{"_id":1}]\n');
    const list = "JSON.stringify(db.getUsers().users.map(({user, roles}) => ({user, roles})))";
    expect(JSON.parse(evaluate(url("admin", "admin", secrets.ADMIN_PASSWORD), list))).toEqual([
      { user: "admin", roles: ["root"] },
      { user: "app-1", roles: [{ role: "readWrite", db: "app" }] },
      { user: "oplogger-1", roles: [{ role: "read", db: "local" }] },
    ]);
  });

  test("set up again with other passwords and another key file, the old ones are refused", () => {
    writeSecrets({
      ADMIN_PASSWORD: "admin1Password",
      USERS: users(2),
      KEY_FILE: Buffer.alloc(512, "another").toString("base64"),
    });
    expect(setUp()).toEqual({ status: 0, output: "" });
    expect(evaluate(app, "db.things.findOne()")).toMatch(/Authentication failed/);
    expect(evaluate(url("app", "app-2", "app2Password"), "db.things.findOne()")).toBe("null\n");
  });

  test("with data of a member that was ready, it is set up again as it was", () => {
    evaluate(app, "db.things.insertOne({_id: 1})");
    aws("echo /meteor-scale/test/gates/mongo1");
    expect(setUp()).toEqual({ status: 0, output: "" });
    expect(evaluate(app, "db.things.countDocuments()")).toBe("1\n");
  });

  describe("update-users", () => {
    /** SSM's answer, as `aws ssm get-parameters-by-path` prints it. */
    function store(changed: Partial<typeof secrets> = {}): void {
      const parameters = Object.entries({ ...secrets, ...changed }).map(([name, value]) => ({
        Name: `/meteor-scale/test/mongo/${name}`,
        Value: value,
      }));
      aws(`cat <<'END'\n${JSON.stringify({ Parameters: parameters })}\nEND`);
    }

    test("gives the set new passwords beside the old ones, and takes the old ones away later", () => {
      const works = (version: number): boolean =>
        evaluate(url("app", `app-${version}`, `app${version}Password`), "db.things.findOne()") ===
        "null\n";
      store({ USERS: users(1, 2) });
      expect(sandbox.step("update-users")).toEqual({
        status: 0,
        output: "the set has the users of SSM\n",
      });
      expect([works(1), works(2)]).toEqual([true, true]);
      store({ USERS: users(2, 3) });
      sandbox.step("update-users");
      expect([works(1), works(2), works(3)]).toEqual([false, true, true]);
    });

    test("asks nobody but SSM as long as nothing has changed", () => {
      store();
      sandbox.write("/usr/local/bin/mongosh", "#!/bin/sh\nexit 1\n", "0755");
      expect(sandbox.step("update-users")).toEqual({ status: 0, output: "" });
    });

    test("tries again where the set could not be reached", () => {
      store({ USERS: users(1, 2) });
      const shell = sandbox.run("cat", "/usr/local/bin/mongosh");
      sandbox.write("/usr/local/bin/mongosh", "#!/bin/sh\nexit 1\n", "0755");
      expect(sandbox.step("update-users").status).toBe(1);
      sandbox.write("/usr/local/bin/mongosh", shell, "0755");
      expect(sandbox.step("update-users").status).toBe(0);
      expect(sandbox.run("bash", "-c", "ls -d /run/tmp.* 2>/dev/null || true")).toBe("");
    });
  });

  describe("check-mongo on a host", () => {
    const script = join(repositoryFolder, "userdata/meteor/check-mongo.js");
    const driver = join(machineToolsFolder, "node_modules/mongodb");

    function check(appUrl: string, oplogUrl: string): Outcome {
      sandbox.write("/run/host/MONGO_URL", appUrl);
      sandbox.write("/run/host/MONGO_OPLOG_URL", oplogUrl);
      return sandbox.outcomeOf(process.execPath, [script, driver, "/run/host"], { PATIENCE: "1" });
    }

    test("finds a database and its oplog", () => {
      const oplog = url("local", "oplogger-1", "oplog1Password");
      expect(check(app, oplog)).toEqual({ status: 0, output: "" });
    });

    test("says which address has a wrong password, without the password", () => {
      const { status, output } = check(app, url("local", "oplogger-1", "wrongPassword"));
      expect(status).toBe(1);
      expect(output).toMatch(/^MONGO_OPLOG_URL: Authentication failed/);
      expect(output).not.toContain("wrongPassword");
    });

    test("says which address leads nowhere", () => {
      const away = "mongodb://app:somePassword@127.0.0.1:1/app";
      const { status, output } = check(away, away);
      expect(status).toBe(1);
      expect(output).toMatch(/^MONGO_URL: connect ECONNREFUSED 127\.0\.0\.1:1/);
      expect(output).not.toContain("somePassword");
    });

    test("says that its hosts have another set", () => {
      const other = app.replace("replicaSet=meteor", "replicaSet=rs0");
      const { status, output } = check(other, other);
      expect(status).toBe(1);
      expect(output).toMatch(/^MONGO_URL: .* none of its hosts is a member of the set rs0$/m);
    });
  });

  test("no password is an argument of a program, or in a log", () => {
    const written = sandbox.run("bash", "-c", "cat /run/arguments /run/mongod.log");
    expect(written).toContain("set-up-replica-set.js");
    const passwords = ["app1Password", "oplog1Password"];
    for (const secret of [...Object.values(secrets), ...passwords]) {
      expect(written).not.toContain(secret);
    }
    expect(sandbox.outcomeOf("bash", ["-c", "ls /root/.mongodb/mongosh/*_log"]).status).not.toBe(0);
  });

  test("a key file that others can read is the reason of the failure", () => {
    sandbox.run("chmod", "644", "/etc/mongod.key");
    const { output } = sandbox.outcomeOf("mongod", ["--config", "/etc/mongod.conf"]);
    expect(output).toMatch(/permissions on \/etc\/mongod.key are too open/);
  });
});

describe("with the firewall alone", () => {
  beforeEach(async () => {
    await start("firewall");
  });

  test("the application and the oplog work, and set up again it keeps the data", () => {
    expect(setUp()).toEqual({ status: 0, output: "" });
    expect(tail(url("local"), url("app"))).toMatchObject(seenByMeteor);
    evaluate(url("app"), "db.things.insertOne({_id: 1})");
    expect(setUp()).toEqual({ status: 0, output: "" });
    expect(evaluate(url("app"), "JSON.stringify(db.things.find().toArray())")).toBe(
      '[{"_id":1}]\n',
    );
  });

  test("clients whose time is over in the middle of reading leave the database to the others", () => {
    expect(setUp()).toEqual({ status: 0, output: "" });
    const script = join(repositoryFolder, "tests/local/impatientClients.mjs");
    const modules = join(machineToolsFolder, "node_modules");
    sandbox.run(process.execPath, script, modules, url("local"), url("app"));
    expect(sandbox.run("cat", "/run/mongod.log")).not.toMatch(/interrupted|locked/);
    expect(tail(url("local"), url("app"))).toMatchObject(seenByMeteor);
  });

  test("access control can come later", () => {
    expect(setUp()).toEqual({ status: 0, output: "" });
    writeSecrets();
    sandbox.install(machine("rbac"));
    expect(setUp()).toEqual({ status: 0, output: "" });
    expect(evaluate(url("app"), "db.things.findOne()")).toMatch(/requires authentication/);
    expect(evaluate(url("app", "app-1", "app1Password"), "db.things.findOne()")).toBe("null\n");
  });

  test("a mongod that does not start gives its own reason", () => {
    sandbox.write("/etc/mongod.conf", "storage:\n  dbpath: /var/lib/mongodb\n");
    sandbox.write(
      "/usr/local/bin/journalctl",
      "#!/bin/sh\nexec tail -n 2 /run/mongod.log\n",
      "0755",
    );
    const { status, output } = setUp();
    expect(status).not.toBe(0);
    expect(output).toMatch(/field dbpath not found/);
  });

  test("it says what it is", () => {
    expect(sandbox.run("mongod", "--version")).toMatch(/^FerretDB .* stands in for MongoDB/);
  });
});
