import { existsSync, mkdirSync, renameSync, rmSync, writeFileSync } from "node:fs";
import type { Server } from "node:net";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { CloudWatchClient } from "@aws-sdk/client-cloudwatch";
import { EC2Client } from "@aws-sdk/client-ec2";
import { IAMClient } from "@aws-sdk/client-iam";
import { SNSClient } from "@aws-sdk/client-sns";
import {
  awsApiUrl,
  awsCredentials,
  awsRegion,
  imageRootFolder,
  mailFolder,
  regionFolder,
  regionReadyFile,
  regionStatusFile,
} from "../paths";
import { startProviders } from "../provider/main";
import { Alarms } from "./alarms";
import {
  AwsState,
  type ElasticAddress,
  type MachineSpecification,
  type RegionState,
} from "./awsState";
import {
  type AwsAnswer,
  type AwsHandler,
  type AwsRequest,
  hasChanged,
  startAwsApi,
} from "./awsApi";
import { ensureCertificateAuthority } from "./certificateAuthority";
import { cleanUp } from "./cleanUp";
import { log, messageOf, type RunningProcess, start } from "./commands";
import { hostsFile, internetResolverArguments, shortestTtl, vpcResolverArguments } from "./dns";
import { renderFirewall } from "./firewall";
import { InstanceMetrics } from "./instanceMetrics";
import { LifecycleManager } from "./lifecycleManager";
import { Machine } from "./machine";
import { Mail } from "./mail";
import { motoUrl, startMoto } from "./moto";
import {
  addResolverAddress,
  applyFirewall,
  awsApiAddress,
  createRouter,
  inside,
  internetAddressOf,
  internetInterface,
  internetRange,
  internetRouterAddress,
  metadataAddress,
  router,
  startForward,
} from "./network";
import { Snapshots } from "./snapshots";
import type { RegionStatus } from "./status";
import { Volumes } from "./volumes";

/** Ports of an elastic address that this computer can reach. */
const forwardedPorts = [80, 443];
/** The region looks again after every change of the AWS API, and after this long in any case. */
const pollMilliseconds = 2000;
/** How often alarms are looked at; CloudWatch knows no shorter period. */
const alarmMilliseconds = 10_000;
/** How often EC2 tells of its instances. */
const metricsMilliseconds = 60_000;
/** Changes that come so close together are followed in one go. */
const gatherMilliseconds = 50;

const moto = { region: awsRegion, endpoint: motoUrl, credentials: awsCredentials };
/** The AWS API as machines and programs see it. */
const everybody = { ...moto, endpoint: awsApiUrl };

class Region {
  private readonly aws = new AwsState();
  private readonly machines = new Map<string, Machine>();
  private readonly volumes = new Volumes((id) => this.machines.get(id)?.leader);
  private readonly snapshots = new Snapshots(new EC2Client(moto), this.volumes, () =>
    this.looked(),
  );
  private readonly lifecycleManager = new LifecycleManager(
    // Its snapshots are made as everybody's are.
    new EC2Client(everybody),
    new IAMClient(moto),
  );
  private readonly alarms = new Alarms(new CloudWatchClient(moto), new SNSClient(everybody));
  private readonly metrics = new InstanceMetrics(new CloudWatchClient(moto));
  private readonly mail = new Mail(new SNSClient(moto), mailFolder, awsApiUrl);
  private readonly forwards = new Map<string, { target: string; processes: RunningProcess[] }>();
  private readonly processes: RunningProcess[] = [];
  private servers: Server[] = [];
  private resolvers: { ttl: number; processes: RunningProcess[] } | undefined;
  private readonly written = new Map<string, string>();
  private readonly vpcRanges = new Set<string>();
  private addresses: ElasticAddress[] = [];
  private firewall = "";
  private changed = false;
  /** Called after the next look that begins. */
  private waiting: (() => void)[] = [];
  private wake: () => void = () => undefined;
  private stopping = false;

