import type { Config } from "jest";
import shared from "./jest.config";

/** What needs root, the local region's tools, or the region itself. */
const config: Config = {
  ...shared,
  testMatch: ["<rootDir>/tests/local/**/*.test.ts"],
  testPathIgnorePatterns: ["/node_modules/"],
  // The output is long: what failed is said once more at its end.
  reporters: ["default", ["summary", { summaryThreshold: 1 }]],
};

export default config;
