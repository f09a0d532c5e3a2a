import { execFileSync } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import {
  CloudWatchClient,
  DescribeAlarmsCommand,
  GetDashboardCommand,
  ListMetricsCommand,
} from "@aws-sdk/client-cloudwatch";
import {
  CloudWatchLogsClient,
  DescribeLogGroupsCommand,
  FilterLogEventsCommand,
} from "@aws-sdk/client-cloudwatch-logs";
import { findMachine } from "../../../local/region/access";
import { awsApiUrl, awsCredentials, awsRegion, regionFolder } from "../../../local/paths";
import { makeCertificate } from "../../certificate";
import { connects, eventually, inMachine } from "../machines";
import { instanceIds, localCommand, pulumi, type Stack, upStack, updateWith } from "./stack";

jest.setTimeout(900_000);

const options = { region: awsRegion, endpoint: awsApiUrl, credentials: awsCredentials };
const cloudwatch = new CloudWatchClient(options);
const logs = new CloudWatchLogsClient(options);
const namespace = "meteor-scale-local";
const address = "ops@example.com";

let stack: Stack;

beforeAll(async () => {
  stack = await upStack();
});

afterAll(() => {
  // A full disk, and hosts and a balancer that somebody stopped.
  localCommand("down");
});

/** The journal of the machines of a role, as CloudWatch has it. */
async function journal(role: string, machine: string, pattern: string): Promise<string[]> {
  const { events = [] } = await logs.send(
    new FilterLogEventsCommand({
      logGroupName: `/meteor-scale/local/${role}`,
      // moto knows no prefix here.
      logStreamNames: [`${machine}/${String(instanceIds()[machine])}`],
      filterPattern: `"${pattern}"`,
    }),
  );
  return events.map(({ message = "" }) => message);
}

test("CloudWatch has the journal of every machine, from its first step on", async () => {
  const { logGroups = [] } = await logs.send(
    new DescribeLogGroupsCommand({ logGroupNamePrefix: "/meteor-scale/local/" }),
  );
  expect(
    logGroups.map(({ logGroupName, retentionInDays }) => [logGroupName, retentionInDays]),
  ).toEqual(["balancer", "meteor", "mongo"].map((role) => [`/meteor-scale/local/${role}`, 30]));
  for (const [role, machine] of [
    ["balancer", "balancer"],
    ["meteor", "host1"],
    ["meteor", "host3"],
    ["mongo", "mongo1"],
  ] as const) {
    await eventually(async () => {
      expect(await journal(role, machine, "step fetch-programs")).toEqual([
        expect.stringMatching(/^meteor-scale\[\d+\]: step fetch-programs$/),
      ]);
    });
  }
});

test("a request is in the logs with its client, its host, the cookie's state and its times", async () => {
  const path = "/looked-for-in-the-logs";
  execFileSync("curl", ["-ks", "-o", "/dev/null", `https://${stack.address}${path}`]);
  await eventually(async () => {
    expect(await journal("balancer", "balancer", path)).toEqual([
      expect.stringMatching(
        /^haproxy\[\d+\]: [\d.]+:\d+ \[.*\] stud apps\/host\d( \d+|\/\d+){1,} .* (\d+\/){4}\d+ .*GET \/looked-for/,
      ),
    ]);
  });
});

test("every machine sends the metrics that the dashboard shows, and no other", async () => {
  const { DashboardBody = "" } = await cloudwatch.send(
    new GetDashboardCommand({ DashboardName: namespace }),
  );
  const { widgets } = JSON.parse(DashboardBody) as {
    widgets: { properties: { metrics: string[][] } }[];
  };
  const shown = widgets
    .flatMap(({ properties }) => properties.metrics)
    .map((metric) => metric.filter((part) => typeof part === "string").join(" "))
    .sort();
  await eventually(async () => {
    expect((await sentMetrics()).sort()).toEqual(shown);
  }, 180);
});

/** What the stack's machines have sent so far. */
async function sentMetrics(): Promise<string[]> {
  const { Metrics = [] } = await cloudwatch.send(new ListMetricsCommand({ Namespace: namespace }));
  return Metrics.map(({ MetricName, Dimensions = [] }) =>
    [namespace, MetricName, ...Dimensions.flatMap(({ Name, Value }) => [Name, Value])].join(" "),
  );
}

