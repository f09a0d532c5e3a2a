import { createRequire } from "node:module";

/** A part of the SDK that its types leave out. */
interface Debuggable {
  debuggablePromise: <Value>(promise: Promise<Value>, context: unknown) => Promise<Value>;
  /** Whether the user asks where promises come from: PULUMI_DEBUG_PROMISE_LEAKS. */
  debugPromiseLeaks: boolean;
}

/** The part of `pulumi.log` that all of the SDK writes debug messages by. */
interface Log {
  debug: (message: string) => Promise<void>;
}

/**
 * Keeps the SDK from what hardly anybody reads, and takes a quarter of the program's time: a call of the engine for each
 * of the debug messages, four a resource, and a stack for each promise, four a property. Warnings and errors, with
 * their stacks, stay. With METEOR_SCALE_DEBUG=true all stays, for `pulumi up --debug`.
 */
export function leaveOutDiagnostics(): void {
  const sdk = createRequire(__filename);
  const debuggable = sdk("@pulumi/pulumi/runtime/debuggable") as Debuggable;
  if (process.env["METEOR_SCALE_DEBUG"] === "true" || debuggable.debugPromiseLeaks) {
    return;
  }
  (sdk("@pulumi/pulumi/log") as Log).debug = (): Promise<void> => Promise.resolve();
  const { debuggablePromise } = debuggable;
  debuggable.debuggablePromise = <Value>(
    promise: Promise<Value>,
    context: unknown,
  ): Promise<Value> => {
    const limit = Error.stackTraceLimit;
    Error.stackTraceLimit = 0;
    try {
      return debuggablePromise(promise, context);
    } finally {
      Error.stackTraceLimit = limit;
    }
  };
}
