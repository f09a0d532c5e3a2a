import {
  CreateLifecyclePolicyCommand,
  type CreateLifecyclePolicyCommandInput,
  DeleteLifecyclePolicyCommand,
  DLMClient,
  GetLifecyclePoliciesCommand,
  type GetLifecyclePoliciesCommandInput,
  GetLifecyclePolicyCommand,
  ListTagsForResourceCommand,
  type Schedule,
  TagResourceCommand,
  UntagResourceCommand,
  UpdateLifecyclePolicyCommand,
} from "@aws-sdk/client-dlm";
import {
  CreateSnapshotCommand,
  CreateVolumeCommand,
  DeleteVolumeCommand,
  DescribeSnapshotsCommand,
  EC2Client,
  type Snapshot,
} from "@aws-sdk/client-ec2";
import { CreateRoleCommand, IAMClient } from "@aws-sdk/client-iam";
import { awsCredentials, awsRegion } from "../../local/paths";
import { type LifecycleFrontDoor, startLifecycleFrontDoor } from "./lifecycleFrontDoor";
import { type MotoServer, startMotoServer } from "./motoServer";

/* The region's Data Lifecycle Manager in front of a moto of its own, at times that the tests choose. */

const day = 24 * 3_600_000;
let moto: MotoServer;
let frontDoor: LifecycleFrontDoor;
let dlm: DLMClient;
let ec2: EC2Client;
let roleArn: string;
/** The first three o'clock to come; what these tests call a time is after it. */
let three: number;
let number = 0;

function schedule(changed: Partial<Schedule> = {}): Schedule {
  return {
    Name: "daily",
    CreateRule: { CronExpression: "cron(0 3 * * ? *)" },
    RetainRule: { Count: 2 },
    ...changed,
  };
}

/** A policy for the volumes with a tag that no other test's have. */
function policy(
  backup: string,
  schedules: Schedule[] = [schedule()],
  changed: Partial<CreateLifecyclePolicyCommandInput> = {},
): CreateLifecyclePolicyCommandInput {
  return {
    Description: "backups",
    ExecutionRoleArn: roleArn,
    State: "ENABLED",
    PolicyDetails: {
      ResourceTypes: ["VOLUME"],
      TargetTags: [{ Key: "backup", Value: backup }],
      Schedules: schedules,
    },
    ...changed,
  };
}

async function createPolicy(input: CreateLifecyclePolicyCommandInput): Promise<string> {
  const { PolicyId = "" } = await dlm.send(new CreateLifecyclePolicyCommand(input));
  return PolicyId;
}

async function createVolume(tags: Record<string, string>): Promise<string> {
  const { VolumeId = "" } = await ec2.send(
    new CreateVolumeCommand({
      AvailabilityZone: `${awsRegion}a`,
      Size: 1,
      TagSpecifications: [
        {
          ResourceType: "volume",
          Tags: Object.entries(tags).map(([Key, Value]) => ({ Key, Value })),
        },
      ],
    }),
  );
  return VolumeId;
}

async function snapshotsOf(volumeId: string): Promise<Snapshot[]> {
  const Filters = [{ Name: "volume-id", Values: [volumeId] }];
  const { Snapshots } = await ec2.send(new DescribeSnapshotsCommand({ Filters }));
  return Snapshots ?? [];
}

function idsOf(snapshots: Snapshot[]): (string | undefined)[] {
  return snapshots.map(({ SnapshotId }) => SnapshotId);
}

function tagsOf({ Tags }: Snapshot): Record<string, string | undefined> {
  return Object.fromEntries((Tags ?? []).map(({ Key = "", Value }) => [Key, Value]));
}

/** Lets the clock be so many days after the first three o'clock. */
async function at(days: number): Promise<void> {
  await frontDoor.manager.run(new Date(three + days * day));
}

/** A tag's value that no other test has. */
function own(): string {
  number += 1;
  return `test${number}`;
}

beforeAll(async () => {
  jest.spyOn(console, "log").mockImplementation();
  moto = await startMotoServer([]);
  frontDoor = await startLifecycleFrontDoor(moto.url);
  const client = { region: awsRegion, endpoint: frontDoor.url, credentials: awsCredentials };
  dlm = new DLMClient(client);
  ec2 = new EC2Client(client);
  const { Role } = await new IAMClient(client).send(
    new CreateRoleCommand({
      RoleName: "lifecycle",
      AssumeRolePolicyDocument: JSON.stringify({
        Statement: [
          {
            Effect: "Allow",
            Action: "sts:AssumeRole",
            Principal: { Service: "dlm.amazonaws.com" },
          },
        ],
      }),
    }),
  );
  roleArn = Role?.Arn ?? "";
});