  private readonly files = {
    hosts: join(regionFolder, "hosts"),
    publicHosts: join(regionFolder, "public-hosts"),
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
    try {
      this.servers = await startAwsApi(this.files.apiSocket, this.answer);
    } catch (error) {
      log(`The AWS API can't be served at ${awsApiUrl}: ${messageOf(error)}.`);
      process.exit(1);
    }
    await cleanUp();
    await createRouter();
    this.keep("moto", await startMoto());
    this.keep(
      "the machines' way to the AWS API",
      await startForward({
        name: "aws-api",
        listen: `${awsApiAddress}:443`,
        listenIn: router,
        target: this.files.apiSocket,
      }),
    );
    this.write(this.files.metadata, "[]");
    const server = join(__dirname, "metadataServer.ts");
    const serverArguments = [server, metadataAddress, this.files.metadata];
    this.keep(
      "the metadata service",
      await start(
        "metadata",
        ...inside(router, process.execPath, [
          ...["--import", require.resolve("tsx"), ...serverArguments],
        ]),
      ),
    );
    await startProviders();
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
      // A program makes many changes at once.
      await sleep(gatherMilliseconds);
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

  /** Makes snapshots at their times until the region is stopped. */
  async keepSchedules(): Promise<void> {
    while (!this.stopping) {
      await sleep(1000);
      await this.lifecycleManager.run(new Date()).catch((error: unknown) => {
        log(messageOf(error));
      });
    }
  }

  /** Looks at what alarms watch until the region is stopped. */
  async keepAlarms(): Promise<void> {
    while (!this.stopping) {
      await sleep(alarmMilliseconds);
      await this.alarms.run(new Date()).catch((error: unknown) => {
        log(messageOf(error));
      });
    }
  }

  /** Tells CloudWatch of the machines until the region is stopped. */
  async keepMetrics(): Promise<void> {
    while (!this.stopping) {
      const machines = [...this.machines.values()].filter(({ shouldBeUp }) => shouldBeUp);
      await this.metrics
        .publish(
          machines.map(({ specification: { instanceId, address, cores }, leader }) => {
            return { instanceId, address, cores, isUp: leader !== undefined };
          }),
          new Date(),
        )
        .catch((error: unknown) => {
          log(messageOf(error));
        });
      await sleep(metricsMilliseconds);
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
    await Promise.allSettled([...this.processes, ...forwards].map((each) => each.stop()));
    await cleanUp().catch((error: unknown) => {
      log(messageOf(error));
    });
    log("the region is down");
    process.exit(exitCode);
  }

  /** Without any of these the region is none. */
  private keep(name: string, process: RunningProcess): void {
    this.processes.push(process);
    void process.ended.then(() => {
      if (!this.stopping && this.processes.includes(process)) {
        log(`${name} ended, so the region goes down`);
        void this.stop(1);
      }
    });
  }

  /** Answers for the AWS API. */
  private readonly answer: AwsHandler = async (request, askMoto) => {
    if (request.service === "dlm") {
      return this.lifecycleManager.answer(request);
    }
    if (request.service === "sns") {
      return this.mail.answer(request, askMoto);
    }
    if (request.service === "monitoring") {
      return this.alarms.answer(request, askMoto);
    }
    const answer = await this.snapshots.answer(request, askMoto);
    if (hasChanged(request, answer)) {
      await this.follows(request, answer);
    }
    return answer;
  };

  /** Follows one change of the AWS API before whoever made it gets an answer. */
  private async follows({ service, action, form }: AwsRequest, answer: AwsAnswer): Promise<void> {
    if (service !== "ec2" && service !== "route53") {
      return;
    }
    const cores = Number(form.get("CpuOptions.CoreCount"));
    if (action === "RunInstances" && cores > 0) {
      // moto forgets this.
      const threads = Number(form.get("CpuOptions.ThreadsPerCore") ?? 1);
      for (const [, id = ""] of answer.body
        .toString()
        .matchAll(/<instanceId>(.+?)<\/instanceId>/g)) {
        this.aws.limitCores(id, cores * threads);
      }
    }
    this.look();
    if (action === "StopInstances" || action === "TerminateInstances") {
      // On AWS a machine takes its time to be off, and whoever asked waits for it; moto says at once
      // that it is.
      const ids = [...form].filter(([name]) => name.startsWith("InstanceId."));
      await this.off(ids.map(([, id]) => id));
    }
  }

  private async off(ids: string[]): Promise<void> {
    await this.looked();
    await Promise.all(ids.flatMap((id) => this.machines.get(id)?.settled() ?? []));
  }

  /** Resolves when all is what EC2 says by now. */
  private async looked(): Promise<void> {
    const looked = new Promise<void>((resolve) => {
      this.waiting.push(resolve);
    });
    this.look();
    await looked;
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
    for (const { specification, wanted } of state.machines) {
      const known = this.machines.get(specification.instanceId);
      if (known && wanted !== "terminated") {
        known.specification = specification;
      } else if (!known && wanted !== "terminated") {
        this.machines.set(
          specification.instanceId,
          new Machine(specification, {
            changed: (): void => {
              this.writeStatus();
              this.look();
            },
            poweredOff: (id): void => {
              this.aws.tellStopped(id).catch((error: unknown) => {
                log(messageOf(error));
              });
            },
          }),
        );
      }
    }
    this.addresses = state.addresses;
    await this.serveNames(state);
    await this.filter(state);
    this.write(this.files.metadata, JSON.stringify(this.addressed()));
    const addressed = this.addressed();
    for (const { specification, wanted } of state.machines) {
      const machine = this.machines.get(specification.instanceId);
      if (machine && (wanted !== "running" || addressed.includes(machine.specification))) {
        machine.want(wanted);
      }
    }
    await this.forward(state);
    await this.volumes.reconcile(state.volumes);
    for (const [id, machine] of this.machines) {
      if (machine.actual === "terminated") {
        this.machines.delete(id);
      }
    }
    this.writeStatus();
  }

  /**
   * The machines that have their addresses. EC2 may already have given one away whose last machine is
   * still on its way out; the next one then waits.
   */
  private addressed(): MachineSpecification[] {
    const all = [...this.machines.values()].map(({ specification }) => specification);
    return all.filter((each) => all.find(({ address }) => address === each.address) === each);
  }

  private async serveNames({ records, machines }: RegionState): Promise<void> {
    const own = machines
      .filter(({ wanted }) => wanted !== "terminated")
      .map(({ specification: { hostName, address } }) => ({
        name: hostName,
        addresses: [address],
        ttl: 60,
        public: false,
      }));
    const publicRecords = records
      .filter((each) => each.public)
      .map((each) => ({ ...each, addresses: each.addresses.map(internetAddressOf) }));
    const privateRecords = [...records.filter((each) => !each.public), ...own];
    const changed = [
      this.write(this.files.hosts, hostsFile(privateRecords)),
      this.write(this.files.publicHosts, hostsFile(publicRecords)),
    ].includes(true);
    const ttl = shortestTtl(records);
    if (this.resolvers?.ttl === ttl) {
      if (changed) {
        this.resolvers.processes.forEach(({ pid }) => process.kill(pid, "SIGHUP"));
      }
      return;
    }
    for (const resolver of this.resolvers?.processes ?? []) {
      this.processes.splice(this.processes.indexOf(resolver), 1);
      await resolver.stop();
    }
    const ofVpc = vpcResolverArguments({
      hostsFiles: [this.files.hosts, this.files.publicHosts],
      ttl,
      awsApiAddress,
      exceptInterface: internetInterface,
    });
    const ofInternet = internetResolverArguments({
      hostsFiles: [this.files.publicHosts],
      ttl,
      listenAddress: internetRouterAddress,
    });
    this.resolvers = {
      ttl,
      processes: [
        await start("dnsmasq", ...inside(router, "dnsmasq", ofVpc)),
        await start("dnsmasq-internet", ...inside(router, "dnsmasq", ofInternet)),
      ],
    };
    this.resolvers.processes.forEach((resolver) => {
      this.keep("a resolver", resolver);
    });
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
      machines: this.addressed().map(({ instanceId, address, groupIds }) => ({
        id: instanceId,
        address,
        groups: groupIds,
      })),
      addresses: addresses.map(({ address, privateAddress }) => ({
        internetAddress: internetAddressOf(address),
        privateAddress,
      })),
      awsApiAddress,
      internetRange,
      internetInterface,
      internetRouterAddress,
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
        this.forwards.delete(address);
        // With the processes end the connections that they carry.
        await Promise.all(processes.map((each) => each.stop()));
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
        processes.forEach((each) => {
          void each.ended.then(() => {
            if (!this.stopping && this.forwards.get(address)?.processes === processes) {
              log(`${address} does not answer; see logs/forward-${address}-*.log`);
            }
          });
        });
      }
    }
  }

  private writeStatus(): void {
    const status: RegionStatus = {
      machines: [...this.machines.values()].map((machine) => {
        const { specification } = machine;
        const elastic = this.addresses.find((each) => each.instanceId === specification.instanceId);
        return {
          name: specification.name,
          role: specification.tags.role,
          instanceId: specification.instanceId,
          instanceType: specification.instanceType,
          cores: specification.cores,
          state: machine.actual,
          problem: machine.problem,
          // The machine's own word follows its id; anything else was copied from another machine.
          ready: specification.tags.ready?.startsWith(`${specification.instanceId} `)
            ? specification.tags.ready.slice(specification.instanceId.length + 1)
            : undefined,
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
    await Promise.all([
      region.follow(),
      region.keepSchedules(),
      region.keepAlarms(),
      region.keepMetrics(),
    ]);
  } catch (error) {
    log(messageOf(error));
    await region.stop(1);
  }
}

void main();
