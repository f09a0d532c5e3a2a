/**
 * Open pages of visitors from various addresses: `pages '{"certificate": …}'`. `open N` opens so many; `replace N`
 * closes so many that chance picks, and lets as many others come; `count` tells how many are connected. Each is
 * answered with the number of those that are connected.
 */
import { createInterface } from "node:readline";
import { Browser, type DdpClient } from "../../local/traffic/browser";

/** Where the visitors go, and who sits behind one address together. */
export interface PagesArgs {
  certificate: string;
  /** How many offices there are, each with one address. */
  offices: number;
  /** The part of the visitors that sits in one of them. */
  inOffices: number;
}

interface Page {
  browser: Browser;
  client: DdpClient;
}

const args = JSON.parse(process.argv[2] ?? "") as PagesArgs;
const pages: Page[] = [];
/** How many open at the same time. */
const together = 10;

function random(below: number): number {
  return Math.floor(Math.random() * below);
}

function anyAddress(): string {
  return `127.${random(256)}.${random(256)}.${1 + random(254)}`;
}

const offices = Array.from({ length: args.offices }, anyAddress);

async function open(): Promise<void> {
  const office = offices[random(offices.length)];
  const from = Math.random() < args.inOffices && office !== undefined ? office : anyAddress();
  const site = { rootUrl: "https://app.example.com", address: "127.0.0.1" };
  const browser = new Browser({ ...site, certificate: args.certificate, from });
  try {
    pages.push({ browser, client: await browser.connect("websocket") });
  } catch {
    // Who waits for too long loads the page again.
    browser.close();
    await open();
  }
}

async function run(command: string, count: number): Promise<void> {
  if (command === "replace") {
    for (let left = 0; left < count; left += 1) {
      const [page] = pages.splice(random(pages.length), 1);
      page?.browser.close();
    }
  }
  if (command !== "count") {
    for (let opened = 0; opened < count; opened += together) {
      await Promise.all(Array.from({ length: Math.min(together, count - opened) }, open));
    }
  }
  console.log(pages.filter(({ client }) => client.connected).length);
}

async function serve(): Promise<void> {
  for await (const line of createInterface({ input: process.stdin })) {
    const [command = "", count] = line.split(" ");
    await run(command, Number(count));
  }
}

void serve();
