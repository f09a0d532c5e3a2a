import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { runProgram, withDefaults } from "../../local/mockEngine";
import { chosenMachine } from "../../operation/shell";
import { machineEnvironment } from "../../operation/machines";
import { stateName } from "../../operation/metrics";
import { servedCertificates } from "../../operation/parameters";
import { deniedAction } from "../../operation/stack";
import { problemsOf, type StackStatus } from "../../operation/status";
import { statusText } from "../../operation/statusText";
import { makeCertificate } from "../certificate";
import { sampleBundle } from "../sampleBundle";

const time = "2026-05-04T10:30:20.000Z";

function machine(
  name: string,
  instanceId: string,
  more: Partial<StackStatus["machines"][number]> = {},
): StackStatus["machines"][number] {
  const role = name.startsWith("host") ? "meteor" : name.startsWith("mongo") ? "mongo" : name;
  return {
    ...{ name, role, instanceId, type: "c7a.medium", zone: "eu-central-1a", state: "running" },
    ...{ ready: "true", launched: "2026-05-01T08:00:00.000Z", inService: true, ...more },
  };
}

const measured = "2026-05-04T10:29:00.000Z";

function host(name: string, more: Partial<StackStatus["hosts"][number]> = {}): object {
  return { name, up: true, sessions: 12, measured, ...more };
}

function member(name: string, more: Partial<StackStatus["members"][number]> = {}): object {
  return { name, state: "PRIMARY", replicationLag: 0, oplogWindow: 50.04, measured, ...more };
}

/** A small stack that is well, but for what a test changes. */
function stackStatus(changes: Record<string, unknown> = {}): StackStatus {
  return {
    ...{ stack: "dev", region: "eu-central-1", time, well: true },
    ...{ url: "https://app.example.com", address: "203.0.113.10" },
    machines: [
      machine("balancer", "i-0b"),
      machine("host1", "i-01"),
      machine("host2", "i-02"),
      machine("mongo1", "i-0d"),
    ],
    hosts: [host("host1"), host("host2")],
    members: [member("mongo1")],
    bundles: ["i-01", "i-02"].map((instanceId, index) => ({
      ...{ host: `host${index + 1}`, instanceId, address: "s3://bucket/bundles/one.tar.gz" },
      sha256: "0123456789abcdef".repeat(4),
    })),
    certificates: [certificate()],
    certificatesEnd: "2026-07-04T12:00:00.000Z",
    ...{ alarms: [], problems: [], unread: [], ...changes },
  } as StackStatus;
}

function certificate(changes: Partial<StackStatus["certificates"][number]> = {}): object {
  const names = ["app.example.com", "www.example.com"];
  const ends = "2026-07-04T12:00:00.000Z";
  return { parameter: "acme/CERTIFICATE", names, ends, issuer: "Let's Encrypt", ...changes };
}

test("the status of a stack that is well is a page of tables", () => {
  expect(statusText(stackStatus())).toMatchSnapshot();
});

test("the status of a stack in trouble tells each thing that is not well, and what was not read", () => {
  const status = stackStatus({
    machines: [
      machine("balancer", "i-0b", { ready: "true: the certificate could not be renewed: later" }),
      machine("host1", "i-01"),
      machine("host1", "i-03", {
        ...{ ready: "failed: start-meteor: Error: no settings|at main.js:1", inService: false },
        launched: "2026-05-04T10:29:30.000Z",
      }),
      machine("host2", "i-02", { state: "stopped", inService: null }),
      machine("mongo1", "i-0d", { ready: null }),
    ],
    hosts: [host("host1"), host("host2", { up: false, sessions: 0 })],
    members: [
      member("mongo1", { state: null, replicationLag: null, oplogWindow: null, measured: null }),
    ],
    certificates: [
      certificate(),
      certificate({
        parameter: "CERTIFICATE_2",
        names: ["shop.example.com"],
        ends: "2026-05-10T10:30:00.000Z",
      }),
    ],
    certificatesEnd: "2026-05-10T10:30:00.000Z",
    alarms: [
      {
        ...{ name: "monitoring-host-down-0a1b2c3", description: "A host is down", state: "ALARM" },
        ...{ since: "2026-05-04T08:10:00.000Z", reason: "Threshold Crossed: 1 datapoint" },
      },
      {
        ...{ name: "meteor-host1-recovery-0a1b2c3", description: "", state: "INSUFFICIENT_DATA" },
        ...{ since: null, reason: "Unchecked: Initial alarm creation" },
      },
    ],
    unread: [{ part: "bundles", action: "ec2:DescribeInstanceAttribute" }],
    ...{ bundles: [], address: null, well: false },
  });
  const problems = problemsOf(status, ["i-04"]);
  expect(statusText({ ...status, problems })).toMatchSnapshot();
});

