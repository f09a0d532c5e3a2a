/**
 * Idle DDP sessions: `idle '{"url": …}'`. Each line with a number makes it so many, and is answered with how many
 * are open.
 */
import { createInterface } from "node:readline";
import { DdpSession } from "./ddpSession";

const { url } = JSON.parse(process.argv[2] ?? "") as { url: string };
const sessions: DdpSession[] = [];
/** How many are opened at the same time. */
const together = 20;

async function grow(count: number): Promise<void> {
  const open = async (): Promise<void> => {
    while (sessions.length < count) {
      const session = new DdpSession(url);
      sessions.push(session);
      await session.open();
    }
  };
  await Promise.all(Array.from({ length: together }, open));
}

async function serve(): Promise<void> {
  for await (const line of createInterface({ input: process.stdin })) {
    await grow(Number(line));
    console.log(sessions.filter(({ isOpen }) => isOpen).length);
  }
}

void serve();
