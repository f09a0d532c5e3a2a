import {
  growthsOf,
  previewGoals,
  type PreviewSample,
  previewTable,
  type ProgramName,
  ratiosOf,
  runPreview,
} from "../../bench/preview";
import { runProgram, withDefaults } from "../../local/mockEngine";
import { sampleBundle } from "../sampleBundle";
import { run } from "../tools";

/** Two pairs, the second on a machine that is half as fast. */
function samplesOf(times: Record<ProgramName, number>): PreviewSample[] {
  return [1, 2].flatMap((factor) =>
    Object.entries(times).map(([program, time]) => ({
      program: program as ProgramName,
      milliseconds: time * factor,
      cpuMilliseconds: time,
      megabytes: 200,
      resources: 1,
    })),
  );
}

const good = samplesOf({
  ...{ empty: 800, emptyWithAws: 900, emptyOfTemplate: 1600 },
  ...{ hosts3: 1200, hosts50: 1294, hosts100: 1394, bare3: 1000, bare100: 1194 },
});

test("the preview that is measured registers all resources, the empty one none, and a bare one what it is told", async () => {
  // In a process of its own: Jest can't load an ES module.
  const build = 'require("./local/app/buildSampleBundle").buildSampleBundle()';
  run(process.execPath, ["--import", "tsx", "--eval", build]);
  const [project, empty] = [await runPreview("hosts3"), await runPreview("empty")];
  const bare = await runPreview("bare3", 7);
  const { resources } = await runProgram(
    "test",
    withDefaults({
      "aws:region": "eu-central-1",
      bundle: sampleBundle(),
      rootUrl: "https://app.example.com",
    }),
  );
  expect([project.resources, empty.resources, bare.resources]).toEqual([resources.length, 0, 7]);
  expect(empty.milliseconds).toBeGreaterThan(0);
  expect(empty.cpuMilliseconds).toBeGreaterThan(0);
  expect(empty.megabytes).toBeGreaterThan(0);
  expect(project.megabytes).toBeGreaterThan(empty.megabytes);
});

test("programs are compared within one pair", () => {
  expect(ratiosOf(good, "hosts3", "empty")).toEqual([1.5, 1.5]);
  expect(growthsOf(good, "hosts3", "hosts50")).toEqual([2, 4]);
  expect(previewTable(good)[4]).toEqual([
    ...["this project, 3 hosts", "1", "1800 (1200–2400)", "1.50 (1.50–1.50)"],
    ...["1200 (1200–1200)", "1.50 (1.50–1.50)", "200 (200–200)"],
  ]);
});

test.each<[string, Partial<Record<ProgramName, number>>, boolean[]]>([
  ["all is as promised", {}, [true, true, true]],
  ["three hosts take too long", { hosts3: 1210 }, [false, true, true]],
  ["a host takes too long", { hosts50: 1500, hosts100: 1750 }, [true, false, true]],
  ["later hosts take longer", { hosts100: 1450 }, [true, true, false]],
])("the goals tell that %s", (_, times, met) => {
  const samples = samplesOf({
    ...{ empty: 800, emptyWithAws: 900, emptyOfTemplate: 1600 },
    ...{ hosts3: 1200, hosts50: 1294, hosts100: 1394, bare3: 1000, bare100: 1194 },
    ...times,
  });
  expect(previewGoals(samples).map((goal) => goal.met)).toEqual(met);
});
