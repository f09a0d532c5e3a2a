import { join } from "node:path";
import { Command, InvalidArgumentError } from "commander";
import { projectFolder } from "../local/mockEngine";
import { benchBalance } from "./balance";
import { benchBoot } from "./boot";
import { benchFront } from "./front";
import { benchPreview } from "./preview";
import { benchScale } from "./scale";
import { benchSessions } from "./sessions";
import { benchRelease } from "./release";

interface Bench {
  name: string;
  description: string;
  /** Ends with 1 as the exit code where a goal is not met. */
  run: (options: { repeats: number; out: string }) => Promise<void>;
}

function wholeNumber(text: string): number {
  const value = Number(text);
  if (!Number.isInteger(value) || value < 1) {
    throw new InvalidArgumentError("It must be a whole number, 1 or more.");
  }
  return value;
}

const results = join(projectFolder, "bench", "results");
const command = new Command("npm run bench --").description("Measures what the project promises.");
command
  .command("preview")
  .description("the program part of pulumi preview, in terms of an empty program's")
  .option("--pairs <number>", "how many times each program is measured", wholeNumber, 7)
  .option("--out <folder>", "where to write preview.json", results)
  .action(({ pairs, out }: { pairs: number; out: string }) => benchPreview(pairs, out));

/** Those that are repeated as often as they are told. */
const benches: Bench[] = [
  {
    name: "front",
    description: "Hitch and HAProxy against what others put in front of a host",
    run: (options) => benchFront({ seconds: 3, ...options }),
  },
  {
    name: "sessions",
    description: "memory of idle sessions on the balancer and a host",
    run: (options) => benchSessions({ most: 10_000, ...options }),
  },
  {
    name: "balance",
    description: "sessions on each host after one was away, by the way a host is chosen",
    run: benchBalance,
  },
  {
    name: "scale",
    description: "method calls a second with one, two and three hosts",
    run: (options) => benchScale({ seconds: 5, ...options }),
  },
  {
    name: "boot",
    description: "from a machine's creation until it is ready, on the local region",
    run: benchBoot,
  },
  {
    name: "release",
    description:
      "what visitors see of a release, a scale-out and another balancer, on the local region",
    run: benchRelease,
  },
];
for (const { name, description, run } of benches) {
  command
    .command(name)
    .description(description)
    .option("--repeats <number>", "how many times everything is measured", wholeNumber, 5)
    .option("--out <folder>", `where to write ${name}.json and ${name}.svg`, results)
    .action(run);
}

command
  .command("all", { isDefault: true })
  .description("all of these, which takes about an hour and a half")
  .action(async () => {
    await benchPreview(7, results);
    for (const { run } of benches) {
      await run({ repeats: 5, out: results });
    }
  });

command.parseAsync().catch((error: unknown) => {
  console.error((error as Error).message);
  process.exitCode = 1;
});
