import { type ChildProcess, spawn } from "node:child_process";
import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer, type AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { motoServerProgram } from "../../local/paths";

/** A moto of a test's own. */
export interface MotoServer {
  url: string;
  stop: () => Promise<void>;
}

/** Starts moto on a free loopback port, with the given machine images. */
export async function startMotoServer(images: object[]): Promise<MotoServer> {
  const program = process.env["METEOR_SCALE_MOTO"] ?? motoServerProgram;
  if (!existsSync(program)) {
    throw new Error(
      `there is no moto at ${program}: local/run up puts it there, or METEOR_SCALE_MOTO names another`,
    );
  }
  const folder = mkdtempSync(join(tmpdir(), "moto-"));
  const amis = join(folder, "images.json");
  writeFileSync(amis, JSON.stringify(images));
  const port = await freePort();
  const moto = spawn(program, ["-H", "127.0.0.1", "-p", String(port)], {
    env: { ...process.env, MOTO_AMIS_PATH: amis, MOTO_IAM_LOAD_MANAGED_POLICIES: "true" },
    stdio: "ignore",
  });
  const url = `http://127.0.0.1:${port}`;
  await answering(url, moto);
  return {
    url,
    stop: async (): Promise<void> => {
      const ended = new Promise((resolve) => moto.once("exit", resolve));
      moto.kill();
      await ended;
      rmSync(folder, { recursive: true });
    },
  };
}

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}

async function answering(url: string, moto: ChildProcess): Promise<void> {
  for (let tries = 0; tries < 300; tries += 1) {
    if (moto.exitCode !== null) {
      throw new Error(`moto ended with ${moto.exitCode}`);
    }
    try {
      await fetch(`${url}/moto-api/`);
      return;
    } catch {
      await sleep(100);
    }
  }
  throw new Error("moto does not answer");
}
