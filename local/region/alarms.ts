import {
  type CloudWatchClient,
  type ComparisonOperator,
  type Dimension,
  GetMetricDataCommand,
  ListMetricsCommand,
  type MetricAlarm,
  paginateDescribeAlarms,
  SetAlarmStateCommand,
} from "@aws-sdk/client-cloudwatch";
import { PublishCommand, type SNSClient } from "@aws-sdk/client-sns";
import { awsRegion } from "../paths";
import type { AskMoto, AwsAnswer, AwsRequest } from "./awsApi";
import { log, messageOf } from "./commands";

/*
 * CloudWatch's alarms: moto keeps them, but never looks at what they watch. The rules are those of
 * https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/alarm-evaluation.html and
 * https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/alarms-and-missing-data.html
 */

export type AlarmState = "OK" | "ALARM" | "INSUFFICIENT_DATA";

/** What decides an alarm's state, by CloudWatch's names. */
export interface AlarmRule {
  /** Seconds. */
  period: number;
  evaluationPeriods: number;
  datapointsToAlarm: number;
  comparison: keyof typeof comparisons;
  threshold: number;
  treatMissingData: "missing" | "ignore" | "breaching" | "notBreaching";
}

/** The periods that an alarm looks at, oldest first: what a metric was, or undefined where it is missing. */
export type Datapoints = (number | undefined)[];

const comparisons = {
  GreaterThanOrEqualToThreshold: {
    text: "greater than or equal to",
    breaches: (value: number, threshold: number): boolean => value >= threshold,
  },
  GreaterThanThreshold: {
    text: "greater than",
    breaches: (value: number, threshold: number): boolean => value > threshold,
  },
  LessThanThreshold: {
    text: "less than",
    breaches: (value: number, threshold: number): boolean => value < threshold,
  },
  LessThanOrEqualToThreshold: {
    text: "less than or equal to",
    breaches: (value: number, threshold: number): boolean => value <= threshold,
  },
} satisfies Partial<Record<ComparisonOperator, unknown>>;

/**
 * How many periods more than it needs an alarm looks at, in case some are missing. The documentation's
 * examples have two; it does not say when there are others.
 */
const morePeriods = 2;

/** @returns the times that an alarm looks at, in milliseconds: whole minutes, or whole shorter periods */
export function evaluationRange(
  { period, evaluationPeriods }: Pick<AlarmRule, "period" | "evaluationPeriods">,
  now: Date,
): { start: number; end: number } {
  const step = Math.min(period, 60) * 1000;
  const end = Math.floor(now.getTime() / step) * step;
  return { start: end - (evaluationPeriods + morePeriods) * period * 1000, end };
}

/**
 * @param datapoints those of its whole range
 * @param current what it is so far
 * @returns what it is now
 */
export function evaluate(rule: AlarmRule, datapoints: Datapoints, current: AlarmState): AlarmState {
  const { evaluationPeriods, datapointsToAlarm, treatMissingData } = rule;
  const real = evaluated(rule, datapoints);
  const breaching = real.filter((value) => breaches(rule, value)).length;
  const filled = evaluationPeriods - real.length;
  if (breaching >= datapointsToAlarm) {
    return "ALARM";
  }
  if (filled === 0) {
    return "OK";
  }
  if (treatMissingData === "breaching") {
    return breaching + filled >= datapointsToAlarm ? "ALARM" : "OK";
  }
  // One value that does not breach decides, as far back as the range goes.
  if (treatMissingData === "notBreaching" || breaching < real.length) {
    return "OK";
  }
  if (treatMissingData === "ignore") {
    return current;
  }
  if (real.length === 0) {
    return "INSUFFICIENT_DATA";
  }
  // "Avoiding premature transitions to alarm state": the next value may be a good one, but not for ever.
  const oldest = datapoints.findIndex((value) => value !== undefined);
  return datapoints.length - oldest >= datapointsToAlarm ? "ALARM" : current;
}

function breaches({ comparison, threshold }: AlarmRule, value: number): boolean {
  return comparisons[comparison].breaches(value, threshold);
}

