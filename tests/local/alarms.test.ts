import {
  CloudWatchClient,
  DeleteAlarmsCommand,
  DescribeAlarmsCommand,
  GetMetricDataCommand,
  type MetricAlarm,
  PutMetricAlarmCommand,
  type PutMetricAlarmCommandInput,
  PutMetricDataCommand,
  SetAlarmStateCommand,
} from "@aws-sdk/client-cloudwatch";
import {
  CloudWatchLogsClient,
  CreateLogGroupCommand,
  CreateLogStreamCommand,
  GetLogEventsCommand,
  PutLogEventsCommand,
} from "@aws-sdk/client-cloudwatch-logs";
import {
  ConfirmSubscriptionCommand,
  CreateTopicCommand,
  DeleteTopicCommand,
  GetSubscriptionAttributesCommand,
  ListSubscriptionsByTopicCommand,
  PublishBatchCommand,
  PublishCommand,
  SNSClient,
  SubscribeCommand,
  UnsubscribeCommand,
} from "@aws-sdk/client-sns";
import { SmithyRpcV2CborProtocol } from "@smithy/core/cbor";
import { awsCredentials, awsRegion } from "../../local/paths";
import { type AlarmsFrontDoor, type SentMail, startAlarmsFrontDoor } from "./alarmsFrontDoor";
import { type MotoServer, startMotoServer } from "./motoServer";

/* The region's alarms and mails in front of a moto of its own, at times that the tests choose. */

const namespace = "stack";
const reader = "ops@example.com";
let moto: MotoServer;
let frontDoor: AlarmsFrontDoor;
let cloudwatch: CloudWatchClient;
let logs: CloudWatchLogsClient;
let sns: SNSClient;
let number = 0;
let topicArn: string;
let name: string;

/** Some whole minute. */
const start = Math.floor(Date.now() / 60_000) * 60_000 - 3_600_000;
const at = (minutes: number): Date => new Date(start + minutes * 60_000);

async function putAlarm(changed: Partial<PutMetricAlarmCommandInput> = {}): Promise<void> {
  await cloudwatch.send(
    new PutMetricAlarmCommand({
      AlarmName: name,
      AlarmDescription: "too few hosts",
      Namespace: namespace,
      MetricName: name,
      Dimensions: [{ Name: "machine", Value: "balancer" }],
      Statistic: "Minimum",
      Period: 60,
      EvaluationPeriods: 2,
      ComparisonOperator: "LessThanThreshold",
      Threshold: 3,
      AlarmActions: [topicArn],
      OKActions: [topicArn],
      ...changed,
    }),
  );
}

/** Writes a value of each of some minutes, a few seconds after its beginning. */
async function write(values: number[], first: number, more: object = {}): Promise<void> {
  await cloudwatch.send(
    new PutMetricDataCommand({
      Namespace: namespace,
      MetricData: values.map((Value, index) => ({
        MetricName: name,
        Dimensions: [{ Name: "machine", Value: "balancer" }],
        Timestamp: new Date(at(first + index).getTime() + 7000),
        Value,
      })),
      ...more,
    }),
  );
}

async function alarm(): Promise<MetricAlarm> {
  const { MetricAlarms } = await cloudwatch.send(new DescribeAlarmsCommand({ AlarmNames: [name] }));
  return MetricAlarms?.[0] ?? {};
}

async function subscribe(endpoint = reader): Promise<{ arn: string; link: string }> {
  const { SubscriptionArn: arn = "" } = await sns.send(
    new SubscribeCommand({
      TopicArn: topicArn,
      Protocol: "email",
      Endpoint: endpoint,
      ReturnSubscriptionArn: true,
    }),
  );
  const [mail] = frontDoor.mails();
  return { arn, link: /^http.*$/m.exec(mail?.text ?? "")?.[0] ?? "" };
}

async function subscribed(): Promise<string> {
  const { arn, link } = await subscribe();
  expect((await fetch(link)).status).toBe(200);
  return arn;
}

const subjects = (mails: SentMail[]): string[] => mails.map(({ subject }) => subject);

beforeAll(async () => {
  jest.spyOn(console, "log").mockImplementation();
  moto = await startMotoServer([]);
  frontDoor = await startAlarmsFrontDoor(moto.url);
  const client = { region: awsRegion, endpoint: frontDoor.url, credentials: awsCredentials };
  cloudwatch = new CloudWatchClient(client);
  logs = new CloudWatchLogsClient(client);
  sns = new SNSClient(client);
});

afterAll(async () => {
  [cloudwatch, logs, sns].forEach((client) => {
    client.destroy();
  });
  frontDoor.stop();
  await moto.stop();
});

