import { readFileSync, rmSync } from "node:fs";
import { createServer, type IncomingMessage, request, type ServerResponse } from "node:http";
import { createServer as createTlsServer } from "node:https";
import type { Server } from "node:net";
import { awsApiPort } from "../paths";
import { serverFile } from "./certificateAuthority";
import { motoPort } from "./moto";

/** Names of actions that change nothing, in the ways the AWS protocols write them. */
const readOnly = /^(Describe|List|Get|Head|Lookup|Decode)/;

/** Actions that AWS takes minutes over and moto none: their answers wait for the machines. */
const switchesOff = /^(Stop|Terminate)Instances$/;

/** What the AWS API tells the region. */
export interface AwsApiEvents {
  /** Somebody may have changed something. */
  changed: () => void;
  /** Somebody has switched off these machines; resolves when they are off. */
  switchedOff: (instanceIds: string[]) => Promise<void>;
}

/**
 * The AWS API's two front doors: plain HTTP for this computer, TLS for the machines. Both lead to the
 * same moto.
 *
 * @param tlsSocket path of the socket that the machines' connections are passed on to
 * @throws Error where another program has the port
 */
export async function startAwsApi(tlsSocket: string, events: AwsApiEvents): Promise<Server[]> {
  const answer = (incoming: IncomingMessage, response: ServerResponse): void => {
    passOn(incoming, response, events);
  };
  rmSync(tlsSocket, { force: true });
  const pem = readFileSync(serverFile);
  return Promise.all([
    listening(createServer(answer), { port: awsApiPort, host: "127.0.0.1" }),
    listening(createTlsServer({ cert: pem, key: pem }, answer), { path: tlsSocket }),
  ]);
}

async function listening(
  server: Server,
  where: { port: number; host: string } | { path: string },
): Promise<Server> {
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen(where, resolve);
  });
  return server;
}

function passOn(incoming: IncomingMessage, response: ServerResponse, events: AwsApiEvents): void {
  const { method = "GET", url: path = "/", headers } = incoming;
  const passed = { ...headers };
  // Answered by this server itself.
  delete passed.expect;
  const start: Buffer[] = [];
  const outgoing = request(
    { host: "127.0.0.1", port: motoPort, method, path, headers: passed },
    (answer) => {
      const form = new URLSearchParams(Buffer.concat(start).toString("latin1"));
      const status = answer.statusCode ?? 502;
      const done = status < 300 && beforeAnswer(method, headers["x-amz-target"], form, events);
      void Promise.resolve(done).then(() => {
        response.writeHead(status, answer.headers);
        answer.pipe(response);
      });
    },
  );
  outgoing.on("error", (error) => {
    if (!response.headersSent) {
      response.writeHead(503);
    }
    response.end(`The region's AWS API does not answer: ${error.message}`);
  });
  response.on("close", () => outgoing.destroy());
  let length = 0;
  incoming.on("data", (chunk: Buffer) => {
    // A form that names machines is short; an upload to S3 is not.
    if (length < 10_000) {
      start.push(chunk);
      length += chunk.length;
    }
  });
  incoming.pipe(outgoing);
}

/** EC2, IAM and STS name the action in a form, SSM in a header; for Route 53 and S3 it is the method. */
async function beforeAnswer(
  method: string,
  target: string | string[] | undefined,
  form: URLSearchParams,
  events: AwsApiEvents,
): Promise<void> {
  const action = form.get("Action") ?? String(target ?? "").split(".")[1];
  if (action === undefined ? method !== "GET" && method !== "HEAD" : !readOnly.test(action)) {
    events.changed();
  }
  if (action !== undefined && switchesOff.test(action)) {
    const ids = [...form].filter(([name]) => name.startsWith("InstanceId."));
    await events.switchedOff(ids.map(([, id]) => id));
  }
}
