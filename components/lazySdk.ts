import Module, { createRequire } from "node:module";

/**
 * What the SDK loads to look for packages that a serialized function needs, npm's own code, takes a tenth of this program's
 * time, which serializes none. Imported before the SDK, this has it loaded when it is first used.
 */
const sdk = createRequire(require.resolve("@pulumi/pulumi"));
const path = sdk.resolve("@npmcli/arborist");
const later = new Module(path);
later.loaded = true;
later.exports = new Proxy<Record<string, unknown>>(
  {},
  {
    get: (_, key): unknown => {
      if (key === "__esModule") {
        return true;
      }
      if (require.cache[path] === later) {
        Reflect.deleteProperty(require.cache, path);
      }
      return Reflect.get(sdk(path) as object, key);
    },
  },
);
require.cache[path] ??= later;