beforeEach(async () => {
  number += 1;
  name = `test${number}`;
  const { TopicArn = "" } = await sns.send(new CreateTopicCommand({ Name: name }));
  topicArn = TopicArn;
});

afterEach(async () => {
  await cloudwatch.send(new DeleteAlarmsCommand({ AlarmNames: [name] }));
  await sns.send(new DeleteTopicCommand({ TopicArn: topicArn }));
  frontDoor.mails();
});

describe("a subscription by email", () => {
  const publish = async (): Promise<SentMail[]> => {
    await sns.send(
      new PublishCommand({ TopicArn: topicArn, Subject: "News", Message: "All is wéll." }),
    );
    return frontDoor.mails();
  };
  const attributes = async (arn: string): Promise<Record<string, string> | undefined> =>
    (await sns.send(new GetSubscriptionAttributesCommand({ SubscriptionArn: arn }))).Attributes;

  test("gets no mail but the first one until its link is followed", async () => {
    const { arn, link } = await subscribe();
    expect(await attributes(arn)).toMatchObject({ PendingConfirmation: "true", Endpoint: reader });
    expect(await publish()).toEqual([]);
    expect((await fetch(link)).status).toBe(200);
    expect(await attributes(arn)).toMatchObject({ PendingConfirmation: "false" });
    expect(await publish()).toEqual([
      { to: reader, subject: "News", text: expect.stringContaining("All is wéll.") as string },
    ]);
  });

  test("is confirmed by its token, and by no other", async () => {
    const { arn, link } = await subscribe();
    const token = new URL(link).searchParams.get("Token") ?? "";
    const confirm = (Token: string): Promise<{ SubscriptionArn?: string }> =>
      sns.send(new ConfirmSubscriptionCommand({ TopicArn: topicArn, Token }));
    await expect(confirm("f".repeat(64))).rejects.toThrow(/Invalid parameter: Token/);
    expect(await publish()).toEqual([]);
    expect((await confirm(token)).SubscriptionArn).toBe(arn);
    expect(subjects(await publish())).toEqual(["News"]);
  });

  test("has no ARN in lists before, nor for who does not ask for it", async () => {
    const { SubscriptionArn } = await sns.send(
      new SubscribeCommand({ TopicArn: topicArn, Protocol: "email", Endpoint: reader }),
    );
    expect(SubscriptionArn).toBe("pending confirmation");
    const { Subscriptions } = await sns.send(
      new ListSubscriptionsByTopicCommand({ TopicArn: topicArn }),
    );
    expect(Subscriptions).toMatchObject([{ SubscriptionArn: "PendingConfirmation" }]);
  });

  test("is ended by its link, but not while it waits", async () => {
    const { arn, link } = await subscribe();
    await expect(sns.send(new UnsubscribeCommand({ SubscriptionArn: arn }))).rejects.toThrow(
      /Cannot unsubscribe a subscription that is pending confirmation/,
    );
    await fetch(link);
    const [mail] = await publish();
    const leave = /^http.*Unsubscribe.*$/m.exec(mail?.text ?? "")?.[0] ?? "";
    expect((await fetch(leave)).status).toBe(200);
    expect(await publish()).toEqual([]);
  });

  test("is asked about again where it still waits, and not where it is confirmed", async () => {
    const { link } = await subscribe();
    const again = await subscribe();
    expect(again.link).not.toBe(link);
    await fetch(again.link);
    expect((await subscribe()).link).toBe("");
  });

  test("needs an address", async () => {
    await expect(subscribe("somewhere")).rejects.toThrow(/Invalid email address/);
  });

  test("gets its own text of a message, and each message of a batch", async () => {
    await subscribed();
    const Message = JSON.stringify({ default: "for programs", email: "for people" });
    await sns.send(
      new PublishBatchCommand({
        TopicArn: topicArn,
        PublishBatchRequestEntries: [
          { Id: "1", Message, MessageStructure: "json" },
          { Id: "2", Message: "as it is", Subject: "Second" },
        ],
      }),
    );
    expect(frontDoor.mails()).toMatchObject([
      {
        subject: "AWS Notification Message",
        text: expect.stringMatching(/^for people\n/) as string,
      },
      { subject: "Second", text: expect.stringMatching(/^as it is\n/) as string },
    ]);
  });
});

