// Run by mongosh: makes this machine's mongod a member of the set, and gives the set its users. What is as it
// should be stays as it is, so it may run at any time.
/* global clearTimeout, connect, print, process, quit, setTimeout, sleep */
(() => {
  const { execFileSync } = require("child_process");
  const fs = require("fs");
  const { ACCESS_CONTROL, MEMBER_HOST, PREFERRED_PRIMARY, REPLICA_SET, RESTORED } = process.env;
  // Those that have been ready once. No other name is looked up: a resolver remembers long what does not exist.
  const knownMembers = process.env.KNOWN_MEMBERS.split(",").filter(Boolean);
  const secret = (name) => fs.readFileSync(`${process.env.SECRETS}/${name}`, "utf8").trim();

  // Directly, whatever the set's state: who is the primary is asked again at each step.
  const connections = new Map();
  function ask(host, question) {
    // The driver may wait for ever where a mongod dies between two commands: then another shell goes on.
    const watchdog = setTimeout(() => process.exit(75), 60_000);
    try {
      if (!connections.has(host)) {
        const options = "directConnection=true&serverSelectionTimeoutMS=2000&connectTimeoutMS=2000";
        connections.set(host, connect(`mongodb://${host}/admin?${options}`));
      }
      // Returned at once, its failure would not be caught here: mongosh awaits it too late.
      const answer = question(connections.get(host));
      return answer;
    } catch (error) {
      connections.delete(host);
      throw error;
    } finally {
      clearTimeout(watchdog);
    }
  }
  const greet = (host) => ask(host, (admin) => admin.hello());

  // Recovery after a crash may take minutes; a mongod that dies again and again will not answer.
  function waitForMongod() {
    for (let second = 0; ; second++) {
      try {
        greet(MEMBER_HOST);
        return;
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

  function membersToAsk() {
    try {
      return greet(MEMBER_HOST).hosts ?? knownMembers;
    } catch (error) {
      return knownMembers;
    }
  }

  function findPrimary() {
    for (const host of membersToAsk()) {
      try {
        const hello = greet(host);
        if (hello.isWritablePrimary && hello.setName === REPLICA_SET) return host;
      } catch (error) {
        // A member that is away, or that the set never had.
      }
    }
    return undefined;
  }

  const authenticated = new WeakSet();
  function authenticate(admin) {
    if (ACCESS_CONTROL !== "rbac" || authenticated.has(admin)) return;
    logIn(admin);
    authenticated.add(admin);
  }

  // Before the first user exists, a connection from the machine itself may create it.
  function logIn(admin) {
    // Not authorized, not authenticated, or there already.
    const refused = (error) => [13, 18, 51003].includes(error.code);
    const password = secret("ADMIN_PASSWORD");
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

  // The first member's machine is in Meteor's zone, so it is the primary whenever it can be.
  const priority = MEMBER_HOST === PREFERRED_PRIMARY ? 1 : 0.5;

  function initiate(admin) {
    admin.adminCommand({
      replSetInitiate: { _id: REPLICA_SET, members: [{ _id: 0, host: MEMBER_HOST, priority }] },
    });
  }

  function addTo(admin) {
    authenticate(admin);
    const { config } = admin.adminCommand({ replSetGetConfig: 1 });
    // The primary will tell it: a member whose volume is new, or that was away.
    if (config.members.some(({ host }) => host === MEMBER_HOST)) return;
    const _id = 1 + Math.max(...config.members.map((member) => member._id));
    config.version += 1;
    config.members.push({ _id, host: MEMBER_HOST, priority });
    admin.adminCommand({ replSetReconfig: config });
  }

  // The one that has the data decides: a second set beside it would split the application's world.
  function join() {
    let reason = "";
    for (let second = 0; second < 300; second++) {
      try {
        if (greet(MEMBER_HOST).setName) return;
        const primary = findPrimary();
        if (primary !== undefined) {
          reason = `${primary} is the primary, but has not told this member its set`;
          ask(primary, addTo);
        } else if (knownMembers.length === 0) {
          reason = "mongod was not initiated";
          ask(MEMBER_HOST, initiate);
        } else {
          reason =
            "this member has no data, and none that has answers as the primary: restore a snapshot if all is lost";
        }
      } catch (error) {
        // Another member's change of the set may be under way, or an election.
        reason = error.message;
      }
      sleep(1000);
    }
    throw new Error(reason);
  }

  // A snapshot remembers members that are gone, so it would wait for their votes for ever.
  function takeOver() {
    if (RESTORED !== "yes") return;
    // Whoever answers once has newer data than the snapshot.
    for (let second = 0; second < 10; second++) {
      for (const host of knownMembers) {
        if (host !== MEMBER_HOST && isThere(host)) return;
      }
      sleep(1000);
    }
    let reason = "";
    for (let second = 0; second < 60; second++) {
      try {
        ask(MEMBER_HOST, keepOnlyThis);
        return;
      } catch (error) {
        reason = error.message;
      }
      sleep(1000);
    }
    throw new Error(`the restored set could not be made one of this member alone: ${reason}`);
  }

  function isThere(host) {
    try {
      greet(host);
      return true;
    } catch (error) {
      return false;
    }
  }

  function keepOnlyThis(admin) {
    authenticate(admin);
    const { config } = admin.adminCommand({ replSetGetConfig: 1 });
    const own = config.members.find(({ host }) => host === MEMBER_HOST);
    if (own && config.members.length === 1) return;
    // It may be the snapshot of a set that this member was not in.
    const _id = 1 + Math.max(...config.members.map((member) => member._id));
    config.version += 1;
    config.members = [own ?? { _id, host: MEMBER_HOST, priority }];
    admin.adminCommand({ replSetReconfig: config, force: true });
  }

  // What a member says of itself may be old: the others may not hear it.
  function seesThisFollow(admin) {
    authenticate(admin);
    const status = admin.adminCommand({ replSetGetStatus: 1 });
    const own = status.members.find(({ name }) => name === MEMBER_HOST);
    const primary = status.members.find(({ self }) => self);
    return own.stateStr === "SECONDARY" && primary.optimeDate - own.optimeDate <= 10_000;
  }

  // A first copy may take hours: it is the readiness gate that gives up. A set of one elects itself at once.
  function catchUp() {
    for (;;) {
      try {
        const own = greet(MEMBER_HOST);
        if (own.isWritablePrimary) return;
        const primary = own.secondary && findPrimary();
        if (primary && ask(primary, seesThisFollow)) return;
      } catch (error) {
        // Whoever was asked is away for the moment.
      }
      sleep(1000);
    }
  }

  function setUser(admin, { user, pwd, roles }) {
    if (admin.getUser(user)) admin.updateUser(user, { pwd, roles });
    else admin.createUser({ user, pwd, roles });
  }

  // Users of earlier passwords go; those that somebody else made stay.
  function setUsers(admin) {
    authenticate(admin);
    const users = JSON.parse(secret("USERS"));
    setUser(admin, { user: "admin", pwd: secret("ADMIN_PASSWORD"), roles: ["root"] });
    for (const user of users) setUser(admin, user);
    for (const { user } of admin.getUsers().users) {
      const kept = users.some((one) => one.user === user);
      if (/^(app|oplogger)-\d+$/.test(user) && !kept) admin.dropUser(user);
    }
  }

  function haveUsers() {
    if (ACCESS_CONTROL !== "rbac") return;
    let reason = "there is no primary";
    for (let second = 0; second < 60; second++) {
      try {
        const primary = findPrimary();
        if (primary !== undefined) {
          ask(primary, setUsers);
          return;
        }
      } catch (error) {
        reason = error.message;
      }
      sleep(1000);
    }
    throw new Error(`the set's users could not be made: ${reason}`);
  }

  try {
    waitForMongod();
    takeOver();
    join();
    catchUp();
    haveUsers();
  } catch (error) {
    print(error.message);
    quit(1);
  }
})();
