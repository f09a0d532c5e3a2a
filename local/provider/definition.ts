import type { Unwrap } from "@pulumi/pulumi";
import type { Values } from "./values";

/** Arguments or outputs of a class of a Pulumi package, without Input and Output. */
export type Plain<T> = string extends keyof T ? T : { [K in keyof T]: Unwrap<T[K]> };

/** What a resource's input is to the provider. */
export interface Property {
  /** Whether another value makes another resource. Default: it is updated in place. */
  replaces?: boolean | ((old: unknown, now: unknown, inputs: Values) => boolean);
  /** How two values are compared. Default: as they are. */
  compare?: "unordered" | "json";
  /** The provider's own default. */
  default?: unknown;
  /** The service chooses where the program doesn't; only an update knows what. */
  computed?: boolean;
  /** The engine's name of the resource and some random digits, where the program gives no name. */
  named?: { lowerCase?: boolean; maxLength?: number };
  /** Why the value changes nothing here. */
  noEffect?: string;
}

export const replaces: Property = { replaces: true };
export const inPlace: Property = {};

/** An update in place. */
export interface Update<Args, State> {
  id: string;
  now: Plain<Args>;
  /** The state before it, with outputs. */
  old: Partial<Plain<State>>;
  changed: (...keys: (keyof Args)[]) => boolean;
  /** All tags that the resource shall have. */
  tags: Record<string, string>;
  /** Keys that it has and shall not have any more. */
  obsoleteTags: string[];
}

interface Common<Context, Args, State> {
  /** Type token, such as `aws:ec2/vpc:Vpc`. */
  type: string;
  /** Whether it has tags. */
  tagged?: boolean;
  /** Secret, whether or not the program says so. */
  secrets?: (keyof Args | keyof State)[];
  /** Outputs that a change of an input makes unknown until it is done. */
  unknownAfter?: { [K in keyof Args]?: (keyof State)[] };
  /** A due change that no input shows: names of the outputs whose replacement is due. */
  due?: (state: Partial<Plain<State>>, inputs: Plain<Args>) => string[];
  /** Asks for the new thing and returns its id, and outputs that can't be looked up later. */
  create: (
    context: Context,
    inputs: Plain<Args>,
    tags: Record<string, string>,
  ) => Promise<string | { id: string; state: Partial<Plain<State>> }>;
  /** The rest of a creation: waits and settings. A failure here leaves the resource in the state. */
  complete?: (context: Context, id: string, inputs: Plain<Args>) => Promise<void>;
  /**
   * Looks at the real thing. Its tags are all that it has. What it does not return stays as it was.
   *
   * @returns undefined if it is gone
   */
  read: (
    context: Context,
    id: string,
    state: Partial<Plain<State>>,
  ) => Promise<Partial<Plain<State>> | undefined>;
  update?: (context: Context, update: Update<Args, State>) => Promise<void>;
  /** One that is already gone is deleted. */
  delete: (context: Context, id: string, state: Partial<Plain<State>>) => Promise<void>;
}

/** A resource of a Pulumi package, with the names of the package's own types. */
export interface Definition<Context, Args, State> extends Common<Context, Args, State> {
  properties: { [K in Exclude<keyof Args, "tags">]?: Property };
  /** What the service computes, apart from `tagsAll`. */
  outputs: Exclude<keyof State, keyof Args | "tagsAll">[];
}

/** The same for the protocol, which knows no types. */
export interface Resource<Context> extends Common<Context, Values, Values> {
  properties: Record<string, Property>;
  outputs: string[];
}

/** Turns a typed definition into one for the protocol. */
export function resource<Context, Args, State>(
  definition: Definition<Context, Args, State>,
): Resource<Context> {
  const { tagged, properties, outputs, ...rest } = definition;
  // The protocol hands back only what `properties` and `outputs` name.
  return {
    ...(rest as unknown as Common<Context, Values, Values>),
    tagged: tagged ?? false,
    properties: { ...properties, ...(tagged === true ? { tags: {} } : {}) },
    outputs: [...outputs.map(String), ...(tagged === true ? ["tagsAll"] : [])],
  };
}

/** A function of a Pulumi package. */
export interface ProviderFunction<Context> {
  /** Its token, such as `aws:ec2/getAmi:getAmi`. */
  token: string;
  arguments: string[];
  secrets: string[];
  invoke: (context: Context, args: Values) => Promise<Values>;
}

/** Turns a typed function into one for the protocol. */
export function providerFunction<Context, Args, Result>(definition: {
  token: string;
  arguments: (keyof Args)[];
  secrets?: (keyof Result)[];
  invoke: (context: Context, args: Args) => Promise<Partial<Result>>;
}): ProviderFunction<Context> {
  const { token, invoke } = definition;
  return {
    token,
    arguments: definition.arguments.map(String),
    secrets: (definition.secrets ?? []).map(String),
    invoke: async (context, args) => await invoke(context, args as Args),
  };
}

/** Tags that a stack gives to everything, and tags that it leaves alone. */
export interface TagRules {
  defaults: Record<string, string>;
  ignores: (key: string) => boolean;
}

/** A Pulumi package as the engine sees it. */
export interface Provider<Context> {
  name: string;
  version: string;
  /** Configuration keys, and why those without effect have none. */
  configuration: Record<string, { noEffect?: string }>;
  configure: (configuration: Values) => Promise<Context>;
  tagRules: (context: Context) => TagRules;
  resources: Resource<Context>[];
  functions: ProviderFunction<Context>[];
}