describe("an alarm", () => {
  test("lacks data until there is some, sends mail when it fires, and when all is well again", async () => {
    await subscribed();
    await putAlarm();
    expect(await alarm()).toMatchObject({
      StateValue: "INSUFFICIENT_DATA",
      StateReason: "Unchecked: Initial alarm creation",
    });
    await write([3, 3], 0);
    await frontDoor.alarms.run(at(2));
    expect(subjects(frontDoor.mails())).toEqual([`OK: "${name}" in Europe (Frankfurt)`]);
    await write([2, 2], 2);
    await frontDoor.alarms.run(at(3));
    expect(await alarm()).toMatchObject({ StateValue: "OK" });
    await frontDoor.alarms.run(at(4));
    expect(await alarm()).toMatchObject({
      StateValue: "ALARM",
      StateReason: expect.stringMatching(
        /^Threshold Crossed: 2 out of the last 2 datapoints \[2\.0 \(.+\), 2\.0 \(.+\)\] were less than the threshold \(3\.0\)/,
      ) as string,
    });
    const [mail] = frontDoor.mails();
    expect(mail?.subject).toBe(`ALARM: "${name}" in Europe (Frankfurt)`);
    expect(mail?.text).toContain("- Description:                too few hosts\n");
    expect(mail?.text).toContain("- State Change:               OK -> ALARM\n");
    await frontDoor.alarms.run(at(4));
    expect(frontDoor.mails()).toEqual([]);
    await write([3], 4);
    await frontDoor.alarms.run(at(5));
    expect(subjects(frontDoor.mails())).toEqual([`OK: "${name}" in Europe (Frankfurt)`]);
  });

  test("tells programs in JSON", async () => {
    const { SubscriptionArn: arn = "" } = await sns.send(
      new SubscribeCommand({
        ...{ TopicArn: topicArn, Protocol: "email-json", Endpoint: reader },
        ReturnSubscriptionArn: true,
      }),
    );
    await fetch(/^http.*$/m.exec(frontDoor.mails()[0]?.text ?? "")?.[0] ?? "");
    await putAlarm({ DatapointsToAlarm: 1 });
    await write([1], 0);
    await frontDoor.alarms.run(at(1));
    const [mail] = frontDoor.mails();
    const { Message } = JSON.parse(mail?.text ?? "") as { Message: string };
    expect(JSON.parse(Message)).toMatchObject({
      AlarmName: name,
      AlarmDescription: "too few hosts",
      AWSAccountId: arn.split(":")[4],
      NewStateValue: "ALARM",
      OldStateValue: "INSUFFICIENT_DATA",
      NewStateReason: (await alarm()).StateReason,
      StateChangeTime: at(1).toISOString().replace("Z", "+0000"),
      Region: "Europe (Frankfurt)",
      AlarmArn: (await alarm()).AlarmArn,
      Trigger: {
        MetricName: name,
        Namespace: namespace,
        Statistic: "MINIMUM",
        Dimensions: [{ name: "machine", value: "balancer" }],
        Period: 60,
        EvaluationPeriods: 2,
        DatapointsToAlarm: 1,
        ComparisonOperator: "LessThanThreshold",
        Threshold: 3,
        TreatMissingData: "missing",
      },
    });
  });

  test("that takes missing data as breaching fires when its metric stops", async () => {
    await putAlarm({ TreatMissingData: "breaching" });
    await write([3, 3], 0);
    await frontDoor.alarms.run(at(2));
    expect(await alarm()).toMatchObject({ StateValue: "OK" });
    await frontDoor.alarms.run(at(4));
    expect(await alarm()).toMatchObject({ StateValue: "OK" });
    await frontDoor.alarms.run(at(6));
    expect(await alarm()).toMatchObject({
      StateValue: "ALARM",
      StateReason:
        "Threshold Crossed: no datapoints were received for 2 periods and 2 missing datapoints were treated as [Breaching].",
    });
  });

  test("with short periods fires within seconds", async () => {
    await putAlarm({ Period: 10, EvaluationPeriods: 1 });
    await write([3, 2], 0);
    await frontDoor.alarms.run(new Date(start + 10_000));
    expect(await alarm()).toMatchObject({ StateValue: "OK" });
    await frontDoor.alarms.run(new Date(start + 60_000 + 10_000));
    expect(await alarm()).toMatchObject({ StateValue: "ALARM" });
  });

  test("does nothing but change its state where its actions are off", async () => {
    await subscribed();
    await putAlarm({ ActionsEnabled: false });
    await write([1, 1], 0);
    await frontDoor.alarms.run(at(2));
    expect(await alarm()).toMatchObject({ StateValue: "ALARM" });
    expect(frontDoor.mails()).toEqual([]);
  });

  test("that is put again keeps its state, and one that is made anew does not", async () => {
    await putAlarm();
    await write([1, 1], 0);
    await frontDoor.alarms.run(at(2));
    await putAlarm({ Threshold: 4 });
    expect(await alarm()).toMatchObject({ StateValue: "ALARM", Threshold: 4 });
    await cloudwatch.send(new DeleteAlarmsCommand({ AlarmNames: [name] }));
    await putAlarm();
    expect(await alarm()).toMatchObject({ StateValue: "INSUFFICIENT_DATA" });
  });

  test("that somebody sets acts on it, and goes back at the next look", async () => {
    await subscribed();
    await putAlarm();
    await write([3, 3], 0);
    await frontDoor.alarms.run(at(2));
    frontDoor.mails();
    await cloudwatch.send(
      new SetAlarmStateCommand({ AlarmName: name, StateValue: "ALARM", StateReason: "a trial" }),
    );
    const [mail] = frontDoor.mails();
    expect(mail).toMatchObject({ subject: `ALARM: "${name}" in Europe (Frankfurt)` });
    expect(mail?.text).toContain('because "a trial"');
    await frontDoor.alarms.run(at(2));
    expect(subjects(frontDoor.mails())).toEqual([`OK: "${name}" in Europe (Frankfurt)`]);
  });

  test("sees neither another namespace's metric nor one with other dimensions", async () => {
    await putAlarm();
    await write([1, 1], 0, { Namespace: "another" });
    await cloudwatch.send(
      new PutMetricDataCommand({
        Namespace: namespace,
        MetricData: [
          {
            MetricName: name,
            Dimensions: [
              { Name: "machine", Value: "balancer" },
              { Name: "host", Value: "host1" },
            ],
            Timestamp: new Date(at(1).getTime() + 7000),
            Value: 1,
          },
        ],
      }),
    );
    await frontDoor.alarms.run(at(2));
    expect(await alarm()).toMatchObject({ StateValue: "INSUFFICIENT_DATA" });
  });
});

