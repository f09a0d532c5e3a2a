// node impatientClients.mjs MODULES OPLOG_URL APP_URL: clients that follow the oplog and wait for little at a time,
// so that their time is often over in the middle of reading, while others write.
import { createRequire } from "node:module";
import { setTimeout as sleep } from "node:timers/promises";

const [modules, oplogUrl, appUrl] = process.argv.slice(2);
const { MongoClient } = createRequire(`${modules}/`)("mongodb");

let working = true;
const writer = await MongoClient.connect(appUrl);
const writes = [1, 2].map(async () => {
  while (working) {
    const batch = Array.from({ length: 100 }, () => ({ text: "x".repeat(200) }));
    await writer.db().collection("filling").insertMany(batch);
  }
});

const readers = await Promise.all([1, 2, 3].map(() => MongoClient.connect(oplogUrl)));
const reads = readers.map(async (client) => {
  while (working) {
    const nothing = client
      .db("local")
      .collection("oplog.rs")
      .find(
        { "o.text": "nobody wrote this" },
        { tailable: true, awaitData: true, maxAwaitTimeMS: 10 },
      );
    const end = Date.now() + 2000;
    while (working && Date.now() < end) {
      await nothing.tryNext();
    }
    await nothing.close();
  }
});

await sleep(15_000);
working = false;
await Promise.all([...writes, ...reads]);
await Promise.all([writer, ...readers].map((client) => client.close()));