/** The values that count: the latest ones, from further back where some are missing. */
function evaluated({ evaluationPeriods }: AlarmRule, datapoints: Datapoints): number[] {
  return datapoints.filter((value) => value !== undefined).slice(-evaluationPeriods);
}

/** @returns why an alarm is now in a state, in CloudWatch's words */
export function reasonOf(
  rule: AlarmRule,
  datapoints: Datapoints,
  state: AlarmState,
  { start }: { start: number },
): string {
  const { evaluationPeriods, datapointsToAlarm, treatMissingData, period, threshold } = rule;
  const real = datapoints
    .map((value, index) => ({ value, time: new Date(start + index * period * 1000) }))
    .filter((each): each is { value: number; time: Date } => each.value !== undefined)
    .slice(-evaluationPeriods)
    .reverse();
  const missing = evaluationPeriods - real.length;
  if (state === "INSUFFICIENT_DATA") {
    return `Insufficient Data: ${counted(missing, "datapoint")} unknown.`;
  }
  const treated =
    missing > 0 && /breaching/i.test(treatMissingData)
      ? `${counted(missing, "missing datapoint")} treated as [${treatMissingData === "breaching" ? "Breaching" : "NonBreaching"}]`
      : "";
  if (real.length === 0) {
    const periods = `${evaluationPeriods} period${evaluationPeriods === 1 ? "" : "s"}`;
    return `Threshold Crossed: no datapoints were received for ${periods} and ${treated}.`;
  }
  const deciding = real.filter(({ value }) => breaches(rule, value) === (state === "ALARM"));
  const list = deciding.map(({ value, time }) => `${decimal(value)} (${shortTime(time)})`);
  const [needed, change] =
    state === "ALARM"
      ? [datapointsToAlarm, "OK -> ALARM"]
      : [evaluationPeriods - datapointsToAlarm + 1, "ALARM -> OK"];
  return (
    `Threshold Crossed: ${deciding.length} out of the last ${real.length} datapoints ` +
    `[${list.join(", ")}] ${deciding.length === 1 ? "was" : "were"} ${state === "ALARM" ? "" : "not "}` +
    `${comparisons[rule.comparison].text} the threshold (${decimal(threshold)})` +
    (treated && ` and ${treated}`) +
    ` (minimum ${needed} datapoint${needed === 1 ? "" : "s"} for ${change} transition).`
  );
}

function counted(count: number, what: string): string {
  return count === 1 ? `1 ${what} was` : `${count} ${what}s were`;
}

function decimal(value: number): string {
  return Number.isInteger(value) ? value.toFixed(1) : String(value);
}

/** Such as `26/11/26 15:40:00`. */
function shortTime(time: Date): string {
  const [year = "", month, day] = time.toISOString().slice(0, 10).split("-");
  return `${day}/${month}/${year.slice(2)} ${time.toISOString().slice(11, 19)}`;
}

/** @returns its rule, or why the region can't look at what it watches */
export function ruleOf(alarm: MetricAlarm): AlarmRule | string {
  const { Period, EvaluationPeriods, Threshold, ComparisonOperator: comparison = "" } = alarm;
  if (alarm.MetricName === undefined || Period === undefined) {
    return "it watches an expression";
  }
  if (alarm.Statistic === undefined) {
    return `it watches the statistic ${alarm.ExtendedStatistic}`;
  }
  if (!(comparison in comparisons) || Threshold === undefined) {
    return `it compares by ${comparison}`;
  }
  return {
    period: Period,
    evaluationPeriods: EvaluationPeriods ?? 1,
    datapointsToAlarm: alarm.DatapointsToAlarm ?? EvaluationPeriods ?? 1,
    comparison: comparison as AlarmRule["comparison"],
    threshold: Threshold,
    treatMissingData: (alarm.TreatMissingData ?? "missing") as AlarmRule["treatMissingData"],
  };
}

/** What an alarm is, and why. */
interface State {
  value: AlarmState;
  reason: string;
}

