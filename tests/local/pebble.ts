import { existsSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { toolsFolder } from "../../local/paths";
import { run } from "../tools";

/** How an authority of the tests is set up. */
export interface Authority {
  /** Folder for its files. */
  folder: string;
  name: string;
  /** Where it listens: its directory is at https://ADDRESS:PORT/dir. */
  address: string;
  port: number;
  /** PEM files of its front door. */
  certificate: string;
  key: string;
  /** The resolver that it asks for names. */
  resolver: string;
  /** How many of a hundred good nonces it rejects. Default: 0. */
  rejectedNonces?: number;
  /** Seconds that a validation takes at most. Default: 0. */
  validation?: number;
  /** Seconds that a certificate is valid. Default: 90 days, as Let's Encrypt's are. */
  validity?: number;
}

/** Where an authority tells its root certificate. */
export const managementPort = 15000;

/**
 * Pebble, Let's Encrypt's own server for tests, built once.
 *
 * @returns the command that starts it: it says "ACME directory available"
 */
export function pebbleCommand(authority: Authority): string[] {
  const { folder, name, address, validity = 90 * 86_400 } = authority;
  const config = {
    listenAddress: `${address}:${authority.port}`,
    managementListenAddress: `${address}:${managementPort}`,
    certificate: authority.certificate,
    privateKey: authority.key,
    httpPort: 80,
    tlsPort: 443,
    keyAlgorithm: "ecdsa",
    profiles: { default: { description: "default", validityPeriod: validity } },
  };
  const file = join(folder, `${name}.json`);
  writeFileSync(file, JSON.stringify({ pebble: config }));
  return [
    "env",
    `PEBBLE_WFE_NONCEREJECT=${authority.rejectedNonces ?? 0}`,
    `PEBBLE_VA_SLEEPTIME=${authority.validation ?? 0}`,
    // Each name is validated each time.
    "PEBBLE_AUTHZREUSE=0",
    pebbleProgram(),
    ...["-config", file, "-dnsserver", `${authority.resolver}:53`],
  ];
}

function pebbleProgram(): string {
  const version = "v2.10.1";
  const folder = join(toolsFolder, `pebble-${version}`);
  const program = join(folder, "pebble");
  if (!existsSync(program)) {
    const module = "github.com/letsencrypt/pebble/v2/cmd/pebble";
    run("go", ["install", `${module}@${version}`], { GOBIN: folder });
  }
  return program;
}

/** How many certificates an authority was asked for, and how many accounts it has, by what it said. */
export function askedFor(said: string): { orders: number; accounts: number } {
  const count = (line: RegExp): number => said.match(line)?.length ?? 0;
  return { orders: count(/Added order/g), accounts: count(/There are now \d+ accounts/g) };
}
