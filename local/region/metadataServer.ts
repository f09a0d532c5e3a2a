import { randomBytes } from "node:crypto";
import { readFileSync } from "node:fs";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import { type MachineMetadata, metadataTree, readMetadata } from "./metadata";

/*
 * The instance metadata service. It is a process of its own since it must listen in
 * the router's namespace, where a machine is known by its address.
 *
 * Arguments: the address to listen on, and the file with what each machine is told.
 */
const [listenAddress = "", metadataFile = ""] = process.argv.slice(2);

/** Tokens and the address that each was given to. */
const tokens = new Map<string, { address: string; expires: number }>();

const tokenHeader = "x-aws-ec2-metadata-token";
const tokenTtlHeader = "x-aws-ec2-metadata-token-ttl-seconds";
const longestTtl = 21_600;

function answer(request: IncomingMessage, response: ServerResponse): void {
  const address = request.socket.remoteAddress ?? "";
  const path = new URL(request.url ?? "/", "http://metadata").pathname;
  if (request.method === "PUT" && path === "/latest/api/token") {
    giveToken(request, response, address);
    return;
  }
  const trusted = hasToken(request, address);
  if (!trusted && tokenHeader in request.headers) {
    end(response, 401);
    return;
  }
  const machines = JSON.parse(readFileSync(metadataFile, "utf8")) as MachineMetadata[];
  const machine = machines.find((each) => each.address === address);
  if (machine === undefined) {
    end(response, 404);
    return;
  }
  // cloud-init knows EC2 by its firmware, which a container does not have, and elsewhere asks without
  // a token. So those who have none are told all but the role and its credentials.
  const tree = metadataTree(trusted ? machine : { ...machine, role: undefined });
  const text = readMetadata(tree, path);
  end(response, text === undefined ? 404 : 200, text);
}

function hasToken({ headers }: IncomingMessage, address: string): boolean {
  const given = tokens.get(String(headers[tokenHeader]));
  return given?.address === address && given.expires > Date.now();
}

function giveToken(request: IncomingMessage, response: ServerResponse, address: string): void {
  const seconds = Number(request.headers[tokenTtlHeader]);
  if (!Number.isInteger(seconds) || seconds < 1 || seconds > longestTtl) {
    end(response, 400);
    return;
  }
  const token = randomBytes(40).toString("base64url");
  tokens.set(token, { address, expires: Date.now() + seconds * 1000 });
  response.setHeader(tokenTtlHeader, seconds);
  end(response, 200, token);
}

function end(response: ServerResponse, status: number, text = ""): void {
  response.writeHead(status, { "content-type": "text/plain" });
  response.end(text);
}

createServer(answer).listen(80, listenAddress);