describe("what is not well", () => {
  const young = "2026-05-04T10:28:00.000Z";
  const noData = { up: null, sessions: null, measured: null };

  test.each<[string, Record<string, unknown>, string[]]>([
    ["nothing of a stack that is", {}, []],
    [
      "a stack without machines",
      { machines: [], hosts: [], members: [], bundles: [], certificates: [] },
      ["No machine is there: pulumi up makes them."],
    ],
    [
      "not a stack whose machines may not be read",
      {
        ...{ machines: [], hosts: [], members: [], bundles: [] },
        unread: [{ part: "machines", action: "ec2:DescribeInstances" }],
      },
      [],
    ],
    [
      "a stack without an address",
      { address: null },
      ["No balancer has an elastic address, so nobody can come."],
    ],
    [
      "a host without data",
      { hosts: [host("host1"), host("host2", noData)] },
      ["host2 has no metrics of the last five minutes."],
    ],
    [
      "not a host that is too young for data",
      {
        machines: [
          machine("balancer", "i-0b"),
          machine("host1", "i-01"),
          machine("host2", "i-02", { launched: young }),
        ],
        hosts: [host("host1"), host("host2", noData)],
      },
      [],
    ],
    [
      "not hosts of which a young balancer has told nothing yet",
      {
        machines: [machine("balancer", "i-0b", { launched: young }), machine("host1", "i-01")],
        hosts: [host("host1", noData)],
      },
      [],
    ],
    [
      "not a replaced host that goes",
      { machines: [machine("host1", "i-09", { state: "shutting-down", inService: false })] },
      [],
    ],
    [
      "a set without a primary",
      { members: [member("mongo1", { state: "SECONDARY" })] },
      ["No member of the replica set is PRIMARY."],
    ],
    [
      "a member that is busy",
      { members: [member("mongo1"), member("mongo2", { state: "RECOVERING" })] },
      ["mongo2 is RECOVERING."],
    ],
    [
      "hosts in service with different bundles",
      {
        bundles: [
          { host: "host1", instanceId: "i-01", address: "s3://b/1", sha256: "1" },
          { host: "host2", instanceId: "i-02", address: "s3://b/2", sha256: "2" },
        ],
      },
      ["The hosts in service run different bundles."],
    ],
    [
      "a certificate that has expired",
      { certificates: [certificate({ ends: time })] },
      ["The certificate of app.example.com, www.example.com (acme/CERTIFICATE) has expired."],
    ],
    ["no certificate at all", { certificates: [] }, ["There is no certificate in SSM."]],
    [
      "not an alarm that has no data yet",
      {
        alarms: [
          { name: "a", description: "", state: "INSUFFICIENT_DATA", since: null, reason: "" },
        ],
      },
      [],
    ],
  ])("is %s", (_, changes, problems) => {
    expect(problemsOf(stackStatus(changes))).toEqual(problems);
  });
});

test.each([
  [0, "STARTUP"],
  [1, "PRIMARY"],
  [2, "SECONDARY"],
  [3, "RECOVERING"],
  [5, "STARTUP2"],
  [6, "UNKNOWN"],
  [7, "ARBITER"],
  [8, "DOWN"],
  [9, "ROLLBACK"],
  [10, "REMOVED"],
  [4, "state 4"],
])("MongoDB's state %d is %s", (state, name) => {
  expect(stateName(state)).toBe(name);
});

