import { EC2Client } from "@aws-sdk/client-ec2";
import { IAMClient } from "@aws-sdk/client-iam";
import { awsCredentials, awsRegion } from "../../local/paths";
import { LifecycleManager } from "../../local/region/lifecycleManager";
import { type FrontDoor, startFrontDoor } from "./frontDoor";

/** A front door to a moto behind which there is Data Lifecycle Manager too. */
export interface LifecycleFrontDoor extends FrontDoor {
  manager: LifecycleManager;
}

/** Opens a front door to a moto on a free loopback port. */
export async function startLifecycleFrontDoor(motoUrl: string): Promise<LifecycleFrontDoor> {
  const client = { region: awsRegion, endpoint: motoUrl, credentials: awsCredentials };
  const clients = [new EC2Client(client), new IAMClient(client)] as const;
  const manager = new LifecycleManager(...clients);
  const frontDoor = await startFrontDoor(motoUrl, (request, askMoto) =>
    request.service === "dlm" ? manager.answer(request) : askMoto(),
  );
  return {
    ...frontDoor,
    manager,
    stop: (): void => {
      clients.forEach((each) => {
        each.destroy();
      });
      frontDoor.stop();
    },
  };
}
