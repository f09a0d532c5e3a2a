import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { create } from "tar";

const complete: Record<string, string> = {
  "bundle/main.js": "// starts the application\n",
  "bundle/.node_version.txt": "v22.20.0\n",
  "bundle/star.json": JSON.stringify({
    format: "site-archive-pre1",
    programs: [{ name: "server", arch: "os.linux.x86_64", path: "programs/server/program.json" }],
  }),
  "bundle/programs/server/package.json": "{}",
};

/**
 * A small archive in the shape of `meteor build`.
 *
 * @param changes files that differ; undefined leaves one out
 * @returns the archive's path
 */
export function sampleBundle(changes: Record<string, string | undefined> = {}): string {
  const folder = mkdtempSync(join(tmpdir(), "meteor-scale-bundle-"));
  for (const [path, content] of Object.entries({ ...complete, ...changes })) {
    if (content !== undefined) {
      mkdirSync(dirname(join(folder, path)), { recursive: true });
      writeFileSync(join(folder, path), content);
    }
  }
  const file = join(folder, "app.tar.gz");
  create({ file, cwd: folder, gzip: true, portable: true, mtime: new Date(0), sync: true }, [
    "bundle",
  ]);
  rmSync(join(folder, "bundle"), { recursive: true });
  return file;
}
