import { existsSync, readFileSync } from "node:fs";
import type { EngineEvent } from "@pulumi/pulumi/automation";
import type { Changes } from "./engine";
import { regionStatusFile } from "./paths";
import type { RegionStatus } from "./region/status";

/** What each operation of the engine is called once it is done. */
const done: Record<string, string> = {
  create: "created",
  "create-replacement": "created anew",
  update: "updated",
  delete: "deleted",
  "delete-replaced": "deleted the old",
};

/** Turns the engine's events and the machines' own words into lines for people. */
export class UpdateProgress {
  private finished = 0;
  private readonly words = new Map<string, string>();
  private readonly total: number;

  /**
   * @param expected what the preview counted
   * @param line takes what is worth a line of its own
   */
  constructor(
    expected: Changes,
    private readonly line: (text: string) => void,
  ) {
    this.total = Object.entries(expected)
      .filter(([operation]) => operation in done)
      .reduce((sum, [, count]) => sum + count, 0);
    for (const { instanceId, ready } of machines()) {
      this.words.set(instanceId, ready ?? "booting");
    }
  }

  onEvent(event: EngineEvent): void {
    const metadata = event.resOutputsEvent?.metadata;
    const verb = metadata && done[metadata.op];
    if (metadata !== undefined && verb !== undefined) {
      this.finished += 1;
      const [type = "", name = ""] = metadata.urn.split("::").slice(-2);
      this.line(`${verb} ${type.split("$").at(-1) ?? ""} ${name}`);
    }
  }

  /** One line on where the update is. Machines that have something new to say get lines of their own. */
  summary(): string {
    const waiting: string[] = [];
    for (const { name, instanceId, ready = "booting" } of machines()) {
      if (this.words.get(instanceId) !== ready) {
        this.words.set(instanceId, ready);
        this.line(`${shortName(name)}: ${ready === "true" ? "ready" : ready}`);
      }
      if (ready !== "true") {
        waiting.push(`${shortName(name)} (${ready.replace("starting: ", "")})`);
      }
    }
    const count = `${this.finished} of ${Math.max(this.total, this.finished)} changes made`;
    return waiting.length === 0 ? count : `${count}; starting ${waiting.join(", ")}`;
  }
}

/** The name without the project and the stack before it. */
export function shortName(name: string): string {
  return name.split("-").at(-1) ?? name;
}

function machines(): RegionStatus["machines"] {
  return existsSync(regionStatusFile)
    ? (JSON.parse(readFileSync(regionStatusFile, "utf8")) as RegionStatus).machines
    : [];
}

const operations: Record<string, Record<"future" | "past", string>> = {
  create: { future: "to create", past: "created" },
  update: { future: "to update", past: "updated" },
  replace: { future: "to replace", past: "replaced" },
  delete: { future: "to delete", past: "deleted" },
};

/** Such as `41 created, 3 replaced`; empty if nothing changed. */
export function describeChanges(changes: Changes, tense: "future" | "past"): string {
  return Object.entries(changes)
    .flatMap(([operation, count]) => {
      const words = operations[operation];
      return words === undefined ? [] : [`${count} ${words[tense]}`];
    })
    .join(", ");
}