beforeEach(() => {
  const now = Date.now();
  // The next one, as policies look at each that passes.
  three = now - (now % day) + 3 * 3_600_000;
  three += three > now ? 0 : day;
});

afterAll(async () => {
  dlm.destroy();
  ec2.destroy();
  frontDoor.stop();
  await moto.stop();
});

afterEach(async () => {
  const { Policies } = await dlm.send(new GetLifecyclePoliciesCommand({}));
  for (const { PolicyId } of Policies ?? []) {
    await dlm.send(new DeleteLifecyclePolicyCommand({ PolicyId }));
  }
});

test("a policy makes a snapshot at each of its times, of each volume with one of its tags", async () => {
  const [one, two] = [await createVolume({ backup: own() }), await createVolume({ a: own() })];
  const other = await createVolume({ backup: own() });
  const TargetTags = [
    { Key: "backup", Value: `test${number - 2}` },
    { Key: "a", Value: `test${number - 1}` },
  ];
  const { PolicyDetails, ...rest } = policy("");
  await createPolicy({ ...rest, PolicyDetails: { ...PolicyDetails, TargetTags } });
  await at(-0.01);
  expect(await snapshotsOf(one)).toEqual([]);
  await at(0);
  await at(0.5);
  await at(0.99);
  for (const id of [one, two]) {
    expect(await snapshotsOf(id)).toEqual([
      expect.objectContaining({ State: "completed", VolumeId: id }),
    ]);
  }
  expect(await snapshotsOf(other)).toEqual([]);
  await at(1);
  expect(await snapshotsOf(one)).toHaveLength(2);
});

test("it keeps the newest of its own snapshots of each volume, and touches no other one", async () => {
  const backup = own();
  const [one, two] = [await createVolume({ backup }), await createVolume({ backup })];
  const { SnapshotId: byHand } = await ec2.send(new CreateSnapshotCommand({ VolumeId: one }));
  await createPolicy(policy(backup));
  const made: (string | undefined)[] = [];
  for (let days = 0; days < 5; days += 1) {
    await at(days);
    made.push((await snapshotsOf(one)).at(-1)?.SnapshotId);
  }
  expect(new Set(made).size).toBe(5);
  expect(idsOf(await snapshotsOf(one))).toEqual([byHand, ...made.slice(-2)]);
  expect(await snapshotsOf(two)).toHaveLength(2);
  await ec2.send(new DeleteVolumeCommand({ VolumeId: two }));
  await at(5);
  // Nobody but their owner deletes the snapshots of a volume that is gone.
  expect(await snapshotsOf(two)).toHaveLength(2);
});

test("a snapshot has the volume's tags, the schedule's and the service's own", async () => {
  const backup = own();
  const id = await createVolume({ backup, Name: "data", of: "the volume" });
  const TagsToAdd = [{ Key: "of", Value: "the schedule" }];
  const PolicyId = await createPolicy(policy(backup, [schedule({ CopyTags: true, TagsToAdd })]));
  await at(0);
  const [snapshot = {}] = await snapshotsOf(id);
  const service = {
    "aws:dlm:lifecycle-policy-id": PolicyId,
    "aws:dlm:lifecycle-schedule-name": "daily",
    "dlm:managed": "true",
  };
  expect(tagsOf(snapshot)).toEqual({ backup, Name: "data", of: "the schedule", ...service });
  expect(snapshot.Description).toBe(`Created for policy: ${PolicyId} schedule: daily`);
  const withoutTags = await createVolume({ backup: own() });
  const another = await createPolicy(policy(`test${number}`));
  await at(1);
  expect(tagsOf((await snapshotsOf(withoutTags))[0] ?? {})).toEqual({
    ...service,
    "aws:dlm:lifecycle-policy-id": another,
  });
});

