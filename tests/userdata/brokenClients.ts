/**
 * Clients that do not behave: `brokenClients KIND PORT COUNT`. Prints `opened` when all are connected, then a
 * line for each that has ended, with HTTP's status line if it got one, and `left` after the last.
 */
import { connect, type Socket } from "node:net";
import { Duplex } from "node:stream";
import { connect as connectTls } from "node:tls";

const [kind = "", port = "", count = ""] = process.argv.slice(2);

/** What a TLS client sends first. */
function clientHello(): Promise<Buffer> {
  return new Promise((resolve) => {
    const wire = new Duplex({
      read: (): void => undefined,
      write: (chunk: Buffer): void => {
        resolve(chunk);
      },
    });
    connectTls({ socket: wire }).on("error", () => undefined);
  });
}

/** Sends a text byte by byte. */
function drip(socket: Socket, text: string): void {
  let sent = 0;
  const timer = setInterval(() => socket.write(text.charAt(sent++ % text.length)), 100);
  socket.once("close", () => {
    clearInterval(timer);
  });
}

const kinds: Record<string, (socket: Socket) => void> = {
  silent: () => undefined,
  "half-hello": (socket) => void clientHello().then((hello) => socket.write(hello.subarray(0, 40))),
  hello: (socket) => void clientHello().then((hello) => socket.write(hello)),
  "slow-headers": (socket) => {
    socket.write("GET / HTTP/1.1\r\nHost: app.example.com\r\n");
    drip(socket, "X-Slow: 1\r\n");
  },
  "proxy-line": (socket) => {
    socket.write("PROXY TCP4 192.0.2.1 192.0.2.2 1 443\r\n");
    connectTls({ socket, rejectUnauthorized: false })
      .on("secureConnect", () => {
        console.log("handshaked");
      })
      .on("error", () => undefined);
  },
  "never-reads": (socket) => {
    socket.pause();
    socket.write("GET /large HTTP/1.1\r\nHost: app.example.com\r\n\r\n");
  },
};

// A socket that is not read keeps no process alive.
const alive = setInterval(() => undefined, 1000);

let connected = 0;
let ended = 0;
for (let client = 0; client < Number(count); client++) {
  const plain = connect(Number(port), "127.0.0.1");
  const tls = port === "443" && ["slow-headers", "never-reads"].includes(kind);
  const socket = tls ? connectTls({ socket: plain, rejectUnauthorized: false }) : plain;
  let answer = "";
  socket.once(tls ? "secureConnect" : "connect", () => {
    kinds[kind]?.(socket);
    if (++connected === Number(count)) {
      console.log("opened");
    }
  });
  if (kind !== "never-reads") {
    socket.on("data", (data: Buffer) => (answer += data.toString("latin1")));
  }
  socket.on("error", () => undefined);
  socket.once("close", () => {
    console.log(`ended ${/^HTTP.*/.exec(answer)?.[0] ?? ""}`.trim());
    if (++ended === Number(count)) {
      console.log("left");
      clearInterval(alive);
    }
  });
}
