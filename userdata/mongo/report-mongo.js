// Run by mongosh: prints how this member is.
/* global connect, console, print, process, quit */
(() => {
  const fs = require("fs");
  const { ACCESS_CONTROL, CREDENTIALS_DIRECTORY } = process.env;

  function report(admin) {
    if (ACCESS_CONTROL === "rbac") {
      admin.auth(
        "monitor",
        fs.readFileSync(`${CREDENTIALS_DIRECTORY}/mongo-password`, "utf8").trim(),
      );
    }
    const { members, myState } = admin.adminCommand({ replSetGetStatus: 1 });
    const own = members.find(({ self }) => self);
    const primary = members.find(({ state }) => state === 1);
    return {
      connections: admin.serverStatus().connections.current,
      state: myState,
      oplog_window: oplogHours(admin.getSiblingDB("local")),
      ...(primary && {
        replication_lag: primary.self ? 0 : (primary.optimeDate - own.optimeDate) / 1000,
      }),
    };
  }

  // Until it is full, and nothing is lost of it yet: how far back it will reach at the pace so far. An hour's import or
  // test is no pace, so the first six hours count as six.
  function oplogHours(local) {
    const oplog = local.getCollection("oplog.rs");
    const end = (direction) =>
      oplog.find().sort({ $natural: direction }).limit(1).next().ts.getHighBits();
    const { maxSize, size } = local.runCommand({ collStats: "oplog.rs" });
    const hours = (end(-1) - end(1)) / 3600;
    const timesFull = Number(maxSize) / Number(size);
    return timesFull > 1 ? Math.max(6, hours) * timesFull : hours;
  }

  try {
    const options = "directConnection=true&serverSelectionTimeoutMS=5000";
    const values = report(connect(`mongodb://127.0.0.1/admin?${options}`));
    print(
      `mongo ${Object.entries(values)
        .map(([name, value]) => `${name}=${value}`)
        .join(",")}`,
    );
  } catch (error) {
    console.error(error.message);
    quit(1);
  }
})();
