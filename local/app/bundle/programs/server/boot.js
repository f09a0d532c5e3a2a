// The sample application: what a Meteor server does, in one file. It speaks SockJS and DDP, keeps a list
// in MongoDB, and tails the oplog so that a change made through one host shows on pages of all others.
const fs = require("node:fs");
const http = require("node:http");
const os = require("node:os");
const path = require("node:path");
const { MongoClient, ObjectId, Timestamp } = require("mongodb");
const sockjs = require("sockjs");

const { MONGO_URL, MONGO_OPLOG_URL, ROOT_URL, PORT, BIND_IP } = process.env;
const forwardedCount = Number(process.env.HTTP_FORWARDED_COUNT || 0);
const settings = JSON.parse(process.env.METEOR_SETTINGS || "{}");
const client = path.join(__dirname, "..", "web.browser");
const host = os.hostname();

/** The client's address: the last so many of X-Forwarded-For are the proxies' own words. */
function clientAddress(headers, socketAddress) {
  const forwarded = (headers["x-forwarded-for"] || "").split(",").map((one) => one.trim());
  return (forwardedCount > 0 && forwarded[forwarded.length - forwardedCount]) || socketAddress;
}

function about(headers, socketAddress) {
  return {
    host,
    pid: process.pid,
    node: process.versions.node,
    clientAddress: clientAddress(headers, socketAddress),
    forwardedProto: headers["x-forwarded-proto"] || null,
    cookie: /JSESSIONID=([^;]+)/.exec(headers.cookie || "")?.[1] ?? null,
  };
}

const types = { ".js": "text/javascript", ".css": "text/css", ".html": "text/html" };
const files = new Map(
  fs.readdirSync(client).map((name) => [`/${name}`, fs.readFileSync(path.join(client, name))]),
);

function serve(request, response) {
  const url = new URL(request.url, "http://localhost");
  if (url.pathname === "/whoami") {
    response.writeHead(200, { "content-type": "application/json", "cache-control": "no-store" });
    response.end(JSON.stringify(about(request.headers, request.socket.remoteAddress)));
  } else if (url.pathname === "/slow") {
    const milliseconds = Math.min(Number(url.searchParams.get("ms")) || 0, 30_000);
    setTimeout(() => response.end(JSON.stringify({ host })), milliseconds);
  } else {
    // As Meteor does: any other path is the page.
    const name = files.has(url.pathname) ? url.pathname : "/index.html";
    const type = types[path.extname(name)] || "application/octet-stream";
    response.writeHead(200, { "content-type": `${type}; charset=utf-8` });
    response.end(files.get(name));
  }
}

/** Every open session, so that what the oplog tells reaches all of them. */
const sessions = new Set();

class Session {
  constructor(connection, database) {
    this.connection = connection;
    this.database = database;
    this.subscriptions = new Map();
    connection.on("data", (text) =>
      this.receive(JSON.parse(text)).catch((error) => this.fail(error)),
    );
    connection.on("close", () => sessions.delete(this));
    sessions.add(this);
    this.sendText('{"server_id":"0"}');
  }

  sendText(text) {
    this.connection.write(text);
  }

  send(message) {
    this.sendText(JSON.stringify(message));
  }

  fail(error) {
    this.send({ msg: "error", reason: error.message });
  }

  async receive(message) {
    switch (message.msg) {
      case "connect":
        return this.send({ msg: "connected", session: new ObjectId().toHexString() });
      case "ping":
        return this.send({ msg: "pong", ...(message.id && { id: message.id }) });
      case "sub":
        return this.subscribe(message);
      case "unsub":
        this.subscriptions.delete(message.id);
        return this.send({ msg: "nosub", id: message.id });
      case "method":
        return this.call(message);
      default:
        return undefined;
    }
  }

