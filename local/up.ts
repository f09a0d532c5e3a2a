import { existsSync, rmSync } from "node:fs";
import type { Stack } from "@pulumi/pulumi/automation";
import { Listr, type ListrTaskResult } from "listr2";
import { buildSampleBundle } from "./app/buildSampleBundle";
import { type Changes, openStack, preview, recoverFromKilledEngine, update } from "./engine";
import { waitForPage } from "./page";
import { pulumiStateFolder, regionFolder, regionLogFile, stackName } from "./paths";
import { regionProcess, startRegion, stopRegion } from "./processes";
import { imageHasMongoStandIn } from "./toolchain/machineImage";
import { attempt, StepFailed, UserError } from "./toolchain/step";
import { standIns, toolchainTasks } from "./toolchain/toolchain";
import { describeChanges, UpdateProgress } from "./updateProgress";

/** What the steps of `up` tell each other. */
interface Run {
  signal: AbortSignal;
  /** Opened by the preview. */
  stack?: Stack;
  changes: Changes;
  address: string;
  /** Sentences for the end. */
  notes: string[];
}

/** What a step shows of itself. */
interface Task {
  title: string;
  output: string;
}

/** Lines can be rewritten in place there; a log gets plain ones. */
const terminal = process.stdout.isTTY;

/** Makes the region and the stack in it what the repository says, and shows how to use them. */
export async function up(signal: AbortSignal): Promise<void> {
  const run: Run = { signal, changes: {}, address: "", notes: [] };
  const tasks = new Listr<unknown, "default" | "simple">(
    [
      {
        title: "Tools and machine image",
        task: (_, task): ListrTaskResult<unknown> =>
          task.newListr(toolchainTasks(signal, () => regionProcess() !== undefined, terminal)),
      },
      {
        title: "Sample application",
        task: (): Promise<void> => attempt(buildSampleBundle),
      },
      {
        title: "AWS region on this computer",
        task: (): Promise<void> => attempt(() => haveRegion(run)),
      },
      {
        title: "Preview",
        task: (_, task): Promise<void> => attempt(() => previewStack(run, task)),
      },
      {
        title: "Update",
        skip: (): string | false => Object.keys(run.changes).length === 0 && "nothing to change",
        task: (_, task): Promise<void> => attempt(() => updateStack(run, task)),
      },
      {
        title: "The application's page",
        task: (_, task): Promise<void> => attempt(() => showPage(run, task)),
      },
    ],
    {
      // It would end this process at Ctrl-C, before the engine could.
      registerSignalListeners: false,
      renderer: terminal ? "default" : "simple",
      rendererOptions: { showErrorMessage: false },
    },
  );
  try {
    await tasks.run();
  } catch (error) {
    throw error instanceof StepFailed ? error.cause : error;
  }
  for (const note of run.notes) {
    console.log(`\n${note}`);
  }
  console.log(`\n${describeChanges(run.changes, "past") || "Nothing had to change"}.`);
  console.log(nextSteps(run.address, await standIns()));
}

async function haveRegion({ signal, notes }: Run): Promise<void> {
  if (regionProcess() !== undefined) {
    return;
  }
  if (existsSync(pulumiStateFolder)) {
    notes.push(
      "The region that ran here before has ended, as a restart of the computer ends it, and its machines and their " +
        "data with it; this is a new one.",
    );
  }
  await stopRegion();
  rmSync(regionFolder, { recursive: true, force: true });
  await startRegion(signal);
}

async function previewStack(run: Run, task: Task): Promise<void> {
  const stack = await openStack();
  run.stack = stack;
  await refuseFurtherMembers(stack);
  const recovery = await recoverFromKilledEngine(stack, run);
  if (recovery !== undefined) {
    run.notes.push(recovery);
  }
  run.changes = await preview(stack, run);
  task.title = `Preview: ${describeChanges(run.changes, "future") || "nothing to change"}`;
}

async function refuseFurtherMembers(stack: Stack): Promise<void> {
  const config = await stack.getAllConfig();
  if (imageHasMongoStandIn() && config["meteor-scale:mongoMembers"]?.value === "3") {
    throw new UserError(
      "mongoMembers is 3, but FerretDB, which stands in for MongoDB where its own repository can't be reached, " +
        `has sets of one member. Set it to 1 in Pulumi.${stackName}.yaml.`,
    );
  }
}

function stackOf({ stack }: Run): Stack {
  if (stack === undefined) {
    throw new Error("the preview opens the stack");
  }
  return stack;
}

async function updateStack(run: Run, task: Task): Promise<void> {
  const progress = new UpdateProgress(run.changes, (line) => {
    if (!terminal) {
      task.output = line;
    }
  });
  const timer = setInterval(() => {
    const summary = progress.summary();
    if (terminal) {
      task.output = summary;
    }
  }, 500);
  try {
    run.changes = await update(stackOf(run), {
      signal: run.signal,
      onEvent: (event) => {
        progress.onEvent(event);
      },
    });
  } catch (error) {
    if (regionProcess() === undefined) {
      throw new UserError(
        `The region's process has ended, so the update could not go on. ${regionLogFile} says why; \`npm run local\` starts anew.`,
      );
    }
    throw error;
  } finally {
    clearInterval(timer);
  }
}

async function showPage(run: Run, task: Task): Promise<void> {
  const outputs = await stackOf(run).outputs();
  run.address = String(outputs["ipAddress"]?.value);
  try {
    const title = await waitForPage(run.address, String(outputs["url"]?.value), run.signal);
    task.title = `The application's page: "${title}"`;
  } catch (error) {
    run.signal.throwIfAborted();
    throw new UserError(
      `The stack is up, but its page at https://${run.address}/ can't be had: ${(error as Error).message}. ` +
        "`npm run local status` shows the machines, `npm run local logs balancer` what the balancer says.",
    );
  }
}

function nextSteps(address: string, standInsHere: string): string {
  return `
The application:  https://${address}/
                  Its certificate is the stack's own, so a browser warns once, and curl needs --insecure.
Machines:         npm run local status
                  npm run local shell host1
                  npm run local logs host1
Scale:            set meteor-scale:hostCount in Pulumi.${stackName}.yaml, then npm run local
Stand-ins here:   ${standInsHere}
Pulumi itself:    eval "$(npm run --silent local env)"; pulumi preview --stack ${stackName}
Remove all of it: npm run local down`;
}
