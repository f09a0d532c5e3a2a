import type { IncomingHttpHeaders } from "node:http";
import { gunzipSync } from "node:zlib";
import { cbor, tag } from "@smithy/core/cbor";
import type { AwsAnswer } from "./awsApi";

/*
 * https://smithy.io/2.0/additional-specs/protocols/smithy-rpc-v2.html, which AWS's SDK for Go speaks
 * to CloudWatch. moto does not know it, but knows the same operations in JSON.
 */

/** A request, as far as a protocol shapes it. */
export interface Message {
  path: string;
  headers: IncomingHttpHeaders;
  body: Buffer;
}

/** @returns the same request in JSON, or undefined where it is none in CBOR */
export function requestFromCbor({ path, headers, body }: Message): Message | undefined {
  const [, service, operation] = /^\/service\/(\w+)\/operation\/(\w+)$/.exec(path) ?? [];
  if (headers["smithy-protocol"] !== "rpc-v2-cbor" || operation === undefined) {
    return undefined;
  }
  const others = { ...headers };
  delete others["smithy-protocol"];
  delete others["content-encoding"];
  delete others.accept;
  const plain = headers["content-encoding"] === "gzip" ? gunzipSync(body) : body;
  const input: unknown = plain.length === 0 ? {} : cbor.deserialize(plain);
  return {
    path: "/",
    headers: {
      ...others,
      "content-type": "application/x-amz-json-1.0",
      "x-amz-target": `${service}.${operation}`,
    },
    body: Buffer.from(JSON.stringify(input, untagged)),
  };
}

/** @returns the same answer in CBOR */
export function answerInCbor({ status, body }: AwsAnswer): AwsAnswer {
  const text = String(body);
  const output: unknown = text === "" ? {} : JSON.parse(text, tagged);
  return {
    status,
    headers: { "content-type": "application/cbor", "smithy-protocol": "rpc-v2-cbor" },
    body: Buffer.from(cbor.serialize(output)),
  };
}

/** Seconds since 1970 are marked in CBOR, and are plain numbers in JSON. */
function untagged(_: string, value: unknown): unknown {
  const isTime = typeof value === "object" && value !== null && "tag" in value && "value" in value;
  return isTime ? value.value : value;
}

function tagged(key: string, value: unknown): unknown {
  const names = /(Timestamp|Time|Date|LastModified)$/;
  if (typeof value === "number" && names.test(key)) {
    return tag({ tag: 1, value });
  }
  return key === "Timestamps" && Array.isArray(value)
    ? value.map((each: number) => tag({ tag: 1, value: each }))
    : value;
}
