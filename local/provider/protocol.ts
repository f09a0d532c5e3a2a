import { randomBytes } from "node:crypto";
import * as grpc from "@grpc/grpc-js";
import { Any } from "google-protobuf/google/protobuf/any_pb";
import { Empty } from "google-protobuf/google/protobuf/empty_pb";
import { PluginInfo } from "@pulumi/pulumi/proto/plugin_pb";
import { ResourceProviderService } from "@pulumi/pulumi/proto/provider_grpc_pb";
import * as messages from "@pulumi/pulumi/proto/provider_pb";
import { Status } from "@pulumi/pulumi/proto/status_pb";
import { type Handler, listen, unary as unaryWith } from "../grpc";
import type { Property, Provider, Resource, Update } from "./definition";
import {
  containsUnknown,
  equal,
  equalJson,
  equalUnordered,
  fromStruct,
  isObject,
  type Properties,
  refreshed,
  toStruct,
  unknown,
  type Values,
} from "./values";

/** A running provider. */
export interface Serving {
  port: number;
  stop: () => Promise<void>;
}

/** Serves Pulumi's resource provider protocol for one package on a loopback port (0: any). */
export async function serve<Context>(provider: Provider<Context>, port: number): Promise<Serving> {
  const server = new grpc.Server({
    // The engine's own limit: https://github.com/pulumi/pulumi, sdk/go/common/util/rpcutil.
    "grpc.max_receive_message_length": 400 * 1024 * 1024,
    "grpc.max_send_message_length": 400 * 1024 * 1024,
  });
  server.addService(ResourceProviderService, handlers(new Service(provider)));
  const bound = await listen(server, port).catch((error: unknown) => {
    throw new Error(
      `the ${provider.name} provider can't listen on port ${port}: ${(error as Error).message}`,
    );
  });
  return {
    port: bound,
    stop: () =>
      new Promise((resolve) => {
        server.tryShutdown(() => {
          resolve();
        });
        // Engines keep idle connections open.
        setTimeout(() => {
          server.forceShutdown();
        }, 500).unref();
      }),
  };
}

/** A resource that exists, but whose creation or update did not end well. */
class Unfinished extends Error {
  constructor(
    readonly detail: messages.ErrorResourceInitFailed,
    reason: string,
  ) {
    super(reason);
  }
}

function unary<Request, Response>(
  handler: Handler<Request, Response>,
): grpc.handleUnaryCall<Request, Response> {
  return unaryWith(handler, serviceError);
}

function serviceError(error: unknown): Partial<grpc.StatusObject> {
  const details = messageOf(error);
  if (!(error instanceof Unfinished)) {
    return { code: grpc.status.UNKNOWN, details };
  }
  const detail = new Any();
  detail.pack(error.detail.serializeBinary(), "pulumirpc.ErrorResourceInitFailed");
  const status = new Status();
  status.setCode(grpc.status.UNKNOWN);
  status.setMessage(details);
  status.setDetailsList([detail]);
  const metadata = new grpc.Metadata();
  metadata.set("grpc-status-details-bin", Buffer.from(status.serializeBinary()));
  return { code: grpc.status.UNKNOWN, details, metadata };
}

function messageOf(error: unknown): string {
  if (!(error instanceof Error)) {
    return String(error);
  }
  return error.name === "Error" || error.name === "TypeError"
    ? error.message
    : `${error.name}: ${error.message}`;
}

function handlers<Context>(service: Service<Context>): grpc.UntypedServiceImplementation {
  const nothing = unary(() => new Empty());
  return {
    getPluginInfo: unary(() => service.info()),
    attach: nothing,
    // Every wait of the provider has an end of its own.
    cancel: nothing,
    checkConfig: unary((request: messages.CheckRequest) => service.checkConfiguration(request)),
    diffConfig: unary((request: messages.DiffRequest) => service.diffConfiguration(request)),
    configure: unary((request: messages.ConfigureRequest, peer) =>
      service.configure(request, peer),
    ),
    check: unary((request: messages.CheckRequest) => service.check(request)),
    diff: unary((request: messages.DiffRequest, peer) => service.diff(request, peer)),
    create: unary((request: messages.CreateRequest, peer) => service.create(request, peer)),
    read: unary((request: messages.ReadRequest, peer) => service.read(request, peer)),
    update: unary((request: messages.UpdateRequest, peer) => service.update(request, peer)),
    delete: unary((request: messages.DeleteRequest, peer) => service.delete(request, peer)),
    invoke: unary((request: messages.InvokeRequest, peer) => service.invoke(request, peer)),
  };
}

