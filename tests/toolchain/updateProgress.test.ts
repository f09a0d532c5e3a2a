import type { EngineEvent, OpType } from "@pulumi/pulumi/automation";
import { describeChanges, UpdateProgress } from "../../local/updateProgress";

function made(op: OpType, urn: string): EngineEvent {
  const metadata = { op, urn, type: "", provider: "" };
  return { sequence: 0, timestamp: 0, resOutputsEvent: { metadata } };
}

test("each change that the engine has made is a line with the resource's own type and name", () => {
  const lines: string[] = [];
  const progress = new UpdateProgress({ create: 2, same: 5 }, (line) => lines.push(line));
  const urn =
    "urn:pulumi:local::meteor-scale::meteor-scale:network:Network$aws:ec2/vpc:Vpc::network";
  progress.onEvent(made("create", urn));
  progress.onEvent(made("same", urn));
  expect(lines).toEqual(["created aws:ec2/vpc:Vpc network"]);
  expect(progress.summary()).toMatch(/^1 of 2 changes made/);
});

test("changes are told in words, and no change in none", () => {
  const changes = {
    create: 4,
    "create-replacement": 1,
    replace: 1,
    update: 2,
    "delete-replaced": 1,
  };
  expect(describeChanges(changes, "future")).toBe("4 to create, 1 to replace, 2 to update");
  expect(describeChanges(changes, "past")).toBe("4 created, 1 replaced, 2 updated");
  expect(describeChanges({}, "past")).toBe("");
});
