import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { EC2Client } from "@aws-sdk/client-ec2";
import { IAMClient } from "@aws-sdk/client-iam";
import { awsCredentials, awsRegion } from "../../local/paths";
import { awsApiListener } from "../../local/region/awsApi";
import { LifecycleManager } from "../../local/region/lifecycleManager";

/** A front door to a moto behind which there is Data Lifecycle Manager too. */
export interface LifecycleFrontDoor {
  url: string;
  manager: LifecycleManager;
  stop: () => void;
}

/** Opens a front door to a moto on a free loopback port. */
export async function startLifecycleFrontDoor(motoUrl: string): Promise<LifecycleFrontDoor> {
  const client = { region: awsRegion, endpoint: motoUrl, credentials: awsCredentials };
  const clients = [new EC2Client(client), new IAMClient(client)] as const;
  const manager = new LifecycleManager(...clients);
  const server = createServer(
    awsApiListener(Number(new URL(motoUrl).port), (request, askMoto) =>
      request.service === "dlm" ? manager.answer(request) : askMoto(),
    ),
  );
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    manager,
    stop: (): void => {
      clients.forEach((each) => {
        each.destroy();
      });
      server.close();
    },
  };
}
