import type { TLSSocket } from "node:tls";
import { makeCertificate } from "../certificate";
import { echo, until } from "./balancerSandbox";
import { installBalancerTools, RunningBalancer } from "./runningBalancer";

beforeAll(installBalancerTools, 600_000);

describe.each(["source", "package"] as const)("reloads of Hitch by %s", (studInstall) => {
  const balancer = new RunningBalancer();
  const { sandbox } = balancer;
  /** Open WebSockets, by the number of reloads before them. */
  const opened: TLSSocket[][] = [];

  beforeAll(() => balancer.start({ studInstall, pem: newPem() }));

  afterAll(() => {
    balancer.stop();
  });

  function newPem(): string {
    const { certificatePem, privateKeyPem } = makeCertificate();
    return privateKeyPem + certificatePem;
  }

  /** Enough for every worker to have some. */
  async function openSome(): Promise<void> {
    const sockets = [];
    for (let client = 0; client < 8; client++) {
      const { socket } = await sandbox.upgrade();
      sockets.push(socket.on("error", () => undefined));
    }
    opened.push(sockets);
  }

  async function served(): Promise<string> {
    const socket = await sandbox.connect();
    const { fingerprint256 } = socket.getPeerCertificate();
    socket.destroy();
    return fingerprint256;
  }

  async function reload(): Promise<void> {
    const before = await served();
    balancer.setPem(newPem());
    await sandbox.afterReload(() => {
      balancer.reloadStud();
    });
    expect(await served()).not.toBe(before);
  }

  /** How many of the WebSockets of each generation live. */
  async function living(): Promise<number[]> {
    const counts = [];
    for (const sockets of opened) {
      let count = 0;
      for (const socket of sockets) {
        count += (await echo(socket, "still here").catch(() => "")) === "still here" ? 1 : 0;
      }
      counts.push(count);
    }
    return counts;
  }

  const descriptors = (): number =>
    sandbox.run("ls", `/proc/${String(sandbox.studProcesses()[0])}/fd`).split("\n").length;

  if (studInstall === "package") {
    test("cut every open connection at the second, which the description of studInstall tells", async () => {
      await openSome();
      await reload();
      await openSome();
      expect(await living()).toEqual([8, 8]);
      await reload();
      await until(async () => (await living()).every((count) => count === 0));
    });
    return;
  }

  test("leave each connection open, whichever reload it was opened before", async () => {
    const atStart = [sandbox.studProcesses().length, descriptors()];
    for (let number = 0; number < 3; number++) {
      await openSome();
      await reload();
    }
    await openSome();
    await reload();
    expect(await living()).toEqual([8, 8, 8, 8]);
    expect(balancer.studLog()).not.toMatch(/WARNING|exited with status [^0]|terminated by signal/);

    // The workers that retired go with their last connection, and nothing of them is left.
    expect(sandbox.studProcesses().length).toBeGreaterThan(Number(atStart[0]));
    opened.flat().forEach((socket) => socket.destroy());
    await until(() => sandbox.studProcesses().length === atStart[0]);
    expect(descriptors()).toBe(atStart[1]);
  });
});
