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

  // How far back it will reach at the pace so far once it is full: a young set's is short, and nothing is lost of it yet.
  function oplogHours(local) {
    const oplog = local.getCollection("oplog.rs");
    const end = (direction) =>
      oplog.find().sort({ $natural: direction }).limit(1).next().ts.getHighBits();
    const { maxSize, size } = local.runCommand({ collStats: "oplog.rs" });
    return ((end(-1) - end(1)) / 3600) * Math.max(1, Number(maxSize) / Number(size));
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
