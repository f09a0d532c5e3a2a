import WebSocket from "ws";

/** What is read of a DDP message. */
export interface DdpMessage {
  msg?: string;
  id?: string;
  error?: object;
}

/** A DDP session over SockJS's WebSocket, as light as can be, so that a process holds thousands. */
export class DdpSession {
  private socket: WebSocket | undefined;

  /**
   * @param url with its scheme, without a path
   * @param onMessage gets each DDP message but the pings, which are answered here
   */
  constructor(
    private readonly url: string,
    private readonly onMessage: (message: DdpMessage) => void = (): void => undefined,
  ) {}

  /** Resolves when the DDP session is there. */
  open(): Promise<void> {
    const id = Math.random().toString(36).slice(2, 10).padEnd(8, "0");
    const socket = new WebSocket(`${this.url}/sockjs/000/${id}/websocket`, {
      headers: { host: "app.example.com" },
      rejectUnauthorized: false,
      perMessageDeflate: false,
    });
    this.socket = socket;
    return new Promise((resolve, reject) => {
      socket.on("error", reject);
      socket.on("close", () => {
        reject(new Error("the session has been closed"));
      });
      socket.on("message", (data: Buffer) => {
        for (const message of framed(data.toString())) {
          if (message.msg === "connected") {
            resolve();
          } else if (message.msg === "ping") {
            this.send(JSON.stringify({ msg: "pong", id: message.id }));
          } else {
            this.onMessage(message);
          }
        }
      });
      socket.on("open", () => {
        this.send(JSON.stringify({ msg: "connect", version: "1", support: ["1"] }));
      });
    });
  }

  get isOpen(): boolean {
    return this.socket?.readyState === WebSocket.OPEN;
  }

  /** @param message as JSON */
  send(message: string): void {
    this.socket?.send(JSON.stringify([message]));
  }

  close(): void {
    this.socket?.terminate();
  }
}

/** The DDP messages of a frame of SockJS: `a["…"]`; others carry none. */
function framed(text: string): DdpMessage[] {
  return text.startsWith("a")
    ? (JSON.parse(text.slice(1)) as string[]).map((one) => JSON.parse(one) as DdpMessage)
    : [];
}
