// Tails the oplog as Meteor does while a client writes, and prints what was seen and how fast.
// Arguments: the folder of the MongoDB driver, the URL of the oplog, the URL of the application's database.
import { createRequire } from "node:module";
import { setTimeout as wait } from "node:timers/promises";

const [folder, oplogUrl, url] = process.argv.slice(2);
const { MongoClient } = createRequire(`${folder}/`)("mongodb");
const oplogClient = await new MongoClient(oplogUrl).connect();
const client = await new MongoClient(url).connect();

const oplog = oplogClient.db().collection("oplog.rs");
const last = await oplog.findOne({}, { sort: { $natural: -1 }, projection: { ts: 1 } });
const kinds = [{ op: { $in: ["i", "u", "d"] } }, { op: "c", "o.drop": { $exists: true } }];
const selector = { ns: /^app\./, $or: kinds, ...(last && { ts: { $gt: last.ts } }) };
const cursor = oplog.find(selector, { tailable: true, awaitData: true });
const entries = [];
let ended;
const tail = (async () => {
  for await (const { op, o, o2 } of cursor) entries.push({ at: Date.now(), op, o, o2 });
})().then(
  () => (ended = "without an error"),
  (error) => (ended = error.message),
);

// Longer than one wait of the cursor for data.
await wait(2500);
const things = client.db().collection("things");
const writes = [
  () => things.insertOne({ _id: 1, text: "a", extra: true }),
  () => things.updateOne({ _id: 1 }, { $set: { text: "b" }, $unset: { extra: 1 } }),
  () => things.deleteOne({ _id: 1 }),
  () => things.drop(),
];
const slowest = [];
for (const write of writes) {
  const before = Date.now();
  const count = entries.length;
  await write();
  while (entries.length === count && Date.now() - before < 5000 && ended === undefined)
    await wait(5);
  slowest.push(Date.now() - before);
}
// Each of these reads, changes and writes back one document.
await things.insertOne({ _id: 2, count: 0 });
await Promise.all(
  Array.from({ length: 50 }, () => things.updateOne({ _id: 2 }, { $inc: { count: 1 } })),
);
const { count } = await things.findOne({ _id: 2 });
await things.deleteOne({ _id: 2 });
const alive = ended ?? "alive";
await oplogClient.close();
await tail;
const hello = await client.db().command({ hello: 1 });
await client.close();
console.log(
  JSON.stringify({
    hello: { setName: hello.setName, hosts: hello.hosts, primary: hello.isWritablePrimary },
    alive,
    slowest: Math.max(...slowest),
    entries: entries.slice(0, 4).map(({ op, o, o2 }) => ({ op, o, ...(o2 && { o2 }) })),
    count,
  }),
);