test("schedules that are due together make one snapshot, which the one that keeps more of them owns", async () => {
  const backup = own();
  const id = await createVolume({ backup });
  const weekday = 1 + new Date(three).getUTCDay();
  await createPolicy(
    policy(backup, [
      schedule({ TagsToAdd: [{ Key: "daily", Value: "yes" }] }),
      schedule({
        Name: "weekly",
        CreateRule: { CronExpression: `cron(0 3 ? * ${weekday} *)` },
        RetainRule: { Count: 4 },
        TagsToAdd: [{ Key: "weekly", Value: "yes" }],
      }),
    ]),
  );
  for (let days = 0; days < 10; days += 1) {
    await at(days);
  }
  const tags = (await snapshotsOf(id)).map(tagsOf);
  expect(tags.map((each) => each["aws:dlm:lifecycle-schedule-name"])).toEqual([
    "weekly",
    "weekly",
    "daily",
    "daily",
  ]);
  expect(tags[0]).toMatchObject({ daily: "yes", weekly: "yes" });
  expect(tags[2]).not.toHaveProperty("weekly");
});

test("an interval starts at its time, or at one that the service chooses", async () => {
  const backup = own();
  const id = await createVolume({ backup });
  const CreateRule = { Interval: 12, IntervalUnit: "HOURS" as const, Times: ["03:00"] };
  const PolicyId = await createPolicy(policy(backup, [schedule({ CreateRule })]));
  await at(0);
  await at(0.49);
  expect(await snapshotsOf(id)).toHaveLength(1);
  await at(0.5);
  expect(await snapshotsOf(id)).toHaveLength(2);
  const { PolicyDetails } = policy(backup, [schedule({ CreateRule: { Interval: 24 } })]);
  await dlm.send(new UpdateLifecyclePolicyCommand({ PolicyId, PolicyDetails }));
  const { Policy } = await dlm.send(new GetLifecyclePolicyCommand({ PolicyId }));
  expect(Policy?.PolicyDetails?.Schedules?.[0]?.CreateRule).toEqual({
    Location: "CLOUD",
    Interval: 24,
    IntervalUnit: "HOURS",
    Times: [expect.stringMatching(/^\d\d:\d\d$/)],
  });
});

test("a policy works while it is enabled, and as it was last changed", async () => {
  const backup = own();
  const id = await createVolume({ backup });
  const PolicyId = await createPolicy(policy(backup, undefined, { State: "DISABLED" }));
  await at(0);
  expect(await snapshotsOf(id)).toEqual([]);
  await dlm.send(new UpdateLifecyclePolicyCommand({ PolicyId, State: "ENABLED" }));
  // The time that it has missed does not come back.
  await at(0.1);
  expect(await snapshotsOf(id)).toEqual([]);
  const { PolicyDetails } = policy(backup, [
    schedule({ CreateRule: { CronExpression: "cron(0 4 * * ? *)" }, RetainRule: { Count: 1 } }),
  ]);
  await dlm.send(new UpdateLifecyclePolicyCommand({ PolicyId, PolicyDetails }));
  await at(1);
  expect(await snapshotsOf(id)).toEqual([]);
  await at(1 + 1 / 24);
  expect(await snapshotsOf(id)).toHaveLength(1);
  await dlm.send(new DeleteLifecyclePolicyCommand({ PolicyId }));
  await at(3);
  expect(await snapshotsOf(id)).toHaveLength(1);
});

test("policies are told of, found by what they are for, and tagged", async () => {
  const backup = own();
  const Tags = { Name: "backup" };
  const PolicyId = await createPolicy(policy(backup, undefined, { Tags }));
  await createPolicy(policy(own(), undefined, { State: "DISABLED" }));
  const { Policy } = await dlm.send(new GetLifecyclePolicyCommand({ PolicyId }));
  expect(Policy).toMatchObject({
    PolicyId,
    Description: "backups",
    State: "ENABLED",
    ExecutionRoleArn: roleArn,
    DateCreated: expect.any(Date) as Date,
    DateModified: expect.any(Date) as Date,
    PolicyDetails: {
      PolicyType: "EBS_SNAPSHOT_MANAGEMENT",
      ResourceTypes: ["VOLUME"],
      ResourceLocations: ["CLOUD"],
      TargetTags: [{ Key: "backup", Value: backup }],
      Schedules: [{ ...schedule(), CopyTags: false }],
    },
    Tags,
    PolicyArn: `arn:aws:dlm:${awsRegion}:123456789012:policy/${PolicyId}`,
  });
  const found = async (
    filter: GetLifecyclePoliciesCommandInput,
  ): Promise<(string | undefined)[]> => {
    const { Policies } = await dlm.send(new GetLifecyclePoliciesCommand(filter));
    return (Policies ?? []).map((each) => each.PolicyId);
  };
  expect(await found({})).toHaveLength(2);
  expect(await found({ PolicyIds: [PolicyId] })).toEqual([PolicyId]);
  expect(await found({ State: "ENABLED" })).toEqual([PolicyId]);
  expect(await found({ TargetTags: [`backup=${backup}`] })).toEqual([PolicyId]);
  expect(await found({ TagsToAdd: ["none=none"] })).toEqual([]);
  const ResourceArn = Policy?.PolicyArn;
  await dlm.send(new TagResourceCommand({ ResourceArn, Tags: { more: "yes" } }));
  await dlm.send(new UntagResourceCommand({ ResourceArn, TagKeys: ["Name"] }));
  expect((await dlm.send(new ListTagsForResourceCommand({ ResourceArn }))).Tags).toEqual({
    more: "yes",
  });
});

