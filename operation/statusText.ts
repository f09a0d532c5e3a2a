import { columns } from "../local/table";
import type { StackStatus } from "./status";

/** What `npm run status` prints for people. */
export function statusText(status: StackStatus): string {
  const { stack, region, url, address, time } = status;
  return [
    `${stack} in ${region}, ${date(time)} ${time.slice(11, 16)} UTC\n${url} (${address ?? "no address"})`,
    machines(status),
    hosts(status),
    members(status),
    bundles(status),
    certificates(status),
    alarms(status),
    outcome(status),
  ]
    .filter((part) => part !== "")
    .join("\n\n");
}

/** Rows below their heads; nothing where there are none. */
function section(heads: string[], rows: string[][]): string {
  return rows.length === 0 ? "" : columns([heads, ...rows]);
}

function machines({ machines: all, time }: StackStatus): string {
  return section(
    ["MACHINE", "ID", "TYPE", "ZONE", "STATE", "READY", "IN SERVICE", "AGE"],
    all.map(({ name, instanceId, type, zone, state, ready, inService, launched }) => [
      name,
      instanceId,
      type,
      zone,
      state,
      readiness(ready),
      inService === null ? "unknown" : inService ? "yes" : "no",
      age(launched, time),
    ]),
  );
}

/** In a word; all of them are told at the end. */
function readiness(ready: string | null): string {
  if (ready === null) {
    return "not yet";
  }
  return ready === "true"
    ? "yes"
    : ready.startsWith("true:")
      ? "yes, but"
      : ready.replace(/:.*/s, "");
}

function hosts({ hosts: all, time }: StackStatus): string {
  return section(
    ["HOST", "HAPROXY", "SESSIONS", "MEASURED"],
    all.map(({ name, up, sessions, measured }) => [
      name,
      up === null ? "no data" : up ? "up" : "down",
      number(sessions),
      ago(measured, time),
    ]),
  );
}

function members({ members: all, time }: StackStatus): string {
  return section(
    ["MEMBER", "STATE", "LAG", "OPLOG", "MEASURED"],
    all.map(({ name, state, replicationLag, oplogWindow, measured }) => [
      name,
      state ?? "no data",
      number(replicationLag, " s"),
      number(oplogWindow, " h"),
      ago(measured, time),
    ]),
  );
}

/** Hosts of one bundle in one row. */
function bundles({ bundles: all }: StackStatus): string {
  const digests = [...new Set(all.map(({ sha256 }) => sha256))];
  return section(
    ["BUNDLE", "HOSTS", "ADDRESS"],
    digests.map((digest) => {
      const same = all.filter(({ sha256 }) => sha256 === digest);
      const names = new Set(same.map(({ host }) => host));
      return [digest.slice(0, 12), [...names].join(", "), same[0]?.address ?? ""];
    }),
  );
}

function certificates({ certificates: all, certificatesEnd, time }: StackStatus): string {
  const rows = section(
    ["CERTIFICATE", "ENDS", "SIGNED BY", "NAMES"],
    all.map(({ parameter, ends, issuer, names }) => [
      parameter,
      `${date(ends)}, ${remaining(ends, time)}`,
      issuer,
      names.join(", "),
    ]),
  );
  return all.length > 1 && certificatesEnd !== null
    ? `${rows}\nThe first of them ends on ${date(certificatesEnd)}.`
    : rows;
}

function alarms({ alarms: all, time }: StackStatus): string {
  return section(
    ["ALARM", "STATE", "SINCE", "WHAT IT IS FOR"],
    all.map(({ name, state, since, description }) => [name, state, ago(since, time), description]),
  );
}

function outcome({ problems, unread, well }: StackStatus): string {
  return [
    ...unread.map(({ part, action }) => `Not read: ${part}. The permission ${action} is missing.`),
    ...(well ? ["All is well."] : []),
    ...(problems.length > 0 ? ["Not well:", ...problems.map((problem) => `- ${problem}`)] : []),
  ].join("\n");
}

function number(value: number | null, unit = ""): string {
  return value === null ? "" : `${Math.round(value * 10) / 10}${unit}`;
}

function date(time: string): string {
  return time.slice(0, 10);
}

function ago(then: string | null, now: string): string {
  return then === null ? "" : `${age(then, now)} ago`;
}

function remaining(end: string, now: string): string {
  return Date.parse(end) <= Date.parse(now) ? "expired" : `in ${age(now, end)}`;
}

/** Units by their seconds, each used from twice its length. */
const units: [number, string][] = [
  [24 * 3600, "d"],
  [3600, "h"],
  [60, "min"],
];

function age(then: string, now: string): string {
  const seconds = Math.max(0, Math.round((Date.parse(now) - Date.parse(then)) / 1000));
  const [length, unit] = units.find(([one]) => seconds >= 2 * one) ?? [1, "s"];
  return `${Math.floor(seconds / length)} ${unit}`;
}
