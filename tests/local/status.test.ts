import { spawn } from "node:child_process";
import { once } from "node:events";
import {
  chmodSync,
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import {
  CloudWatchClient,
  PutMetricAlarmCommand,
  type PutMetricAlarmCommandInput,
  PutMetricDataCommand,
  SetAlarmStateCommand,
} from "@aws-sdk/client-cloudwatch";
import {
  AllocateAddressCommand,
  AssociateAddressCommand,
  CreateTagsCommand,
  EC2Client,
  RunInstancesCommand,
  StopInstancesCommand,
} from "@aws-sdk/client-ec2";
import { PutParameterCommand, SSMClient } from "@aws-sdk/client-ssm";
import { stringify } from "yaml";
import { awsCredentials, awsRegion, repositoryFolder } from "../../local/paths";
import { awsApiListener, ec2Error } from "../../local/region/awsApi";
import type { StackStatus } from "../../operation/status";
import { environmentFile } from "../../userdata/cloudConfig";
import { makeCertificate } from "../certificate";
import { isolatedPulumi, type Outcome, outcomeOf } from "../tools";
import { type MotoServer, startMotoServer } from "./motoServer";

/*
 * The commands that look at a stack, as people run them: with Pulumi's own CLI for the config, against a moto
 * that has what a stack on AWS would have. Agents of Session Manager, which moto does not know, and missing
 * permissions are a front door's before it.
 */
const folder = mkdtempSync(join(tmpdir(), "status-test-"));
const digest = "0123456789abcdef".repeat(4);
const certificate = makeCertificate({ names: ["app.example.com", "www.example.com"] });
const second = makeCertificate({ names: ["shop.example.com"] });
/** Actions that the front door does not allow. */
const denied = new Set<string>();
/** Ids of all parameters that were asked for. */
const askedParameters = new Set<string>();
/** What Session Manager knows of an instance. */
const agents: Record<string, object> = {};
const ids: Record<string, string> = {};
let moto: MotoServer;
let frontDoor: Server;
let url: string;

jest.setTimeout(120_000);

beforeAll(async () => {
  moto = await startMotoServer([]);
  frontDoor = createServer(
    awsApiListener(
      Number(new URL(moto.url).port),
      async ({ service, action = "", body }, askMoto) => {
        const permission = `${service === "monitoring" ? "cloudwatch" : service}:${action}`;
        if (denied.has(permission)) {
          const message = `User: arn:aws:iam::123456789012:user/a is not authorized to perform: ${permission}`;
          return service === "ec2"
            ? ec2Error("UnauthorizedOperation", message, 403)
            : json(400, { __type: "AccessDeniedException", message });
        }
        if (action === "GetParameters") {
          const { Names } = JSON.parse(body.toString()) as { Names: string[] };
          Names.forEach((name) => askedParameters.add(name));
        }
        if (action === "DescribeInstanceInformation") {
          const { Filters } = JSON.parse(body.toString()) as {
            Filters: { Key: string; Values: string[] }[];
          };
          expect(Filters.map(({ Key }) => Key)).toEqual(["InstanceIds"]);
          const known = Filters[0]?.Values.flatMap((id) => agents[id] ?? []);
          return json(200, { InstanceInformationList: known });
        }
        return askMoto();
      },
    ),
  );
  frontDoor.listen(0, "127.0.0.1");
  await once(frontDoor, "listening");
  url = `http://127.0.0.1:${(frontDoor.address() as AddressInfo).port}`;
  copyFileSync(join(repositoryFolder, "Pulumi.yaml"), join(folder, "Pulumi.yaml"));
  copyFileSync(join(repositoryFolder, "Pulumi.local.yaml"), join(folder, "Pulumi.local.yaml"));
  makeStack("test", url);
  makeStack("empty", url);
  makeStack("nowhere", "http://127.0.0.1:1");
  await makeMachines();
  await makeParameters();
  await makeAlarms();
});

afterAll(async () => {
  frontDoor.close();
  await moto.stop();
  rmSync(folder, { recursive: true });
});

function json(
  status: number,
  answer: object,
): { status: number; headers: Record<string, string>; body: string } {
  return {
    status,
    headers: { "content-type": "application/x-amz-json-1.1" },
    body: JSON.stringify(answer),
  };
}

/** A stack of the project, whose AWS is at an address. */
function makeStack(name: string, endpoint: string, keys = awsCredentials): void {
  const { status, output } = outcomeOf(
    "pulumi",
    ["stack", "init", name, "--cwd", folder],
    isolatedPulumi(folder),
  );
  expect([output, status]).toEqual([output, 0]);
  const file = join(folder, `Pulumi.${name}.yaml`);
  const config = {
    "aws:region": awsRegion,
    "aws:accessKey": keys.accessKeyId,
    "aws:secretKey": keys.secretAccessKey,
    "aws:endpoints": [{ cloudwatch: endpoint, ec2: endpoint, ssm: endpoint }],
    "meteor-scale:rootUrl": "https://app.example.com",
    "meteor-scale:bundle": "./one.tar.gz",
  };
  writeFileSync(file, `${readFileSync(file, "utf8")}${stringify({ config })}`);
}

const client = (): { region: string; endpoint: string; credentials: typeof awsCredentials } => ({
  region: awsRegion,
  endpoint: url,
  credentials: awsCredentials,
});

async function makeMachine(
  name: string,
  role: string,
  prefix = "meteor-scale-test",
): Promise<string> {
  const ec2 = new EC2Client(client());
  const environment: Record<string, string> =
    role === "meteor" ? { BUNDLE: "s3://bucket/one.tar.gz", BUNDLE_SHA256: digest } : {};
  const files = [{ path: "/etc/meteor-scale/machine.env", content: environmentFile(environment) }];
  const userData = `#cloud-config\n${stringify({ write_files: files })}`;
  const { Instances } = await ec2.send(
    new RunInstancesCommand({
      ImageId: "ami-12345678",
      InstanceType: "c7a.medium",
      MinCount: 1,
      MaxCount: 1,
      UserData: Buffer.from(userData).toString("base64"),
    }),
  );
  const id = Instances?.[0]?.InstanceId ?? "";
  const tags = { Name: `${prefix}-${name}`, role, ready: `${id} true` };
  await tag(id, tags);
  return id;
}

async function tag(id: string, tags: Record<string, string>): Promise<void> {
  const ec2 = new EC2Client(client());
  const Tags = Object.entries(tags).map(([Key, Value]) => ({ Key, Value }));
  await ec2.send(new CreateTagsCommand({ Resources: [id], Tags }));
}

async function makeMachines(): Promise<void> {
  for (const [name, role] of [
    ["host2", "meteor"],
    ["host1", "meteor"],
    ["mongo1", "mongo"],
    ["balancer", "balancer"],
  ] as const) {
    ids[name] = await makeMachine(name, role);
  }
  // Another stack's name may begin with this one's.
  await makeMachine("host1", "meteor", "meteor-scale-test-2");
  const ec2 = new EC2Client(client());
  const { AllocationId, PublicIp } = await ec2.send(new AllocateAddressCommand({ Domain: "vpc" }));
  ids["address"] = PublicIp ?? "";
  await ec2.send(new AssociateAddressCommand({ AllocationId, InstanceId: ids["balancer"] }));
}

async function parameter(
  name: string,
  value: string,
  type: "String" | "SecureString",
): Promise<void> {
  await new SSMClient(client()).send(
    new PutParameterCommand({
      ...{ Name: `/meteor-scale/test/${name}`, Value: value, Type: type, Overwrite: true },
    }),
  );
}

async function makeParameters(): Promise<void> {
  await parameter("gates/hosts", `${String(ids["host1"])} ${String(ids["host2"])}`, "String");
  await parameter(
    "gates/mongo1",
    `${String(ids["mongo1"])} m7a.medium eu-central-1a rbac`,
    "String",
  );
  await parameter("certificate/CERTIFICATE", certificate.certificatePem, "SecureString");
  await parameter("certificate/PRIVATE_KEY", certificate.privateKeyPem, "SecureString");
  await parameter("certificate/CERTIFICATE_2", second.certificatePem, "SecureString");
  await parameter("certificate/acme/CERTIFICATE", "none", "String");
}

const watched: Partial<PutMetricAlarmCommandInput> = {
  Statistic: "Maximum",
  Period: 60,
  EvaluationPeriods: 1,
  Threshold: 0,
  ComparisonOperator: "GreaterThanThreshold",
};

async function makeAlarms(): Promise<void> {
  const system: Partial<PutMetricAlarmCommandInput> = {
    ...watched,
    Namespace: "AWS/EC2",
    MetricName: "StatusCheckFailed_System",
  };
  const dimension = (id = ""): object => ({ Dimensions: [{ Name: "InstanceId", Value: id }] });
  for (const [name, alarm] of Object.entries<Partial<PutMetricAlarmCommandInput>>({
    "own-1a": { ...watched, Namespace: "meteor-scale-test", MetricName: "hosts_up" },
    "host-1a": { ...system, ...dimension(ids["host1"]) },
    "foreign-1a": { ...system, ...dimension("i-0123456789abcdef0") },
    "other-1a": { ...watched, Namespace: "meteor-scale-test-2", MetricName: "hosts_up" },
  })) {
    const input = { AlarmName: name, AlarmDescription: `For ${name}`, ...alarm };
    await new CloudWatchClient(client()).send(
      new PutMetricAlarmCommand(input as PutMetricAlarmCommandInput),
    );
    await setAlarm(name, "OK");
  }
}

async function setAlarm(name: string, state: "OK" | "ALARM" | "INSUFFICIENT_DATA"): Promise<void> {
  await new CloudWatchClient(client()).send(
    new SetAlarmStateCommand({ AlarmName: name, StateValue: state, StateReason: "a test" }),
  );
}

/** A minute's metrics, as the machines write them. */
async function writeMetrics(
  values: [metric: string, dimension: string, name: string, value: number][],
  secondsAgo = 0,
): Promise<void> {
  await new CloudWatchClient(client()).send(
    new PutMetricDataCommand({
      Namespace: "meteor-scale-test",
      MetricData: values.map(([MetricName, Name, Value, value]) => ({
        ...{ MetricName, Dimensions: [{ Name, Value }], Value: value },
        Timestamp: new Date(Date.now() - secondsAgo * 1000),
      })),
    }),
  );
}

/** Runs a command of operation/cli.ts in the project's folder. */
async function command(args: string[], environment: Record<string, string> = {}): Promise<Outcome> {
  const child = spawn(
    process.execPath,
    [
      ...["--import", pathToFileURL(require.resolve("tsx")).href],
      ...[join(repositoryFolder, "operation", "cli.ts"), ...args],
    ],
    {
      cwd: folder,
      env: {
        ...process.env,
        ...isolatedPulumi(folder),
        ...{ AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED: "true", ...environment },
      },
      stdio: ["ignore", "pipe", "pipe"],
    },
  );
  let output = "";
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding("utf8").on("data", (text: string) => (output += text));
  }
  const [status] = (await once(child, "close")) as [number | null];
  return { status, output };
}

