import * as cloudwatch from "@aws-sdk/client-cloudwatch";
import type * as aws from "@pulumi/aws";
import { inPlace, type Plain, replaces, resource } from "../definition";
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
    metricQueries: { compare: "unordered" },
    statistic: inPlace,
    extendedStatistic: inPlace,
    period: inPlace,
    evaluationPeriods: inPlace,
    datapointsToAlarm: inPlace,
    comparisonOperator: inPlace,
    threshold: inPlace,
    thresholdMetricId: inPlace,
    evaluateLowSampleCountPercentiles: { computed: true },
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
      dimensions: dimensionMap(it.Dimensions),
      metricQueries: (it.Metrics ?? []).length > 0 ? it.Metrics?.map(fromQuery) : undefined,
      statistic: it.Statistic,
      extendedStatistic: it.ExtendedStatistic,
      period: it.Period,
      evaluationPeriods: it.EvaluationPeriods,
      datapointsToAlarm: it.DatapointsToAlarm,
      comparisonOperator: it.ComparisonOperator,
      threshold: it.Threshold,
      thresholdMetricId: it.ThresholdMetricId,
      evaluateLowSampleCountPercentiles: it.EvaluateLowSampleCountPercentile,
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
    Dimensions: dimensionList(inputs.dimensions),
    Metrics: inputs.metricQueries?.map(toQuery),
    Statistic: inputs.statistic as cloudwatch.Statistic | undefined,
    ExtendedStatistic: inputs.extendedStatistic,
    Period: inputs.period,
    EvaluationPeriods: inputs.evaluationPeriods,
    DatapointsToAlarm: inputs.datapointsToAlarm,
    ComparisonOperator: inputs.comparisonOperator as cloudwatch.ComparisonOperator,
    Threshold: inputs.threshold,
    ThresholdMetricId: inputs.thresholdMetricId,
    EvaluateLowSampleCountPercentile: inputs.evaluateLowSampleCountPercentiles,
    TreatMissingData: inputs.treatMissingData,
    Unit: inputs.unit as cloudwatch.StandardUnit | undefined,
    ActionsEnabled: inputs.actionsEnabled,
    AlarmActions: inputs.alarmActions as string[] | undefined,
    OKActions: inputs.okActions as string[] | undefined,
    InsufficientDataActions: inputs.insufficientDataActions as string[] | undefined,
  };
}

type Query = aws.types.output.cloudwatch.MetricAlarmMetricQuery;

function toQuery(query: Query): cloudwatch.MetricDataQuery {
  const { metric } = query;
  return {
    Id: query.id,
    AccountId: query.accountId,
    Expression: query.expression,
    Label: query.label,
    Period: query.period,
    ReturnData: query.returnData ?? false,
    MetricStat: metric && {
      Metric: {
        Namespace: metric.namespace,
        MetricName: metric.metricName,
        Dimensions: dimensionList(metric.dimensions),
      },
      Period: metric.period,
      Stat: metric.stat,
      Unit: metric.unit as cloudwatch.StandardUnit | undefined,
    },
  };
}

function fromQuery(query: cloudwatch.MetricDataQuery): Query {
  const { Metric, Period = 0, Stat = "", Unit } = query.MetricStat ?? {};
  return defined({
    id: query.Id ?? "",
    accountId: query.AccountId,
    expression: query.Expression,
    label: query.Label,
    period: query.Period,
    returnData: query.ReturnData,
    metric:
      Metric &&
      defined({
        namespace: Metric.Namespace,
        metricName: Metric.MetricName ?? "",
        dimensions: Metric.Dimensions?.length ? dimensionMap(Metric.Dimensions) : undefined,
        period: Period,
        stat: Stat,
        unit: Unit,
      }),
  });
}

/** Without the keys that have no value. */
function defined<T extends object>(values: T): T {
  return Object.fromEntries(Object.entries(values).filter(([, value]) => value !== undefined)) as T;
}

function dimensionList(dimensions: Record<string, string> = {}): cloudwatch.Dimension[] {
  return Object.entries(dimensions).map(([Name, Value]) => ({ Name, Value }));
}

function dimensionMap(dimensions: cloudwatch.Dimension[] = []): Record<string, string> {
  return Object.fromEntries(dimensions.map(({ Name, Value }) => [Name ?? "", Value ?? ""]));
}

const dashboard = resource<AwsContext, aws.cloudwatch.DashboardArgs, aws.cloudwatch.DashboardState>(
  {
    type: "aws:cloudwatch/dashboard:Dashboard",
    properties: { dashboardName: replaces, dashboardBody: { compare: "json" } },
    outputs: ["dashboardArn"],
    async create({ cloudwatch: client }, inputs) {
      await putDashboard(client, inputs.dashboardName, inputs.dashboardBody);
      return inputs.dashboardName;
    },
    async read({ cloudwatch: client }, id) {
      const it = await unlessGone(
        client.send(new cloudwatch.GetDashboardCommand({ DashboardName: id })),
      );
      return (
        it && {
          dashboardName: it.DashboardName,
          dashboardBody: it.DashboardBody,
          dashboardArn: it.DashboardArn,
        }
      );
    },
    async update({ cloudwatch: client }, { id, now }) {
      await putDashboard(client, id, now.dashboardBody);
    },
    async delete({ cloudwatch: client }, id) {
      await unlessGone(
        client.send(new cloudwatch.DeleteDashboardsCommand({ DashboardNames: [id] })),
      );
    },
  },
);

async function putDashboard(
  client: cloudwatch.CloudWatchClient,
  DashboardName: string,
  DashboardBody: string,
): Promise<void> {
  await client.send(new cloudwatch.PutDashboardCommand({ DashboardName, DashboardBody }));
}

export const cloudwatchResources = [metricAlarm, dashboard];
