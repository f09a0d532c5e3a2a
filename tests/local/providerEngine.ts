import * as grpc from "@grpc/grpc-js";
import { Empty } from "google-protobuf/google/protobuf/empty_pb";
import { Struct } from "google-protobuf/google/protobuf/struct_pb";
import type { PluginInfo } from "@pulumi/pulumi/proto/plugin_pb";
import { ResourceProviderClient } from "@pulumi/pulumi/proto/provider_grpc_pb";
import * as messages from "@pulumi/pulumi/proto/provider_pb";
import { Status } from "@pulumi/pulumi/proto/status_pb";
import { fromStruct, toStruct, type Values } from "../../local/provider/values";

/** A resource as the engine keeps it in its state. */
export interface Made {
  type: string;
  name: string;
  id: string;
  inputs: Values;
  state: Values;
  /** Names of the state's secrets. */
  secrets: string[];
}

/** What a diff says, sorted. */
export interface Diff {
  changes: string[];
  replaces: string[];
}

type Done<Response> = (error: grpc.ServiceError | null, response: Response) => void;

/** Talks to a provider as the engine does. */
export class Engine {
  private readonly client: ResourceProviderClient;

  constructor(port: number) {
    this.client = new ResourceProviderClient(
      `127.0.0.1:${port}`,
      grpc.credentials.createInsecure(),
      // Each provider resource of a stack has a connection of its own.
      { "grpc.use_local_subchannel_pool": 1 },
    );
  }

  close(): void {
    this.client.close();
  }

  private ask<Response>(start: (done: Done<Response>) => void): Promise<Response> {
    return new Promise((resolve, reject) => {
      start((error, response) => {
        if (error === null) {
          resolve(response);
        } else {
          reject(error);
        }
      });
    });
  }

  async version(): Promise<string> {
    return (
      await this.ask<PluginInfo>((done) => this.client.getPluginInfo(new Empty(), done))
    ).getVersion();
  }

  /** What is wrong with a configuration, which otherwise is used from now on. */
  async configure(configuration: Values): Promise<string[]> {
    const check = new messages.CheckRequest();
    check.setUrn(urnOf("pulumi:providers:any", "default"));
    check.setNews(toStruct(configuration));
    const failures = (
      await this.ask<messages.CheckResponse>((done) => this.client.checkConfig(check, done))
    ).getFailuresList();
    if (failures.length === 0) {
      const request = new messages.ConfigureRequest();
      request.setArgs(toStruct(configuration));
      request.setAcceptsecrets(true);
      await this.ask<messages.ConfigureResponse>((done) => this.client.configure(request, done));
    }
    return failures.map((failure) => failure.getReason());
  }

  async check(
    type: string,
    name: string,
    inputs: Values,
    old: Values = {},
    secrets: string[] = [],
  ): Promise<{ inputs: Values; struct: Struct | undefined; failures: string[] }> {
    const request = new messages.CheckRequest();
    request.setUrn(urnOf(type, name));
    request.setNews(toStruct(inputs, secrets));
    request.setOlds(toStruct(old));
    request.setRandomseed(Buffer.from("00112233445566", "hex"));
    const response = await this.ask<messages.CheckResponse>((done) =>
      this.client.check(request, done),
    );
    return {
      inputs: fromStruct(response.getInputs()).values,
      struct: response.getInputs(),
      failures: response
        .getFailuresList()
        .map((failure) => `${failure.getProperty()}: ${failure.getReason()}`),
    };
  }

  async previewCreate(type: string, name: string, inputs: Values): Promise<Values> {
    const request = new messages.CreateRequest();
    request.setUrn(urnOf(type, name));
    request.setProperties(toStruct(inputs));
    request.setPreview(true);
    const response = await this.ask<messages.CreateResponse>((done) =>
      this.client.create(request, done),
    );
    return fromStruct(response.getProperties()).values;
  }

  /** Checks inputs and creates. */
  async create(type: string, name: string, inputs: Values, secrets: string[] = []): Promise<Made> {
    const checked = await this.check(type, name, inputs, {}, secrets);
    if (checked.failures.length > 0) {
      throw new Error(checked.failures.join("\n"));
    }
    const request = new messages.CreateRequest();
    request.setUrn(urnOf(type, name));
    request.setProperties(checked.struct);
    const response = await this.ask<messages.CreateResponse>((done) =>
      this.client.create(request, done),
    );
    const state = fromStruct(response.getProperties());
    return {
      type,
      name,
      id: response.getId(),
      inputs: checked.inputs,
      state: state.values,
      secrets: [...state.secrets].sort(),
    };
  }

