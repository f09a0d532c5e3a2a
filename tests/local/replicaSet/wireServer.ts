import { createHash, createHmac, pbkdf2Sync, randomBytes, timingSafeEqual } from "node:crypto";
import { createServer, type Server, type Socket } from "node:net";
import { deserialize, type Document, serialize } from "bson";

/** An answer that is an error, with MongoDB's own code for it. */
export class CommandError extends Error {
  constructor(
    readonly code: number,
    message: string,
  ) {
    super(message);
  }
}

/** What a server knows of one client. */
export interface Connection {
  /** The user that it has authenticated as. */
  user?: string;
  /** An authentication under way. */
  scram?: Scram;
}

export type Answer = (command: Document, connection: Connection) => Promise<Document> | Document;

/** A server of MongoDB's wire protocol, as far as a shell's commands need it. */
export class WireServer {
  private server: Server | undefined;
  private readonly sockets = new Set<Socket>();

  constructor(
    /** Such as `127.0.1.1:27017`. */
    private readonly address: string,
    private readonly answer: Answer,
  ) {}

  async start(): Promise<void> {
    const server = createServer((socket) => {
      this.sockets.add(socket);
      socket.on("close", () => this.sockets.delete(socket));
      socket.on("error", () => socket.destroy());
      serve(socket, this.answer);
    });
    this.server = server;
    await new Promise<void>((resolve, reject) => {
      server.once("error", reject);
      const [host, port] = this.address.split(":");
      server.listen(Number(port), host, resolve);
    });
  }

  /** As when the process dies. */
  async stop(): Promise<void> {
    const closed = new Promise((resolve) => this.server?.close(resolve));
    for (const socket of this.sockets) {
      socket.destroy();
    }
    await closed;
  }
}

function serve(socket: Socket, answer: Answer): void {
  const connection: Connection = {};
  let received = Buffer.alloc(0);
  let busy = Promise.resolve();
  socket.on("data", (data) => {
    received = Buffer.concat([received, data]);
    while (received.length >= 4 && received.length >= received.readInt32LE(0)) {
      const message = received.subarray(0, received.readInt32LE(0));
      received = received.subarray(message.length);
      busy = busy
        .then(async () => {
          const reply = await respond(message, (command) => answer(command, connection));
          if (!socket.destroyed) {
            socket.write(reply);
          }
        })
        // A process that died answers nothing.
        .catch(() => {
          socket.destroy();
        });
    }
  });
}

const opQuery = 2004;
const opMessage = 2013;

async function respond(
  message: Buffer,
  answer: (command: Document) => Promise<Document> | Document,
): Promise<Buffer> {
  const id = message.readInt32LE(4);
  if (message.readInt32LE(12) === opQuery) {
    // The first greeting of a connection: flags, the collection's name, two numbers, the command.
    const name = message.indexOf(0, 20);
    const reply = Buffer.from(
      serialize(await outcome(answer, deserialize(message.subarray(name + 9)))),
    );
    const body = Buffer.alloc(20);
    body.writeInt32LE(1, 16);
    return framed(1, id, Buffer.concat([body, reply]));
  }
  // Flags, and the one section that a command without bulk data has.
  const reply = Buffer.from(serialize(await outcome(answer, deserialize(message.subarray(21)))));
  return framed(opMessage, id, Buffer.concat([Buffer.alloc(5), reply]));
}

async function outcome(
  answer: (command: Document) => Promise<Document> | Document,
  command: Document,
): Promise<Document> {
  try {
    return { ...(await answer(command)), ok: 1 };
  } catch (error) {
    if (error instanceof CommandError) {
      return { ok: 0, code: error.code, errmsg: error.message };
    }
    throw error;
  }
}

function framed(opcode: number, responseTo: number, body: Buffer): Buffer {
  const header = Buffer.alloc(16);
  header.writeInt32LE(16 + body.length, 0);
  header.writeInt32LE(responseTo, 8);
  header.writeInt32LE(opcode, 12);
  return Buffer.concat([header, body]);
}

/** The server's side of SCRAM-SHA-256: https://www.rfc-editor.org/rfc/rfc7677 */
export class Scram {
  private static readonly iterations = 4096;
  private first = "";
  private clientFirst = "";

  private constructor(
    readonly user: string,
    private readonly password: string | undefined,
  ) {}

  /** What MongoDB answers to `saslStart` and `saslContinue`; a connection that proves its password has its user. */
  static answer(
    command: Document,
    connection: Connection,
    passwordOf: (user: string) => string | undefined,
  ): Document {
    const payload = Buffer.from((command["payload"] as { buffer: Uint8Array }).buffer).toString();
    if (command["saslStart"] !== undefined) {
      const user = /n=([^,]+)/.exec(payload)?.[1] ?? "";
      connection.scram = new Scram(user, passwordOf(user));
      return { conversationId: 1, done: false, payload: connection.scram.begin(payload) };
    }
    const proven = connection.scram?.finish(payload);
    if (proven === undefined) {
      throw new CommandError(18, "Authentication failed.");
    }
    connection.user = connection.scram?.user ?? "";
    return { conversationId: 1, done: true, payload: proven };
  }

  private begin(payload: string): Buffer {
    this.clientFirst = payload.replace(/^n,,/, "");
    const nonce = (/r=([^,]+)/.exec(payload)?.[1] ?? "") + randomBytes(12).toString("base64");
    const salt = createHash("sha256").update(this.user).digest("base64");
    this.first = `r=${nonce},s=${salt},i=${Scram.iterations}`;
    return Buffer.from(this.first);
  }

  private finish(payload: string): Buffer | undefined {
    const [, bare = "", proof = ""] = /^(.*),p=(.*)$/.exec(payload) ?? [];
    if (this.password === undefined) {
      return undefined;
    }
    const salt = Buffer.from(/s=([^,]+)/.exec(this.first)?.[1] ?? "", "base64");
    const salted = pbkdf2Sync(this.password, salt, Scram.iterations, 32, "sha256");
    const mac = (key: Buffer, text: string): Buffer =>
      createHmac("sha256", key).update(text).digest();
    const clientKey = mac(salted, "Client Key");
    const signed = [this.clientFirst, this.first, bare].join(",");
    const signature = mac(createHash("sha256").update(clientKey).digest(), signed);
    const expected = clientKey.map((byte, index) => byte ^ (signature[index] ?? 0));
    const given = Buffer.from(proof, "base64");
    if (given.length !== expected.length || !timingSafeEqual(given, expected)) {
      return undefined;
    }
    return Buffer.from(`v=${mac(mac(salted, "Server Key"), signed).toString("base64")}`);
  }
}
