// DDP, version 1: https://github.com/meteor/meteor/blob/devel/packages/ddp/DDP.md
const { randomBytes } = require("node:crypto");

// Meteor's own: how long a connection may be silent, and how long a ping may stay without an answer.
const heartbeatInterval = 17_500;
const heartbeatTimeout = 15_000;

/** An error that the client may see. */
class DdpError extends Error {
  constructor(error, reason) {
    super(`${reason} [${error}]`);
    Object.assign(this, { error, reason });
  }

  toJSON() {
    const { error, reason, message } = this;
    return { isClientSafe: true, error, reason, message, errorType: "Meteor.Error" };
  }
}

/** What is told of an error: only what was meant for the client. */
function describe(error) {
  if (error instanceof DdpError) {
    return error.toJSON();
  }
  console.error(error.stack);
  return new DdpError(500, "Internal server error").toJSON();
}

class DdpServer {
  constructor() {
    this.sessions = new Set();
    /** Name → live query. */
    this.publications = {};
    /** Name → function of (session, ...params). */
    this.methods = {};
  }

  /** Takes over a SockJS connection. */
  accept(connection) {
    return new Session(this, connection);
  }
}

class Session {
  constructor(server, connection) {
    Object.assign(this, { server, connection });
    /** Subscription id → live query. */
    this.subscriptions = new Map();
    this.queue = Promise.resolve();
    connection.on("data", (text) => this.receive(text));
    connection.on("close", () => this.end());
    // Read by old clients only, but still sent by Meteor.
    this.send({ server_id: "0" });
  }

  send(message) {
    this.connection.write(JSON.stringify(message));
  }

  receive(text) {
    this.heard();
    let message;
    try {
      message = JSON.parse(text);
    } catch {
      return this.send({ msg: "error", reason: "Bad request" });
    }
    if (message.msg === "connect") {
      return this.connect(message);
    }
    if (!this.id) {
      return this.send({ msg: "error", reason: "Must connect first", offendingMessage: message });
    }
    if (message.msg === "ping") {
      return this.send({ msg: "pong", ...(message.id !== undefined && { id: message.id }) });
    }
    if (message.msg === "pong") {
      return undefined;
    }
    const handlers = { sub: "subscribe", unsub: "unsubscribe", method: "call" };
    const handler = Object.hasOwn(handlers, message.msg) ? handlers[message.msg] : undefined;
    if (handler === undefined) {
      return this.send({ msg: "error", reason: "Unknown message type", offendingMessage: message });
    }
    // As in Meteor, a session's messages are handled one after the other.
    this.queue = this.queue.then(() => this[handler](message));
    return undefined;
  }

  connect({ version, support }) {
    if (this.id) {
      return this.send({ msg: "error", reason: "Already connected" });
    }
    if (version !== "1" || !support?.includes("1")) {
      this.send({ msg: "failed", version: "1" });
      return this.connection.close();
    }
    this.id = randomBytes(9).toString("base64url");
    this.server.sessions.add(this);
    this.heard();
    return this.send({ msg: "connected", session: this.id });
  }

  /** Something came, so the client is there; once it is silent for long it is asked. */
  heard() {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => {
      this.send({ msg: "ping" });
      this.timer = setTimeout(() => this.connection.close(), heartbeatTimeout);
    }, heartbeatInterval);
  }

  subscribe({ id, name }) {
    const query = Object.hasOwn(this.server.publications, name)
      ? this.server.publications[name]
      : undefined;
    if (query === undefined) {
      const error = new DdpError(404, `Subscription '${name}' not found`);
      return this.send({ msg: "nosub", id, error });
    }
    // A second subscription to the same documents adds nothing.
    if (!query.observers.has(this)) {
      query.observers.add(this);
      for (const [document, fields] of query.documents) {
        this.send({ msg: "added", collection: query.collection, id: document, fields });
      }
    }
    this.subscriptions.set(id, query);
    return this.send({ msg: "ready", subs: [id] });
  }

  unsubscribe({ id }) {
    const query = this.subscriptions.get(id);
    this.subscriptions.delete(id);
    if (query && ![...this.subscriptions.values()].includes(query)) {
      query.observers.delete(this);
      for (const document of query.documents.keys()) {
        this.send({ msg: "removed", collection: query.collection, id: document });
      }
    }
    this.send({ msg: "nosub", id });
  }

  async call({ id, method, params = [] }) {
    try {
      if (!Object.hasOwn(this.server.methods, method)) {
        throw new DdpError(404, `Method '${method}' not found`);
      }
      const result = await this.server.methods[method](this, ...params);
      this.send({ msg: "result", id, result });
    } catch (error) {
      this.send({ msg: "result", id, error: describe(error) });
    }
    // A method has by now waited for the live queries that it changed.
    this.send({ msg: "updated", methods: [id] });
  }

  end() {
    clearTimeout(this.timer);
    this.server.sessions.delete(this);
    for (const query of this.subscriptions.values()) {
      query.observers.delete(this);
    }
  }
}

module.exports = { DdpError, DdpServer };
