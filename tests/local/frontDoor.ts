import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { type AwsHandler, awsApiListener } from "../../local/region/awsApi";

/** A front door to a moto. */
export interface FrontDoor {
  url: string;
  stop: () => void;
}

/** Opens a front door to a moto on a free loopback port. */
export async function startFrontDoor(motoUrl: string, handle: AwsHandler): Promise<FrontDoor> {
  const server = createServer(awsApiListener(Number(new URL(motoUrl).port), handle));
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    stop: (): void => {
      server.close();
    },
  };
}
