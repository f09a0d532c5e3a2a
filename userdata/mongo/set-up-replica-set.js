// Run by mongosh; again, it only sets the passwords.
/* global connect, print, quit, sleep */
const { execFileSync } = require("child_process");
const fs = require("fs");
const { REPLICA_SET, MEMBER_HOST, ACCESS_CONTROL } = process.env;
const secret = (name) => fs.readFileSync(`/etc/meteor-scale/secrets/${name}`, "utf8").trim();

// Recovery after a crash may take minutes; a mongod that dies again and again will not answer.
function connected() {
  for (let second = 0; ; second++) {
    try {
      const admin = connect("mongodb://127.0.0.1:27017/admin?directConnection=true");
      return admin;
    } catch (error) {
      const show = ["show", "-p", "NRestarts", "--value", "mongod"];
      const dies = Number(execFileSync("systemctl", show, { encoding: "utf8" })) >= 2;
      if (dies || second === 300) {
        throw new Error(
          dies ? "mongod dies at its start" : `mongod does not answer: ${error.message}`,
        );
      }
      sleep(1000);
    }
  }
}

// A set that was initiated before may say so some seconds after mongod answers.
function becomePrimary(admin) {
  let reason = "no election took place";
  for (let second = 0; second < 60; second++) {
    const hello = admin.hello();
    if (hello.isWritablePrimary) return;
    if (!hello.setName) {
      try {
        const members = [{ _id: 0, host: MEMBER_HOST }];
        admin.adminCommand({ replSetInitiate: { _id: REPLICA_SET, members } });
      } catch (error) {
        reason = error.message;
      }
    }
    sleep(1000);
  }
  throw new Error(`mongod did not become the primary: ${reason}`);
}

// Before the first user exists, a connection from the machine itself may create it.
function authenticate(admin, password) {
  const refused = (error) => [13, 18].includes(error.code);
  try {
    admin.auth("admin", password);
    return;
  } catch (error) {
    if (!refused(error)) throw error;
  }
  try {
    admin.createUser({ user: "admin", pwd: password, roles: ["root"] });
    admin.auth("admin", password);
  } catch (error) {
    if (!refused(error)) throw error;
    // There is an admin with another password: the key file is what members trust.
    admin.getSiblingDB("local").auth("__system", secret("KEY_FILE"));
  }
}

function setUser(admin, user, pwd, roles) {
  if (admin.getUser(user)) admin.updateUser(user, { pwd, roles });
  else admin.createUser({ user, pwd, roles });
}

try {
  const admin = connected();
  becomePrimary(admin);
  if (ACCESS_CONTROL === "rbac") {
    authenticate(admin, secret("ADMIN_PASSWORD"));
    setUser(admin, "admin", secret("ADMIN_PASSWORD"), ["root"]);
    setUser(admin, "app", secret("APP_PASSWORD"), [{ role: "readWrite", db: "app" }]);
    setUser(admin, "oplogger", secret("OPLOG_PASSWORD"), [{ role: "read", db: "local" }]);
  }
} catch (error) {
  print(error.message);
  quit(1);
}
