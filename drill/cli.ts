import { Command } from "commander";
import { upStack } from "../tests/local/stack/stack";
import { type Drill, drills, drillsOf } from "./drills";
import { resultsFolder, terminalTable, writeResults } from "./report";
import { type DrillResult, runDrill } from "./run";

async function runDrills(chosen: Drill[], out: string): Promise<void> {
  const interrupt = new AbortController();
  // A fault is lifted before the command ends.
  for (const name of ["SIGINT", "SIGTERM"] as const) {
    process.once(name, () => {
      interrupt.abort(new Error("The drill was interrupted; its fault is lifted."));
    });
  }
  const stack = await upStack();
  const found: DrillResult[] = [];
  for (const drill of chosen) {
    console.log(`${drill.title}: ${drill.what}`);
    found.push(await runDrill(stack, drill, interrupt.signal));
  }
  console.log(`\n${terminalTable(found)}`);
  await writeResults(out, found);
  if (found.some(({ broken }) => broken.length > 0)) {
    process.exitCode = 1;
  }
}

const command = new Command("npm run drill --")
  .description(
    "Makes faults in the local region under fifty sessions and twenty requests a second, and compares what visitors " +
      "saw with bounds. Ends with 1 where one is broken.",
  )
  .argument(
    "[names...]",
    `the drills to run: ${drills.map(({ name }) => name).join(", ")} (default: all)`,
  )
  .option("--out <folder>", "where to write drills.json and drills.svg", resultsFolder)
  .action(async (names: string[], { out }: { out: string }) => {
    await runDrills(drillsOf(names), out);
  });

command.parseAsync().catch((error: unknown) => {
  console.error((error as Error).message);
  process.exitCode = 1;
});
