/** What a dashboard shows. */
export interface DashboardArgs {
  /** Namespace of the machines' own metrics. */
  namespace: string;
  region: string;
  /** Names of all machines. */
  machines: string[];
  /** Names of the hosts that run. */
  hosts: string[];
  /** Names of the machines of the replica set. */
  members: string[];
}

/** One diagram. */
interface Widget {
  title: string;
  metrics: unknown[][];
  /** Default: `Average`. */
  stat?: "Average" | "Maximum" | "Minimum";
  /** Least and greatest value of its scale, as far as it does not follow the data. */
  min?: number;
  max?: number;
}

/** Columns of a dashboard: https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/CloudWatch-Dashboard-Body-Structure.html */
const columns = 24;
const size = { width: 8, height: 6 };

/**
 * A dashboard's body, as CloudWatch takes it: what visitors notice first, then the machines, then MongoDB.
 * Every metric that a machine sends is there.
 */
export function dashboardBody(args: DashboardArgs): object {
  const perRow = columns / size.width;
  return {
    widgets: widgets(args).map(({ title, metrics, stat = "Average", min = 0, max }, index) => ({
      type: "metric",
      x: (index % perRow) * size.width,
      y: Math.floor(index / perRow) * size.height,
      ...size,
      properties: {
        title,
        metrics,
        stat,
        region: args.region,
        period: 60,
        view: "timeSeries",
        yAxis: { left: { min, max } },
      },
    })),
  };
}

function widgets({ namespace, machines, hosts, members }: DashboardArgs): Widget[] {
  const ofHosts = (metric: string): unknown[][] =>
    hosts.map((host) => [namespace, metric, "host", host, { label: host }]);
  const of = (names: string[], metric: string): unknown[][] =>
    names.map((machine) => [namespace, metric, "machine", machine, { label: machine }]);
  return [
    {
      title: "Hosts that HAProxy finds up",
      metrics: of(["balancer"], "hosts_up"),
      stat: "Minimum",
    },
    { title: "Each host, up or down", metrics: ofHosts("host_up"), stat: "Minimum", max: 1 },
    { title: "Requests per second", metrics: ofHosts("host_requests") },
    { title: "Errors (5xx) per second", metrics: ofHosts("host_errors"), stat: "Maximum" },
    { title: "Sessions", metrics: ofHosts("host_sessions") },
    { title: "Requests in the queue", metrics: ofHosts("host_queue"), stat: "Maximum" },
    {
      title: "Response time, ms, with SockJS's polls",
      metrics: ofHosts("host_response_milliseconds"),
    },
    { title: "CPU, %", metrics: of(machines, "cpu_usage_active"), max: 100 },
    { title: "Memory, %", metrics: of(machines, "memory_used_percent"), max: 100 },
    {
      title: "Fullest disk, %",
      metrics: of(machines, "disk_used_percent"),
      stat: "Maximum",
      max: 100,
    },
    {
      title: "Node's event loop delay, ms (p99)",
      metrics: of(hosts, "node_event_loop_delay"),
      stat: "Maximum",
    },
    { title: "Node's heap, bytes", metrics: of(hosts, "node_heap_used") },
    {
      title: "Certificate's time left, s",
      metrics: of(["balancer"], "certificate_expiry"),
      stat: "Minimum",
    },
    ...(members.length === 0
      ? []
      : ([
          {
            title: "Members: 1 primary, 2 secondary",
            metrics: of(members, "mongo_state"),
            stat: "Maximum",
          },
          { title: "MongoDB's connections", metrics: of(members, "mongo_connections") },
          {
            title: "Replication lag, s",
            metrics: of(members, "mongo_replication_lag"),
            stat: "Maximum",
          },
          { title: "Oplog window, h", metrics: of(members, "mongo_oplog_window"), stat: "Minimum" },
        ] satisfies Widget[])),
  ];
}