  async diff(made: Made, news: Values): Promise<Diff> {
    const request = new messages.DiffRequest();
    request.setUrn(urnOf(made.type, made.name));
    request.setId(made.id);
    request.setOlds(toStruct(made.state));
    request.setOldInputs(toStruct(made.inputs));
    request.setNews(toStruct(news));
    const response = await this.ask<messages.DiffResponse>((done) =>
      this.client.diff(request, done),
    );
    return {
      changes: response.getDiffsList().sort(),
      replaces: response.getReplacesList().sort(),
    };
  }

  async previewUpdate(made: Made, news: Values): Promise<Values> {
    const response = await this.ask<messages.UpdateResponse>((done) =>
      this.client.update(updateRequest(made, news, true), done),
    );
    return fromStruct(response.getProperties()).values;
  }

  async update(made: Made, news: Values): Promise<Made> {
    const response = await this.ask<messages.UpdateResponse>((done) =>
      this.client.update(updateRequest(made, news, false), done),
    );
    const state = fromStruct(response.getProperties());
    return { ...made, inputs: news, state: state.values, secrets: [...state.secrets].sort() };
  }

  /** A refresh, or undefined if the thing is gone. */
  async read(made: Made): Promise<Made | undefined> {
    const request = new messages.ReadRequest();
    request.setUrn(urnOf(made.type, made.name));
    request.setId(made.id);
    request.setProperties(toStruct(made.state, made.secrets));
    request.setInputs(toStruct(made.inputs));
    const response = await this.ask<messages.ReadResponse>((done) =>
      this.client.read(request, done),
    );
    const state = fromStruct(response.getProperties());
    return response.getId() === ""
      ? undefined
      : {
          ...made,
          id: response.getId(),
          inputs: fromStruct(response.getInputs()).values,
          state: state.values,
          secrets: [...state.secrets].sort(),
        };
  }

  /** A look at something that no state knows, as `pulumi import` does. */
  import(type: string, id: string): Promise<Made | undefined> {
    return this.read({ type, name: "imported", id, inputs: {}, state: {}, secrets: [] });
  }

  async delete(made: Made): Promise<void> {
    const request = new messages.DeleteRequest();
    request.setUrn(urnOf(made.type, made.name));
    request.setId(made.id);
    request.setProperties(toStruct(made.state, made.secrets));
    await this.ask<Empty>((done) => this.client.delete(request, done));
  }

  async invoke(token: string, args: Values): Promise<{ result: Values; secrets: string[] }> {
    const request = new messages.InvokeRequest();
    request.setTok(token);
    request.setArgs(toStruct(args));
    const response = await this.ask<messages.InvokeResponse>((done) =>
      this.client.invoke(request, done),
    );
    const { values, secrets } = fromStruct(response.getReturn());
    return { result: values, secrets: [...secrets].sort() };
  }
}

function updateRequest(made: Made, news: Values, preview: boolean): messages.UpdateRequest {
  const request = new messages.UpdateRequest();
  request.setUrn(urnOf(made.type, made.name));
  request.setId(made.id);
  request.setOlds(toStruct(made.state, made.secrets));
  request.setOldInputs(toStruct(made.inputs));
  request.setNews(toStruct(news));
  request.setPreview(preview);
  return request;
}

function urnOf(type: string, name: string): string {
  return `urn:pulumi:test::project::component:index:Parent$${type}::${name}`;
}

/** The resource that exists although its creation failed, as the engine learns of it. */
export function initFailed(error: unknown): messages.ErrorResourceInitFailed | undefined {
  const [details] = (error as grpc.ServiceError).metadata.get("grpc-status-details-bin");
  if (!Buffer.isBuffer(details)) {
    return undefined;
  }
  const [detail] = Status.deserializeBinary(details).getDetailsList();
  return (
    detail?.unpack(
      (bytes) => messages.ErrorResourceInitFailed.deserializeBinary(bytes),
      "pulumirpc.ErrorResourceInitFailed",
    ) ?? undefined
  );
}
