/**
 * A host as the balancer sees one: `balancerHost NAME ADDRESS`. Answers with its name and the headers
 * that reached it, sets SockJS's cookie as SockJS does, and after an upgrade, whose answer has those
 * headers too, sends back what it gets. /large is more than all buffers on the way hold; /poll takes a while.
 */
import { createHash } from "node:crypto";
import { createServer } from "node:http";

const [name, address] = process.argv.slice(2);

const server = createServer((request, response) => {
  if (request.url?.startsWith("/sockjs/") === true) {
    response.setHeader("Set-Cookie", "JSESSIONID=dummy; path=/");
  } else {
    response.setHeader("Cache-Control", "public, max-age=60");
  }
  if (request.url === "/large") {
    response.end(Buffer.alloc(64 * 1024 * 1024));
    return;
  }
  if (request.url === "/poll") {
    setTimeout(() => response.end(name), 3000);
    return;
  }
  response.end(JSON.stringify({ host: name, headers: request.headers }));
});

server.on("upgrade", (request, socket) => {
  // RFC 6455, section 1.3
  const accept = createHash("sha1")
    .update(`${String(request.headers["sec-websocket-key"])}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`)
    .digest("base64");
  const lines = [
    "HTTP/1.1 101 Switching Protocols",
    "Upgrade: websocket",
    "Connection: Upgrade",
    `Sec-WebSocket-Accept: ${accept}`,
    `X-Host: ${String(name)}`,
    `X-Host-Headers: ${JSON.stringify(request.headers)}`,
  ];
  socket.write(`${lines.join("\r\n")}\r\n\r\n`);
  socket.on("error", () => socket.destroy()).pipe(socket);
});

server.listen(3000, address, () => {
  console.log("listening");
});
