import { readFileSync } from "node:fs";
import { join } from "node:path";
import { stringify } from "yaml";

/** A file that cloud-init writes before anything of ours runs. */
export interface MachineFile {
  /** Absolute path on the machine. */
  path: string;
  content: string;
  /** Octal, quoted as cloud-init wants it. Default: `"0644"`. */
  permissions?: string;
  /**
   * For a program or a unit, whose text ends its last line: the machine fetches it with the others of its kind, as
   * EC2 takes few bytes of user data. Default: false.
   */
  fetched?: boolean;
}

/** What one role adds to a machine. */
export interface MachineContents {
  /** Lines of `/etc/meteor-scale/machine.env`, which every script of the machine reads. */
  environment: Record<string, string>;
  /** Configuration files, units and scripts. */
  files: MachineFile[];
  /** Scripts in `/usr/local/lib/meteor-scale/` that `boot` runs in this order, once. */
  steps: string[];
}

const scriptFolder = "/usr/local/lib/meteor-scale";

/** A folder of userdata/. */
type Folder = "machine" | "mongo" | "meteor" | "balancer" | "nat";

/** A static script of userdata/FOLDER/NAME.sh, as the machine gets it. */
export function script(folder: Folder, name: string): MachineFile {
  return {
    path: `${scriptFolder}/${name}`,
    content: staticFile(folder, `${name}.sh`),
    permissions: "0755",
    fetched: true,
  };
}

/** The part of Telegraf's configuration that a role adds, of userdata/FOLDER/telegraf.conf. */
export function telegrafPart(folder: Folder): MachineFile {
  return {
    path: `/etc/telegraf/telegraf.d/${folder}.conf`,
    content: staticFile(folder, "telegraf.conf"),
    fetched: true,
  };
}

/** A unit of systemd, or a timer, as it lies in userdata/FOLDER/. */
export function unit(folder: Folder, name: string): MachineFile {
  return {
    path: `/etc/systemd/system/${name}`,
    content: staticFile(folder, name),
    fetched: true,
  };
}

/**
 * The text of a file that lies beside the builders of a role, without its comments: those are for
 * readers of the repository, and another one is to replace no machine.
 */
export function staticFile(folder: Folder, name: string): string {
  const path = join(__dirname, folder, name);
  const text = staticTexts.get(path) ?? withoutComments(name, readFileSync(path, "utf8"));
  staticTexts.set(path, text);
  return text;
}

/** Those that were read: every machine of a role has the same. */
const staticTexts = new Map<string, string>();

function withoutComments(name: string, text: string): string {
  const comment = name.endsWith(".lua") ? /^\s*--/ : /^\s*(#|\/\/)/;
  return text
    .split("\n")
    .filter((line) => line.startsWith("#!") || !comment.test(line))
    .join("\n");
}

/** `KEY='value'` lines that both a shell and systemd's EnvironmentFile read alike. */
export function environmentFile(values: Record<string, string>): string {
  return Object.entries(values)
    .map(([key, value]) => `${key}=${quote(key, value)}\n`)
    .join("");
}

function quote(key: string, value: string): string {
  if (/[\n\r\0']/.test(value)) {
    throw new RangeError(
      `${key} may not contain quotes or line breaks: shell and systemd read them differently`,
    );
  }
  return `'${value}'`;
}

/** EC2's limit on user data before base64: https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/user-data.html */
export const userDataLimit = 16_384;

/** Where a machine fetches its programs. */
export interface Programs {
  /** Such as `s3://BUCKET/KEY`. */
  address: string;
  /** SHA-256 of {@link programsScript}, in hexadecimal. */
  sha256: string;
}

/**
 * The `#cloud-config` text of a machine.
 *
 * @param machine the machine's name, such as `host1`; also its host name
 */
export function cloudConfig(
  machine: string,
  contents: MachineContents,
  programs: Programs,
): string {
  const document = {
    hostname: machine,
    preserve_hostname: false,
    write_files: [
      {
        path: "/etc/meteor-scale/machine.env",
        content: environmentFile({
          MACHINE: machine,
          ...contents.environment,
          PROGRAMS: programs.address,
          PROGRAMS_SHA256: programs.sha256,
          STEPS: contents.steps.join(" "),
        }),
      },
      ...contents.files
        .filter(({ fetched }) => fetched !== true)
        .map(({ path, content, permissions }) => ({
          path,
          content,
          ...(permissions !== undefined && { permissions }),
        })),
    ],
    runcmd: [[`${scriptFolder}/boot`]],
  };
  // Every line of every file is indented once more, so little: the limit is near.
  return `#cloud-config\n${stringify(document, { lineWidth: 0, indent: 1, indentSeq: false })}`;
}

/** A script that writes the files that a machine fetches, below the folder ROOT where it is set. */
export function programsScript({ files }: MachineContents): string {
  const written = files
    .filter(({ fetched }) => fetched === true)
    .map(
      ({ path, content, permissions = "0644" }) =>
        `install -D -m ${permissions} /dev/stdin "\${ROOT:-}${path}" <<'END OF FILE'\n${content}END OF FILE\n`,
    );
  return ["#!/bin/bash\n", "set -euo pipefail\n", ...written].join("");
}

/**
 * Refuses a text that is longer than EC2 takes.
 *
 * @throws RangeError with the size and the limit
 */
export function checkUserData(machine: string, userData: string): void {
  const size = Buffer.byteLength(userData);
  if (size > userDataLimit) {
    throw new RangeError(
      `the user data of ${machine} is ${size} bytes; EC2 takes at most ${userDataLimit}`,
    );
  }
}
