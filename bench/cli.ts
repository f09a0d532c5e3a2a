import { join } from "node:path";
import { Command, InvalidArgumentError } from "commander";
import { projectFolder } from "../local/mockEngine";
import { type BalanceOptions, benchBalance } from "./balance";
import { benchFront, type FrontOptions } from "./front";
import { benchPreview } from "./preview";
import { benchScale, type ScaleOptions } from "./scale";
import { benchSessions, type SessionsOptions } from "./sessions";
import { benchRelease } from "./release";

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

command
  .command("release")
  .description(
    "what visitors see of a release, a scale-out and another balancer, on the local region",
  )
  .option("--out <folder>", "where to write release.json and release.svg", results)
  .action(({ out }: { out: string }) => benchRelease(out));

command
  .command("front")
  .description("Hitch and HAProxy against what others put in front of a host")
  .option("--repeats <number>", "how many times each is measured", wholeNumber, 5)
  .option("--seconds <number>", "how long each measurement takes", wholeNumber, 5)
  .option("--out <folder>", "where to write front.json and front.svg", results)
  .action((options: FrontOptions) => benchFront(options));

command
  .command("sessions")
  .description("memory of idle sessions on the balancer and a host")
  .option("--repeats <number>", "how many times it is measured", wholeNumber, 5)
  .option("--most <number>", "how many sessions there are at most", wholeNumber, 10_000)
  .option("--out <folder>", "where to write sessions.json and sessions.svg", results)
  .action((options: SessionsOptions) => benchSessions(options));

command
  .command("balance")
  .description("sessions on each host after one was away, by the way a host is chosen")
  .option("--repeats <number>", "how many times it is measured", wholeNumber, 5)
  .option("--out <folder>", "where to write balance.json and balance.svg", results)
  .action((options: BalanceOptions) => benchBalance(options));

command
  .command("scale")
  .description("method calls a second with one, two and three hosts")
  .option("--repeats <number>", "how many times each is measured", wholeNumber, 5)
  .option("--seconds <number>", "how long each measurement takes", wholeNumber, 8)
  .option("--out <folder>", "where to write scale.json and scale.svg", results)
  .action((options: ScaleOptions) => benchScale(options));

command.parseAsync().catch((error: unknown) => {
  console.error((error as Error).message);
  process.exitCode = 1;
});
