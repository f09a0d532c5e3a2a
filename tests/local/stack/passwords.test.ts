import { findMachine } from "../../../local/region/access";
import { inMachine, outcomeIn } from "../machines";
import {
  expectUnnoticed,
  localCommand,
  machines,
  type Stack,
  underTraffic,
  upStack,
  updateWith,
} from "./stack";

jest.setTimeout(300_000);

let stack: Stack;

beforeAll(async () => {
  stack = await upStack();
});

afterAll(() => {
  // The committed config's passwords are older than those that run now.
  localCommand("down");
});

function mongoUrl(): string {
  return inMachine("host1", "cat /etc/meteor-scale/secrets/MONGO_URL");
}

/** Whether MongoDB lets in who has this URL. */
function opens(url: string): boolean {
  const command = `mongosh '${url}' --quiet --norc --eval 'db.tasks.countDocuments()'`;
  const { status, output } = outcomeIn(findMachine("mongo1").leader, command);
  if (status !== 0) {
    expect(output).toMatch(/Authentication failed/i);
  }
  return status === 0;
}

test("new passwords are a release that nobody notices; those before them go with the next change", async () => {
  const mongo = machines().find(({ name }) => name.endsWith("mongo1"))?.instanceId;
  const first = mongoUrl();
  const { result, report } = await underTraffic(stack, () =>
    updateWith({ mongoPasswordVersion: 2 }),
  );
  expect(result).toMatchObject({ status: 0 });
  expectUnnoticed(report);
  const second = mongoUrl();
  expect(second).not.toBe(first);
  expect([opens(first), opens(second)]).toEqual([true, true]);

  const next = await underTraffic(stack, () => updateWith({ mongoPasswordVersion: 3 }));
  expect(next.result).toMatchObject({ status: 0 });
  expectUnnoticed(next.report);
  expect([opens(first), opens(second), opens(mongoUrl())]).toEqual([false, true, true]);
  expect(machines().find(({ name }) => name.endsWith("mongo1"))?.instanceId).toBe(mongo);
});

test.each([2, 5])("version %i after 3 is refused before anything changes", async (version) => {
  const { status, output, steps } = await updateWith({ mongoPasswordVersion: version });
  expect(output).toMatch(/mongoPasswordVersion is \d, but .* it must be 3, or 4 for new ones/s);
  expect(output).not.toMatch(/\n\s+at .*\.[jt]s:\d+/);
  expect([status === 0, steps]).toEqual([false, []]);
});
