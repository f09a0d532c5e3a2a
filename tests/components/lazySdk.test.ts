import { run } from "../tools";

/** Runs a program in a process of its own, as Jest loads modules by itself. */
function outputOf(program: string): unknown {
  return JSON.parse(run(process.execPath, ["--import", "tsx", "--eval", program]));
}

const loaded = `Object.keys(require.cache).filter((path) => path.includes("@npmcli/metavuln-calculator")).length > 0`;

test("the SDK does not load npm's own code, which it else would", () => {
  const load = `require("@pulumi/pulumi"); console.log(JSON.stringify(${loaded}));`;
  expect(outputOf(load)).toBe(true);
  expect(outputOf(`require("./components/lazySdk"); ${load}`)).toBe(false);
});

test("a function that is serialized has the same packages with it", () => {
  const paths = `require("@pulumi/pulumi").runtime.computeCodePaths()
    .then((assets) => console.log(JSON.stringify([${loaded}, [...assets.keys()].sort()])));`;
  const [without, withIt] = [
    outputOf(paths),
    outputOf(`require("./components/lazySdk"); ${paths}`),
  ];
  expect(withIt).toEqual(without);
  expect(withIt).toEqual([true, expect.arrayContaining(["node_modules/tar"])]);
});
