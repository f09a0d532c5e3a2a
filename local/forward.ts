import { once } from "node:events";
import { createServer } from "node:net";
import { InvalidArgumentError } from "commander";
import { namespacePrefix, startForward } from "./region/network";
import type { StatusOfMachine } from "./region/status";
import { UserError } from "./toolchain/step";

/** Reads a port for Commander. */
export function portNumber(text: string): number {
  const port = Number(text);
  if (!/^\d+$/.test(text) || port < 1 || port > 65535) {
    throw new InvalidArgumentError("It must be a port, 1 to 65535.");
  }
  return port;
}

/**
 * Lets this computer reach a port that a machine opens for itself, until the signal.
 *
 * @param localPort of 127.0.0.1 here
 * @throws UserError where another program has that port, or the machine is off
 */
export async function forwardPort(
  machine: StatusOfMachine,
  port: number,
  localPort: number,
  signal: AbortSignal,
): Promise<void> {
  if (machine.leader === undefined) {
    throw new UserError(`${machine.name} is ${machine.state}, so no port of it is open.`);
  }
  await requireFree(localPort);
  const forward = await startForward({
    name: `forward-${localPort}`,
    listen: `127.0.0.1:${localPort}`,
    target: `127.0.0.1:${port}`,
    connectIn: namespacePrefix + machine.instanceId,
  });
  console.log(`127.0.0.1:${localPort} leads to port ${port} of ${machine.name}, until Ctrl-C.`);
  if (signal.aborted) {
    await forward.stop();
  }
  signal.addEventListener("abort", () => void forward.stop());
  const { exitCode } = await forward.ended;
  if (!signal.aborted) {
    throw new Error(`what forwards port ${localPort} ended with ${String(exitCode)}`);
  }
}

async function requireFree(port: number): Promise<void> {
  const server = createServer().listen(port, "127.0.0.1");
  try {
    await once(server, "listening");
  } catch (error) {
    throw new UserError(
      `Port ${port} of 127.0.0.1 can't be had (${(error as Error).message}); --local-port takes another one.`,
    );
  }
  server.close();
  await once(server, "close");
}