/** How a new alarm begins; moto says OK of it, and of one that is put again. */
const initial: State = {
  value: "INSUFFICIENT_DATA",
  reason: "Unchecked: Initial alarm creation",
};

/** What others do to alarms. */
const changing = new Set(["PutMetricAlarm", "SetAlarmState", "DeleteAlarms"]);

/** Brings the alarms that moto keeps to their states, and carries out what they are to do then. */
export class Alarms {
  /** By ARN. */
  private readonly states = new Map<string, State>();
  /** Metrics that are known to be there. */
  private readonly metrics = new Set<string>();
  /** Alarms that were already complained about. */
  private readonly unwatched = new Set<string>();
  /** One change at a time. */
  private last: Promise<unknown> = Promise.resolve();

  /**
   * @param cloudwatch asks moto itself
   * @param sns publishes as everybody does
   */
  constructor(
    private readonly cloudwatch: CloudWatchClient,
    private readonly sns: SNSClient,
  ) {}

  /** Answers what CloudWatch is asked, once the alarms are what a change makes of them. */
  async answer({ action = "" }: AwsRequest, askMoto: AskMoto): Promise<AwsAnswer> {
    const answer = await askMoto();
    if (answer.status < 300 && changing.has(action)) {
      await this.alone(async () => {
        await this.follow(new Date());
      }).catch((error: unknown) => {
        log(messageOf(error));
      });
    }
    return answer;
  }

  /** Looks at what all alarms watch. */
  run(now: Date): Promise<void> {
    return this.alone(async () => {
      for (const alarm of await this.follow(now)) {
        await this.evaluate(alarm, now).catch((error: unknown) => {
          log(`alarm ${alarm.AlarmName}: ${messageOf(error)}`);
        });
      }
    });
  }

  private alone(work: () => Promise<void>): Promise<void> {
    const done = this.last.then(work);
    this.last = done.catch(() => undefined);
    return done;
  }

  private async follow(now: Date): Promise<MetricAlarm[]> {
    const alarms: MetricAlarm[] = [];
    for await (const page of paginateDescribeAlarms({ client: this.cloudwatch }, {})) {
      alarms.push(...(page.MetricAlarms ?? []));
    }
    const there = new Set(alarms.map(arnOf));
    [...this.states.keys()]
      .filter((arn) => !there.has(arn))
      .forEach((arn) => this.states.delete(arn));
    for (const alarm of alarms) {
      const known = this.states.get(arnOf(alarm)) ?? initial;
      const told = {
        value: alarm.StateValue ?? initial.value,
        reason: alarm.StateReason ?? initial.reason,
      };
      if (told.reason === initial.reason && told.value === "OK") {
        await this.set(alarm, known);
      } else if (told.value !== known.value) {
        this.states.set(arnOf(alarm), told);
        await this.act(alarm, known.value, told, now);
      }
    }
    return alarms;
  }

  private async evaluate(alarm: MetricAlarm, now: Date): Promise<void> {
    const rule = ruleOf(alarm);
    if (typeof rule === "string") {
      if (!this.unwatched.has(arnOf(alarm))) {
        this.unwatched.add(arnOf(alarm));
        log(`The local region does not watch for the alarm ${alarm.AlarmName}: ${rule}`);
      }
      return;
    }
    const range = evaluationRange(rule, now);
    const datapoints = await this.datapoints(alarm, rule, range);
    const before = this.states.get(arnOf(alarm)) ?? initial;
    const value = evaluate(rule, datapoints, before.value);
    if (value !== before.value) {
      const state = { value, reason: reasonOf(rule, datapoints, value, range) };
      const recent = datapoints.filter((each) => each !== undefined);
      await this.set(alarm, state, {
        version: "1.0",
        queryDate: amazonTime(now),
        startDate: amazonTime(new Date(range.start)),
        statistic: alarm.Statistic,
        period: rule.period,
        recentDatapoints: recent.slice(-rule.evaluationPeriods),
        threshold: rule.threshold,
      });
      await this.act(alarm, before.value, state, now);
    }
  }

