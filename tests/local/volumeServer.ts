import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { DescribeVolumesCommand, EC2Client } from "@aws-sdk/client-ec2";
import { awsCredentials, awsRegion } from "../../local/paths";
import { awsApiListener } from "../../local/region/awsApi";
import { Snapshots } from "../../local/region/snapshots";
import { Volumes } from "../../local/region/volumes";

/*
 * What the region does with volumes, without the rest of it: a front door to a moto, and the volumes that
 * EC2 tells of in the mount namespaces of processes. Prints its port.
 */
const { motoUrl = "", leaders = "{}" } = process.env;
const ec2 = new EC2Client({ region: awsRegion, endpoint: motoUrl, credentials: awsCredentials });
/** Process ids by instance id. */
const leaderOf = JSON.parse(leaders) as Record<string, number>;
const volumes = new Volumes((id) => leaderOf[id]);

async function look(): Promise<void> {
  const { Volumes: all } = await ec2.send(new DescribeVolumesCommand({}));
  await volumes.reconcile(
    (all ?? []).map(({ VolumeId: id = "", Size = 0, Attachments }) => ({
      id,
      size: Size * 2 ** 30,
      instanceId: Attachments?.[0]?.InstanceId,
    })),
  );
}

const snapshots = new Snapshots(ec2, volumes, look);
const server = createServer(
  awsApiListener(Number(new URL(motoUrl).port), async (request, askMoto) => {
    const answer = await snapshots.answer(request, askMoto);
    if (request.action !== "CreateSnapshot") {
      await look();
    }
    return answer;
  }),
);
server.listen(0, "127.0.0.1", () => {
  console.log((server.address() as AddressInfo).port);
});
