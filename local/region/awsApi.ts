import { readFileSync, rmSync } from "node:fs";
import { createServer, type IncomingMessage, request, type ServerResponse } from "node:http";
import { createServer as createTlsServer } from "node:https";
import type { Server } from "node:net";
import { buffer } from "node:stream/consumers";
import { awsApiPort } from "../paths";
import { serverFile } from "./certificateAuthority";
import { messageOf } from "./commands";
import { motoPort } from "./moto";

/** Names of actions that change nothing, in the ways the AWS protocols write them. */
const readOnly = /^(Describe|List|Get|Head|Lookup|Decode)/;

/** A request that moto has done and that may have changed something. */
export interface AwsChange {
  /** Such as `ec2`. */
  service: string | undefined;
  /** Such as `RunInstances`; undefined for Route 53 and S3. */
  action: string | undefined;
  /** What EC2 and IAM were asked. */
  form: URLSearchParams;
  /** What moto answers. */
  answer: string;
}

/**
 * The AWS API's two front doors: plain HTTP for this computer, TLS for the machines. Both lead to the
 * same moto.
 *
 * @param tlsSocket path of the socket that the machines' connections are passed on to
 * @param onChange is told of every change; whoever asked for it gets no answer before it is done
 * @throws Error where another program has the port
 */
export async function startAwsApi(
  tlsSocket: string,
  onChange: (change: AwsChange) => Promise<void>,
): Promise<Server[]> {
  const answer = (incoming: IncomingMessage, response: ServerResponse): void => {
    passOn(incoming, response, onChange);
  };
  const computers = await listening(createServer(answer), { port: awsApiPort, host: "127.0.0.1" });
  rmSync(tlsSocket, { force: true });
  const pem = readFileSync(serverFile);
  const tls = createTlsServer({ cert: pem, key: pem }, answer);
  return [computers, await listening(tls, { path: tlsSocket })];
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

function passOn(
  incoming: IncomingMessage,
  response: ServerResponse,
  onChange: (change: AwsChange) => Promise<void>,
): void {
  const { method = "GET", url: path = "/", headers } = incoming;
  const passed = { ...headers };
  // Answered by this server itself.
  delete passed.expect;
  const refuse = (error: unknown): void => {
    if (!response.headersSent) {
      response.writeHead(503);
    }
    response.end(`The region's AWS API does not answer: ${messageOf(error)}`);
  };
  const asked: Buffer[] = [];
  const outgoing = request(
    { host: "127.0.0.1", port: motoPort, method, path, headers: passed },
    (answer) => {
      const { statusCode = 502 } = answer;
      const form = new URLSearchParams(Buffer.concat(asked).toString("latin1"));
      // EC2, IAM and STS name the action in a form, SSM in a header.
      const action =
        form.get("Action") ?? headers["x-amz-target"]?.toString().split(".")[1] ?? undefined;
      if (statusCode >= 300 || !changes(method, action)) {
        response.writeHead(statusCode, answer.headers);
        answer.pipe(response);
        return;
      }
      // Credential=KEY/DATE/REGION/SERVICE/aws4_request
      const service = headers.authorization?.split("/")[3];
      buffer(answer)
        .then(async (body) => {
          await onChange({ service, action, form, answer: body.toString("utf8") });
          response.writeHead(statusCode, answer.headers);
          response.end(body);
        })
        .catch(refuse);
    },
  );
  outgoing.on("error", refuse);
  response.on("close", () => outgoing.destroy());
  let length = 0;
  incoming.on("data", (chunk: Buffer) => {
    // A form is short; an upload to S3 is not.
    if (length < 100_000) {
      asked.push(chunk);
      length += chunk.length;
    }
  });
  incoming.pipe(outgoing);
}

function changes(method: string, action: string | undefined): boolean {
  return action === undefined ? method !== "GET" && method !== "HEAD" : !readOnly.test(action);
}