class Service<Context> {
  /** By configuration. */
  private readonly contexts = new Map<string, Promise<Context>>();
  /** Each provider resource of a stack has a connection of its own. */
  private readonly byPeer = new Map<string, Promise<Context>>();
  private latest: Promise<Context> | undefined;

  constructor(private readonly provider: Provider<Context>) {}

  info(): PluginInfo {
    const info = new PluginInfo();
    info.setVersion(this.provider.version);
    return info;
  }

  checkConfiguration(request: messages.CheckRequest): messages.CheckResponse {
    const { name, configuration } = this.provider;
    const response = new messages.CheckResponse();
    response.setInputs(request.getNews());
    response.setFailuresList(
      Object.keys(fromStruct(request.getNews()).values)
        .filter((key) => !(key in configuration) && !engineKeys.has(key))
        .map((key) =>
          failure(
            key,
            `${name}:${key} is not known to the local region; it knows ${list(Object.keys(configuration))}`,
          ),
        ),
    );
    return response;
  }

  diffConfiguration(request: messages.DiffRequest): messages.DiffResponse {
    const old = fromStruct(request.getOldInputs() ?? request.getOlds()).values;
    const now = fromStruct(request.getNews()).values;
    const changed = keysOf(old, now).filter((key) => !equal(old[key], now[key]));
    const response = new messages.DiffResponse();
    response.setDiffsList(changed);
    response.setChanges(
      changed.length > 0
        ? messages.DiffResponse.DiffChanges.DIFF_SOME
        : messages.DiffResponse.DiffChanges.DIFF_NONE,
    );
    return response;
  }

  async configure(
    request: messages.ConfigureRequest,
    peer: string,
  ): Promise<messages.ConfigureResponse> {
    const properties = fromStruct(request.getArgs());
    const values = Object.fromEntries(
      Object.entries(properties.values)
        .filter(([key]) => !engineKeys.has(key))
        .map(([key, value]) => [key, structured(value)]),
    );
    const key = JSON.stringify(values);
    const context =
      this.contexts.get(key) ?? guarded([properties], () => this.provider.configure(values));
    await context;
    this.contexts.set(key, context);
    this.byPeer.set(peer, context);
    this.latest = context;
    const response = new messages.ConfigureResponse();
    response.setAcceptsecrets(true);
    response.setSupportspreview(true);
    return response;
  }

  check(request: messages.CheckRequest): messages.CheckResponse {
    const definition = this.definition(request.getUrn());
    const old = fromStruct(request.getOlds()).values;
    const { values, secrets } = fromStruct(request.getNews());
    const response = new messages.CheckResponse();
    response.setFailuresList(
      Object.keys(values)
        .filter((key) => !(key in definition.properties) && !engineKeys.has(key))
        .map((key) =>
          failure(
            key,
            `${definition.type} has the property ${key}, which the local region does not know; ` +
              `it knows ${list(Object.keys(definition.properties))}`,
          ),
        ),
    );
    for (const [key, property] of Object.entries(definition.properties)) {
      if (values[key] !== undefined) {
        continue;
      }
      if (property.named) {
        values[key] =
          old[key] ??
          generatedName(urnName(request.getUrn()), property.named, request.getRandomseed_asU8());
      } else if (property.default !== undefined) {
        values[key] = property.default;
      }
    }
    engineKeys.forEach((key) => Reflect.deleteProperty(values, key));
    response.setInputs(toStruct(values, secrets));
    return response;
  }

