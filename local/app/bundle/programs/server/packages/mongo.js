// Live queries: their results reach every subscriber, whichever host a change came through.
const { MongoClient } = require("mongodb");
const { userError } = require("./meteor.js");

const wait = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

/** Connects, or tells which variable names a server that does not answer. */
async function connectMongo(url, variable) {
  try {
    return await MongoClient.connect(url, { appName: "meteor-scale sample application" });
  } catch (error) {
    // The address without user and password.
    const address = url.replace(/^(mongodb[^:]*:\/\/)([^/]*@)?/, "$1").replace(/\?.*/, "");
    throw userError(`Mongo can't be reached at ${address} (${variable}): ${error.message}`);
  }
}

/** A query whose result is kept, and told to observers as it changes. */
class LiveQuery {
  /**
   * @param collection name under which subscribers get the documents
   * @param find runs the query: a promise of documents
   * @param pause milliseconds between two runs at least, however much changes
   */
  constructor(collection, find, pause) {
    Object.assign(this, { collection, find, pause });
    this.documents = new Map();
    this.observers = new Set();
    this.running = Promise.resolve();
    this.started = 0;
  }

  /** Ends when the observers know all that was written before this call. */
  refresh() {
    // A run under way may have read before the write; the next one serves all who ask until it starts.
    this.next ??= this.running
      .then(() => wait(this.started + this.pause - Date.now()))
      .then(() => {
        this.next = undefined;
        this.started = Date.now();
        this.running = this.run();
        return this.running;
      });
    return this.next;
  }

  async run() {
    let found;
    try {
      found = await this.find();
    } catch (error) {
      console.error(`${this.collection} could not be read and is tried again: ${error.message}`);
      setTimeout(() => this.refresh(), 1000).unref();
      return;
    }
    const before = this.documents;
    this.documents = new Map(found.map(({ _id, ...fields }) => [String(_id), fields]));
    for (const [id, fields] of this.documents) {
      const known = before.get(id);
      if (known === undefined) {
        this.tell({ msg: "added", id, fields });
      } else {
        const changed = Object.keys(fields).filter(
          (name) => JSON.stringify(fields[name]) !== JSON.stringify(known[name]),
        );
        const cleared = Object.keys(known).filter((name) => !(name in fields));
        if (changed.length > 0 || cleared.length > 0) {
          const values = Object.fromEntries(changed.map((name) => [name, fields[name]]));
          this.tell({ msg: "changed", id, fields: values, ...(cleared.length > 0 && { cleared }) });
        }
      }
    }
    for (const id of before.keys()) {
      if (!this.documents.has(id)) {
        this.tell({ msg: "removed", id });
      }
    }
  }

  tell({ msg, ...rest }) {
    for (const observer of this.observers) {
      observer.send({ msg, collection: this.collection, ...rest });
    }
  }
}

class LiveQueries {
  constructor(database) {
    this.database = database;
    this.queries = [];
  }

  /** Adds a query on one collection and runs it for the first time. */
  async add(collection, find, pause) {
    const query = new LiveQuery(
      collection,
      () => find(this.database.collection(collection)),
      pause,
    );
    this.queries.push(query);
    await query.refresh();
    return query;
  }

  /** Keeps all results up to date from now on. */
  async follow({ oplogUrl }) {
    this.reactivity = oplogUrl ? "oplog" : "polling";
    if (oplogUrl) {
      const client = await connectMongo(oplogUrl, "MONGO_OPLOG_URL");
      void this.tailOplog(client.db().collection("oplog.rs"));
    } else {
      // Meteor's own interval.
      setInterval(() => this.refreshAll(), 10_000).unref();
    }
  }

  refreshAll() {
    for (const query of this.queries) {
      void query.refresh();
    }
  }

  /** Follows the oplog for ever: what is written through any host shows here. */
  async tailOplog(oplog) {
    const byNamespace = new Map(
      this.queries.map((query) => [`${this.database.databaseName}.${query.collection}`, query]),
    );
    // Of what a transaction or a command changed, the entry does not name the collection.
    const commands = ["admin.$cmd", `${this.database.databaseName}.$cmd`];
    for (;;) {
      try {
        const [newest] = await oplog.find().sort({ $natural: -1 }).limit(1).toArray();
        // Whatever came before the position, while nobody followed, is read anew.
        this.refreshAll();
        const selector = { ns: { $in: [...byNamespace.keys(), ...commands] } };
        const cursor = oplog.find(newest ? { ...selector, ts: { $gt: newest.ts } } : selector, {
          tailable: true,
          awaitData: true,
          maxAwaitTimeMS: 1000,
          projection: { ns: 1 },
        });
        for await (const { ns } of cursor) {
          const query = byNamespace.get(ns);
          if (query) {
            void query.refresh();
          } else {
            this.refreshAll();
          }
        }
      } catch (error) {
        console.error(`The oplog is followed anew: ${error.message}`);
      }
      await wait(500);
    }
  }
}

module.exports = { connectMongo, LiveQueries };
