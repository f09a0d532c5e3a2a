import * as grpc from "@grpc/grpc-js";
import { EngineService } from "@pulumi/pulumi/proto/engine_grpc_pb";
import {
  type LogRequest,
  LogSeverity,
  SetRootResourceResponse,
} from "@pulumi/pulumi/proto/engine_pb";
import type { InvokeResponse } from "@pulumi/pulumi/proto/provider_pb";
import { ResourceMonitorService } from "@pulumi/pulumi/proto/resource_grpc_pb";
import {
  type RegisterResourceRequest,
  type RegisterResourceResponse,
  type ResourceInvokeRequest,
  type SupportsFeatureRequest,
  SupportsFeatureResponse,
} from "@pulumi/pulumi/proto/resource_pb";
import { Empty } from "google-protobuf/google/protobuf/empty_pb";
import { listen, unary } from "../local/grpc";
import { mockMonitor, type RegisteredResource } from "../local/mockEngine";

/** What a program has told its engine. */
export interface Registrations {
  resources: RegisteredResource[];
  /** When the last resource or its outputs were registered, on the clock of performance.now(). */
  lastAt: number;
  /** What the program complained of. */
  errors: string[];
}

/** A running engine, which is the resource monitor too. */
export interface Engine {
  /** Host and port. */
  address: string;
  registrations: Registrations;
  stop: () => void;
}

/**
 * Starts an engine for one run of one program in a process of its own. It answers at once, and as if
 * every resource of the stack were there, so that the program makes the user data of every machine.
 *
 * @param onLast is called when the program has registered all, and waits for leave to end
 */
export async function startEngine(
  stack: string,
  onLast: () => void = () => undefined,
): Promise<Engine> {
  const registrations: Registrations = { resources: [], lastAt: 0, errors: [] };
  const monitor = await mockMonitor(stack, registrations.resources);
  const nothing = unary(() => new Empty());
  const server = new grpc.Server();
  server.addService(ResourceMonitorService, {
    // All that the real engine supports, but for what the mocks can't read.
    supportsFeature: unary((request: SupportsFeatureRequest) =>
      new SupportsFeatureResponse().setHassupport(request.getId() !== "outputValues"),
    ),
    invoke: (
      { request }: grpc.ServerUnaryCall<ResourceInvokeRequest, InvokeResponse>,
      callback: grpc.sendUnaryData<InvokeResponse>,
    ): void => {
      void monitor.invoke(request, callback);
    },
    registerResource: (
      { request }: grpc.ServerUnaryCall<RegisterResourceRequest, RegisterResourceResponse>,
      callback: grpc.sendUnaryData<RegisterResourceResponse>,
    ): void => {
      registrations.lastAt = performance.now();
      void monitor.registerResource(request, callback);
    },
    registerResourceOutputs: unary(() => {
      registrations.lastAt = performance.now();
      return new Empty();
    }),
    registerResourceHook: nothing,
    signalAndWaitForShutdown: unary(() => {
      onLast();
      return new Empty();
    }),
  });
  server.addService(EngineService, {
    log: unary((request: LogRequest) => {
      if (request.getSeverity() === LogSeverity.ERROR) {
        registrations.errors.push(request.getMessage());
      }
      return new Empty();
    }),
    setRootResource: unary(() => new SetRootResourceResponse()),
  });
  const port = await listen(server);
  return {
    address: `127.0.0.1:${port}`,
    registrations,
    stop: (): void => {
      server.forceShutdown();
    },
  };
}