const details = policy("any").PolicyDetails;

test.each<[string, Partial<CreateLifecyclePolicyCommandInput>, RegExp]>([
  ["no details", { PolicyDetails: undefined }, /missing: \{PolicyDetails\}/],
  [
    "no target tags",
    { PolicyDetails: { ...details, TargetTags: undefined } },
    /^The following required parameter\(s\) are missing: \{TargetTags\}$/,
  ],
  [
    "no rule for when",
    { PolicyDetails: { ...details, Schedules: [schedule({ CreateRule: {} })] } },
    /missing: \{CronExpression, Interval\}/,
  ],
  [
    "two rules for when",
    {
      PolicyDetails: {
        ...details,
        Schedules: [
          schedule({ CreateRule: { CronExpression: "cron(0 3 * * ? *)", Interval: 24 } }),
        ],
      },
    },
    /mutually exclusive/,
  ],
  [
    "a wrong cron expression",
    {
      PolicyDetails: {
        ...details,
        Schedules: [schedule({ CreateRule: { CronExpression: "cron(0 3 * * * *)" } })],
      },
    },
    /Invalid cron expression cron\(0 3 \* \* \* \*\): /,
  ],
  [
    "an interval that does not divide a day",
    { PolicyDetails: { ...details, Schedules: [schedule({ CreateRule: { Interval: 5 } })] } },
    /CreateRule.Interval: /,
  ],
  [
    "no snapshot to keep",
    { PolicyDetails: { ...details, Schedules: [schedule({ RetainRule: { Count: 0 } })] } },
    /RetainRule.Count: /,
  ],
  [
    "five schedules",
    { PolicyDetails: { ...details, Schedules: Array(5).fill(schedule()) as Schedule[] } },
    /PolicyDetails.Schedules: /,
  ],
  ["a description with a dot", { Description: "Backups." }, /^Description: /],
  ["a state that there is not", { State: "ON" as "ENABLED" }, /^State: /],
  [
    "a role that there is not",
    { ExecutionRoleArn: "arn:aws:iam::123456789012:role/none" },
    /can't be assumed by dlm.amazonaws.com/,
  ],
  [
    "what the local region does not do",
    { PolicyDetails: { ...details, ResourceTypes: ["INSTANCE"] } },
    /expected "VOLUME"\. The local region makes snapshots of volumes/,
  ],
])("a policy with %s is refused", async (_, changed, message) => {
  const refused = createPolicy(policy("any", undefined, changed));
  await expect(refused).rejects.toThrow(message);
  await expect(refused).rejects.toMatchObject({
    name: "InvalidRequestException",
    $metadata: { httpStatusCode: 400 },
  });
});

test("a change that is refused changes nothing", async () => {
  const PolicyId = await createPolicy(policy(own()));
  const { Policy: before } = await dlm.send(new GetLifecyclePolicyCommand({ PolicyId }));
  const PolicyDetails = { ...details, Schedules: [schedule({ CreateRule: {} })] };
  await expect(
    dlm.send(new UpdateLifecyclePolicyCommand({ PolicyId, State: "DISABLED", PolicyDetails })),
  ).rejects.toThrow(/missing/);
  const { Policy: after } = await dlm.send(new GetLifecyclePolicyCommand({ PolicyId }));
  expect(after).toEqual(before);
});

test("a policy that is gone is not found", async () => {
  const PolicyId = await createPolicy(policy(own()));
  await dlm.send(new DeleteLifecyclePolicyCommand({ PolicyId }));
  const notFound = { name: "ResourceNotFoundException", $metadata: { httpStatusCode: 404 } };
  await expect(dlm.send(new GetLifecyclePolicyCommand({ PolicyId }))).rejects.toMatchObject(
    notFound,
  );
  await expect(dlm.send(new DeleteLifecyclePolicyCommand({ PolicyId }))).rejects.toMatchObject(
    notFound,
  );
});
