import { randomBytes, randomInt } from "node:crypto";
import type * as random from "@pulumi/random";
import { type Plain, type Provider, replaces, resource } from "./definition";

/** Made once and known to the state alone. */
const kept = {
  read: <State>(_context: null, _id: string, state: State): Promise<State> =>
    Promise.resolve(state),
  delete: (): Promise<void> => Promise.resolve(),
};

/** The real provider's own alphabet of special characters. */
const special = "!@#$%&*()-_=+[]{}<>:?";

const password = resource<null, random.RandomPasswordArgs, random.RandomPasswordState>({
  ...kept,
  type: "random:index/randomPassword:RandomPassword",
  properties: {
    keepers: replaces,
    length: replaces,
    lower: { replaces: true, default: true },
    minLower: { replaces: true, default: 0 },
    numeric: { replaces: true, default: true },
    minNumeric: { replaces: true, default: 0 },
    upper: { replaces: true, default: true },
    minUpper: { replaces: true, default: 0 },
    special: { replaces: true, default: true },
    minSpecial: { replaces: true, default: 0 },
    overrideSpecial: replaces,
  },
  // bcryptHash is left out: no library for one output that the program does not use.
  outputs: ["result"],
  secrets: ["result"],
  create: (_context, inputs) =>
    Promise.resolve({ id: "none", state: { result: randomPassword(inputs) } }),
});

function randomPassword(inputs: Plain<random.RandomPasswordArgs>): string {
  const sets: [string, boolean | undefined, number | undefined][] = [
    ["abcdefghijklmnopqrstuvwxyz", inputs.lower, inputs.minLower],
    ["ABCDEFGHIJKLMNOPQRSTUVWXYZ", inputs.upper, inputs.minUpper],
    ["0123456789", inputs.numeric, inputs.minNumeric],
    [inputs.overrideSpecial ?? special, inputs.special, inputs.minSpecial],
  ];
  const wanted = sets.filter(([, use]) => use === true);
  const alphabet = wanted.map(([characters]) => characters).join("");
  const least = wanted.flatMap(([characters, , minimum]) => pick(characters, minimum ?? 0));
  if (alphabet === "" || least.length > inputs.length) {
    throw new Error(
      `a password of ${inputs.length} characters can't hold ${least.length} of certain kinds, or has no alphabet at all`,
    );
  }
  return shuffled([...least, ...pick(alphabet, inputs.length - least.length)]).join("");
}

function pick(characters: string, count: number): string[] {
  return Array.from({ length: count }, () => characters.charAt(randomInt(characters.length)));
}

function shuffled(characters: string[]): string[] {
  const rest = [...characters];
  return characters.flatMap(() => rest.splice(randomInt(rest.length), 1));
}

const bytes = resource<null, random.RandomBytesArgs, random.RandomBytesState>({
  ...kept,
  type: "random:index/randomBytes:RandomBytes",
  properties: { keepers: replaces, length: replaces },
  outputs: ["base64", "hex"],
  secrets: ["base64", "hex"],
  create: (_context, inputs) => {
    const made = randomBytes(inputs.length);
    return Promise.resolve({
      id: "none",
      state: { base64: made.toString("base64"), hex: made.toString("hex") },
    });
  },
});

const id = resource<null, random.RandomIdArgs, random.RandomIdState>({
  ...kept,
  type: "random:index/randomId:RandomId",
  properties: { keepers: replaces, byteLength: replaces, prefix: replaces },
  outputs: ["b64Std", "b64Url", "dec", "hex"],
  create: (_context, inputs) => {
    const made = randomBytes(inputs.byteLength);
    const prefix = inputs.prefix ?? "";
    return Promise.resolve({
      id: made.toString("base64url"),
      state: {
        b64Std: prefix + made.toString("base64"),
        b64Url: prefix + made.toString("base64url"),
        dec: prefix + BigInt(`0x${made.toString("hex")}`).toString(),
        hex: prefix + made.toString("hex"),
      },
    });
  },
});

/** The part of @pulumi/random that the program uses. */
export const randomProvider: Provider<null> = {
  name: "random",
  version: "4.21.2",
  configuration: {},
  configure: () => Promise.resolve(null),
  tagRules: () => ({ defaults: {}, ignores: () => false }),
  resources: [password, bytes, id],
  functions: [],
};