  async subscribe({ id, name }) {
    if (name !== "tasks") {
      return this.send({
        msg: "nosub",
        id,
        error: { error: 404, reason: `no publication ${name}` },
      });
    }
    this.subscriptions.set(id, name);
    for await (const { _id, ...fields } of this.database
      .collection("tasks")
      .find()
      .sort({ at: -1 })
      .limit(50)) {
      this.send({ msg: "added", collection: "tasks", id: String(_id), fields });
    }
    return this.send({ msg: "ready", subs: [id] });
  }

  async call({ id, method, params = [] }) {
    const run = methods[method];
    try {
      if (!run) throw Object.assign(new Error(`no method ${method}`), { code: 404 });
      const result = await run(this, ...params);
      this.send({ msg: "result", id, result });
    } catch (error) {
      this.send({ msg: "result", id, error: { error: error.code ?? 500, reason: error.message } });
    }
    this.send({ msg: "updated", methods: [id] });
  }

  /** A change of the list, from whichever host it came. */
  tell(message) {
    if (this.subscriptions.size > 0) this.send(message);
  }
}

const methods = {
  "tasks.insert": async ({ database }, text) => {
    const task = { text: String(text).slice(0, 200), host, at: new Date().toISOString() };
    const { insertedId } = await database.collection("tasks").insertOne(task);
    return String(insertedId);
  },
  "tasks.remove": async ({ database }, id) => {
    const { deletedCount } = await database
      .collection("tasks")
      .deleteOne({ _id: new ObjectId(String(id)) });
    return deletedCount;
  },
  count: ({ database }) => database.collection("tasks").countDocuments(),
  whoami: ({ connection }) => ({
    ...about(connection.headers, connection.remoteAddress),
    transport: connection.protocol,
    sessions: sessions.size,
    settings: settings.public ?? {},
  }),
};

function tellAll(message) {
  for (const session of sessions) session.tell(message);
}

/** Follows the oplog from now on, for ever. */
async function tailOplog(oplog, namespace) {
  const [newest] = await oplog.find().sort({ $natural: -1 }).limit(1).toArray();
  let position = newest?.ts ?? new Timestamp({ t: Math.floor(Date.now() / 1000), i: 0 });
  for (;;) {
    try {
      const cursor = oplog.find(
        { ns: namespace, ts: { $gt: position } },
        { tailable: true, awaitData: true, maxAwaitTimeMS: 1000 },
      );
      for await (const entry of cursor) {
        position = entry.ts;
        const id = String((entry.o2 ?? entry.o)._id);
        if (entry.op === "i") {
          const { _id, ...fields } = entry.o;
          tellAll({ msg: "added", collection: "tasks", id, fields });
        } else if (entry.op === "d") {
          tellAll({ msg: "removed", collection: "tasks", id });
        }
      }
    } catch (error) {
      console.error(`oplog: ${error.message}`);
    }
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
}

async function main() {
  if (!MONGO_URL || !ROOT_URL) throw new Error("MONGO_URL and ROOT_URL must be set");
  if (settings.failAtStart) throw new Error(String(settings.failAtStart));
  const mongo = await MongoClient.connect(MONGO_URL, { serverSelectionTimeoutMS: 30_000 });
  const database = mongo.db();
  if (MONGO_OPLOG_URL) {
    const oplog = await MongoClient.connect(MONGO_OPLOG_URL, { serverSelectionTimeoutMS: 30_000 });
    void tailOplog(oplog.db("local").collection("oplog.rs"), `${database.databaseName}.tasks`);
  }
  const server = http.createServer(serve);
  const echo = sockjs.createServer({
    prefix: "/sockjs",
    jsessionid: Boolean(process.env.USE_JSESSIONID),
    log: () => {},
    heartbeat_delay: 45_000,
    disconnect_delay: 60_000,
  });
  echo.on("connection", (connection) => {
    if (connection) new Session(connection, database);
  });
  echo.installHandlers(server);
  server.listen(Number(PORT || 3000), BIND_IP || "0.0.0.0", () => {
    console.log(`the sample application listens on ${PORT || 3000}`);
  });
}

main().catch((error) => {
  console.error(error.message);
  process.exit(1);
});
