import { type Readiness, readinessOf, waitUntilReady } from "../../components/readinessGate";

/** Machines that tell one word after the other, and a clock that moves a second a look. */
function machines(words: Record<string, (string | undefined)[]>): {
  ids: string[];
  read: (id: string) => Promise<Readiness>;
  pause: () => Promise<void>;
  now: () => number;
} {
  let seconds = 0;
  return {
    ids: Object.keys(words),
    read: (id): Promise<Readiness> => {
      const told = words[id] ?? [];
      const ready = told[Math.min(seconds, told.length - 1)];
      return Promise.resolve({ instanceId: id, name: `name-of-${id}`, ready });
    },
    pause: (): Promise<void> => {
      seconds += 1;
      return Promise.resolve();
    },
    now: () => seconds * 1000,
  };
}

async function wait(words: Record<string, (string | undefined)[]>): Promise<void> {
  const { ids, ...options } = machines(words);
  await waitUntilReady(ids, { timeoutSeconds: 10, ...options });
}

test("the gate opens when the last machine is ready", async () => {
  await wait({ "i-1": ["true"], "i-2": [undefined, "starting: install-node", "true"] });
});

test("the gate stays shut on a machine that failed, and tells its name and its own reason", async () => {
  await expect(
    wait({
      "i-1": ["true"],
      "i-2": ["starting: start-meteor", "failed: start-meteor: it dies|bad news"],
    }),
  ).rejects.toThrow(/name-of-i-2 \(i-2\) failed in start-meteor: it dies\n {2}bad news/);
});

test("machines that fail alike are named together, and what to do is told once", async () => {
  const failed = ["failed: start-meteor: it dies"];
  await expect(wait({ "i-1": failed, "i-2": failed, "i-3": ["failed: boot"] })).rejects.toThrow(
    /^name-of-i-1 \(i-1\), name-of-i-2 \(i-2\) failed in start-meteor: it dies\nname-of-i-3 \(i-3\) failed in boot\nWhat ran before keeps all traffic\. [^\n]*$/,
  );
});

test("the gate stays shut when the time is over, and tells how far the machine got", async () => {
  await expect(wait({ "i-1": ["starting: install-node"] })).rejects.toThrow(
    /name-of-i-1 \(i-1\) is not ready after 10 s \(readyTimeout\); its last word: starting: install-node/,
  );
  await expect(wait({ "i-1": [undefined] })).rejects.toThrow(/no sign of life/);
});

test("a machine's word counts only with its own id: a replacement may be created with the tags of the one before", () => {
  const tags = { Name: "stack-host1", ready: "i-1 starting: install-node" };
  expect(readinessOf("i-1", tags)).toEqual({
    instanceId: "i-1",
    name: "stack-host1",
    ready: "starting: install-node",
  });
  expect(readinessOf("i-2", { ...tags, ready: "i-1 true" }).ready).toBeUndefined();
  expect(readinessOf("i-2", { ...tags, ready: "true" }).ready).toBeUndefined();
  expect(readinessOf("i-2", {})).toEqual({ instanceId: "i-2", name: "i-2", ready: undefined });
});
