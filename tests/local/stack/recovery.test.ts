import { findMachine } from "../../../local/region/access";
import { crash, eventually, inMachine } from "../machines";
import { Browser, type WhoAmI } from "../../../local/traffic/browser";
import { type Stack, statistic, upStack } from "./stack";

jest.setTimeout(180_000);

let stack: Stack;
let browser: Browser;

beforeAll(async () => {
  stack = await upStack();
}, 300_000);

beforeEach(() => {
  browser = new Browser(stack);
});

afterEach(() => {
  browser.close();
});

async function crashAndComeBack(name: string): Promise<void> {
  const { leader } = findMachine(name);
  crash(name);
  await eventually(() => {
    expect(findMachine(name).leader).not.toBe(leader);
    inMachine(name, "systemctl is-system-running --wait");
  }, 60);
}

async function everyHostServes(seconds = 60): Promise<void> {
  await eventually(async () => {
    for (const host of ["host1", "host2", "host3"]) {
      browser.cookie = host;
      expect(await browser.whoami()).toMatchObject({ host });
    }
  }, seconds);
}

test("a host that crashes is passed over, and takes its sessions again when it is back", async () => {
  browser.cookie = "host2";
  expect((await browser.whoami()).host).toBe("host2");
  crash("host2");
  await eventually(async () => {
    const { host } = await browser.whoami();
    // The balancer tells the browser where it belongs now.
    expect(browser.cookie).toBe(host);
    expect(host).not.toBe("host2");
  });
  await everyHostServes();
});

test.each([
  ["dies", "KILL", 60],
  // systemd gives it a minute.
  ["hangs for good", "STOP", 120],
])("an application whose process %s is started again", async (_what, signal, seconds) => {
  browser.cookie = "host1";
  const { pid } = await browser.whoami();
  inMachine("host1", `systemctl kill --signal=${signal} meteor`);
  await everyHostServes(seconds);
  browser.cookie = "host1";
  expect((await browser.whoami()).pid).not.toBe(pid);
});

test.each(["reboot", "crash"])("the balancer comes back by itself after a %s", async (kind) => {
  const session = await browser.connect("websocket");
  if (kind === "crash") {
    await crashAndComeBack("balancer");
  } else {
    inMachine("balancer", "systemctl reboot");
  }
  await eventually(() => {
    expect(session.connected).toBe(false);
  });
  await everyHostServes();
  // The page's own connection is back too.
  await eventually(() => {
    expect(session.connected).toBe(true);
  }, 60);
  await eventually(() => {
    expect(statistic("status")).toMatchObject({ host1: "UP", host8: "DOWN" });
  });
});

test.each(["crash", "reboot"])(
  "Mongo comes back by itself after a %s, with its data, and hosts follow its oplog again",
  async (kind) => {
    const client = await browser.connect("websocket");
    client.subscribe("tasks");
    const before = String(await client.call("tasks.insert", "before Mongo went"));
    if (kind === "crash") {
      await crashAndComeBack("mongo1");
    } else {
      inMachine("mongo1", "systemctl reboot");
      await new Promise((resolve) => setTimeout(resolve, 3000));
    }
    const other = new Browser(stack);
    try {
      const { host } = (await client.call("whoami")) as WhoAmI;
      other.cookie = host === "host3" ? "host1" : "host3";
      const through = await other.connect("websocket");
      const after = await eventually(() => through.call("tasks.insert", "after it came back"), 90);
      await eventually(() => {
        const known = client.documents("tasks");
        expect(known.has(before)).toBe(true);
        expect(known.has(String(after))).toBe(true);
      }, 60);
      await client.call("tasks.remove", before);
      await client.call("tasks.remove", String(after));
    } finally {
      other.close();
    }
  },
);
