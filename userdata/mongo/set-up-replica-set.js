// Run by mongosh on a member. Passwords come from files: an argument would show in the process list.
const fs = require("node:fs");
const { ACCESS_CONTROL, MEMBER_HOST, REPLICA_SET } = process.env;
const secret = (name) => fs.readFileSync(`/etc/meteor-scale/secrets/${name}`, "utf8");

function retry(what, attempt) {
  let last;
  for (let tries = 0; tries < 120; tries += 1) {
    try {
      const result = attempt();
      if (result) return result;
    } catch (error) {
      last = error;
    }
    sleep(1000);
  }
  throw new Error(`${what}: ${last ? last.message : "not within two minutes"}`);
}

const local = retry("mongod does not answer", () =>
  new Mongo("mongodb://127.0.0.1:27017/?directConnection=true").getDB("admin"),
);

if (!local.hello().setName) {
  print(`initiating ${REPLICA_SET} with ${MEMBER_HOST}`);
  const members = [{ _id: 0, host: MEMBER_HOST }];
  local.runCommand({ replSetInitiate: { _id: REPLICA_SET, members } });
}
retry("there is no primary", () => local.hello().isWritablePrimary);

if (ACCESS_CONTROL === "rbac") {
  const password = secret("ADMIN_PASSWORD");
  let known = false;
  try {
    known = local.auth("admin", password).ok === 1;
  } catch {
    // The first time there is no user yet, and whoever is on the machine may create one.
  }
  if (!known) {
    local.createUser({ user: "admin", pwd: password, roles: ["root"] });
    local.auth("admin", password);
  }
  const users = [
    ["app", "APP_PASSWORD", [{ role: "readWrite", db: "app" }]],
    ["oplogger", "OPLOG_PASSWORD", [{ role: "read", db: "local" }]],
  ];
  for (const [user, name, roles] of users) {
    if (local.getUser(user)) {
      local.updateUser(user, { pwd: secret(name), roles });
    } else {
      local.createUser({ user, pwd: secret(name), roles });
    }
  }
}
print(`${REPLICA_SET} is ready: ${MEMBER_HOST}`);
