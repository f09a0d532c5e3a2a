import { createRequire } from "node:module";
import * as pulumi from "@pulumi/pulumi";
import { leaveOutDiagnostics } from "../../components/sdkDiagnostics";

interface Debuggable {
  debuggablePromise: (promise: Promise<unknown>, context: string) => Promise<unknown>;
}

const debuggable = createRequire(__filename)("@pulumi/pulumi/runtime/debuggable") as Debuggable;
const { debuggablePromise } = debuggable;
const { debug } = pulumi.log;

afterEach(() => {
  delete process.env["METEOR_SCALE_DEBUG"];
  debuggable.debuggablePromise = debuggablePromise;
  Object.assign(pulumi.log, { debug });
});

function stackOf(promise: Promise<unknown>): string {
  return (promise as unknown as { _debugStackTrace: string })._debugStackTrace;
}

test("the SDK's promises take no stack, and an error after them still shows where it is", () => {
  leaveOutDiagnostics();
  const promise = Promise.resolve("value");
  void debuggable.debuggablePromise(promise, "a property");
  expect(stackOf(promise)).not.toContain("at ");
  expect(new Error("a mistake").stack).toContain("sdkDiagnostics.test.ts");
});

test("no debug message reaches the engine; warnings do", async () => {
  leaveOutDiagnostics();
  const print = jest.spyOn(console, "warn").mockImplementation();
  expect(pulumi.log.debug).not.toBe(debug);
  await pulumi.log.debug("Registering resource");
  await pulumi.log.warn("a host is slow");
  expect(print.mock.calls).toEqual([["warning: [runtime] a host is slow"]]);
  print.mockRestore();
});

test("with METEOR_SCALE_DEBUG=true all of it stays", () => {
  process.env["METEOR_SCALE_DEBUG"] = "true";
  leaveOutDiagnostics();
  const promise = Promise.resolve("value");
  void debuggable.debuggablePromise(promise, "a property");
  expect(stackOf(promise)).toContain("sdkDiagnostics.test.ts");
  expect(pulumi.log.debug).toBe(debug);
});