  async diff(request: messages.DiffRequest, peer: string): Promise<messages.DiffResponse> {
    const definition = this.definition(request.getUrn());
    const state = fromStruct(request.getOlds()).values;
    const old = fromStruct(request.getOldInputs() ?? request.getOlds()).values;
    const now = fromStruct(request.getNews()).values;
    const rules = this.provider.tagRules(await this.context(peer));
    const response = new messages.DiffResponse();
    const add = (key: string, kind: messages.PropertyDiff.Kind, input: boolean): void => {
      const detail = new messages.PropertyDiff();
      detail.setKind(kind);
      detail.setInputdiff(input);
      response.getDetaileddiffMap().set(key, detail);
      response.addDiffs(key);
      if (replacing.has(kind)) {
        response.addReplaces(key);
      }
    };
    for (const change of changes(definition, state, old, now)) {
      if (!request.getIgnorechangesList().includes(change.key)) {
        add(change.key, change.kind, true);
      }
    }
    if (definition.tagged === true && tagsDiffer(state, allTags(now, rules), rules)) {
      add("tagsAll", messages.PropertyDiff.Kind.UPDATE, false);
    }
    for (const key of definition.due?.(state, now) ?? []) {
      add(key, messages.PropertyDiff.Kind.UPDATE_REPLACE, false);
    }
    response.setHasdetaileddiff(true);
    response.setChanges(
      response.getDiffsList().length > 0
        ? messages.DiffResponse.DiffChanges.DIFF_SOME
        : messages.DiffResponse.DiffChanges.DIFF_NONE,
    );
    return response;
  }

  async create(request: messages.CreateRequest, peer: string): Promise<messages.CreateResponse> {
    const definition = this.definition(request.getUrn());
    const properties = fromStruct(request.getProperties());
    const context = await this.context(peer);
    const inputs = properties.values;
    const tags = allTags(inputs, this.provider.tagRules(context));
    const response = new messages.CreateResponse();
    if (request.getPreview()) {
      response.setProperties(
        toStruct(planned(definition, inputs, tags), secretsOf(definition, properties)),
      );
      return response;
    }
    await guarded([properties], async () => {
      const made = await definition.create(context, inputs, tags as Record<string, string>);
      const { id, state: first } = typeof made === "string" ? { id: made, state: {} } : made;
      const state = await this.finish(definition, context, id, properties, {
        ...inputs,
        ...first,
      });
      response.setId(id);
      response.setProperties(state);
    });
    return response;
  }

  async read(request: messages.ReadRequest, peer: string): Promise<messages.ReadResponse> {
    const definition = this.definition(request.getUrn());
    const old = fromStruct(request.getProperties());
    const inputs = fromStruct(request.getInputs());
    const context = await this.context(peer);
    const rules = this.provider.tagRules(context);
    const response = new messages.ReadResponse();
    await guarded([old, inputs], async () => {
      const actual = await definition.read(context, request.getId(), old.values);
      if (actual === undefined) {
        return;
      }
      const state = stateOf(definition, old.values, actual, inputs.values, rules);
      const imported = Object.keys(inputs.values).length === 0;
      response.setId(request.getId());
      response.setProperties(toStruct(state, secretsOf(definition, old)));
      response.setInputs(
        toStruct(
          imported
            ? importedInputs(definition, state)
            : refreshedInputs(definition, inputs.values, actual, state),
          new Set([...inputs.secrets, ...(imported ? (definition.secrets ?? []) : [])]),
        ),
      );
    });
    return response;
  }

