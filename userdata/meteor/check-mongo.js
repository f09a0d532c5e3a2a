// node check-mongo.js DRIVER SECRETS: asks through the application's own driver what Meteor will ask.
const { readFileSync } = require("node:fs");
const [driver, secrets] = process.argv.slice(2);
const { MongoClient } = require(driver);

// A member may be electing, and new passwords take up to a minute to be there.
const patience = Number(process.env.PATIENCE || 90) * 1000;

const questions = {
  MONGO_URL: (client) => client.db().command({ count: "meteor-scale", limit: 1 }),
  MONGO_OPLOG_URL: async (client) => {
    const entry = await client.db("local").collection("oplog.rs").findOne({});
    if (entry === null) throw new Error("local.oplog.rs is empty: is it a replica set?");
  },
};

// The driver forgets hosts of another set, and then says that it waited in vain.
function whatIsThere({ reason }) {
  return reason?.servers?.size === 0
    ? `: none of its hosts is a member of the set ${reason.setName}`
    : "";
}

async function ask(name, question) {
  const url = readFileSync(`${secrets}/${name}`, "utf8").trim();
  for (const end = Date.now() + patience; ;) {
    const client = new MongoClient(url, { serverSelectionTimeoutMS: 10_000 });
    try {
      await client.connect();
      await question(client);
      return;
    } catch (error) {
      if (Date.now() > end) {
        throw new Error(`${name}: ${error.message}${whatIsThere(error)}`);
      }
      await new Promise((resolve) => setTimeout(resolve, 2000));
    } finally {
      await client.close();
    }
  }
}

(async () => {
  for (const [name, question] of Object.entries(questions)) await ask(name, question);
})().catch((error) => {
  // A driver may quote the address, which has a password.
  console.error(error.message.replaceAll(/:\/\/[^/@]*@/g, "://…@"));
  process.exit(1);
});
