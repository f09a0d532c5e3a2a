import * as cloudwatch from "@aws-sdk/client-cloudwatch";
import type * as aws from "@pulumi/aws";
import { inPlace, type Plain, resource } from "../definition";
import { type AwsContext, tagList, tagMap, unlessGone } from "./context";

const metricAlarm = resource<
  AwsContext,
  aws.cloudwatch.MetricAlarmArgs,
  aws.cloudwatch.MetricAlarmState
>({
  type: "aws:cloudwatch/metricAlarm:MetricAlarm",
  tagged: true,
  properties: {
    name: { replaces: true, named: {} },
    alarmDescription: inPlace,
    namespace: inPlace,
    metricName: inPlace,
    dimensions: inPlace,
    statistic: inPlace,
    extendedStatistic: inPlace,
    period: inPlace,
    evaluationPeriods: inPlace,
    datapointsToAlarm: inPlace,
    comparisonOperator: inPlace,
    threshold: inPlace,
    treatMissingData: { default: "missing" },
    unit: inPlace,
    actionsEnabled: { default: true },
    alarmActions: { compare: "unordered" },
    okActions: { compare: "unordered" },
    insufficientDataActions: { compare: "unordered" },
  },
  outputs: ["arn"],
  async create({ cloudwatch: client }, inputs, tags) {
    await client.send(
      new cloudwatch.PutMetricAlarmCommand({ ...alarmInput(inputs), Tags: tagList(tags) }),
    );
    return inputs.name ?? "";
  },
  async read({ cloudwatch: client }, id) {
    const it = await findAlarm(client, id);
    if (it === undefined) {
      return undefined;
    }
    const { Tags } = await client.send(
      new cloudwatch.ListTagsForResourceCommand({ ResourceARN: it.AlarmArn }),
    );
    return {
      name: it.AlarmName,
      alarmDescription: it.AlarmDescription,
      namespace: it.Namespace,
      metricName: it.MetricName,
      dimensions: Object.fromEntries(
        (it.Dimensions ?? []).map(({ Name, Value }) => [Name ?? "", Value ?? ""]),
      ),
      statistic: it.Statistic,
      extendedStatistic: it.ExtendedStatistic,
      period: it.Period,
      evaluationPeriods: it.EvaluationPeriods,
      datapointsToAlarm: it.DatapointsToAlarm,
      comparisonOperator: it.ComparisonOperator,
      threshold: it.Threshold,
      treatMissingData: it.TreatMissingData ?? "missing",
      unit: it.Unit,
      actionsEnabled: it.ActionsEnabled,
      alarmActions: it.AlarmActions ?? [],
      okActions: it.OKActions ?? [],
      insufficientDataActions: it.InsufficientDataActions ?? [],
      arn: it.AlarmArn,
      tags: tagMap(Tags),
    };
  },
  async update({ cloudwatch: client }, { now, old, tags, obsoleteTags }) {
    // A put replaces the whole alarm, but never its tags.
    await client.send(new cloudwatch.PutMetricAlarmCommand(alarmInput(now)));
    const ResourceARN = old.arn;
    if (obsoleteTags.length > 0) {
      await client.send(
        new cloudwatch.UntagResourceCommand({ ResourceARN, TagKeys: obsoleteTags }),
      );
    }
    if (Object.keys(tags).length > 0) {
      await client.send(new cloudwatch.TagResourceCommand({ ResourceARN, Tags: tagList(tags) }));
    }
  },
  async delete({ cloudwatch: client }, id) {
    await unlessGone(client.send(new cloudwatch.DeleteAlarmsCommand({ AlarmNames: [id] })));
  },
});

async function findAlarm(
  client: cloudwatch.CloudWatchClient,
  name: string,
): Promise<cloudwatch.MetricAlarm | undefined> {
  const { MetricAlarms } = await client.send(
    new cloudwatch.DescribeAlarmsCommand({ AlarmNames: [name] }),
  );
  return MetricAlarms?.[0];
}

function alarmInput(
  inputs: Plain<aws.cloudwatch.MetricAlarmArgs>,
): cloudwatch.PutMetricAlarmCommandInput {
  return {
    AlarmName: inputs.name,
    AlarmDescription: inputs.alarmDescription,
    Namespace: inputs.namespace,
    MetricName: inputs.metricName,
    Dimensions: Object.entries(inputs.dimensions ?? {}).map(([Name, Value]) => ({ Name, Value })),
    Statistic: inputs.statistic as cloudwatch.Statistic | undefined,
    ExtendedStatistic: inputs.extendedStatistic,
    Period: inputs.period,
    EvaluationPeriods: inputs.evaluationPeriods,
    DatapointsToAlarm: inputs.datapointsToAlarm,
    ComparisonOperator: inputs.comparisonOperator as cloudwatch.ComparisonOperator,
    Threshold: inputs.threshold,
    TreatMissingData: inputs.treatMissingData,
    Unit: inputs.unit as cloudwatch.StandardUnit | undefined,
    ActionsEnabled: inputs.actionsEnabled,
    AlarmActions: inputs.alarmActions as string[] | undefined,
    OKActions: inputs.okActions as string[] | undefined,
    InsufficientDataActions: inputs.insufficientDataActions as string[] | undefined,
  };
}

export const cloudwatchResources = [metricAlarm];
