import { fetchPage } from "../../../local/page";
import { eventually } from "../machines";
import {
  Browser,
  type DdpClient,
  type Transport,
  type WhoAmI,
} from "../../../local/traffic/browser";
import { fromInternet, type Stack, statistic, upStack } from "./stack";

let stack: Stack;
const opened: Browser[] = [];
const hosts = ["host1", "host2", "host3"];

beforeAll(async () => {
  stack = await upStack();
}, 300_000);

afterEach(() => {
  opened.splice(0).forEach((browser) => {
    browser.close();
  });
});

/** A browser that was never here before. */
function newBrowser(): Browser {
  const browser = new Browser(stack);
  opened.push(browser);
  return browser;
}

/** Which host a session's messages reach. */
async function hostOf(client: DdpClient): Promise<string> {
  return ((await client.call("whoami")) as WhoAmI).host;
}

/** One browser for each host, with its page open. */
async function oneOnEachHost(transport: Transport): Promise<Map<string, DdpClient>> {
  const clients = new Map<string, DdpClient>();
  for (const host of hosts) {
    const browser = newBrowser();
    browser.cookie = host;
    const client = await browser.connect(transport);
    clients.set(await hostOf(client), client);
  }
  expect([...clients.keys()]).toEqual(hosts);
  return clients;
}

test("the page comes over HTTPS, with the stack's own certificate", async () => {
  expect(await fetchPage(stack.address, stack.rootUrl, stack.certificate)).toBe("meteor-scale");
});

test("plain HTTP is redirected to HTTPS, path and query included", () => {
  const { output } = fromInternet(
    ...["--head", "--header", "Host: meteor.localhost"],
    `http://${stack.internetAddress}/a/b?c=d`,
  );
  expect(output).toMatch(/^HTTP\/1\.1 301 /);
  expect(output).toMatch(/^location: https:\/\/meteor\.localhost\/a\/b\?c=d\r$/m);
});

test("every host serves, and a browser's cookie keeps it on one of them", async () => {
  for (const host of hosts) {
    const browser = newBrowser();
    browser.cookie = host;
    for (let request = 0; request < 5; request += 1) {
      expect((await browser.whoami()).host).toBe(host);
    }
    expect(browser.cookie).toBe(host);
  }
});

test("each host is told who asks, over HTTPS, and follows the oplog", async () => {
  expect(await newBrowser().whoami()).toMatchObject({
    forwardedProto: "https",
    reactivity: "oplog",
  });
});

describe.each(["websocket", "xhr-polling"] as const)("over %s", (transport) => {
  test("a session lives on the host of the page's cookie", async () => {
    const browser = newBrowser();
    await browser.get("/");
    expect(hosts).toContain(browser.cookie);
    const client = await browser.connect(transport);
    for (let call = 0; call < 10; call += 1) {
      expect(await client.call("whoami")).toMatchObject({ host: browser.cookie, transport });
    }
  });

  test("a line that is added through one host shows on the pages of all within 2 s", async () => {
    const clients = await oneOnEachHost(transport);
    for (const client of clients.values()) {
      client.subscribe("tasks");
    }
    for (const [host, client] of clients) {
      const id = String(await client.call("tasks.insert", `through ${host}`));
      await eventually(() => {
        for (const each of clients.values()) {
          expect(each.documents("tasks").get(id)).toMatchObject({ text: `through ${host}`, host });
        }
      }, 2);
      await client.call("tasks.remove", id);
    }
  });

  test("the application sees the client's own address", async () => {
    const browser = newBrowser();
    const client = await browser.connect(transport);
    const { clientAddress } = (await client.call("whoami")) as WhoAmI;
    expect(clientAddress).toBe("203.0.113.1");
  });
});

test("a client of the internet is known by its own address, whatever it claims", () => {
  const { output } = fromInternet(
    "--insecure",
    ...["--header", "X-Forwarded-For: 192.0.2.66", "--header", "Forwarded: for=192.0.2.66"],
    `https://${stack.internetAddress}/whoami`,
  );
  expect(JSON.parse(output)).toMatchObject({
    clientAddress: "198.51.100.10",
    forwardedProto: "https",
  });
});

test("new sessions go to the hosts with the fewest connections, so they spread evenly", async () => {
  // Those of before have left.
  await eventually(() => {
    expect(Object.values(statistic("scur"))).toEqual(Array(8).fill("0"));
  });
  const counts = new Map<string, number>();
  for (let session = 0; session < 12; session += 1) {
    const host = await hostOf(await newBrowser().connect("websocket"));
    counts.set(host, (counts.get(host) ?? 0) + 1);
  }
  expect(Object.fromEntries(counts)).toEqual({ host1: 4, host2: 4, host3: 4 });
});
