import {
  type CloudWatchClient,
  type MetricDataQuery,
  paginateGetMetricData,
} from "@aws-sdk/client-cloudwatch";

/** How a host is as HAProxy sees it; null where there are no data of the last five minutes. */
export interface HostStatus {
  /** Such as `host1`. */
  name: string;
  up: boolean | null;
  /** Requests that it answers just now. */
  sessions: number | null;
  /** The minute that this is of. */
  measured: string | null;
}

/** How a member of the replica set is; null where there are no data of the last five minutes. */
export interface MemberStatus {
  /** Such as `mongo1`. */
  name: string;
  /** MongoDB's word, such as `PRIMARY`. */
  state: string | null;
  /** How far it is behind the primary, in seconds. */
  replicationLag: number | null;
  /** How far its oplog goes back, in hours. */
  oplogWindow: number | null;
  /** The minute that this is of. */
  measured: string | null;
}

/** Data that are older tell nothing of now; in milliseconds. */
const freshness = 5 * 60_000;
const minute = 60_000;

/** Names of the metrics, and what a minute's value is where two machines wrote one: the worse. */
const hostMetrics = { host_up: "Minimum", host_sessions: "Maximum" };
const memberMetrics = {
  mongo_state: "Maximum",
  mongo_replication_lag: "Maximum",
  mongo_oplog_window: "Minimum",
};

/**
 * What the hosts' and members' metrics say of now.
 *
 * @param namespace such as `meteor-scale-dev`
 * @param hosts names such as `host1`
 * @param members names such as `mongo1`
 */
export async function readHealth(
  client: CloudWatchClient,
  namespace: string,
  { hosts, members }: { hosts: string[]; members: string[] },
  now: Date,
): Promise<{ hosts: HostStatus[]; members: MemberStatus[] }> {
  const series = [
    ...hosts.flatMap((name) => seriesOf("host", name, hostMetrics)),
    ...members.flatMap((name) => seriesOf("machine", name, memberMetrics)),
  ];
  const latest = await readLatest(client, namespace, series, now);
  const value = (name: string, metric: string): Datum | undefined =>
    latest.get(`${name} ${metric}`);
  return {
    hosts: hosts.map((name) => {
      const up = value(name, "host_up");
      return {
        name,
        up: up === undefined ? null : up.value >= 1,
        sessions: value(name, "host_sessions")?.value ?? null,
        measured: up?.time.toISOString() ?? null,
      };
    }),
    members: members.map((name) => {
      const state = value(name, "mongo_state");
      return {
        name,
        state: state === undefined ? null : stateName(state.value),
        replicationLag: value(name, "mongo_replication_lag")?.value ?? null,
        oplogWindow: value(name, "mongo_oplog_window")?.value ?? null,
        measured: state?.time.toISOString() ?? null,
      };
    }),
  };
}

/** https://www.mongodb.com/docs/manual/reference/replica-states/ */
const states: Record<number, string> = {
  0: "STARTUP",
  1: "PRIMARY",
  2: "SECONDARY",
  3: "RECOVERING",
  5: "STARTUP2",
  6: "UNKNOWN",
  7: "ARBITER",
  8: "DOWN",
  9: "ROLLBACK",
  10: "REMOVED",
};

/** MongoDB's name of a member's state. */
export function stateName(state: number): string {
  return states[state] ?? `state ${state}`;
}

interface Series {
  dimension: "host" | "machine";
  name: string;
  metric: string;
  statistic: string;
}

interface Datum {
  value: number;
  /** Start of its minute. */
  time: Date;
}

function seriesOf(
  dimension: Series["dimension"],
  name: string,
  metrics: Record<string, string>,
): Series[] {
  return Object.entries(metrics).map(([metric, statistic]) => ({
    dimension,
    name,
    metric,
    statistic,
  }));
}

/** The newest value of each series that is fresh, by the machine's name and the metric's. */
async function readLatest(
  client: CloudWatchClient,
  namespace: string,
  series: Series[],
  now: Date,
): Promise<Map<string, Datum>> {
  const latest = new Map<string, Datum>();
  if (series.length === 0) {
    return latest;
  }
  const pages = paginateGetMetricData(
    { client },
    {
      // CloudWatch counts minutes from the first one that is asked for.
      StartTime: new Date(Math.floor((now.getTime() - freshness) / minute) * minute),
      EndTime: new Date(now.getTime() + minute),
      ScanBy: "TimestampDescending",
      MetricDataQueries: series.map((one, index) => query(namespace, one, index)),
    },
  );
  for await (const { MetricDataResults } of pages) {
    for (const { Id = "", Timestamps, Values } of MetricDataResults ?? []) {
      const one = series[Number(Id.slice(1))];
      const [time, value] = [Timestamps?.[0], Values?.[0]];
      if (one === undefined || time === undefined || value === undefined) {
        continue;
      }
      const key = `${one.name} ${one.metric}`;
      if (now.getTime() - time.getTime() <= freshness && !latest.has(key)) {
        latest.set(key, { value, time });
      }
    }
  }
  return latest;
}

function query(
  namespace: string,
  { dimension, name, metric, statistic }: Series,
  index: number,
): MetricDataQuery {
  return {
    Id: `m${index}`,
    MetricStat: {
      Period: 60,
      Stat: statistic,
      Metric: {
        Namespace: namespace,
        MetricName: metric,
        Dimensions: [{ Name: dimension, Value: name }],
      },
    },
  };
}
