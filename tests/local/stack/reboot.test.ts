import { setTimeout as sleep } from "node:timers/promises";
import { findMachine } from "../../../local/region/access";
import { eventually, inMachine, outcomeIn } from "../machines";
import { type Stack, statistic, underTraffic, updateWith, upStack } from "./stack";

jest.setTimeout(1_200_000);

let stack: Stack;
const hosts = ["host1", "host2"];

beforeAll(async () => {
  stack = await upStack();
  const { status } = await updateWith({ hostCount: 2, securityUpgrades: "reboot" });
  expect(status).toBe(0);
}, 900_000);

afterAll(async () => {
  await updateWith({});
}, 900_000);

/** What the timer does in the night; a machine that is off can't. */
function takeTurn(host: string): void {
  const { leader } = findMachine(host);
  if (leader !== undefined) {
    outcomeIn(leader, "systemctl start --no-block reboot-in-turn");
  }
}

function up(): string[] {
  const status = statistic("status");
  return hosts.filter((host) => status[host]?.startsWith("UP"));
}

test("two hosts that an update asks to reboot do so one after the other, and the other one serves", async () => {
  const before = hosts.map((host) => findMachine(host).leader);
  for (const host of hosts) {
    inMachine(host, "touch /run/reboot-required");
  }
  let fewest = hosts.length;
  const { report } = await underTraffic(stack, async () => {
    const restarted = (host: string, index: number): boolean =>
      ![undefined, before[index]].includes(findMachine(host).leader);
    for (const end = Date.now() + 600_000; !hosts.every(restarted) || up().length < 2;) {
      expect(Date.now()).toBeLessThan(end);
      fewest = Math.min(fewest, up().length);
      hosts.forEach(takeTurn);
      await sleep(500);
    }
  });
  expect(fewest).toBe(1);
  // Pages of the host that goes connect again, and no answer is lost on the way.
  expect(report).toMatchObject({ failedRequests: [], lostCalls: 0 });
  await eventually(() => {
    for (const host of hosts) {
      expect(inMachine(host, "ls /var/lib/meteor-scale")).toBe("rebooted");
    }
    const held = "aws ssm get-parameter --region $REGION --name $REBOOT_LOCK 2>&1 || true";
    expect(inMachine("host1", `. /etc/meteor-scale/machine.env; ${held}`)).toContain(
      "ParameterNotFound",
    );
  }, 180);
});
