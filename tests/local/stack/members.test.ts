import { CreateTagsCommand, EC2Client } from "@aws-sdk/client-ec2";
import { GetParameterCommand, PutParameterCommand, SSMClient } from "@aws-sdk/client-ssm";
import { dataVolumes } from "../../../backup/volumes";
import { awsApiUrl, awsCredentials, awsRegion } from "../../../local/paths";
import { imageHasMongoStandIn } from "../../../local/toolchain/machineImage";
import { instanceIds, localCommand, machines, type Update, upStack, updateWith } from "./stack";

jest.setTimeout(400_000);

const client = { region: awsRegion, endpoint: awsApiUrl, credentials: awsCredentials };
const ec2 = new EC2Client(client);
const zones = ["a", "b", "c"].map((zone) => `${awsRegion}${zone}`);
const three = { mongoMembers: 3, mongoZones: zones };

beforeAll(async () => {
  await upStack();
});

afterAll(() => {
  localCommand("down");
});

/** Lets a machine have told this of itself. */
async function tagReady(instanceId: string, word: string): Promise<void> {
  const Tags = [{ Key: "ready", Value: `${instanceId} ${word}` }];
  await ec2.send(new CreateTagsCommand({ Resources: [instanceId], Tags }));
}

/**
 * An update in which the members 2 and 3 are taken for ready where FerretDB stands in for MongoDB, whose sets have
 * one member. What is tested here is the engine's part: in which order, and that it waits.
 */
async function updateVouched(values: Record<string, unknown>): Promise<Update> {
  const vouch = async (): Promise<void> => {
    for (const { name, instanceId, ready } of machines()) {
      if (/-mongo[23]$/.test(name) && ready !== "true") {
        await tagReady(instanceId, "true");
      }
    }
  };
  let last = Promise.resolve();
  const timer = setInterval(() => {
    last = last.then(vouch);
  }, 2000);
  if (!imageHasMongoStandIn()) {
    clearInterval(timer);
  }
  try {
    return await updateWith(values);
  } finally {
    clearInterval(timer);
    await last;
  }
}

/** What was done to members' machines and gates, in order. */
function memberSteps({ steps }: Update): string[] {
  return steps
    .filter(({ name }) => /^mongo-member\d-(instance|gate-live)$/.test(name))
    .map(({ operation, name }) => `${operation} ${name}`);
}

async function volumes(): Promise<[string | undefined, string | undefined][]> {
  return (await dataVolumes(ec2, "meteor-scale-local")).map((volume) => [
    volume.VolumeId,
    volume.AvailabilityZone,
  ]);
}

test("two members join the one that runs, one after the other, each in a zone of its own", async () => {
  const before = instanceIds();
  const [first] = await volumes();
  const update = await updateVouched(three);
  expect(update.status).toBe(0);
  expect(memberSteps(update)).toEqual([
    "create mongo-member3-instance",
    "create mongo-member3-gate-live",
    "create mongo-member2-instance",
    "create mongo-member2-gate-live",
  ]);
  expect(instanceIds()["mongo1"]).toBe(before["mongo1"]);
  const now = await volumes();
  expect(now[0]).toEqual(first);
  expect(now.map(([, zone]) => zone)).toEqual(zones);
});

test("members change one at a time, that in Meteor's zone last, and each keeps its volume", async () => {
  const [ids, disks] = [instanceIds(), await volumes()];
  const update = await updateVouched({ ...three, mongoInstanceType: "r7a.medium" });
  expect(update.status).toBe(0);
  expect(memberSteps(update)).toEqual(
    [3, 2, 1].flatMap((number) => [
      `delete-replaced mongo-member${number}-instance`,
      `create-replacement mongo-member${number}-instance`,
      `update mongo-member${number}-gate-live`,
    ]),
  );
  const now = instanceIds();
  for (const name of Object.keys(ids)) {
    expect([name, now[name] !== ids[name]]).toEqual([name, name.startsWith("mongo")]);
  }
  expect(await volumes()).toEqual(disks);
});

test("a member that is not ready, or has failed, stops the change, as often as it is run", async () => {
  // With MongoDB itself it is this that keeps it out; FerretDB's set takes no other member anyway.
  const ssm = new SSMClient(client);
  const Name = "/meteor-scale/local/mongo/KEY_FILE";
  const { Parameter } = await ssm.send(new GetParameterCommand({ Name, WithDecryption: true }));
  const put = (Value: string): Promise<unknown> =>
    ssm.send(new PutParameterCommand({ Name, Value, Type: "SecureString", Overwrite: true }));
  await put(Buffer.alloc(512, "what the other members do not have").toString("base64"));
  const before = instanceIds();
  for (const reason of [/is not ready after 60 s/, /failed in set-up-replica-set: at last/]) {
    const { status, output } = await updateWith({ ...three, readyTimeout: 60 });
    expect(status).not.toBe(0);
    expect(output).toMatch(new RegExp(`mongo3 \\(i-[0-9a-f]+\\) ${reason.source}`));
    const now = instanceIds();
    expect(now).toEqual({ ...before, mongo3: now["mongo3"] });
    // So the second run need not wait.
    await tagReady(now["mongo3"] ?? "", "failed: set-up-replica-set: at last");
  }
  await put(Parameter?.Value ?? "");
});

test("three members are not made one again", async () => {
  const { status, output, steps } = await updateWith({});
  expect(output).toMatch(/mongoMembers is 1, but the replica set has 3 members/);
  expect([status === 0, steps]).toEqual([false, []]);
});
