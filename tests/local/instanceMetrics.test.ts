import { CloudWatchClient, GetMetricDataCommand } from "@aws-sdk/client-cloudwatch";
import { awsCredentials, awsRegion } from "../../local/paths";
import { InstanceMetrics, type RunningMachine } from "../../local/region/instanceMetrics";
import { type MotoServer, startMotoServer } from "./motoServer";

/* What EC2 tells CloudWatch of machines, here of some that only these tests know. */

let moto: MotoServer;
let cloudwatch: CloudWatchClient;
let machine: RunningMachine;
let metrics: InstanceMetrics;
let used: number | undefined;
let silent: boolean;
let number = 0;

const start = Math.floor(Date.now() / 60_000) * 60_000 - 3_600_000;
const publish = (minute: number): Promise<void> =>
  metrics.publish([machine], new Date(start + minute * 60_000 + 1000));

/** The values of each minute from the first on. */
async function values(metricName: string): Promise<number[] | undefined> {
  const { MetricDataResults } = await cloudwatch.send(
    new GetMetricDataCommand({
      StartTime: new Date(start),
      EndTime: new Date(start + 600_000),
      ScanBy: "TimestampAscending",
      MetricDataQueries: [
        {
          Id: "m1",
          MetricStat: {
            Metric: {
              Namespace: "AWS/EC2",
              MetricName: metricName,
              Dimensions: [{ Name: "InstanceId", Value: machine.instanceId }],
            },
            Period: 60,
            Stat: "Maximum",
          },
        },
      ],
    }),
  );
  return MetricDataResults?.[0]?.Values;
}

beforeAll(async () => {
  moto = await startMotoServer([]);
  cloudwatch = new CloudWatchClient({
    ...{ region: awsRegion, endpoint: moto.url, credentials: awsCredentials },
  });
});

afterAll(async () => {
  cloudwatch.destroy();
  await moto.stop();
});

beforeEach(() => {
  number += 1;
  machine = { instanceId: `i-${number}`, address: "10.0.0.1", cores: 2, isUp: true };
  used = 100;
  silent = false;
  metrics = new InstanceMetrics(cloudwatch, {
    cpuSeconds: (): number | undefined => used,
    answersArp: (): Promise<boolean> => Promise.resolve(!silent),
  });
});

test("the processor's use is in percent of all of a machine's cores", async () => {
  await publish(0);
  used = 130;
  await publish(1);
  used = 250;
  await publish(2);
  expect(await values("CPUUtilization")).toEqual([25, 100]);
});

test("the processor's use is left out where it is not known", async () => {
  await publish(0);
  used = undefined;
  await publish(1);
  used = 10;
  await publish(2);
  used = 5;
  await publish(3);
  used = 65;
  await publish(4);
  expect(await values("CPUUtilization")).toEqual([50]);
});

test.each(["its network is silent", "its systemd has ended"])(
  "a machine's check fails while %s, and its computer's does not",
  async (reason) => {
    await publish(0);
    silent = reason === "its network is silent";
    machine.isUp = silent;
    await publish(1);
    silent = false;
    machine.isUp = true;
    await publish(2);
    expect(await values("StatusCheckFailed_Instance")).toEqual([0, 1, 0]);
    expect(await values("StatusCheckFailed")).toEqual([0, 1, 0]);
    expect(await values("StatusCheckFailed_System")).toEqual([0, 0, 0]);
  },
);

test("a machine that is not to run has no metrics", async () => {
  await publish(0);
  await metrics.publish([], new Date(start + 61_000));
  expect(await values("StatusCheckFailed")).toEqual([0]);
});
