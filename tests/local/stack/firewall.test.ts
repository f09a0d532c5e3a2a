import { findMachine } from "../../../local/region/access";
import { connects } from "../machines";
import { fromInternet, network, type Stack, upStack } from "./stack";

/** A machine of the VPC that is in no security group. */
const outsider = { name: "outsider", address: "10.20.32.200" };
let stack: Stack;

beforeAll(async () => {
  stack = await upStack();
  network("attachNamespace", outsider.name, outsider.address);
}, 300_000);

afterAll(() => {
  network("detachNamespace", outsider.name);
});

/** Whether one machine reaches a port of another, by its private address. */
function reaches(from: string, to: string, port: number): boolean {
  const { leader } = findMachine(from);
  return connects(["--all", `--target=${String(leader)}`], findMachine(to).privateAddress, port);
}

test.each([
  ["host1", "mongo1", 27017],
  ["host2", "mongo1", 27017],
  ["host3", "mongo1", 27017],
  ["balancer", "host1", 3000],
  ["balancer", "host3", 3000],
])("%s reaches %s on port %i", (from, to, port) => {
  expect(reaches(from, to, port)).toBe(true);
});

test.each([
  ["balancer", "mongo1", 27017],
  ["host1", "host2", 3000],
  ["mongo1", "host1", 3000],
  ["host1", "balancer", 8080],
  ["balancer", "host1", 22],
  ["host1", "mongo1", 22],
])("%s does not reach %s on port %i", (from, to, port) => {
  expect(reaches(from, to, port)).toBe(false);
});

test.each([
  ["mongo1", 27017],
  ["host1", 3000],
])("a machine outside the groups does not reach %s on port %i", (to, port) => {
  const enter = [`--net=/run/netns/meteor-${outsider.name}`];
  expect(connects(enter, findMachine(to).privateAddress, port)).toBe(false);
});

test("a machine outside the groups reaches what is open to everybody", () => {
  const enter = [`--net=/run/netns/meteor-${outsider.name}`];
  expect(connects(enter, findMachine("balancer").privateAddress, 443)).toBe(true);
});

describe("the internet", () => {
  const enter = ["--net=/run/netns/meteor-internet"];

  test("reaches the balancer on ports 80 and 443, and on no other", () => {
    const open = [22, 80, 443, 3000, 8080, 27017].filter((port) =>
      connects(enter, stack.internetAddress, port),
    );
    expect(open).toEqual([80, 443]);
    expect(fromInternet("--insecure", `https://${stack.internetAddress}/`).output).toContain(
      "<title>meteor-scale</title>",
    );
  });

  test.each([
    ["mongo1", 27017],
    ["host1", 3000],
    ["balancer", 443],
  ])("does not reach %s by its private address", (to, port) => {
    expect(connects(enter, findMachine(to).privateAddress, port)).toBe(false);
  });
});
