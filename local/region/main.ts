import { existsSync, mkdirSync, renameSync, rmSync, writeFileSync } from "node:fs";
import type { Server } from "node:net";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { imageRootFolder, regionFolder, regionReadyFile, regionStatusFile } from "../paths";
import { AwsState, type MachineSpecification, type RegionState } from "./awsState";
import { startAwsApi } from "./awsApi";
import { ensureCertificateAuthority } from "./certificateAuthority";
import { cleanUp } from "./cleanUp";
import { log, messageOf, type RunningProcess, start } from "./commands";
import { hostsFile, resolverArguments, shortestTtl } from "./dns";
import { renderFirewall } from "./firewall";
import { Machine } from "./machine";
import { startMoto } from "./moto";
import {
  addResolverAddress,
  applyFirewall,
  awsApiAddress,
  createRouter,
  inside,
  internetAddressOf,
  internetInterface,
  internetRange,
  metadataAddress,
  router,
  startForward,
} from "./network";
import type { RegionStatus } from "./status";
import { Volumes } from "./volumes";

/** Ports of an elastic address that this computer can reach. */
const forwardedPorts = [80, 443];
/** The region looks again after every change of the AWS API, and after this long in any case. */
const pollMilliseconds = 2000;

class Region {
  private readonly aws = new AwsState();
  private readonly machines = new Map<string, Machine>();
  private readonly volumes = new Volumes((id) => this.machines.get(id)?.leader);
  private readonly forwards = new Map<string, { target: string; processes: RunningProcess[] }>();
  private readonly processes: RunningProcess[] = [];
  private servers: Server[] = [];
  private resolver: { ttl: number; process: RunningProcess } | undefined;
  private readonly written = new Map<string, string>();
  private readonly vpcRanges = new Set<string>();
  private firewall = "";
  private state: RegionState | undefined;
  private changed = false;
  /** Called after the next look that begins. */
  private waiting: (() => void)[] = [];
  private wake: () => void = () => undefined;
  private stopping = false;

  private readonly files = {
    hosts: join(regionFolder, "hosts"),
    metadata: join(regionFolder, "metadata.json"),
    apiSocket: join(regionFolder, "aws-api.sock"),
  };

  async start(): Promise<void> {
    if (!existsSync(join(imageRootFolder, "etc"))) {
      throw new Error(`There is no machine image at ${imageRootFolder}.`);
    }
    mkdirSync(regionFolder, { recursive: true });
    await ensureCertificateAuthority();
    // First, since its port belongs to one region at a time: another one's remains are left alone.
    this.servers = await startAwsApi(this.files.apiSocket, {
      changed: () => {
        this.look();
      },
      switchedOff: (ids) => this.switchedOff(ids),
    });
    await cleanUp();
    await createRouter();
    const moto = await startMoto();
    this.processes.push(moto);
    void moto.ended.then(() => {
      if (!this.stopping) {
        log("moto ended, and with it all that the region knew");
        void this.stop(1);
      }
    });
    this.processes.push(
      await startForward({
        name: "aws-api",
        listen: `${awsApiAddress}:443`,
        listenIn: router,
        target: this.files.apiSocket,
      }),
    );
    this.write(this.files.metadata, "[]");
    const server = join(__dirname, "metadataServer.ts");
    this.processes.push(
      await start(
        "metadata",
        ...inside(router, process.execPath, [
          "--import",
          require.resolve("tsx"),
          server,
          metadataAddress,
          this.files.metadata,
        ]),
      ),
    );
    const provider = join(__dirname, "..", "provider", "main");
    if (existsSync(`${provider}.ts`)) {
      const { startProviders } = (await import(provider)) as {
        startProviders: () => Promise<unknown>;
      };
      await startProviders();
    }
    await this.reconcile();
    writeFileSync(regionReadyFile, "");
    log("the region is ready");
  }

  /** Follows the AWS API until the region is stopped. */
  async follow(): Promise<void> {
    while (!this.stopping) {
      if (!this.changed) {
        await new Promise<void>((resolve) => {
          const timer = setTimeout(resolve, pollMilliseconds);
          this.wake = (): void => {
            clearTimeout(timer);
            resolve();
          };
        });
      }
      this.changed = false;
      const waiting = this.waiting;
      this.waiting = [];
      try {
        await this.reconcile();
        waiting.forEach((resolve) => {
          resolve();
        });
      } catch (error) {
        log(messageOf(error));
        this.waiting.push(...waiting);
        await sleep(500);
      }
    }
  }

  async stop(exitCode: number): Promise<void> {
    if (this.stopping) {
      return;
    }
    this.stopping = true;
    rmSync(regionReadyFile, { force: true });
    await Promise.allSettled([...this.machines.values()].map((machine) => machine.abandon()));
    await this.volumes.close().catch((error: unknown) => {
      log(messageOf(error));
    });
    this.servers.forEach((server) => server.close());
    const forwards = [...this.forwards.values()].flatMap(({ processes }) => processes);
    const all = [...this.processes, ...forwards, ...(this.resolver ? [this.resolver.process] : [])];
    await Promise.allSettled(all.map((each) => each.stop()));
    await cleanUp();
    log("the region is down");
    process.exit(exitCode);
  }

  private async switchedOff(ids: string[]): Promise<void> {
    await new Promise<void>((resolve) => {
      this.waiting.push(resolve);
      this.look();
    });
    await Promise.all(ids.flatMap((id) => this.machines.get(id)?.settled() ?? []));
  }

  private look(): void {
    this.changed = true;
    this.wake();
  }

