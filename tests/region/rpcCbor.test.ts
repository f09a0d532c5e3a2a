import { gzipSync } from "node:zlib";
import { cbor, dateToTag } from "@smithy/core/cbor";
import { answerInCbor, requestFromCbor } from "../../local/region/rpcCbor";

const path = "/service/GraniteServiceVersion20100801/operation/PutMetricData";
const headers = { "smithy-protocol": "rpc-v2-cbor", "content-type": "application/cbor" };
const time = new Date("2026-11-26T15:40:00.500Z");
const body = Buffer.from(
  cbor.serialize({
    Namespace: "stack",
    MetricData: [{ MetricName: "hosts_up", Value: 2.5, Timestamp: dateToTag(time) }],
  }),
);

test.each([
  ["plain", {}, body],
  ["compressed", { "content-encoding": "gzip" }, gzipSync(body)],
])("a request in %s CBOR becomes one in JSON", (_, more, sent) => {
  const request = requestFromCbor({ path, headers: { ...headers, ...more }, body: sent });
  expect(request).toMatchObject({
    path: "/",
    headers: {
      "content-type": "application/x-amz-json-1.0",
      "x-amz-target": "GraniteServiceVersion20100801.PutMetricData",
    },
  });
  expect(Object.keys(request?.headers ?? {})).toHaveLength(2);
  expect(JSON.parse(String(request?.body))).toEqual({
    Namespace: "stack",
    MetricData: [{ MetricName: "hosts_up", Value: 2.5, Timestamp: time.getTime() / 1000 }],
  });
});

test("a request in another language is left as it is", () => {
  const json = { "content-type": "application/x-amz-json-1.0" };
  expect(requestFromCbor({ path: "/", headers: json, body })).toBeUndefined();
  expect(requestFromCbor({ path: "/", headers, body })).toBeUndefined();
});

test("an answer in JSON becomes one in CBOR, which marks times", () => {
  const answer = answerInCbor({
    status: 200,
    headers: {},
    body: '{"MetricAlarms":[{"Threshold":3,"StateUpdatedTimestamp":5}],"Timestamps":[5.5]}',
  });
  expect(answer).toMatchObject({ status: 200, headers });
  expect(cbor.deserialize(answer.body as Buffer)).toEqual({
    MetricAlarms: [{ Threshold: 3, StateUpdatedTimestamp: dateToTag(new Date(5000)) }],
    Timestamps: [dateToTag(new Date(5500))],
  });
});