  private async set(alarm: MetricAlarm, state: State, data: object = {}): Promise<void> {
    await this.cloudwatch.send(
      new SetAlarmStateCommand({
        AlarmName: alarm.AlarmName,
        StateValue: state.value,
        StateReason: state.reason,
        StateReasonData: JSON.stringify(data),
      }),
    );
    this.states.set(arnOf(alarm), state);
  }

  private async datapoints(
    alarm: MetricAlarm,
    { period }: AlarmRule,
    { start, end }: { start: number; end: number },
  ): Promise<Datapoints> {
    const datapoints: Datapoints = new Array<undefined>((end - start) / 1000 / period).fill(
      undefined,
    );
    if (!(await this.isThere(alarm))) {
      return datapoints;
    }
    const { MetricDataResults } = await this.cloudwatch.send(
      new GetMetricDataCommand({
        StartTime: new Date(start),
        EndTime: new Date(end),
        MetricDataQueries: [
          {
            Id: "m1",
            MetricStat: {
              Metric: {
                Namespace: alarm.Namespace,
                MetricName: alarm.MetricName,
                Dimensions: alarm.Dimensions,
              },
              Period: period,
              Stat: alarm.Statistic,
              Unit: alarm.Unit,
            },
          },
        ],
      }),
    );
    const { Timestamps = [], Values = [] } = MetricDataResults?.[0] ?? {};
    Timestamps.forEach((time, index) => {
      datapoints[Math.floor((time.getTime() - start) / 1000 / period)] = Values[index];
    });
    return datapoints;
  }

  /** Whether anybody ever wrote the metric: moto gives out those of other namespaces too. */
  private async isThere({ Namespace, MetricName, Dimensions = [] }: MetricAlarm): Promise<boolean> {
    const key = JSON.stringify([Namespace, MetricName, ...namesAndValues(Dimensions)]);
    if (!this.metrics.has(key)) {
      const { Metrics = [] } = await this.cloudwatch.send(
        new ListMetricsCommand({ Namespace, MetricName, Dimensions }),
      );
      const wanted = String(namesAndValues(Dimensions));
      if (!Metrics.some((each) => String(namesAndValues(each.Dimensions)) === wanted)) {
        return false;
      }
      this.metrics.add(key);
    }
    return true;
  }

  /** What an alarm is to do in its new state. */
  private async act(
    alarm: MetricAlarm,
    old: AlarmState,
    { value, reason }: State,
    now: Date,
  ): Promise<void> {
    log(`alarm ${alarm.AlarmName} is ${value}, was ${old}: ${reason}`);
    const actions = {
      ALARM: alarm.AlarmActions,
      OK: alarm.OKActions,
      INSUFFICIENT_DATA: alarm.InsufficientDataActions,
    }[value];
    for (const action of (alarm.ActionsEnabled ?? true) ? (actions ?? []) : []) {
      if (!action.startsWith("arn:aws:sns:")) {
        log(`alarm ${alarm.AlarmName}: the local region does not carry out ${action}`);
        continue;
      }
      const change = { old, value, reason, now };
      await this.sns
        .send(
          new PublishCommand({
            TopicArn: action,
            Subject: `${value}: "${alarm.AlarmName}" in ${regionName}`.slice(0, 100),
            MessageStructure: "json",
            Message: JSON.stringify({
              default: JSON.stringify(messageFor(alarm, change)),
              email: mailFor(alarm, change),
            }),
          }),
        )
        .catch((error: unknown) => {
          log(`alarm ${alarm.AlarmName}: ${action} got no message: ${messageOf(error)}`);
        });
    }
  }
}

function arnOf({ AlarmArn = "" }: MetricAlarm): string {
  return AlarmArn;
}

function namesAndValues(dimensions: Dimension[] = []): string[] {
  return dimensions.map(({ Name, Value }) => `${Name}=${Value}`).sort();
}

/** The region's name in messages, by its code. */
const regionName = { "eu-central-1": "Europe (Frankfurt)" }[awsRegion];

interface Change {
  old: AlarmState;
  value: AlarmState;
  reason: string;
  now: Date;
}

