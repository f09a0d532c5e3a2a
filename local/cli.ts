import { spawnSync } from "node:child_process";
import { appendFileSync, existsSync, mkdirSync, rmSync } from "node:fs";
import { dirname } from "node:path";
import { Command } from "commander";
import { pulumiEnvironment } from "./engine";
import { forwardPort, portNumber } from "./forward";
import { regionFolder } from "./paths";
import { alone, regionProcess, stopRegion } from "./processes";
import { findMachine, journalFolder, readStatus, runInMachine } from "./region/access";
import type { StatusOfMachine } from "./region/status";
import { columns } from "./table";
import { toolLogFile, UserError } from "./toolchain/step";
import { up } from "./up";
import { shortName } from "./updateProgress";

const interrupt = new AbortController();
const { signal } = interrupt;

async function down(): Promise<void> {
  const ran = existsSync(regionFolder);
  await stopRegion();
  rmSync(regionFolder, { recursive: true, force: true });
  console.log(
    ran
      ? "The local region is gone: machines, data and Pulumi's state. The tools and the image are kept for the next one."
      : "There was no local region.",
  );
}

function status(options: { json?: boolean }): void {
  requireRegion();
  const { machines } = readStatus();
  if (options.json) {
    console.log(JSON.stringify({ machines, url: urlOf(machines) }, undefined, 2));
    return;
  }
  const rows = [
    ["MACHINE", "STATE", "READY", "TYPE", "PRIVATE", "PUBLIC", "ID"],
    ...machines.map((machine) => [
      shortName(machine.name),
      machine.state,
      machine.problem ?? machine.ready ?? "not yet",
      machine.instanceType,
      machine.privateAddress,
      machine.elasticAddress ?? "",
      machine.instanceId,
    ]),
  ];
  console.log(columns(rows));
  console.log(`\n${urlOf(machines) ?? "No machine has a public address yet."}`);
}

function urlOf(machines: StatusOfMachine[]): string | undefined {
  const address = machines.find(
    ({ elasticAddress }) => elasticAddress !== undefined,
  )?.elasticAddress;
  return address === undefined ? undefined : `https://${address}/`;
}

async function shell(
  machine: string,
  { port, localPort = port }: { port?: number; localPort?: number },
): Promise<void> {
  const found = knownMachine(machine);
  if (port !== undefined && localPort !== undefined) {
    await forwardPort(found, port, localPort, signal);
    return;
  }
  const { exitCode } = await runInMachine(found.instanceId, ["bash", "-l"], {
    stdio: "inherit",
    reject: false,
  });
  process.exitCode = exitCode ?? 1;
}

function logs(machine: string, options: { follow?: boolean }): void {
  const { instanceId } = knownMachine(machine);
  const { status: exitCode } = spawnSync(
    "journalctl",
    [
      ...["--directory", journalFolder(instanceId), "--no-hostname", "--lines", "300"],
      ...(options.follow ? ["--follow"] : ["--no-pager"]),
    ],
    { stdio: "inherit" },
  );
  process.exitCode = exitCode ?? 0;
}

function env(): void {
  for (const [name, value] of Object.entries(pulumiEnvironment())) {
    console.log(`export ${name}='${value.replaceAll("'", `'\\''`)}'`);
  }
}

function knownMachine(name: string): StatusOfMachine {
  requireRegion();
  try {
    return findMachine(name);
  } catch (error) {
    throw new UserError((error as Error).message);
  }
}

function requireRegion(): void {
  if (regionProcess() === undefined) {
    throw new UserError("The local region does not run. `npm run local` starts it.");
  }
}

async function main(): Promise<void> {
  for (const name of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
    process.on(name, () => {
      interrupt.abort();
    });
  }
  const command = new Command("npm run local")
    .description(
      "The whole stack on this computer: a region that AWS's API, machines and network are part of.",
    )
    .configureHelp({ showGlobalOptions: true })
    .showHelpAfterError("(npm run local -- --help tells more)");
  command
    .command("up", { isDefault: true })
    .description("makes the region and the stack in it what the repository says")
    .action(() => alone(() => up(signal)));
  command
    .command("status")
    .description("the machines, and how ready they are")
    .option("--json", "for programs")
    .action(status);
  command
    .command("shell <machine>")
    .description("a shell in a machine, such as host1")
    .option("--port <port>", "no shell: a port of the machine, on this computer", portNumber)
    .option("--local-port <port>", "of 127.0.0.1; the same by default", portNumber)
    .action(shell);
  command
    .command("logs <machine>")
    .description("a machine's journal")
    .option("-f, --follow", "go on with what comes")
    .action(logs);
  command
    .command("env")
    .description(
      'what a shell needs for `pulumi … --stack local`: eval "$(npm run --silent local env)"',
    )
    .action(env);
  command
    .command("down")
    .description("removes the region and all that ran in it")
    .action(() => alone(down));
  await command.parseAsync();
}

main().then(
  () => process.exit(),
  (error: unknown) => {
    if (signal.aborted) {
      console.error(
        "\nStopped. `npm run local` goes on from here, `npm run local down` removes it.",
      );
      process.exit(130);
    }
    console.error(`\n${(error as Error).message}`);
    if (!(error instanceof UserError)) {
      const log = toolLogFile("local");
      mkdirSync(dirname(log), { recursive: true });
      appendFileSync(log, `${new Date().toISOString()} ${(error as Error).stack ?? ""}\n`);
      console.error(`That was not expected. Where it came from is in ${log}.`);
    }
    process.exit(1);
  },
);
