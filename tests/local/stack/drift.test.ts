import {
  DescribeAddressesCommand,
  DescribeSecurityGroupRulesCommand,
  DescribeSecurityGroupsCommand,
  DisassociateAddressCommand,
  EC2Client,
  RevokeSecurityGroupIngressCommand,
  TerminateInstancesCommand,
} from "@aws-sdk/client-ec2";
import {
  ChangeResourceRecordSetsCommand,
  ListHostedZonesCommand,
  Route53Client,
} from "@aws-sdk/client-route-53";
import { fetchPage } from "../../../local/page";
import { awsApiUrl, awsCredentials, awsRegion } from "../../../local/paths";
import { findMachine } from "../../../local/region/access";
import { Browser } from "../../../local/traffic/browser";
import { connects, eventually } from "../machines";
import { instanceIds, pulumi, type Stack, statistic, upStack, updateWith } from "./stack";

jest.setTimeout(300_000);

const aws = { region: awsRegion, endpoint: awsApiUrl, credentials: awsCredentials };
const ec2 = new EC2Client(aws);
const route53 = new Route53Client(aws);
let stack: Stack;

beforeAll(async () => {
  stack = await upStack();
});

async function terminateHost(): Promise<void> {
  await ec2.send(new TerminateInstancesCommand({ InstanceIds: [instanceIds()["host2"] ?? ""] }));
}

async function changeRecord(): Promise<void> {
  const { HostedZones } = await route53.send(new ListHostedZonesCommand({}));
  const record = {
    Name: "host3.meteor.internal",
    Type: "A" as const,
    TTL: 5,
    ResourceRecords: [{ Value: "127.0.0.1" }],
  };
  await route53.send(
    new ChangeResourceRecordSetsCommand({
      HostedZoneId: HostedZones?.[0]?.Id,
      ChangeBatch: { Changes: [{ Action: "UPSERT", ResourceRecordSet: record }] },
    }),
  );
  await eventually(() => {
    expect(statistic("status")["host3"]).toBe("DOWN");
  });
}

/** Takes the path from the hosts to Mongo away. */
async function deleteRule(): Promise<void> {
  const { SecurityGroups } = await ec2.send(new DescribeSecurityGroupsCommand({}));
  const group = SecurityGroups?.find(({ IpPermissions }) =>
    IpPermissions?.some(({ FromPort }) => FromPort === 27017),
  );
  const { SecurityGroupRules } = await ec2.send(
    new DescribeSecurityGroupRulesCommand({
      Filters: [{ Name: "group-id", Values: [group?.GroupId ?? ""] }],
    }),
  );
  const rules =
    SecurityGroupRules?.filter(({ FromPort, IsEgress }) => FromPort === 27017 && !IsEgress) ?? [];
  await ec2.send(
    new RevokeSecurityGroupIngressCommand({
      GroupId: group?.GroupId,
      SecurityGroupRuleIds: rules.map(({ SecurityGroupRuleId }) => SecurityGroupRuleId ?? ""),
    }),
  );
}

async function takeAddress(): Promise<void> {
  const { Addresses } = await ec2.send(new DescribeAddressesCommand({}));
  const { AssociationId } =
    Addresses?.find(({ InstanceId }) => InstanceId === instanceIds()["balancer"]) ?? {};
  await ec2.send(new DisassociateAddressCommand({ AssociationId }));
  await eventually(async () => {
    await expect(fetchPage(stack.address, stack.rootUrl, stack.certificate)).rejects.toThrow();
  });
}

async function everythingWorks(): Promise<void> {
  await fetchPage(stack.address, stack.rootUrl, stack.certificate);
  for (const host of ["host1", "host2", "host3"]) {
    const browser = new Browser(stack);
    browser.cookie = host;
    expect(await browser.whoami()).toMatchObject({ host });
    const { leader } = findMachine(host);
    expect(connects(["--net", `--target=${String(leader)}`], "10.20.32.4", 27017)).toBe(true);
  }
}

test("a host that was terminated, a record and a rule that were changed, and an address that was taken away behind Pulumi's back show in a preview with --refresh, and are mended by an update with it", async () => {
  await changeRecord();
  await terminateHost();
  await deleteRule();
  await takeAddress();
  const changes: [operation: string, resource: string][] = [
    ["create", "meteor-host2-instance"],
    ["update", "meteor-host3-name"],
    ["create", "firewall-mongo-in-"],
    ["create", "balancer-address-of-machine"],
  ];
  const preview = pulumi("preview", "--refresh", "--non-interactive");
  expect(preview.status).toBe(0);
  for (const [operation, resource] of changes) {
    expect(preview.output).toMatch(new RegExp(`${resource}.*${operation}`));
  }
  const { status, steps } = await updateWith({}, { flags: ["--refresh"] });
  expect(status).toBe(0);
  const done = steps.map((step) => `${step.operation} ${step.name}`);
  for (const [operation, resource] of changes) {
    expect(done).toContainEqual(expect.stringMatching(`^${operation} ${resource}`));
  }
  await eventually(everythingWorks, 60);
  expect(pulumi("preview", "--refresh", "--expect-no-changes").status).toBe(0);
});