test.each(["CBOR", "JSON"])(
  "an alarm is watched for a program that speaks %s",
  async (language) => {
    const program = new CloudWatchClient({
      ...{ region: awsRegion, endpoint: frontDoor.url, credentials: awsCredentials },
      // This SDK tells a wrong length of CBOR that it has compressed.
      ...(language === "CBOR"
        ? { protocol: SmithyRpcV2CborProtocol, disableRequestCompression: true }
        : {}),
    });
    const metric = {
      MetricName: name,
      Dimensions: [{ Name: "machine", Value: "balancer" }],
    };
    await program.send(
      new PutMetricAlarmCommand({
        ...{ ...metric, AlarmName: name, Namespace: namespace, Statistic: "Average", Period: 60 },
        ...{ EvaluationPeriods: 1, ComparisonOperator: "GreaterThanThreshold", Threshold: 1.5 },
      }),
    );
    const described = async (): Promise<MetricAlarm | undefined> =>
      (await program.send(new DescribeAlarmsCommand({ AlarmNames: [name] }))).MetricAlarms?.[0];
    expect(await described()).toMatchObject({ StateValue: "INSUFFICIENT_DATA", Threshold: 1.5 });
    const datum = { ...metric, Timestamp: new Date(at(0).getTime() + 1500), Value: 2 };
    await program.send(
      // Long enough to be compressed in JSON.
      new PutMetricDataCommand({ Namespace: namespace, MetricData: new Array(600).fill(datum) }),
    );
    await frontDoor.alarms.run(at(1));
    const fired = await described();
    expect(fired).toMatchObject({ StateValue: "ALARM" });
    expect(fired?.StateUpdatedTimestamp?.getTime()).toBeGreaterThan(Date.now() - 60_000);
    const { MetricDataResults } = await program.send(
      new GetMetricDataCommand({
        ...{ StartTime: at(0), EndTime: at(1) },
        MetricDataQueries: [
          {
            Id: "m1",
            MetricStat: { Metric: { ...metric, Namespace: namespace }, Period: 60, Stat: "Sum" },
          },
        ],
      }),
    );
    expect(MetricDataResults).toMatchObject([{ Timestamps: [at(0)], Values: [1200] }]);
    await expect(
      program.send(
        new SetAlarmStateCommand({ AlarmName: "none", StateValue: "OK", StateReason: "a trial" }),
      ),
    ).rejects.toMatchObject({ name: expect.stringMatching(/ResourceNotFound/) as string });
    program.destroy();
  },
);

test("logs go through the front door", async () => {
  const stream = { logGroupName: `/project/${name}/meteor`, logStreamName: "host1/i-1" };
  await logs.send(new CreateLogGroupCommand(stream));
  await logs.send(new CreateLogStreamCommand(stream));
  const logEvents = [{ timestamp: Date.now(), message: "started" }];
  await logs.send(new PutLogEventsCommand({ ...stream, logEvents }));
  expect((await logs.send(new GetLogEventsCommand(stream))).events).toMatchObject(logEvents);
});
