// The part of Meteor's environment that a server program reads.

/** An error that is told without its stack. */
function userError(message) {
  return Object.assign(new Error(message), { userMessage: message });
}

/** @returns the settings of this process, checked as Meteor checks them */
function readEnvironment(env) {
  if (!env.MONGO_URL) {
    throw userError("MONGO_URL must be set in environment");
  }
  if (!env.ROOT_URL) {
    throw userError("Must pass options.rootUrl or set ROOT_URL in the server environment");
  }
  let oplogUrl = env.MONGO_OPLOG_URL || undefined;
  if (oplogUrl && !/^mongodb(\+srv)?:\/\/[^/]+\/local(\?|$)/.test(oplogUrl)) {
    throw userError("$MONGO_OPLOG_URL must be set to the 'local' database of a Mongo replica set");
  }
  // Change streams, which Meteor prefers since 3.5, are not among what this application can do.
  const order = (env.METEOR_REACTIVITY_ORDER || "oplog,polling").split(",").map((s) => s.trim());
  if (order.indexOf("oplog") === -1 || order.indexOf("polling") === 0) {
    oplogUrl = undefined;
  }
  return {
    mongoUrl: env.MONGO_URL,
    oplogUrl,
    rootUrl: env.ROOT_URL,
    // Without a port Meteor takes any that is free.
    port: Number(env.PORT) || 0,
    bindIp: env.BIND_IP || "0.0.0.0",
    forwardedCount: Number(env.HTTP_FORWARDED_COUNT) || 0,
    // As in Meteor, any text is a yes, even 0.
    useJsessionid: Boolean(env.USE_JSESSIONID),
    mail: Boolean(env.MAIL_URL),
    settings: readSettings(env.METEOR_SETTINGS),
  };
}

function readSettings(text) {
  try {
    return JSON.parse(text || "{}");
  } catch {
    throw userError("METEOR_SETTINGS are not valid JSON.");
  }
}

module.exports = { readEnvironment, userError };
