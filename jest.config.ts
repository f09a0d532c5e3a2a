import type { Config } from "jest";

const config: Config = {
  testEnvironment: "node",
  transform: { "^.+\\.ts$": ["@swc/jest", { jsc: { target: "es2022" } }] },
  testMatch: ["<rootDir>/tests/**/*.test.ts"],
  // Jest would leave a core alone, and two are all that many computers have.
  maxWorkers: "100%",
  // The first import of the AWS package takes seconds.
  testTimeout: 60_000,
  // Tests that need the local region have a command of their own.
  testPathIgnorePatterns: ["/node_modules/", "<rootDir>/tests/local/", "<rootDir>/tests/mongodb/"],
  modulePathIgnorePatterns: ["<rootDir>/local/app/build"],
};

export default config;
