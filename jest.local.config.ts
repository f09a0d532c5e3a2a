import type { Config } from "jest";
import shared from "./jest.config";

/** What needs root, the local region's tools, or the region itself. */
const config: Config = {
  ...shared,
  testMatch: ["<rootDir>/tests/local/**/*.test.ts"],
  testPathIgnorePatterns: ["/node_modules/"],
};

export default config;
