import type { Config } from "jest";

const config: Config = {
  testEnvironment: "node",
  transform: { "^.+\\.ts$": ["@swc/jest", { jsc: { target: "es2022" } }] },
  testMatch: ["<rootDir>/tests/**/*.test.ts"],
  // The first import of the AWS package takes seconds.
  testTimeout: 60_000,
  // Tests that need the local region have a command of their own.
  testPathIgnorePatterns: ["/node_modules/", "<rootDir>/tests/local/", "<rootDir>/tests/mongodb/"],
  modulePathIgnorePatterns: ["<rootDir>/local/app/build"],
};

export default config;