  private async reconcile(): Promise<void> {
    const state = await this.aws.read();
    if (this.stopping) {
      return;
    }
    this.state = state;
    for (const { specification, wanted } of state.machines) {
      const known = this.machines.get(specification.instanceId);
      if (known && wanted !== "terminated") {
        known.specification = specification;
      } else if (!known && wanted !== "terminated") {
        this.machines.set(
          specification.instanceId,
          new Machine(specification, {
            changed: (): void => {
              this.look();
            },
            poweredOff: (id): void => {
              void this.aws.tellStopped(id).then(() => {
                this.look();
              });
            },
          }),
        );
      }
    }
    await this.serveNames(state);
    await this.filter(state);
    this.write(
      this.files.metadata,
      JSON.stringify([...this.machines.values()].map(({ specification }) => specification)),
    );
    for (const { specification, wanted } of state.machines) {
      // EC2 may already have given an address away whose last machine is still on its way out.
      if (wanted !== "running" || this.addressIsFree(specification)) {
        this.machines.get(specification.instanceId)?.want(wanted);
      }
    }
    await this.forward(state);
    await this.volumes.reconcile(state.volumes);
    for (const [id, machine] of this.machines) {
      if (machine.actual === "terminated") {
        this.machines.delete(id);
      }
    }
    this.writeStatus(state);
  }

  private addressIsFree({ address, instanceId }: MachineSpecification): boolean {
    return [...this.machines.values()].every(
      ({ specification }) =>
        specification.address !== address || specification.instanceId === instanceId,
    );
  }

  private async serveNames({ records, machines }: RegionState): Promise<void> {
    const own = machines
      .filter(({ wanted }) => wanted !== "terminated")
      .map(({ specification: { hostName, address } }) => ({
        name: hostName,
        addresses: [address],
        ttl: 60,
      }));
    const changed = this.write(this.files.hosts, hostsFile([...records, ...own]));
    const ttl = shortestTtl(records);
    if (this.resolver?.ttl === ttl) {
      if (changed) {
        process.kill(this.resolver.process.pid, "SIGHUP");
      }
      return;
    }
    await this.resolver?.process.stop();
    const args = resolverArguments({ hostsFile: this.files.hosts, ttl, awsApiAddress });
    this.resolver = { ttl, process: await start("dnsmasq", ...inside(router, "dnsmasq", args)) };
  }

  private async filter({ machines, rules, addresses }: RegionState): Promise<void> {
    for (const { specification } of machines) {
      const range = specification.vpcRange;
      if (range && !this.vpcRanges.has(range)) {
        await addResolverAddress(range);
        this.vpcRanges.add(range);
      }
    }
    const ruleset = renderFirewall({
      rules,
      vpcRanges: [...this.vpcRanges],
      machines: [...this.machines.values()].map(({ specification }) => ({
        id: specification.instanceId,
        address: specification.address,
        groups: specification.groupIds,
      })),
      addresses: addresses.map(({ address, privateAddress }) => ({
        internetAddress: internetAddressOf(address),
        privateAddress,
      })),
      awsApiAddress,
      internetRange,
      internetInterface,
    });
    if (ruleset !== this.firewall) {
      await applyFirewall(ruleset);
      this.firewall = ruleset;
    }
  }

  private async forward({ addresses }: RegionState): Promise<void> {
    const wanted = new Map(addresses.map((each) => [each.address, each.privateAddress]));
    for (const [address, { target, processes }] of this.forwards) {
      if (wanted.get(address) !== target) {
        // With the processes end the connections that they carry.
        await Promise.all(processes.map((each) => each.stop()));
        this.forwards.delete(address);
      }
    }
    for (const [address, target] of wanted) {
      if (!this.forwards.has(address)) {
        const processes = await Promise.all(
          forwardedPorts.map((port) =>
            startForward({
              name: `forward-${address}-${port}`,
              listen: `${address}:${port}`,
              target: `${target}:${port}`,
              connectIn: router,
            }),
          ),
        );
        this.forwards.set(address, { target, processes });
      }
    }
  }

  private writeStatus({ addresses }: RegionState): void {
    const status: RegionStatus = {
      machines: [...this.machines.values()].map((machine) => {
        const { specification } = machine;
        const elastic = addresses.find((each) => each.instanceId === specification.instanceId);
        return {
          name: specification.name,
          role: specification.tags.role,
          instanceId: specification.instanceId,
          instanceType: specification.instanceType,
          cores: specification.cores,
          state: machine.actual,
          problem: machine.problem,
          ready: specification.tags.ready,
          privateAddress: specification.address,
          elasticAddress: elastic?.address,
          internetAddress: elastic && internetAddressOf(elastic.address),
          leader: machine.leader,
        };
      }),
    };
    this.write(regionStatusFile, JSON.stringify(status, undefined, 2));
  }

  /** @returns whether the text is another one than before */
  private write(file: string, text: string): boolean {
    if (this.written.get(file) === text) {
      return false;
    }
    writeFileSync(`${file}.new`, text);
    renameSync(`${file}.new`, file);
    this.written.set(file, text);
    return true;
  }
}

async function main(): Promise<void> {
  const region = new Region();
  for (const signal of ["SIGTERM", "SIGINT"] as const) {
    process.on(signal, () => {
      log(`${signal}: the region goes down`);
      void region.stop(0);
    });
  }
  try {
    await region.start();
    await region.follow();
  } catch (error) {
    log(messageOf(error));
    await region.stop(1);
  }
}

void main();
