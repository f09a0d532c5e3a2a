import { readFileSync, rmSync } from "node:fs";
import {
  createServer,
  type IncomingHttpHeaders,
  type IncomingMessage,
  request,
  type RequestListener,
  type ServerResponse,
} from "node:http";
import { createServer as createTlsServer } from "node:https";
import type { Server } from "node:net";
import { buffer } from "node:stream/consumers";
import { awsApiPort } from "../paths";
import { serverFile } from "./certificateAuthority";
import { messageOf } from "./commands";
import { motoPort } from "./moto";
import { answerInCbor, requestFromCbor } from "./rpcCbor";

/** Names of actions that change nothing, in the ways the AWS protocols write them. */
const readOnly = /^(Describe|List|Get|Head|Lookup|Decode)/;

/** A request to the AWS API; those to S3 pass by unread. */
export interface AwsRequest {
  /** Such as `ec2`. */
  service: string;
  method: string;
  /** With the query. */
  path: string;
  /** Such as `RunInstances`; undefined for REST services. */
  action: string | undefined;
  /** What EC2, IAM and SNS are asked. */
  form: URLSearchParams;
  body: Buffer;
}

/** What the AWS API answers. */
export interface AwsAnswer {
  status: number;
  headers: IncomingHttpHeaders;
  body: Buffer | string;
}

/** Has moto answer the request, or another form in its place. */
export type AskMoto = (form?: URLSearchParams) => Promise<AwsAnswer>;

/** Answers a request. */
export type AwsHandler = (request: AwsRequest, askMoto: AskMoto) => Promise<AwsAnswer>;

/**
 * The AWS API's two front doors: plain HTTP for this computer, TLS for the machines. Both lead to the
 * same moto.
 *
 * @param tlsSocket path of the socket that the machines' connections are passed on to
 * @throws Error where another program has the port
 */
export async function startAwsApi(tlsSocket: string, handle: AwsHandler): Promise<Server[]> {
  const answer = awsApiListener(motoPort, handle);
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

/** What stands before a moto. */
export function awsApiListener(port: number, handle: AwsHandler): RequestListener {
  return (incoming, response) => {
    const refuse = (error: unknown): void => {
      const message = `The region's AWS API does not answer: ${messageOf(error)}`;
      const { status, headers, body } = ec2Error("InternalError", message, 503);
      if (!response.headersSent) {
        response.writeHead(status, headers);
      }
      response.end(body);
    };
    // Credential=KEY/DATE/REGION/SERVICE/aws4_request
    const service = incoming.headers.authorization?.split("/")[3] ?? serviceOfLink(incoming);
    if (service === undefined || service === "s3") {
      passOn(port, incoming, response, refuse);
    } else {
      answer(port, service, incoming, handle)
        .then(({ status, headers, body }) => {
          response.writeHead(status, headers).end(body);
        })
        .catch(refuse);
    }
  };
}

/** Links in mails of SNS are followed without a signature. */
function serviceOfLink({ method, url = "/" }: IncomingMessage): string | undefined {
  const link = /^\/\?Action=(ConfirmSubscription|Unsubscribe)&/.test(url);
  return method === "GET" && link ? "sns" : undefined;
}

/** An upload is not held in memory. */
function passOn(
  port: number,
  incoming: IncomingMessage,
  response: ServerResponse,
  refuse: (error: unknown) => void,
): void {
  const { method, url: path } = incoming;
  const outgoing = request(
    { host: "127.0.0.1", port, method, path, headers: passed(incoming) },
    (answer) => {
      response.writeHead(answer.statusCode ?? 502, answer.headers);
      answer.pipe(response);
    },
  );
  outgoing.on("error", refuse);
  response.on("close", () => outgoing.destroy());
  incoming.pipe(outgoing);
}

function passed({ headers }: IncomingMessage): IncomingHttpHeaders {
  const result = { ...headers };
  // Answered by this server itself.
  delete result.expect;
  return result;
}

async function answer(
  port: number,
  service: string,
  incoming: IncomingMessage,
  handle: AwsHandler,
): Promise<AwsAnswer> {
  const { method = "GET" } = incoming;
  const asked = {
    path: incoming.url ?? "/",
    headers: passed(incoming),
    body: await buffer(incoming),
  };
  const inJson = requestFromCbor(asked);
  const { path, headers, body } = inJson ?? asked;
  const form = new URLSearchParams(
    method === "GET" ? path.replace(/^[^?]*/, "") : body.toString("latin1"),
  );
  // EC2, IAM, SNS and STS name the action in a form, SSM, Logs and CloudWatch in a header.
  const action =
    form.get("Action") ?? headers["x-amz-target"]?.toString().split(".")[1] ?? undefined;
  const result = await handle({ service, method, path, action, form, body }, async (changed) => {
    const sentBody = changed === undefined ? body : Buffer.from(changed.toString());
    const sent = { ...headers, "content-length": String(sentBody.length) };
    delete sent["transfer-encoding"];
    const outgoing = request({ host: "127.0.0.1", port, method, path, headers: sent });
    const answered = await new Promise<IncomingMessage>((resolve, reject) => {
      outgoing.on("response", resolve).on("error", reject).end(sentBody);
    });
    return {
      status: answered.statusCode ?? 502,
      headers: answered.headers,
      body: await buffer(answered),
    };
  });
  return inJson === undefined ? result : answerInCbor(result);
}

/** @returns whether a request has been done and may have changed something */
export function hasChanged({ method, action }: AwsRequest, { status }: AwsAnswer): boolean {
  const changes =
    action === undefined ? method !== "GET" && method !== "HEAD" : !readOnly.test(action);
  return status < 300 && changes;
}

/** An error in EC2's words. */
export function ec2Error(code: string, message: string, status = 400): AwsAnswer {
  const text = message.replaceAll("&", "&amp;").replaceAll("<", "&lt;");
  const error = `<Error><Code>${code}</Code><Message>${text}</Message></Error>`;
  return {
    status,
    headers: { "content-type": "text/xml" },
    body: `<Response><Errors>${error}</Errors><RequestID>local</RequestID></Response>`,
  };
}