async function status(): Promise<{ exitCode: number | null; status: StackStatus }> {
  const { status: exitCode, output } = await command(["status", "--stack", "test", "--json"]);
  return { exitCode, status: JSON.parse(output) as StackStatus };
}

describe("npm run status", () => {
  afterEach(() => {
    denied.clear();
  });

  test("tells of a stack that was just made, without metrics, and all is well", async () => {
    const { exitCode, status: found } = await status();
    const machine = {
      type: "c7a.medium",
      zone: "eu-central-1a",
      state: "running",
      ready: "true",
      inService: true,
    };
    expect(found).toMatchObject({
      ...{ stack: "test", region: "eu-central-1", well: true, url: "https://app.example.com" },
      address: ids["address"],
      machines: [
        { name: "balancer", role: "balancer", instanceId: ids["balancer"], ...machine },
        { name: "host1", role: "meteor", instanceId: ids["host1"], ...machine },
        { name: "host2", role: "meteor", instanceId: ids["host2"], ...machine },
        { name: "mongo1", role: "mongo", instanceId: ids["mongo1"], ...machine },
      ],
      hosts: [
        { name: "host1", up: null, sessions: null, measured: null },
        { name: "host2", up: null, sessions: null, measured: null },
      ],
      members: [
        { name: "mongo1", state: null, replicationLag: null, oplogWindow: null, measured: null },
      ],
      bundles: ["host1", "host2"].map((host) => ({
        ...{ host, instanceId: ids[host], address: "s3://bucket/one.tar.gz", sha256: digest },
      })),
      certificates: [
        {
          parameter: "CERTIFICATE",
          names: ["app.example.com", "www.example.com"],
          issuer: "itself",
        },
        { parameter: "CERTIFICATE_2", names: ["shop.example.com"] },
      ],
      ...{ alarms: [], problems: [], unread: [] },
    });
    expect(exitCode).toBe(0);
  });

  test("asks for no private key", () => {
    const names = [...askedParameters];
    expect(names).toContain("/meteor-scale/test/certificate/CERTIFICATE");
    expect(names.filter((name) => !/\/(gates\/\w+|CERTIFICATE(_\d+)?)$/.test(name))).toEqual([]);
  });

  test("tells the newest metrics of the hosts and members", async () => {
    await writeMetrics([["host_up", "host", "host2", 0]], 130);
    await writeMetrics([
      ["host_up", "host", "host1", 1],
      ["host_sessions", "host", "host1", 7],
      ["host_up", "host", "host2", 1],
      ["mongo_state", "machine", "mongo1", 1],
      ["mongo_replication_lag", "machine", "mongo1", 0],
      ["mongo_oplog_window", "machine", "mongo1", 36.5],
    ]);
    const { exitCode, status: found } = await status();
    expect(found).toMatchObject({
      hosts: [
        { name: "host1", up: true, sessions: 7 },
        { name: "host2", up: true, sessions: null },
      ],
      members: [{ name: "mongo1", state: "PRIMARY", replicationLag: 0, oplogWindow: 36.5 }],
      problems: [],
    });
    const age = Date.parse(found.time) - Date.parse(found.hosts[0]?.measured ?? "");
    expect(age).toBeLessThan(90_000);
    expect(exitCode).toBe(0);
  });

  test("tells people on one page, and each thing that is not well", async () => {
    await writeMetrics([
      ["host_up", "host", "host2", 0],
      ["mongo_state", "machine", "mongo1", 3],
    ]);
    await tag(ids["host1"] ?? "", { ready: `${String(ids["host1"])} true: the disk is slow` });
    await setAlarm("own-1a", "ALARM");
    await setAlarm("host-1a", "INSUFFICIENT_DATA");
    await setAlarm("foreign-1a", "ALARM");
    await setAlarm("other-1a", "ALARM");
    const { status: exitCode, output } = await command(["status", "--stack", "test"]);
    const page = output.replaceAll(/i-[0-9a-f]{17}/g, "i-…").replaceAll(/ +/g, " ");
    for (const line of [
      `https://app.example.com (${String(ids["address"])})`,
      "host1 i-… c7a.medium eu-central-1a running yes, but yes ",
      "host2 down",
      "mongo1 RECOVERING 0 s 36.5 h",
      "0123456789ab host1, host2 s3://bucket/one.tar.gz",
      "itself app.example.com, www.example.com",
      "own-1a ALARM ",
      "host-1a INSUFFICIENT_DATA ",
      "Not well:\n- host1 (i-…) is ready, but: the disk is slow\n- host2 is down, as HAProxy sees it.\n- mongo1 is RECOVERING.\n- No member of the replica set is PRIMARY.\n- The alarm own-1a: a test\n",
    ]) {
      expect(page).toContain(line);
    }
    expect(page).not.toMatch(/foreign|other-1a/);
    expect(exitCode).toBe(2);
    await tag(ids["host1"] ?? "", { ready: `${String(ids["host1"])} true` });
    await Promise.all(
      ["own-1a", "host-1a", "foreign-1a", "other-1a"].map((name) => setAlarm(name, "OK")),
    );
  });

  test("misses a machine that was in service", async () => {
    await parameter(
      "gates/hosts",
      `${String(ids["host1"])} ${String(ids["host2"])} i-0gone`,
      "String",
    );
    const { exitCode, status: found } = await status();
    expect(found.problems).toContain(
      "i-0gone was in service and is gone: pulumi up --refresh makes another.",
    );
    expect(exitCode).toBe(2);
    await parameter("gates/hosts", `${String(ids["host1"])} ${String(ids["host2"])}`, "String");
  });

  test.each([
    ["ec2:DescribeAddresses", ["address"], { address: null }],
    ["ec2:DescribeInstanceAttribute", ["bundles"], { bundles: [] }],
    ["ec2:DescribeInstances", ["machines"], { machines: [], hosts: [] }],
    ["cloudwatch:GetMetricData", ["health of hosts and members"], { hosts: [], members: [] }],
    ["cloudwatch:DescribeAlarms", ["alarms"], { alarms: [] }],
    [
      "ssm:GetParameters",
      ["certificates", "machines in service"],
      { certificates: [], certificatesEnd: null },
    ],
  ])("shows the rest without the permission %s, and names it", async (action, parts, missing) => {
    denied.add(action);
    const { exitCode, status: found } = await status();
    expect(found.unread).toEqual(parts.map((part) => ({ part, action })));
    expect(found).toMatchObject({ well: false, ...missing });
    const read = [found.machines, found.bundles, found.certificates].filter(
      ({ length }) => length > 0,
    );
    expect(read.length).toBeGreaterThan(0);
    expect(
      found.problems.filter((problem) => /No machine|no certificate|address|metrics/.test(problem)),
    ).toEqual([]);
    expect(exitCode).toBe(2);
  });

  test("says that a stack without machines has none", async () => {
    const { status: exitCode, output } = await command(["status", "--stack", "empty"]);
    expect(output).toContain("- No machine is there: pulumi up makes them.");
    expect(exitCode).toBe(2);
  });

  test.each<[string, string[], Record<string, string>, RegExp]>([
    [
      "a stack that does not exist",
      ["--stack", "none"],
      {},
      /^error: no stack named 'none' found$/m,
    ],
    ["no stack", [], {}, /required option '--stack <name>' not specified/],
    [
      "an AWS that can't be reached",
      ["--stack", "nowhere"],
      {},
      /^AWS can't be reached \(.*127\.0\.0\.1:1.*\): is aws:region right/m,
    ],
    [
      "a local region that does not run",
      ["--stack", "local"],
      { METEOR_SCALE_CACHE: folder },
      /^The local region does not run\. `npm run local` starts it\.$/m,
    ],
    [
      "no Pulumi",
      ["--stack", "test"],
      { PATH: "/nowhere" },
      /^pulumi can't be run .*https:\/\/www\.pulumi\.com/m,
    ],
  ])("answers %s with what is wrong", async (_, args, environment, answer) => {
    const { status: exitCode, output } = await command(["status", ...args], environment);
    expect(output).toMatch(answer);
    expect(output).not.toMatch(/^\s+at /m);
    expect(exitCode).toBe(1);
  });

  test("answers missing credentials with where to get some", async () => {
    const file = join(folder, "Pulumi.test.yaml");
    const before = readFileSync(file, "utf8");
    writeFileSync(file, before.replace(/ *aws:(access|secret)Key: .*\n/g, ""));
    const nobody = {
      ...{ AWS_CONFIG_FILE: "/nowhere", AWS_SHARED_CREDENTIALS_FILE: "/nowhere" },
      ...{ AWS_ACCESS_KEY_ID: "", AWS_PROFILE: "", AWS_EC2_METADATA_DISABLED: "true" },
    };
    const { status: exitCode, output } = await command(["status", "--stack", "test"], nobody);
    writeFileSync(file, before);
    expect(output).toMatch(/^There are no credentials for AWS .*: set AWS_PROFILE/m);
    expect(exitCode).toBe(1);
  });
});

