// The application itself: a list that all hosts share, who they are, and what tests and drills ask for.
const { pbkdf2Sync, randomBytes } = require("node:crypto");
const os = require("node:os");
const { DdpError } = require("../packages/ddp-server.js");
const { clientAddress } = require("../packages/webapp.js");

const heartbeat = 2000;
/** A host that was silent this long counts as gone. */
const goneAfter = 7000;
/** And is forgotten after this long. */
const forgottenAfter = 60_000;

/** Adds publications and methods to the DDP server; returns what the web server serves beside. */
async function startApplication({ config, ddp, liveQueries, environment }) {
  const { database } = liveQueries;
  const self = {
    host: os.hostname(),
    pid: process.pid,
    node: process.versions.node,
    version: config.version,
  };
  /** This process, not the machine: after a restart it is another one. */
  const processId = `${self.host}-${randomBytes(6).toString("hex")}`;
  const startedAt = Date.now();

  const tasks = await liveQueries.add(
    "tasks",
    (collection) => collection.find().sort({ at: -1 }).limit(100).toArray(),
    20,
  );
  const hosts = await liveQueries.add(
    "hosts",
    async (collection) => {
      const now = Date.now();
      const found = await collection.find({ at: { $gt: now - forgottenAfter } }).toArray();
      // Subscribers hear of what changed, not of every heartbeat.
      return found.map(({ at, ...host }) => ({ ...host, up: at > now - goneAfter }));
    },
    500,
  );
  ddp.publications = { tasks, hosts };

  function whoami(headers, socketAddress) {
    return {
      ...self,
      startedAt,
      clientAddress: clientAddress(headers, socketAddress, environment.forwardedCount),
      forwardedProto: headers["x-forwarded-proto"] ?? null,
      reactivity: liveQueries.reactivity,
      mail: environment.mail,
    };
  }

  ddp.methods = {
    /**
     * @param id chosen by the client, if it wants to be able to send the same insert twice, as it must
     *   when a connection breaks before the answer
     */
    async "tasks.insert"(_session, text, id = randomBytes(9).toString("base64url")) {
      if (typeof text !== "string" || text.trim() === "" || text.length > 200) {
        throw new DdpError(400, "A task is a text of 1 to 200 characters");
      }
      if (typeof id !== "string" || !/^[\w-]{1,64}$/.test(id)) {
        throw new DdpError(400, "An id is 1 to 64 letters, digits, - or _");
      }
      try {
        const task = { _id: id, text: text.trim(), host: self.host, at: Date.now() };
        await database.collection("tasks").insertOne(task);
      } catch (error) {
        const duplicateKey = 11000;
        if (error.code !== duplicateKey) {
          throw error;
        }
      }
      await tasks.refresh();
      return id;
    },

    async "tasks.remove"(_session, id) {
      const { deletedCount } = await database.collection("tasks").deleteOne({ _id: String(id) });
      await tasks.refresh();
      return deletedCount;
    },

    /** Notes that a call ran, so that calls that ran twice or never can be told. */
    async "calls.note"(_session, run, call) {
      await database.collection("calls").insertOne({ run: String(run), call: String(call) });
      return { host: self.host, version: self.version, startedAt };
    },

    /** Which calls of a run were noted, each as often as it ran; and forgets them. */
    async "calls.take"(_session, run) {
      const collection = database.collection("calls");
      const noted = await collection.find({ run: String(run) }).toArray();
      await collection.deleteMany({ run: String(run) });
      return noted.map(({ call }) => call);
    },

    /** What an application does that works for its answer: about half a millisecond of computing. */
    digest: (_session, text = "") =>
      pbkdf2Sync(String(text), "meteor", 2500, 32, "sha256").toString("base64url"),

    count: () => database.collection("tasks").countDocuments(),

    whoami: ({ connection }) => ({
      ...whoami(connection.headers, connection.remoteAddress),
      transport: connection.protocol,
      sessions: ddp.sessions.size,
    }),
  };

  async function beat() {
    try {
      const { pid, node, version, host } = self;
      const state = { host, pid, node, version, startedAt, sessions: ddp.sessions.size };
      const collection = database.collection("hosts");
      const now = Date.now();
      await collection.replaceOne({ _id: processId }, { ...state, at: now }, { upsert: true });
      await collection.deleteMany({ at: { $lt: now - forgottenAfter } });
      // Time alone makes a host count as gone.
      void hosts.refresh();
    } catch (error) {
      console.error(`The heartbeat could not be written: ${error.message}`);
    }
    setTimeout(beat, heartbeat);
  }
  void beat();

  function answer(response, value) {
    response.setHeader("Content-Type", "application/json");
    response.setHeader("Cache-Control", "no-store");
    response.end(JSON.stringify(value));
  }

  const routes = {
    "/whoami": ({ request, response }) => {
      answer(response, whoami(request.headers, request.socket.remoteAddress));
    },
    "/slow": ({ response, url }) => {
      const milliseconds = Math.min(Number(url.searchParams.get("ms")) || 0, 120_000);
      setTimeout(() => answer(response, { ...self, milliseconds }), milliseconds);
    },
    // For drills. Without the setting it is a path like any other.
    ...(environment.settings.allowCrash && {
      "/crash": ({ response }) => {
        response.on("finish", () => {
          console.error("Crashes, as GET /crash asks for.");
          process.exit(1);
        });
        answer(response, self);
      },
    }),
  };

  return { self, routes };
}

module.exports = { startApplication };
