import { writeFileSync } from "node:fs";
import { readBundle } from "../../components/bundle";
import { sampleBundle } from "../sampleBundle";

test("a bundle tells its Node version, its processor and its hash", () => {
  const facts = readBundle(sampleBundle());
  expect(facts).toMatchObject({ nodeVersion: "22.20.0", architecture: "x86_64" });
  expect(facts.sha256).toMatch(/^[0-9a-f]{64}$/);
});

test("another content is another hash", () => {
  const changed = sampleBundle({ "bundle/main.js": "// something else\n" });
  expect(readBundle(changed).sha256).not.toBe(readBundle(sampleBundle()).sha256);
});

test.each([
  ["main.js", "bundle/main.js", undefined, /no bundle\/main\.js/],
  ["a Node version", "bundle/.node_version.txt", undefined, /\.node_version\.txt/],
  ["a real Node version", "bundle/.node_version.txt", "latest", /\.node_version\.txt/],
  ["star.json", "bundle/star.json", undefined, /is for missing/],
  ["a readable star.json", "bundle/star.json", "{", /not JSON/],
  [
    "a Linux server program",
    "bundle/star.json",
    '{"programs":[{"name":"server","arch":"os.osx.arm64"}]}',
    /is for os\.osx\.arm64; build it with --architecture os\.linux\.x86_64/,
  ],
])("an archive without %s is refused", (_what, path, content, message) => {
  expect(() => readBundle(sampleBundle({ [path]: content }))).toThrow(message);
});

test("a path without a file, and a file that is no archive, are refused with the way to make one", () => {
  expect(() => readBundle("/nowhere/app.tar.gz")).toThrow(/no file at that path; .*meteor build/);
  const file = sampleBundle();
  writeFileSync(file, "this is text");
  expect(() => readBundle(file)).toThrow(/not a \.tar\.gz archive/);
});
