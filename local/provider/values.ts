import { isDeepStrictEqual } from "node:util";
import {
  type JavaScriptValue,
  Struct as StructMessage,
} from "google-protobuf/google/protobuf/struct_pb";

/** Properties of a resource, a function or a configuration. */
export type Values = Record<string, unknown>;

/** The engine's marks, as in @pulumi/pulumi/runtime/rpc. */
const signature = "4dabf18193072939515e22adb298388d";
const secretSignature = "1b47061264138c4ac30d75fd1eb44270";
const assetSignature = "c44067f5952c0a294b673a41bacd8c17";
const outputSignature = "d0e6a833031e9bbcd3f4e8bde6ca49a4";

/** What the engine sends in a preview for a value that only an update will know. */
export const unknown = "04da6b54-80e4-46f7-96ec-b56ff0331ba9";

/** A file or text that the program hands to a resource. */
export interface Asset {
  path?: string;
  text?: string;
  uri?: string;
  /** SHA-256 of its content. */
  hash?: string;
}

export function isAsset(value: unknown): value is Asset {
  return isObject(value) && value[signature] === assetSignature;
}

export function isObject(value: unknown): value is Values {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** Properties without their marks, and which of them are secret. */
export interface Properties {
  values: Values;
  /** Names of the properties that are, or contain, a secret. */
  secrets: Set<string>;
}

/** Reads what the engine sent; a property with a secret anywhere in it is a secret as a whole. */
export function fromStruct(struct: StructMessage | undefined): Properties {
  const values: Values = {};
  const secrets = new Set<string>();
  for (const [key, marked] of Object.entries((struct?.toJavaScript() ?? {}) as Values)) {
    const value = unmark(marked, () => secrets.add(key));
    if (value !== undefined && value !== null) {
      values[key] = value;
    }
  }
  return { values, secrets };
}

function unmark(value: unknown, secret: () => void): unknown {
  if (Array.isArray(value)) {
    return value.map((item) => unmark(item, secret));
  }
  if (!isObject(value)) {
    return value;
  }
  if (value[signature] === secretSignature) {
    secret();
    return unmark(value["value"], secret);
  }
  if (value[signature] === outputSignature) {
    if (value["secret"] === true) {
      secret();
    }
    return "value" in value ? unmark(value["value"], secret) : unknown;
  }
  return Object.fromEntries(
    Object.entries(value)
      .map(([key, item]) => [key, unmark(item, secret)] as const)
      .filter(([, item]) => item !== null && item !== undefined),
  );
}

/** Writes what the engine will read, with the named properties marked as secrets. */
export function toStruct(values: Values, secrets: Iterable<string> = []): StructMessage {
  const secret = new Set(secrets);
  const marked = Object.entries(values)
    .filter(([, value]) => value !== undefined)
    .map(([key, value]) => [
      key,
      secret.has(key) ? { [signature]: secretSignature, value: plain(value) } : plain(value),
    ]);
  return StructMessage.fromJavaScript(
    Object.fromEntries(marked) as Record<string, JavaScriptValue>,
  );
}

/** Structs know no undefined and no date. */
function plain(value: unknown): unknown {
  return value === undefined ? null : (JSON.parse(JSON.stringify(value)) as unknown);
}

export function containsUnknown(value: unknown): boolean {
  if (Array.isArray(value)) {
    return value.some(containsUnknown);
  }
  return isObject(value) ? Object.values(value).some(containsUnknown) : value === unknown;
}

/** Whether two values of a property mean the same. */
export function equal(left: unknown, right: unknown): boolean {
  if (isAsset(left) && isAsset(right)) {
    return left.hash === right.hash;
  }
  return isDeepStrictEqual(left, right);
}

/** The same, with lists in any order. */
export function equalUnordered(left: unknown, right: unknown): boolean {
  return isDeepStrictEqual(ordered(left), ordered(right));
}

function ordered(value: unknown): unknown {
  return Array.isArray(value)
    ? value.map((item) => JSON.stringify(item)).sort((a, b) => a.localeCompare(b))
    : value;
}

/** The same, of two JSON texts. */
export function equalJson(left: unknown, right: unknown): boolean {
  return isDeepStrictEqual(parsed(left), parsed(right));
}

function parsed(value: unknown): unknown {
  if (typeof value !== "string") {
    return value;
  }
  try {
    return JSON.parse(value) as unknown;
  } catch {
    return value;
  }
}

/**
 * What an input becomes when the real thing is looked at: the old input where it still holds, so that
 * a refresh shows drift and nothing else.
 */
export function refreshed(old: unknown, actual: unknown): unknown {
  if (equalUnordered(old, actual) || equalJson(old, actual)) {
    return old;
  }
  if (isObject(old) && isObject(actual)) {
    return Object.fromEntries(
      Object.keys(old)
        .filter((key) => actual[key] !== undefined && actual[key] !== null)
        .map((key) => [key, refreshed(old[key], actual[key])]),
    );
  }
  if (Array.isArray(old) && Array.isArray(actual) && old.length === actual.length) {
    return old.map((item, index) => refreshed(item, actual[index]));
  }
  return actual;
}
