// The web server: SockJS, the client program's files, and the page for any other path, as in Meteor.
const { createHash } = require("node:crypto");
const { readFileSync } = require("node:fs");
const http = require("node:http");
const path = require("node:path");
const sockjs = require("sockjs");

const clientFolder = path.join(__dirname, "..", "..", "web.browser");
const types = { js: "text/javascript; charset=utf-8", css: "text/css; charset=utf-8" };

/**
 * The client's address. Each proxy adds the one that connected to it at the end of X-Forwarded-For, so
 * only the last ones, as many as there are proxies of our own, can be believed.
 */
function clientAddress(headers, socketAddress, forwardedCount) {
  const addresses = (headers["x-forwarded-for"] ?? "").split(",").map((one) => one.trim());
  const told = forwardedCount > 0 ? addresses.at(-forwardedCount) : "";
  return told || socketAddress;
}

/** The files that program.json lists, and the page with them in it. */
function readClient(runtimeConfig) {
  const { manifest } = JSON.parse(readFileSync(path.join(clientFolder, "program.json"), "utf8"));
  const files = new Map();
  const tags = [];
  for (const { path: name, type } of manifest.filter((entry) => entry.where === "client")) {
    const content = readFileSync(path.join(clientFolder, name));
    const hash = createHash("sha1").update(content).digest("hex");
    files.set(`/${name}`, { content, hash, type: types[type] });
    const url = `/${name}?hash=${hash}`;
    tags.push(
      type === "css"
        ? `<link rel="stylesheet" href="${url}">`
        : `<script src="${url}" defer></script>`,
    );
  }
  // "<" could end the script.
  const json = JSON.stringify(runtimeConfig).replaceAll("<", "\\u003c");
  const page = readFileSync(path.join(clientFolder, "index.html"), "utf8").replace(
    "<!-- client program -->",
    () => `<script>__meteor_runtime_config__ = ${json};</script>\n    ${tags.join("\n    ")}`,
  );
  return { files, page };
}

/** @returns the port it listens on */
function startWebServer({ config, ddp, environment, application }) {
  const { files, page } = readClient({
    ROOT_URL: environment.rootUrl,
    PUBLIC_SETTINGS: environment.settings.public ?? {},
    version: config.version,
  });

  const server = http.createServer((request, response) => {
    const url = new URL(request.url, "http://localhost");
    const route = application.routes[url.pathname];
    if (route) {
      return route({ request, response, url });
    }
    const file = files.get(url.pathname);
    if (file) {
      const known = url.searchParams.get("hash") === file.hash;
      response.setHeader("Content-Type", file.type);
      response.setHeader("Cache-Control", known ? "max-age=31536000, immutable" : "no-cache");
      return response.end(file.content);
    }
    // As Meteor does: any other path is the page.
    response.setHeader("Content-Type", "text/html; charset=utf-8");
    response.setHeader("Cache-Control", "no-cache");
    return response.end(page);
  });

  // Options as in Meteor.
  const streams = sockjs.createServer({
    prefix: "/sockjs",
    jsessionid: environment.useJsessionid,
    heartbeat_delay: 45_000,
    disconnect_delay: 60_000,
    log: () => {},
  });
  streams.on("connection", (connection) => {
    // SockJS gives none for a client that left too early.
    if (connection) {
      ddp.accept(connection);
    }
  });
  streams.installHandlers(server);

  return new Promise((resolve, reject) => {
    server.once("error", reject);
    server.listen(environment.port, environment.bindIp, () => resolve(server.address().port));
  });
}

module.exports = { clientAddress, startWebServer };