  async update(request: messages.UpdateRequest, peer: string): Promise<messages.UpdateResponse> {
    const definition = this.definition(request.getUrn());
    const old = fromStruct(request.getOlds());
    const oldInputs = fromStruct(request.getOldInputs() ?? request.getOlds());
    const news = fromStruct(request.getNews());
    const context = await this.context(peer);
    const rules = this.provider.tagRules(context);
    const ignored = new Set(request.getIgnorechangesList());
    const changed = new Set(
      changes(definition, old.values, oldInputs.values, news.values)
        .map(({ key }) => key)
        .filter((key) => !ignored.has(key)),
    );
    const tags = allTags(news.values, rules);
    const response = new messages.UpdateResponse();
    if (request.getPreview()) {
      const state = carriedOver(definition, old.values, news.values);
      for (const key of changed) {
        // eslint-disable-next-line @typescript-eslint/no-unsafe-enum-assignment -- a resource's key
        for (const output of definition.unknownAfter?.[key] ?? []) {
          state[output] = unknown;
        }
      }
      if (definition.tagged === true) {
        state["tagsAll"] = tags;
      }
      response.setProperties(toStruct(state, secretsOf(definition, news)));
      return response;
    }
    await guarded([old, oldInputs, news], async () => {
      const retagged = definition.tagged === true && tagsDiffer(old.values, tags, rules);
      const work: Update<Values, Values> = {
        id: request.getId(),
        now: news.values,
        old: old.values,
        changed: (...keys) => keys.some((key) => changed.has(key) || (key === "tags" && retagged)),
        tags: tags as Record<string, string>,
        obsoleteTags: Object.keys((old.values["tagsAll"] ?? {}) as Values).filter(
          (key) => !(key in (tags as Values)) && !rules.ignores(key),
        ),
      };
      await definition.update?.(context, work);
      const state = carriedOver(definition, old.values, news.values);
      // The state of a creation that did not end well has no outputs yet.
      const halfMade = definition.outputs.every((key) => old.values[key] === undefined);
      response.setProperties(
        await this.finish(definition, context, request.getId(), news, state, halfMade),
      );
    });
    return response;
  }

  async delete(request: messages.DeleteRequest, peer: string): Promise<Empty> {
    const definition = this.definition(request.getUrn());
    const old = fromStruct(request.getProperties());
    const context = await this.context(peer);
    await guarded([old], () => definition.delete(context, request.getId(), old.values));
    return new Empty();
  }

  async invoke(request: messages.InvokeRequest, peer: string): Promise<messages.InvokeResponse> {
    const token = request.getTok();
    const definition = this.provider.functions.find((known) => known.token === token);
    if (definition === undefined) {
      throw new Error(
        `the function ${token} is not known to the local region; it knows ${list(this.provider.functions.map((known) => known.token))}`,
      );
    }
    const properties = fromStruct(request.getArgs());
    const strange = Object.keys(properties.values).filter(
      (key) => !definition.arguments.includes(key),
    );
    if (strange.length > 0) {
      throw new Error(
        `${token} has the argument ${list(strange)}, which the local region does not know; it knows ${list(definition.arguments)}`,
      );
    }
    const context = await this.context(peer);
    const result = await guarded([properties], () => definition.invoke(context, properties.values));
    const response = new messages.InvokeResponse();
    response.setReturn(
      toStruct({ ...properties.values, ...result }, [...definition.secrets, ...properties.secrets]),
    );
    return response;
  }

  /** The last part of a creation or update; what fails here leaves a resource that the state must know. */
  private async finish(
    definition: Resource<Context>,
    context: Context,
    id: string,
    inputs: Properties,
    before: Values,
    made = true,
  ): Promise<ReturnType<typeof toStruct>> {
    const secrets = secretsOf(definition, inputs);
    let state = before;
    try {
      if (made) {
        await definition.complete?.(context, id, inputs.values);
      }
      const actual = await definition.read(context, id, before);
      if (actual === undefined) {
        throw new Error(`${id} is gone right after it was made`);
      }
      state = stateOf(definition, before, actual, inputs.values, this.provider.tagRules(context));
      return toStruct(state, secrets);
    } catch (error) {
      const detail = new messages.ErrorResourceInitFailed();
      detail.setId(id);
      detail.setProperties(toStruct(state, secrets));
      detail.setInputs(toStruct(inputs.values, inputs.secrets));
      const reason = withoutSecrets(messageOf(error), [inputs]);
      detail.setReasonsList([reason]);
      throw new Unfinished(detail, reason);
    }
  }

  private definition(urn: string): Resource<Context> {
    const type = urnType(urn);
    const definition = this.provider.resources.find((known) => known.type === type);
    if (definition === undefined) {
      throw new Error(
        `the resource type ${type} (${urnName(urn)}) is not known to the local region; it knows ${list(this.provider.resources.map((known) => known.type))}`,
      );
    }
    return definition;
  }

