import * as grpc from "@grpc/grpc-js";

function unknownError(error: unknown): Partial<grpc.StatusObject> {
  return { code: grpc.status.UNKNOWN, details: (error as Error).message };
}

/** Makes the response to a request; `peer` tells the connections apart. */
export type Handler<Request, Response> = (
  request: Request,
  peer: string,
) => Promise<Response> | Response;

/** Answers calls with what a handler makes, or with its error as `statusOf` puts it. */
export function unary<Request, Response>(
  handler: Handler<Request, Response>,
  statusOf: (error: unknown) => Partial<grpc.StatusObject> = unknownError,
): grpc.handleUnaryCall<Request, Response> {
  return (call, callback) => {
    void (async (): Promise<void> => {
      try {
        callback(null, await handler(call.request, call.getPeer()));
      } catch (error) {
        callback(statusOf(error));
      }
    })();
  };
}

/** Listens on a loopback port (0: any), and resolves to it. */
export function listen(server: grpc.Server, port = 0): Promise<number> {
  return new Promise((resolve, reject) => {
    server.bindAsync(`127.0.0.1:${port}`, grpc.ServerCredentials.createInsecure(), (error, at) => {
      if (error) {
        reject(error);
      } else {
        resolve(at);
      }
    });
  });
}
