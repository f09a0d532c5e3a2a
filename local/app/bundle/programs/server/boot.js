// Starts the server program: Mongo first, then the web server.
const { readEnvironment } = require("./packages/meteor.js");
const { connectMongo, LiveQueries } = require("./packages/mongo.js");
const { DdpServer } = require("./packages/ddp-server.js");
const { startWebServer } = require("./packages/webapp.js");
const { startApplication } = require("./app/app.js");
const config = require("./config.json");

async function boot() {
  const environment = readEnvironment(process.env);
  if (config.failAtStart) {
    throw new Error(
      `Version ${config.version} of the sample application fails at start on purpose.`,
    );
  }
  if (config.hangAtStart) {
    // Keeps the process alive.
    setInterval(() => undefined, 60_000);
    return;
  }
  const mongo = await connectMongo(environment.mongoUrl, "MONGO_URL");
  const liveQueries = new LiveQueries(mongo.db());
  const ddp = new DdpServer();
  const application = await startApplication({ config, ddp, liveQueries, environment });
  await liveQueries.follow(environment);
  const port = await startWebServer({ config, ddp, environment, application });
  console.log(
    `${application.self.host} listens on port ${port}: sample application, version ${config.version}, ` +
      `Node ${process.versions.node}, reactivity by ${liveQueries.reactivity}`,
  );
  if (config.crashAfterSeconds) {
    setTimeout(() => {
      throw new Error(`Version ${config.version} crashes after a while on purpose.`);
    }, config.crashAfterSeconds * 1000);
  }
}

boot().catch((error) => {
  console.error(error.userMessage ?? error.stack);
  process.exit(1);
});