  private async context(peer: string): Promise<Context> {
    // A connection that was idle comes back from another port.
    const context = this.byPeer.get(peer) ?? this.latest;
    if (context === undefined) {
      throw new Error(`the ${this.provider.name} provider is not configured`);
    }
    return context;
  }
}

/** What the engine adds to properties for itself. */
const engineKeys = new Set(["__defaults", "__internal", "version", "pluginDownloadURL"]);

const { Kind } = messages.PropertyDiff;
const replacing = new Set([Kind.ADD_REPLACE, Kind.DELETE_REPLACE, Kind.UPDATE_REPLACE]);

function urnType(urn: string): string {
  const types = urn.split("::")[2] ?? "";
  return types.slice(types.lastIndexOf("$") + 1);
}

function urnName(urn: string): string {
  return urn.split("::").slice(3).join("::");
}

function list(names: string[]): string {
  return [...names].sort((a, b) => a.localeCompare(b)).join(", ");
}

function keysOf(...objects: Values[]): string[] {
  return [...new Set(objects.flatMap((object) => Object.keys(object)))];
}

function failure(property: string, reason: string): messages.CheckFailure {
  const result = new messages.CheckFailure();
  result.setProperty(property);
  result.setReason(reason);
  return result;
}

/** Configuration values that are more than a text arrive as JSON. */
function structured(value: unknown): unknown {
  return typeof value === "string" && /^\s*[[{]/.test(value)
    ? (JSON.parse(value) as unknown)
    : value;
}

function generatedName(
  name: string,
  rule: NonNullable<Property["named"]>,
  seed: Uint8Array,
): string {
  const digits = Buffer.from(seed.length > 0 ? seed : randomBytes(8))
    .toString("hex")
    .slice(0, 7);
  const full = `${name.slice(0, (rule.maxLength ?? 255) - 8)}-${digits}`;
  return rule.lowerCase === true ? full.toLowerCase() : full;
}

interface Change {
  key: string;
  kind: messages.PropertyDiff.Kind;
}

function changes<Context>(
  definition: Resource<Context>,
  state: Values,
  oldInputs: Values,
  news: Values,
): Change[] {
  const result: Change[] = [];
  for (const [key, property] of Object.entries(definition.properties)) {
    const now = news[key];
    // An input that the program adds may say what is there already.
    const old = oldInputs[key] ?? (now === undefined ? undefined : state[key]);
    if (same(property, old, now) || (now === undefined && property.computed === true)) {
      continue;
    }
    const replace =
      typeof property.replaces === "function"
        ? property.replaces(old, now, news)
        : property.replaces === true;
    const [changed, replaced] =
      old === undefined
        ? [Kind.ADD, Kind.ADD_REPLACE]
        : now === undefined
          ? [Kind.DELETE, Kind.DELETE_REPLACE]
          : [Kind.UPDATE, Kind.UPDATE_REPLACE];
    result.push({ key, kind: replace ? replaced : changed });
  }
  return result;
}

function same(property: Property, old: unknown, now: unknown): boolean {
  if (equal(old, now) || (isEmpty(old) && isEmpty(now))) {
    return true;
  }
  if (containsUnknown(now)) {
    return false;
  }
  return (
    (property.compare === "unordered" && equalUnordered(old, now)) ||
    (property.compare === "json" && equalJson(old, now))
  );
}

function isEmpty(value: unknown): boolean {
  return value === undefined || (isObject(value) && Object.keys(value).length === 0);
}

interface Rules {
  defaults: Record<string, string>;
  ignores: (key: string) => boolean;
}

/** The program's tags and those of the whole stack, or the mark of the unknown. */
function allTags(inputs: Values, rules: Rules): Values | string {
  const tags = inputs["tags"] ?? {};
  if (containsUnknown(tags)) {
    return unknown;
  }
  return wanted({ ...rules.defaults, ...(tags as Values) }, rules);
}

function wanted(tags: Values, rules: Rules): Values {
  return Object.fromEntries(
    Object.entries(tags).filter(([key]) => !rules.ignores(key) && !key.startsWith("aws:")),
  );
}

function tagsDiffer(state: Values, tags: Values | string, rules: Rules): boolean {
  return !equal(wanted((state["tagsAll"] ?? {}) as Values, rules), tags);
}

function planned<Context>(
  definition: Resource<Context>,
  inputs: Values,
  tags: Values | string,
): Values {
  const computed = Object.entries(definition.properties)
    .filter(([, property]) => property.computed)
    .map(([key]) => key);
  const state: Values = Object.fromEntries(
    [...definition.outputs, ...computed].map((key) => [key, unknown]),
  );
  return {
    ...state,
    ...inputs,
    ...(definition.tagged === true ? { tagsAll: tags } : {}),
  };
}

/** The state that an update starts from: new inputs over what was there. */
function carriedOver<Context>(definition: Resource<Context>, old: Values, now: Values): Values {
  const kept = Object.entries(old).filter(
    ([key]) => !(key in definition.properties) || definition.properties[key]?.computed === true,
  );
  return { ...Object.fromEntries(kept), ...now };
}

/** The whole state: what was looked at over what can't be. */
function stateOf<Context>(
  definition: Resource<Context>,
  before: Values,
  actual: Values,
  inputs: Values,
  rules: Rules,
): Values {
  const known = new Set([...Object.keys(definition.properties), ...definition.outputs]);
  const merged = Object.fromEntries(
    Object.entries({ ...before, ...actual })
      .filter(([key]) => known.has(key))
      .map(([key, value]) => [
        key,
        // What means the same is kept as the program wrote it.
        same(definition.properties[key] ?? {}, before[key], value) ? before[key] : value,
      ]),
  );
  if (definition.tagged !== true) {
    return merged;
  }
  const tags = wanted((actual["tags"] ?? {}) as Values, rules);
  const own = (inputs["tags"] ?? {}) as Values;
  return {
    ...merged,
    tagsAll: tags,
    tags: Object.fromEntries(
      Object.entries(tags).filter(([key, value]) => key in own || rules.defaults[key] !== value),
    ),
  };
}

function refreshedInputs<Context>(
  definition: Resource<Context>,
  inputs: Values,
  actual: Values,
  state: Values,
): Values {
  const result = Object.fromEntries(
    Object.entries(inputs).map(([key, old]) => [
      key,
      key !== "tags" && key in actual ? refreshed(old, actual[key]) : old,
    ]),
  );
  // A tag that someone added is drift too.
  if (definition.tagged === true && (!isEmpty(inputs["tags"]) || !isEmpty(state["tags"]))) {
    result["tags"] = state["tags"];
  }
  return result;
}

function importedInputs<Context>(definition: Resource<Context>, state: Values): Values {
  return Object.fromEntries(
    Object.entries(state).filter(([key, value]) => {
      const property = definition.properties[key];
      return property !== undefined && property.noEffect === undefined && !isEmpty(value);
    }),
  );
}

function secretsOf<Context>(definition: Resource<Context>, properties: Properties): Set<string> {
  return new Set([...properties.secrets, ...(definition.secrets ?? [])]);
}

/** Runs something whose error must not show the secrets that it works with. */
async function guarded<Result>(
  properties: Properties[],
  work: () => Promise<Result>,
): Promise<Result> {
  try {
    return await work();
  } catch (error) {
    if (error instanceof Unfinished) {
      throw error;
    }
    throw new Error(withoutSecrets(messageOf(error), properties));
  }
}

function withoutSecrets(message: string, properties: Properties[]): string {
  const texts = properties
    .flatMap(({ values, secrets }) => [...secrets].flatMap((key) => textsOf(values[key])))
    .filter((text) => text.length > 0)
    .sort((a, b) => b.length - a.length);
  return texts.reduce((text, secret) => text.replaceAll(secret, "[secret]"), message);
}

function textsOf(value: unknown): string[] {
  if (typeof value === "string") {
    return [value];
  }
  return typeof value === "object" && value !== null ? Object.values(value).flatMap(textsOf) : [];
}