describe("of the certificates in SSM", () => {
  const now = new Date();
  const own = makeCertificate({ names: ["app.example.com"] });
  const second = makeCertificate({ names: ["shop.example.com"] });
  const authority = makeCertificate({ names: ["Test CA"], isAuthority: true });
  const obtained = makeCertificate({
    names: ["app.example.com", "www.example.com"],
    ...{ authority, privateKeyPem: own.privateKeyPem },
  });
  const values = {
    CERTIFICATE_10: second.certificatePem,
    CERTIFICATE_2: second.certificatePem,
    CERTIFICATE: own.certificatePem,
  };
  const asked = `https://acme.example.com/directory\nops@example.com\nsha256:0\napp.example.com\n${obtained.certificatePem}${authority.certificatePem}`;

  test("those of the stack are served in their order", () => {
    expect(servedCertificates({ ...values, "acme/CERTIFICATE": "none" }, now)).toMatchObject([
      { parameter: "CERTIFICATE", names: ["app.example.com"], issuer: "itself" },
      { parameter: "CERTIFICATE_2", names: ["shop.example.com"] },
      { parameter: "CERTIFICATE_10" },
    ]);
  });

  test("the authority's takes the place of the first one", () => {
    const served = servedCertificates({ ...values, "acme/CERTIFICATE": asked }, now);
    expect(served.map(({ parameter }) => parameter)).toEqual([
      "acme/CERTIFICATE",
      "CERTIFICATE_2",
      "CERTIFICATE_10",
    ]);
    expect(served[0]).toMatchObject({
      names: ["app.example.com", "www.example.com"],
      issuer: "Test CA",
    });
    const days = (Date.parse(served[0]?.ends ?? "") - now.getTime()) / (24 * 3600_000);
    expect(days).toBeCloseTo(30, 0);
  });

  test("the authority's does not if it has expired", () => {
    const later = new Date(now.getTime() + 31 * 24 * 3600_000);
    const [first] = servedCertificates({ ...values, "acme/CERTIFICATE": asked }, later);
    expect(first?.parameter).toBe("CERTIFICATE");
  });

  test("the authority's does not if it is of another key", () => {
    const [first] = servedCertificates(
      { ...values, "acme/CERTIFICATE": second.certificatePem },
      now,
    );
    expect(first?.parameter).toBe("CERTIFICATE");
  });
});

test("a host's bundle is read from the user data that the program makes", async () => {
  const bundle = sampleBundle();
  const { resources } = await runProgram(
    "test",
    withDefaults({
      ...{ "aws:region": "eu-central-1", rootUrl: "https://app.example.com" },
      ...{ bundle, hostCount: 1, maxHosts: 2 },
    }),
  );
  const host = resources.find(({ name }) => name === "meteor-host1-instance");
  const sha256 = createHash("sha256").update(readFileSync(bundle)).digest("hex");
  expect(machineEnvironment(String(host?.inputs["userData"]))).toMatchObject({
    ...{ MACHINE: "host1", BUNDLE_SHA256: sha256 },
    BUNDLE: expect.stringMatching(`^s3://.*/${sha256}\\.tar\\.gz$`) as string,
  });
});

test.each(["", "#!/bin/sh\n", "#cloud-config\nruncmd: []\n"])(
  "user data of another kind tells of no bundle: %j",
  (userData) => {
    expect(machineEnvironment(userData)).toEqual({});
  },
);

test.each([
  [
    "UnauthorizedOperation",
    "User: arn:aws:iam::1:user/a is not authorized to perform: ec2:DescribeInstances because",
    "ec2:DescribeInstances",
  ],
  [
    "AccessDeniedException",
    "User: a is not authorized to perform: kms:Decrypt on resource: b",
    "kms:Decrypt",
  ],
  ["AccessDenied", "no", "unknown"],
  ["ThrottlingException", "Rate exceeded", undefined],
])("the permission that AWS's %s names is told", (name, message, action) => {
  expect(deniedAction({ name, message })).toBe(action);
});

describe("the machine that a session is opened on", () => {
  const machines = [
    machine("host1", "i-old"),
    machine("host1", "i-new"),
    machine("host1", "i-next", { state: "pending" }),
    machine("host2", "i-02", { state: "stopped" }),
  ];

  test("is the newer one that runs, and the other is told", () => {
    const told = jest.spyOn(console, "error").mockImplementation(() => undefined);
    expect(chosenMachine(machines, "host1").instanceId).toBe("i-new");
    expect(told.mock.calls).toEqual([
      ["Just now i-old is host1 too. This is i-new, the newer one."],
    ]);
    told.mockRestore();
  });

  test("may be named by its id", () => {
    expect(chosenMachine(machines, "i-old").instanceId).toBe("i-old");
  });

  test.each([
    ["host2", "host2 (i-02) is stopped; it must be running."],
    ["host9", "There is no machine host9. There are: host1, host2."],
  ])("is not %s", (name, answer) => {
    expect(() => chosenMachine(machines, name)).toThrow(answer);
  });

  test("is none where there are none", () => {
    expect(() => chosenMachine([], "host1")).toThrow("There is no machine host1. There are: none.");
  });
});
