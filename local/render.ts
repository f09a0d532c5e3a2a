import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { Command } from "commander";
import { parse } from "yaml";
import { projectFolder, runProgram, withDefaults } from "./mockEngine";

/** What cloud-init finds in a machine's user data, as far as it is shown. */
interface UserData {
  write_files: { path: string; content: string; permissions?: string }[];
}

/**
 * Writes what every machine of a stack will get to `out/MACHINE/`: its user data, and under `files/`
 * each file in it. Needs no account and no engine; encrypted config values are replaced by stand-ins,
 * since no secret is part of what a machine gets.
 *
 * @param config values of the stack; Pulumi.yaml's defaults fill the rest
 * @returns the machines' names
 */
export async function render(
  stack: string,
  out: string,
  config: Record<string, unknown>,
): Promise<string[]> {
  const { resources } = await runProgram(stack, withDefaults(config));
  const machines: string[] = [];
  for (const { type, inputs } of resources) {
    if (type !== "aws:ec2/instance:Instance") {
      continue;
    }
    const userData = String(inputs["userData"]);
    const name = String((inputs["tags"] as Record<string, string>)["Name"]);
    const machine = name.slice(name.lastIndexOf("-") + 1);
    machines.push(machine);
    write(join(out, machine, "user-data"), userData);
    const root = join(out, machine, "files");
    for (const { path, content, permissions } of (parse(userData) as UserData).write_files) {
      write(join(root, path), content, parseInt(permissions ?? "0644", 8));
    }
    const programs = resources.find(
      ({ type: other, inputs: { key } }) =>
        other === "aws:s3/bucketObjectv2:BucketObjectv2" && userData.includes(`/${String(key)}'`),
    );
    // It writes them on the machine, and here.
    const input = String(programs?.inputs["content"]);
    execFileSync("bash", { input, env: { ...process.env, ROOT: root } });
  }
  return machines;
}

function write(path: string, content: string, mode = 0o644): void {
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, content, { mode });
}

/** Values of a stack's file, with stand-ins for those that are encrypted. */
export function stackConfig(stack: string): Record<string, unknown> {
  const path = join(projectFolder, `Pulumi.${stack}.yaml`);
  if (!existsSync(path)) {
    throw new Error(
      `there is no Pulumi.${stack}.yaml; --stack takes the name of a stack of this project`,
    );
  }
  const { config = {} } = (parse(readFileSync(path, "utf8")) ?? {}) as {
    config?: Record<string, unknown>;
  };
  const values = Object.fromEntries(
    Object.entries(config).map(([key, value]) => [key, isEncrypted(value) ? standIn(key) : value]),
  );
  if (isEncrypted(config["meteor-scale:privateKeyPem"])) {
    Object.assign(values, pairStandIn(String(config["meteor-scale:rootUrl"])));
  }
  return values;
}

function isEncrypted(value: unknown): boolean {
  return typeof value === "object" && value !== null && "secure" in value;
}

function standIn(key: string): unknown {
  switch (key) {
    case "meteor-scale:meteorSettings":
      return { encrypted: true };
    case "meteor-scale:mailUrl":
      return "smtp://encrypted.invalid";
    case "meteor-scale:mongoUrl":
      return "mongodb://encrypted.invalid/app";
    case "meteor-scale:mongoOplogUrl":
      return "mongodb://encrypted.invalid/local";
    default:
      return "encrypted";
  }
}

/** A key can't stand in for another one of the same certificate: both are made anew. */
function pairStandIn(rootUrl: string): Record<string, string> {
  const folder = mkdtempSync(join(tmpdir(), "meteor-scale-"));
  try {
    const [key, certificate] = [join(folder, "key.pem"), join(folder, "certificate.pem")];
    execFileSync(
      "openssl",
      [
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-nodes",
        "-days",
        "2",
      ].concat([
        "-subj",
        `/CN=${URL.canParse(rootUrl) ? new URL(rootUrl).hostname : "encrypted.invalid"}`,
        "-keyout",
        key,
        "-out",
        certificate,
      ]),
      { stdio: "pipe" },
    );
    return {
      "meteor-scale:certificatePem": readFileSync(certificate, "utf8"),
      "meteor-scale:privateKeyPem": readFileSync(key, "utf8"),
    };
  } finally {
    rmSync(folder, { recursive: true });
  }
}

async function main(): Promise<void> {
  const command = new Command("render")
    .description("Writes what every machine of a stack will get, without a cloud account.")
    .requiredOption("--stack <name>", "name of the stack, as in Pulumi.NAME.yaml")
    .requiredOption("--out <folder>", "folder to write to")
    .parse();
  const { stack, out } = command.opts<{ stack: string; out: string }>();
  process.chdir(projectFolder);
  const machines = await render(stack, out, stackConfig(stack));
  console.log(`${out}: ${machines.join(", ")}`);
}

if (require.main === module) {
  main().then(
    () => process.exit(0),
    (error: unknown) => {
      console.error((error as Error).message);
      process.exit(1);
    },
  );
}