describe("npm run shell", () => {
  const bin = join(folder, "programs");
  const record = join(folder, "arguments");
  const path = (): Record<string, string> => ({
    PATH: `${bin}:${isolatedPulumi(folder)["PATH"] ?? ""}`,
  });

  /** A program that writes down how it was called. */
  function fake(name: string, script: string): void {
    writeFileSync(join(bin, name), `#!/bin/sh\n${script}`);
    chmodSync(join(bin, name), 0o755);
  }

  beforeAll(() => {
    mkdirSync(bin);
    fake(
      "aws",
      `[ "$1" = --version ] && exit\nprintf '%s\\n' "$AWS_ACCESS_KEY_ID" "$@" >${record}\nexit 7\n`,
    );
    fake("session-manager-plugin", "");
    agents[ids["host2"] ?? ""] = { InstanceId: ids["host2"], PingStatus: "Online" };
    agents[ids["mongo1"] ?? ""] = {
      ...{ InstanceId: ids["mongo1"], PingStatus: "ConnectionLost", LastPingDateTime: 1777000000 },
    };
  });

  test.each([
    [[], []],
    [
      ["--port", "8404"],
      [
        ...["--document-name", "AWS-StartPortForwardingSession", "--parameters"],
        '{"portNumber":["8404"],"localPortNumber":["8404"]}',
      ],
    ],
    [
      ["--port", "8404", "--local-port", "9000"],
      [
        ...["--document-name", "AWS-StartPortForwardingSession", "--parameters"],
        '{"portNumber":["8404"],"localPortNumber":["9000"]}',
      ],
    ],
  ])("has the AWS CLI open what %j asks for, and ends as it does", async (args, session) => {
    const { status: exitCode } = await command(
      ["shell", "host2", "--stack", "test", ...args],
      path(),
    );
    expect(readFileSync(record, "utf8").trim().split("\n")).toEqual([
      ...[awsCredentials.accessKeyId, "ssm", "start-session", "--target", ids["host2"]],
      ...["--region", "eu-central-1", "--endpoint-url", url, ...session],
    ]);
    expect(exitCode).toBe(7);
  });

  test("opens a session for who may not look at the agents", async () => {
    denied.add("ssm:DescribeInstanceInformation");
    const { status: exitCode } = await command(["shell", "host1", "--stack", "test"], path());
    denied.clear();
    expect(exitCode).toBe(7);
  });

  test.each<[string, string[], RegExp]>([
    [
      "a name that no machine has",
      ["host9"],
      /^There is no machine host9\. There are: balancer, host1, host2, mongo1\.$/m,
    ],
    [
      "a machine that Session Manager does not know",
      ["host1"],
      /^Session Manager does not know host1 \(i-\w+\)\. Its agent is there/m,
    ],
    [
      "a machine whose agent is silent",
      ["mongo1"],
      /^The agent of Session Manager on mongo1 \(i-\w+\) is ConnectionLost; its last word: 2026-/m,
    ],
    [
      "a port that is none",
      ["host1", "--port", "70000"],
      /argument '70000' is invalid\. It must be a port, 1 to 65535\./,
    ],
  ])("answers %s with what is wrong", async (_, args, answer) => {
    const { status: exitCode, output } = await command(
      ["shell", ...args, "--stack", "test"],
      path(),
    );
    expect(output).toMatch(answer);
    expect(output).not.toMatch(/^\s+at /m);
    expect(exitCode).toBe(1);
  });

  test("says so where sessions are off in the stack's config", async () => {
    const file = join(folder, "Pulumi.test.yaml");
    const before = readFileSync(file, "utf8");
    writeFileSync(file, `${before}  meteor-scale:sessionManager: false\n`);
    const { output } = await command(["shell", "host1", "--stack", "test"], path());
    writeFileSync(file, before);
    expect(output).toMatch(/: sessionManager is false in the config of test\./);
  });

  test.each([
    [
      "aws",
      /^A session takes aws on this computer, which is not installed: https:\/\/docs\.aws\.amazon\.com\/cli\//m,
    ],
    [
      "session-manager-plugin",
      /^A session takes session-manager-plugin on this computer, which is not installed: https:\/\/docs\.aws\.amazon\.com\/systems-manager\//m,
    ],
  ])("says where to get %s if it is missing", async (missing, answer) => {
    const without = join(folder, `without-${missing}`);
    mkdirSync(without);
    for (const program of ["aws", "session-manager-plugin"].filter((name) => name !== missing)) {
      copyFileSync(join(bin, program), join(without, program));
    }
    copyFileSync(
      outcomeOf("sh", ["-c", "command -v pulumi"], isolatedPulumi(folder)).output.trim(),
      join(without, "pulumi"),
    );
    const { status: exitCode, output } = await command(["shell", "host2", "--stack", "test"], {
      PATH: without,
    });
    expect(output).toMatch(answer);
    expect(exitCode).toBe(1);
  });

  test("does not open a machine that is stopped", async () => {
    await new EC2Client(client()).send(
      new StopInstancesCommand({ InstanceIds: [ids["host1"] ?? ""] }),
    );
    const { status: exitCode, output } = await command(
      ["shell", "host1", "--stack", "test"],
      path(),
    );
    expect(output).toMatch(/^host1 \(i-\w+\) is (stopping|stopped); it must be running\.$/m);
    expect(exitCode).toBe(1);
  });
});
