import { readFileSync } from "node:fs";
import type { ClientRequest, IncomingHttpHeaders } from "node:http";
import https from "node:https";
import type { LookupFunction } from "node:net";
import { join } from "node:path";
import { runInNewContext } from "node:vm";
import SockJS from "sockjs-client";
import { repositoryFolder } from "../paths";

/** Where an application is found, and what its visitors trust. */
export interface Site {
  /** The https:// address that people type. */
  rootUrl: string;
  /** The IP address to connect to. */
  address: string;
  /** The balancer's certificate, in PEM. */
  certificate: string;
  /** The address that visitors come from; by default any of this computer's. */
  from?: string;
}

export interface Answer {
  status: number;
  headers: IncomingHttpHeaders;
  body: string;
}

/** The sample application's own DDP client, as its page loads it. */
export interface DdpClient {
  connected: boolean;
  subscribe: (name: string) => void;
  call: (method: string, ...params: unknown[]) => Promise<unknown>;
  documents: (collection: string) => Map<string, Record<string, unknown>>;
}

export type Transport = "websocket" | "xhr-polling";

/** What a host says of itself and of the client. */
export interface WhoAmI {
  host: string;
  pid: number;
  version: string;
  clientAddress: string;
  forwardedProto: string;
  reactivity: string;
}

/** Milliseconds until a request for which no whole answer has come is an error. */
const patience = 30_000;

/** By the ids of their SockJS sessions. */
const sessions = new Map<string, Browser>();
const ddpSource = readFileSync(
  join(repositoryFolder, "local/app/bundle/programs/web.browser/ddp.js"),
  "utf8",
);

/**
 * A browser as far as the balancer sees one: real SockJS over TLS, whose certificate and name it
 * verifies, and a cookie of its own.
 */
export class Browser {
  /** Value of JSESSIONID. */
  cookie: string | undefined;
  private readonly sockets = new Set<WebSocket>();
  private left = false;
  private readonly timers = new Set<NodeJS.Timeout>();

  constructor(private readonly site: Site) {
    https.globalAgent = new BrowserAgent({ keepAlive: true, ...tlsOptions(site) });
  }

  get(path = "/", headers: Record<string, string> = {}): Promise<Answer> {
    return new Promise((resolve, reject) => {
      const request = https.get(
        new URL(path, this.site.rootUrl),
        {
          ...{ ...tlsOptions(this.site), agent: false, signal: AbortSignal.timeout(patience) },
          headers: { ...this.cookies(), ...headers },
        },
        (response) => {
          // Such as an answer that breaks off.
          response.on("error", reject);
          this.keep(response.headers["set-cookie"]);
          let body = "";
          response.setEncoding("utf8");
          response.on("data", (text: string) => (body += text));
          response.on("end", () => {
            resolve({ status: response.statusCode ?? 0, headers: response.headers, body });
          });
        },
      );
      request.on("error", reject);
    });
  }

  async whoami(): Promise<WhoAmI> {
    return JSON.parse((await this.get("/whoami")).body) as WhoAmI;
  }

  /**
   * Opens the page's connection, and waits until it is there.
   *
   * @param onLoss is told whenever the connection breaks, before the page opens another
   */
  connect(transport: Transport, onLoss?: () => void): Promise<DdpClient> {
    const Client = this.loadPage();
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        reject(new Error(`no connection by ${transport} within 15 s`));
      }, 15_000);
      this.timers.add(timer);
      const client: DdpClient = new Client({
        transports: [transport],
        events: {
          status: (state: string): void => {
            if (state === "connected") {
              clearTimeout(timer);
              resolve(client);
            } else if (state === "waiting") {
              onLoss?.();
            }
          },
          change: () => undefined,
          latency: () => undefined,
        },
      });
    });
  }

  /** Leaves the page. */
  close(): void {
    this.left = true;
    this.timers.forEach((timer) => {
      clearTimeout(timer);
    });
    this.sockets.forEach((socket) => {
      socket.close();
    });
  }

  cookies(): Record<string, string> {
    return this.cookie === undefined ? {} : { Cookie: `JSESSIONID=${this.cookie}` };
  }

  keep(setCookie: string[] | string | undefined): void {
    const [, value] = /^JSESSIONID=(\w+)/m.exec([setCookie].flat().join("\n")) ?? [];
    this.cookie = value ?? this.cookie;
  }

  /** The page's script, with what a browser would give it. */
  private loadPage(): new (options: object) => DdpClient {
    type Start = (action: () => void, milliseconds: number) => NodeJS.Timeout;
    const kept =
      (start: Start): Start =>
      (...args) =>
        this.keepTimer(start(...args));
    return runInNewContext(`${ddpSource}; DdpClient`, {
      SockJS: new Proxy(SockJS, {
        construct: (_, [path, , options]: [string, undefined, SockJS.Options]): WebSocket =>
          this.open(path, options),
      }),
      performance,
      setTimeout: kept(setTimeout),
      setInterval: kept(setInterval),
    }) as new (options: object) => DdpClient;
  }

  private keepTimer(timer: NodeJS.Timeout): NodeJS.Timeout {
    if (this.left) {
      clearTimeout(timer);
    } else {
      this.timers.add(timer);
    }
    return timer;
  }

  private open(path: string, options: SockJS.Options): WebSocket {
    const session = Math.random().toString(36).slice(2, 10);
    sessions.set(session, this);
    const websocket = { tls: tlsOptions(this.site), headers: this.cookies() };
    const all = { ...options, sessionId: (): string => session, transportOptions: { websocket } };
    const socket = new SockJS(`${this.site.rootUrl}${path}`, undefined, all);
    this.sockets.add(socket);
    socket.addEventListener("open", () => {
      // The upgrade's answer, which SockJS itself does not look at.
      const { _transport: transport } = socket as unknown as {
        _transport?: { ws?: { headers?: IncomingHttpHeaders } };
      };
      this.keep(transport?.ws?.headers?.["set-cookie"]);
    });
    socket.addEventListener("close", () => {
      this.sockets.delete(socket);
      sessions.delete(session);
    });
    return socket;
  }
}

function tlsOptions({ address, certificate, from }: Site): {
  ca: string;
  localAddress: string | undefined;
  lookup: LookupFunction;
} {
  return {
    ca: certificate,
    localAddress: from,
    lookup: (_name, options, callback): void => {
      if (options.all) {
        callback(null, [{ address, family: 4 }]);
      } else {
        callback(null, address, 4);
      }
    },
  };
}

type AddRequest = (request: ClientRequest, options: object) => void;

/**
 * SockJS for Node has no cookies and no options for its requests, so here they get those of the browser
 * that the session belongs to: its id is a part of the path.
 */
class BrowserAgent extends https.Agent {
  // What Node calls for each request, as agents override it: https://github.com/TooTallNate/proxy-agents
  addRequest(request: ClientRequest, options: object): void {
    const browser = sessions.get(request.path.split("/")[3] ?? "");
    for (const [name, value] of Object.entries(browser?.cookies() ?? {})) {
      request.setHeader(name, value);
    }
    request.on("response", ({ headers }) => browser?.keep(headers["set-cookie"]));
    (https.Agent.prototype as unknown as { addRequest: AddRequest }).addRequest.call(
      this,
      request,
      options,
    );
  }
}
