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

const secrets = {
  ADMIN_PASSWORD: "admin0Password",
  APP_PASSWORD: "app0Password",
  OPLOG_PASSWORD: "oplog0Password",
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
    gate: "/meteor-scale/test/gates/mongo1",
  });
  return withCommon(role, {
    role: "mongo",
    region: "eu-central-1",
    secretsPath: "",
    sessionManager: false,
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
}
afterEach(() => {
  sandbox.stop();
});

function writeSecrets(changed: Partial<typeof secrets> = {}): void {
  for (const [name, value] of Object.entries({ ...secrets, ...changed })) {
    sandbox.write(`/etc/meteor-scale/secrets/${name}`, value, "0600");
  }
}

function setUp(): Outcome {
  return sandbox.step("set-up-replica-set");
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
  const app = url("app", "app", secrets.APP_PASSWORD);

  beforeEach(async () => {
    await start("rbac");
    writeSecrets();
    expect(setUp()).toEqual({ status: 0, output: "" });
  });

  test("the application and the oplog work through the URLs that the hosts get", () => {
    const oplog = url("local", "oplogger", secrets.OPLOG_PASSWORD);
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
    expect(evaluate(url("app", "app", "wrong"), "db.things.findOne()")).toMatch(
      /Authentication failed/,
    );
  });

  test("set up again, it keeps data and users", () => {
    evaluate(app, "db.things.insertOne({_id: 1})");
    expect(setUp()).toEqual({ status: 0, output: "" });
    expect(evaluate(app, "JSON.stringify(db.things.find().toArray())")).toBe('[{"_id":1}]\n');
    const users = "JSON.stringify(db.getUsers().users.map(({user, roles}) => ({user, roles})))";
    expect(JSON.parse(evaluate(url("admin", "admin", secrets.ADMIN_PASSWORD), users))).toEqual([
      { user: "admin", roles: ["root"] },
      { user: "app", roles: [{ role: "readWrite", db: "app" }] },
      { user: "oplogger", roles: [{ role: "read", db: "local" }] },
    ]);
  });

  test.each([
    ["the application's password", { APP_PASSWORD: "app1Password" }],
    [
      "every password and the key file",
      {
        ADMIN_PASSWORD: "admin1Password",
        APP_PASSWORD: "app1Password",
        OPLOG_PASSWORD: "oplog1Password",
        KEY_FILE: Buffer.alloc(512, "another").toString("base64"),
      },
    ],
  ])("set up again with another %s, the old one is refused", (_, changed) => {
    writeSecrets(changed);
    expect(setUp()).toEqual({ status: 0, output: "" });
    expect(evaluate(app, "db.things.findOne()")).toMatch(/Authentication failed/);
    expect(evaluate(url("app", "app", changed.APP_PASSWORD), "db.things.findOne()")).toBe("null\n");
  });

  test("no password is an argument of a program, or in a log", () => {
    const written = sandbox.run("bash", "-c", "cat /run/arguments /run/mongod.log");
    expect(written).toContain("set-up-replica-set.js");
    for (const secret of Object.values(secrets)) {
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
    expect(evaluate(url("app", "app", secrets.APP_PASSWORD), "db.things.findOne()")).toBe("null\n");
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