/** As CloudWatch writes times. */
function amazonTime(time: Date): string {
  return time.toISOString().replace("Z", "+0000");
}

/** What programs get: https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/Notify_Users_Alarm_Changes.html */
function messageFor(alarm: MetricAlarm, { old, value, reason, now }: Change): object {
  return {
    AlarmName: alarm.AlarmName,
    AlarmDescription: alarm.AlarmDescription ?? null,
    AWSAccountId: arnOf(alarm).split(":")[4],
    AlarmConfigurationUpdatedTimestamp: amazonTime(alarm.AlarmConfigurationUpdatedTimestamp ?? now),
    NewStateValue: value,
    NewStateReason: reason,
    StateChangeTime: amazonTime(now),
    Region: regionName,
    AlarmArn: alarm.AlarmArn,
    OldStateValue: old,
    OKActions: alarm.OKActions ?? [],
    AlarmActions: alarm.AlarmActions ?? [],
    InsufficientDataActions: alarm.InsufficientDataActions ?? [],
    Trigger: {
      MetricName: alarm.MetricName,
      Namespace: alarm.Namespace,
      StatisticType: "Statistic",
      Statistic: alarm.Statistic?.toUpperCase(),
      Unit: alarm.Unit ?? null,
      Dimensions: (alarm.Dimensions ?? []).map(({ Name, Value }) => ({ value: Value, name: Name })),
      Period: alarm.Period,
      EvaluationPeriods: alarm.EvaluationPeriods,
      ...(alarm.DatapointsToAlarm === undefined
        ? {}
        : { DatapointsToAlarm: alarm.DatapointsToAlarm }),
      ComparisonOperator: alarm.ComparisonOperator,
      Threshold: alarm.Threshold,
      TreatMissingData: alarm.TreatMissingData ?? "missing",
      EvaluateLowSampleCountPercentile: alarm.EvaluateLowSampleCountPercentile ?? "",
    },
  };
}

/** What people get. */
function mailFor(alarm: MetricAlarm, { old, value, reason, now }: Change): string {
  const dimensions = (alarm.Dimensions ?? []).map(({ Name, Value }) => `${Name} = ${Value}`);
  const actions = (arns: string[] | undefined): string =>
    (arns ?? []).map((arn) => `[${arn}]`).join(" ");
  const { EvaluationPeriods: periods, DatapointsToAlarm: needed = periods } = alarm;
  return [
    `You are receiving this email because your Amazon CloudWatch Alarm "${alarm.AlarmName}" in the ` +
      `${regionName} region has entered the ${value} state, because "${reason}" at "${now.toUTCString()}".`,
    "",
    "Alarm Details:",
    `- Name:                       ${alarm.AlarmName}`,
    `- Description:                ${alarm.AlarmDescription ?? ""}`,
    `- State Change:               ${old} -> ${value}`,
    `- Reason for State Change:    ${reason}`,
    `- Timestamp:                  ${now.toUTCString()}`,
    `- AWS Account:                ${arnOf(alarm).split(":")[4]}`,
    `- Alarm Arn:                  ${arnOf(alarm)}`,
    "",
    "Threshold:",
    `- The alarm is in the ALARM state when the metric is ${alarm.ComparisonOperator} ${alarm.Threshold} ` +
      `for at least ${needed} of the last ${periods} period(s) of ${alarm.Period} seconds.`,
    "",
    "Monitored Metric:",
    `- MetricNamespace:            ${alarm.Namespace}`,
    `- MetricName:                 ${alarm.MetricName}`,
    `- Dimensions:                 [${dimensions.join(", ")}]`,
    `- Period:                     ${alarm.Period} seconds`,
    `- Statistic:                  ${alarm.Statistic}`,
    `- TreatMissingData:           ${alarm.TreatMissingData ?? "missing"}`,
    "",
    "State Change Actions:",
    `- OK: ${actions(alarm.OKActions)}`,
    `- ALARM: ${actions(alarm.AlarmActions)}`,
    `- INSUFFICIENT_DATA: ${actions(alarm.InsufficientDataActions)}`,
    "",
  ].join("\n");
}
