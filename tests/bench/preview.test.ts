import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { PreviewResult } from "../../bench/preview";
import { projectFolder, runProgram, withDefaults } from "../../local/mockEngine";
import { sampleBundle } from "../sampleBundle";
import { run } from "../tools";

test("the preview that is measured registers all resources, and the empty ones none", async () => {
  const out = mkdtempSync(join(tmpdir(), "meteor-scale-bench-"));
  const printed = run(join(projectFolder, "node_modules", ".bin", "tsx"), [
    ...[join(projectFolder, "bench", "cli.ts"), "preview", "--pairs", "1", "--out", out],
  ]);
  const result = JSON.parse(readFileSync(join(out, "preview.json"), "utf8")) as PreviewResult;
  rmSync(out, { recursive: true });
  const { resources } = await runProgram(
    "test",
    withDefaults({
      "aws:region": "eu-central-1",
      bundle: sampleBundle(),
      rootUrl: "https://app.example.com",
    }),
  );
  expect(result.resources).toEqual({ project: resources.length, empty: 0, emptyWithAws: 0 });
  expect(Object.values(result.milliseconds).flat()).toHaveLength(3);
  for (const time of Object.values(result.milliseconds).flat()) {
    expect(time).toBeGreaterThan(0);
  }
  expect(printed).toContain(result.ratios.empty.toFixed(2));
});