describe("HAProxy's statistics", () => {
  test("are there on the balancer itself, for people and for Prometheus", () => {
    expect(inMachine("balancer", "curl -s http://127.0.0.1:8404/")).toContain(
      "Statistics Report for HAProxy",
    );
    expect(inMachine("balancer", "curl -s http://127.0.0.1:8404/metrics")).toMatch(
      /^haproxy_server_status\{proxy="apps",server="host1",state="UP"\} 1$/m,
    );
  });

  test("can't be had from another machine, or from outside", () => {
    const { privateAddress } = findMachine("balancer");
    const host = ["--all", `--target=${String(findMachine("host1").leader)}`];
    expect(connects(host, privateAddress, 8404)).toBe(false);
    const internet = ["--net=/run/netns/meteor-internet"];
    expect(connects(internet, stack.internetAddress, 8404)).toBe(false);
  });
});

/** Names of the alarms that are in a state, without the stack's. */
async function alarmsIn(state: "ALARM" | "OK"): Promise<string[]> {
  const { MetricAlarms = [] } = await cloudwatch.send(
    new DescribeAlarmsCommand({ AlarmNamePrefix: `${namespace}-` }),
  );
  return MetricAlarms.filter(({ StateValue }) => StateValue === state)
    .map(({ AlarmName = "" }) => AlarmName.slice(namespace.length + 1))
    .sort();
}

/** Subjects of the mails that the region has delivered. */
function subjects(): string[] {
  return mails().map((mail) => /^Subject: (.*)$/m.exec(mail)?.[1] ?? "");
}

function mails(): string[] {
  const folder = join(regionFolder, "mail");
  return readdirSync(folder)
    .sort()
    .map((name) => readFileSync(join(folder, name), "utf8"));
}

/** EC2 asks a machine by ARP whether it is there; without the cable its routes would be gone for good. */
function answerArp(answer: "on" | "off"): void {
  const namespace = `meteor-${String(instanceIds()["balancer"])}`;
  execFileSync("ip", ["-n", namespace, "link", "set", "ens5", "arp", answer]);
}

const hosts = ["host1", "host2", "host3"];

test("each alarm fires for what it is there for, and tells who confirmed the address", async () => {
  const soon = makeCertificate({ names: ["meteor.localhost"], days: 10 });
  const { status } = await updateWith(
    { alarmEmail: address, tls: "pem", certificatePem: soon.certificatePem },
    { secrets: { privateKeyPem: soon.privateKeyPem } },
  );
  expect(status).toBe(0);
  expect((await fetch(confirmationLink())).ok).toBe(true);

  for (const host of hosts) {
    inMachine(host, "systemctl stop meteor");
  }
  inMachine("mongo1", "fallocate -l 17G /var/lib/mongodb/ballast");
  inMachine(
    "mongo1",
    `cat >/root/load.js <<'END'
const password = fs.readFileSync("/etc/meteor-scale/secrets/ADMIN_PASSWORD", "utf8").trim();
const admin = connect("mongodb://127.0.0.1/admin?directConnection=true");
admin.auth("admin", password);
const load = admin.getSiblingDB("load").getCollection("documents");
for (let document = 0; document < 700; document++) load.insertOne({ text: "x".repeat(500000) });
END
mongosh --quiet --norc --nodb --file /root/load.js`,
  );
  const expected = ["certificate", "host-down", "mongo1-disk", "mongo1-oplog", "no-host-up"];
  await eventually(async () => {
    expect(await alarmsIn("ALARM")).toEqual(expected);
  }, 480);

  answerArp("off");
  await eventually(async () => {
    expect(await alarmsIn("ALARM")).toContain("balancer");
  }, 300);
  await eventually(() => {
    expect(subjects()).toEqual(
      expect.arrayContaining(
        [...expected, "balancer"].map(
          (name) => `ALARM: "${namespace}-${name}" in Europe (Frankfurt)`,
        ),
      ),
    );
  });
});

test("nobody has to say that it is over", async () => {
  answerArp("on");
  for (const host of hosts) {
    inMachine(host, "systemctl start meteor");
  }
  await eventually(async () => {
    expect(await alarmsIn("OK")).toEqual(expect.arrayContaining(["balancer", "no-host-up"]));
  }, 300);
  expect(pulumi("preview", "--diff").status).toBe(0);
});

/** That of AWS's first mail. */
function confirmationLink(): string {
  const mail = mails().find((text) => text.includes("ConfirmSubscription")) ?? "";
  return /https?:\/\/\S+ConfirmSubscription\S+/.exec(mail)?.[0] ?? "";
}
