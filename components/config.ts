import { createPrivateKey, X509Certificate } from "node:crypto";
import { isIP } from "node:net";
import * as pulumi from "@pulumi/pulumi";
import { distance } from "fastest-levenshtein";
import { Netmask } from "netmask";
import { type BundleFacts, readBundle } from "./bundle";
import type { CertificatePair, CertificateSource } from "./certificate";
import { canBePublic, hostNameProblem, isInZone, isWildcard } from "./hostNames";
import type { SecurityUpgrades } from "../userdata/machine/aptConfig";
import type { Nat } from "./network";

/** A stack's configuration, valid as a whole. Texts that are secret in Pulumi.yaml are plain here. */
export interface StackConfig {
  region: string;
  bundle:
    | ({ kind: "path"; path: string } & BundleFacts)
    | { kind: "address"; address: string; sha256: string };
  /** Without a slash at its end. */
  rootUrl: string;
  /** What people reach the application by, each once, in lower case; rootUrl's host is the first. */
  names: string[];
  /** Name of the public Route 53 zone that is to have their records. */
  hostedZone: string | undefined;
  hostCount: number;
  maxHosts: number;
  hostInstanceType: string;
  mongo:
    | {
        kind: "machines";
        instanceType: string;
        /** GiB */
        volumeSize: number;
        accessControl: "firewall" | "rbac";
        passwordVersion: number;
        /** Whose data new volumes begin with, if not with none. */
        snapshot: string | undefined;
        backups: { schedule: string; keep: number } | undefined;
        /** Availability zones of the members, in order. */
        zones: string[];
      }
    | { kind: "external"; url: string; oplogUrl: string };
  balancerInstanceType: string;
  studInstall: "source" | "package";
  certificate: CertificateSource;
  /** JSON, if any. */
  meteorSettings: string | undefined;
  mailUrl: string | undefined;
  env: Record<string, string>;
  vpcCidr: string;
  availabilityZone: string;
  allowedCidrs: string[];
  nat: Nat;
  amiId: string | undefined;
  /** Who is told of alarms, if anybody. */
  alarmEmail: string | undefined;
  /** Days. */
  logRetention: number;
  sessionManager: boolean;
  securityUpgrades: SecurityUpgrades;
  protectData: boolean;
  /** Seconds. */
  minReadySeconds: number;
  drainTimeout: number;
  readyTimeout: number;
}

/** Every key of this project's namespace; Pulumi.yaml describes each, a test compares the two. */
export const configKeys = [
  "bundle",
  "bundleSha256",
  "rootUrl",
  "extraDomains",
  "hostedZone",
  "hostCount",
  "maxHosts",
  "hostInstanceType",
  "mongoMembers",
  "mongoZones",
  "mongoInstanceType",
  "mongoVolumeSize",
  "mongoAccessControl",
  "mongoPasswordVersion",
  "mongoSnapshot",
  "backups",
  "mongoUrl",
  "mongoOplogUrl",
  "balancerInstanceType",
  "studInstall",
  "tls",
  "certificatePem",
  "privateKeyPem",
  "acmeEmail",
  "acmeDirectory",
  "meteorSettings",
  "mailUrl",
  "env",
  "vpcCidr",
  "availabilityZone",
  "allowedCidrs",
  "nat",
  "amiId",
  "alarmEmail",
  "logRetention",
  "sessionManager",
  "securityUpgrades",
  "protectData",
  "minReadySeconds",
  "drainTimeout",
  "readyTimeout",
] as const;

export type ConfigKey = (typeof configKeys)[number];

/**
 * Keys that must be set with --secret. Pulumi.yaml can't say so: a key that it declares secret may not
 * have a default, and one without a default must be set.
 */
export const secretKeys: readonly ConfigKey[] = [
  "mongoUrl",
  "mongoOplogUrl",
  "privateKeyPem",
  "meteorSettings",
  "mailUrl",
];

/** SSM takes 8 KB at most: https://docs.aws.amazon.com/systems-manager/latest/userguide/parameter-store-advanced-parameters.html */
const parameterLimit = 8192;

/** So that a certificate fits a parameter; Let's Encrypt takes 100: https://letsencrypt.org/docs/rate-limits/ */
const nameLimit = 30;

/** Days: https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_PutRetentionPolicy.html */
const logRetentions = [
  ...[1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922],
  ...[3288, 3653],
];

const emailAddress = /^[\w.+-]+@[\w-]+(\.[\w-]+)+$/;

/** What the program sets itself; an `env` with one of these would be torn between two values. */
const ownVariables = new Set([
  "MONGO_URL",
  "MONGO_OPLOG_URL",
  "ROOT_URL",
  "PORT",
  "BIND_IP",
  "HTTP_FORWARDED_COUNT",
  "METEOR_SETTINGS",
  "MAIL_URL",
]);

/**
 * Reads the configuration of the current stack.
 *
 * @throws pulumi.RunError that names every key in error, what was given, and what is allowed
 */
export function readConfig(): StackConfig {
  const all = pulumi.runtime.allConfig();
  const prefix = `${pulumi.getProject()}:`;
  const own = Object.entries(all)
    .filter(([key]) => key.startsWith(prefix))
    .map(([key, value]) => [key.slice(prefix.length), value] as const);
  refuseSecretsInClear(all, prefix);
  return parseConfig(Object.fromEntries(own), all["aws:region"] ?? process.env["AWS_REGION"]);
}

/** The CLI names the keys that are encrypted in this variable. */
function refuseSecretsInClear(all: Record<string, string>, prefix: string): void {
  const encrypted = JSON.parse(process.env["PULUMI_CONFIG_SECRET_KEYS"] ?? "null") as
    string[] | null;
  const inClear = secretKeys.filter(
    (key) =>
      !["", "{}"].includes(all[prefix + key] ?? "") && encrypted?.includes(prefix + key) === false,
  );
  if (inClear.length > 0) {
    throw new pulumi.RunError(
      inClear
        .map((key) => `${key} is a secret, and is written in clear; set it with --secret`)
        .join("\n"),
    );
  }
}

/**
 * The pure part of {@link readConfig}.
 *
 * @param values text of each key as Pulumi hands it over, defaults included
 * @param region value of aws:region
 */
export function parseConfig(
  values: Readonly<Record<string, string>>,
  region: string | undefined,
): StackConfig {
  const problems: string[] = [];
  const reader = new Reader(values, problems);
  const availabilityZone = readZone(reader, region);
  const names = readNames(reader);
  const config = {
    region: readRegion(region, problems),
    bundle: readBundleSource(reader),
    rootUrl: readRootUrl(reader),
    names,
    hostedZone: readHostedZone(reader, names),
    ...readHosts(reader),
    hostInstanceType: reader.instanceType("hostInstanceType"),
    mongo: readMongo(reader, region, availabilityZone),
    balancerInstanceType: reader.instanceType("balancerInstanceType"),
    studInstall: reader.oneOf("studInstall", ["source", "package"]),
    certificate: readCertificate(reader, names),
    meteorSettings: readSettings(reader),
    mailUrl: readMailUrl(reader),
    env: readEnvironment(reader),
    vpcCidr: readVpcCidr(reader),
    availabilityZone,
    allowedCidrs: readAllowedCidrs(reader),
    nat: reader.oneOf<Nat>("nat", ["gateway", "instance", "none"]),
    amiId: readAmi(reader),
    alarmEmail: readAlarmEmail(reader),
    logRetention: readLogRetention(reader),
    sessionManager: reader.boolean("sessionManager"),
    securityUpgrades: reader.oneOf<SecurityUpgrades>("securityUpgrades", [
      "install",
      "reboot",
      "off",
    ]),
    protectData: reader.boolean("protectData"),
    minReadySeconds: reader.integer("minReadySeconds", 1, 600),
    drainTimeout: reader.integer("drainTimeout", 15, 120),
    readyTimeout: reader.integer("readyTimeout", 60, 3600),
  };
  if (config.minReadySeconds > config.readyTimeout - 30) {
    reader.problem(
      "minReadySeconds",
      String(config.minReadySeconds),
      `with it no host could be ready in time; readyTimeout (${config.readyTimeout}) must be longer by 30 at least`,
    );
  }
  if (config.nat === "none" && config.amiId === undefined) {
    reader.problem(
      "nat",
      "none",
      "machines could not install anything; set amiId to an image that has everything",
    );
  }
  reader.refuseUnknown();
  if (problems.length > 0) {
    throw new pulumi.RunError(problems.join("\n"));
  }
  return config;
}

/** Reads single values, and notes what is wrong with them instead of throwing at the first. */
class Reader {
  constructor(
    private readonly values: Readonly<Record<string, string>>,
    private readonly problems: string[],
  ) {}

  /** Notes a problem; `given` is left out for secrets. */
  problem(key: ConfigKey, given: string | undefined, allowed: string): void {
    const what = given === undefined ? "is not valid" : given === "" ? "is not set" : `is ${given}`;
    this.problems.push(`${key} ${what}; ${allowed}`);
  }

  text(key: ConfigKey): string {
    return (this.values[key] ?? "").trim();
  }

  integer(key: ConfigKey, least: number, most: number, why = ""): number {
    const text = this.text(key);
    const value = Number(text);
    if (text === "" || !Number.isInteger(value) || value < least || value > most) {
      this.problem(key, text, `it must be a whole number from ${least} to ${most}${why}`);
    }
    return value;
  }

  boolean(key: ConfigKey): boolean {
    return this.oneOf(key, ["true", "false"]) === "true";
  }

  oneOf<T extends string>(key: ConfigKey, allowed: readonly T[]): T {
    const text = this.text(key);
    const found = allowed.find((one) => one === text);
    if (found === undefined) {
      this.problem(key, text, `it must be ${allowed.join(" or ")}`);
    }
    return found ?? (text as T);
  }

  instanceType(key: ConfigKey): string {
    const text = this.text(key);
    if (!/^[a-z][a-z0-9-]*\.[a-z0-9-]+$/.test(text)) {
      this.problem(key, text, "it must be an EC2 instance type, such as c7a.medium");
    }
    return text;
  }

  json(key: ConfigKey): unknown {
    try {
      return JSON.parse(this.text(key) || "null") as unknown;
    } catch {
      this.problem(
        key,
        undefined,
        "it must be JSON, YAML values in the stack's file, or set with pulumi config set --path",
      );
      return null;
    }
  }

  refuseUnknown(): void {
    for (const key of Object.keys(this.values)) {
      if (!(configKeys as readonly string[]).includes(key)) {
        const nearest = [...configKeys].sort((a, b) => distance(key, a) - distance(key, b))[0];
        this.problems.push(
          `${key} is not a key of this project; did you mean ${String(nearest)}? Remove it with: pulumi config rm ${key}`,
        );
      }
    }
  }
}

function readRegion(region: string | undefined, problems: string[]): string {
  if (region === undefined || !/^[a-z]{2}(-[a-z]+)+-\d$/.test(region)) {
    problems.push(
      `aws:region is ${region ?? "not set"}; it must be an AWS region: pulumi config set aws:region eu-central-1`,
    );
  }
  return region ?? "";
}

function readBundleSource(reader: Reader): StackConfig["bundle"] {
  const given = reader.text("bundle");
  const sha256 = reader.text("bundleSha256").toLowerCase();
  if (sha256 !== "" && !/^[0-9a-f]{64}$/.test(sha256)) {
    reader.problem("bundleSha256", sha256, "it must be 64 hexadecimal digits, as sha256sum prints");
  }
  if (/^[a-z0-9]+:\/\//.test(given)) {
    if (!/^(https:\/\/[^/\s']+|s3:\/\/[a-z0-9.-]+)\/[^\s']+$/.test(given)) {
      reader.problem("bundle", given, "an address must be https://HOST/PATH or s3://BUCKET/KEY");
    }
    if (sha256 === "") {
      reader.problem(
        "bundleSha256",
        "",
        `bundle is an address, so it must be the archive's SHA-256, as sha256sum prints`,
      );
    }
    return { kind: "address", address: given, sha256 };
  }
  const nothing = {
    kind: "path",
    path: given,
    sha256,
    nodeVersion: "",
    architecture: "x86_64",
  } as const;
  if (given === "") {
    reader.problem(
      "bundle",
      "",
      "it must be the path of the .tar.gz that meteor build makes, or an https:// or s3:// address",
    );
    return nothing;
  }
  try {
    const facts = readBundle(given);
    if (sha256 !== "" && sha256 !== facts.sha256) {
      reader.problem("bundleSha256", sha256, `the file ${given} has ${facts.sha256}`);
    }
    return { kind: "path", path: given, ...facts };
  } catch (error) {
    reader.problem("bundle", given, (error as Error).message);
    return nothing;
  }
}

function readRootUrl(reader: Reader): string {
  const given = reader.text("rootUrl");
  const url = URL.canParse(given) ? new URL(given) : undefined;
  if (url?.protocol !== "https:" || url.username !== "" || given.includes("'")) {
    reader.problem(
      "rootUrl",
      given,
      "it must be the https:// address that people type, such as https://app.example.com",
    );
  }
  return given.replace(/\/+$/, "");
}

function readNames(reader: Reader): string[] {
  const rootUrl = reader.text("rootUrl");
  const names = URL.canParse(rootUrl) ? [new URL(rootUrl).hostname] : [];
  const given = reader.json("extraDomains") ?? [];
  if (!Array.isArray(given)) {
    reader.problem(
      "extraDomains",
      reader.text("extraDomains"),
      "it must be a list of names, such as [www.example.com]",
    );
    return names;
  }
  for (const name of given.map((one) => String(one).toLowerCase())) {
    const problem = hostNameProblem(name, true);
    if (problem !== undefined) {
      reader.problem("extraDomains", name, problem);
    } else if (names.includes(name)) {
      reader.problem("extraDomains", name, "it is rootUrl's own, or there twice; leave it out");
    } else {
      names.push(name);
    }
  }
  return names;
}

function readHostedZone(reader: Reader, names: string[]): string | undefined {
  const zone = reader.text("hostedZone").toLowerCase();
  if (zone === "") {
    return undefined;
  }
  const problem = hostNameProblem(zone);
  if (problem !== undefined) {
    reader.problem("hostedZone", zone, problem);
  } else if (!names.some((name) => isInZone(name, zone))) {
    reader.problem(
      "hostedZone",
      zone,
      `none of the application's names is in that zone (${names.join(", ")}); leave it out, or name the zone of one`,
    );
  }
  return zone;
}

function readHosts(reader: Reader): { hostCount: number; maxHosts: number } {
  const maxHosts = reader.integer(
    "maxHosts",
    1,
    100,
    " (the balancer's list must fit in its user data)",
  );
  const hostCount = Number(reader.text("hostCount"));
  if (!Number.isInteger(hostCount) || hostCount < 1 || hostCount > maxHosts) {
    reader.problem(
      "hostCount",
      reader.text("hostCount"),
      `the balancer lists hosts 1 to ${maxHosts} (maxHosts)`,
    );
  }
  return { hostCount, maxHosts };
}

function readMongo(
  reader: Reader,
  region: string | undefined,
  availabilityZone: string,
): StackConfig["mongo"] {
  const url = reader.text("mongoUrl");
  const oplogUrl = reader.text("mongoOplogUrl");
  const machines = {
    kind: "machines",
    instanceType: reader.instanceType("mongoInstanceType"),
    // EBS takes gp3 volumes of up to 16 TiB; less than 10 GiB leaves no room for the oplog.
    volumeSize: reader.integer("mongoVolumeSize", 10, 16384, " (GiB)"),
    accessControl: reader.oneOf("mongoAccessControl", ["firewall", "rbac"]),
    passwordVersion: reader.integer("mongoPasswordVersion", 1, 1_000_000),
    snapshot: readSnapshot(reader),
    backups: readBackups(reader),
    zones: readMongoZones(reader, region, availabilityZone),
  } as const;
  if (url === "" && oplogUrl === "") {
    return machines;
  }
  const isMongo = (text: string): boolean => /^mongodb(\+srv)?:\/\/[^\s']+$/.test(text);
  if (!isMongo(url)) {
    reader.problem(
      "mongoUrl",
      url === "" ? "" : undefined,
      "with mongoOplogUrl it must be a mongodb:// or mongodb+srv:// address",
    );
  }
  if (!isMongo(oplogUrl) || !/\/local(\?|$)/.test(oplogUrl)) {
    reader.problem(
      "mongoOplogUrl",
      oplogUrl === "" ? "" : undefined,
      "with mongoUrl it must be a mongodb:// address of the set's database local",
    );
  }
  return { kind: "external", url, oplogUrl };
}

function readSnapshot(reader: Reader): string | undefined {
  const given = reader.text("mongoSnapshot");
  if (given !== "" && !/^snap-[0-9a-f]{8,17}$/.test(given)) {
    reader.problem(
      "mongoSnapshot",
      given,
      "it must be a snapshot's id, such as snap-0123456789abcdef0; npm run backup -- --stack NAME --list shows them",
    );
  }
  return given === "" ? undefined : given;
}

/** Those of Pulumi.yaml, as a user may set one of the two alone. */
const defaultBackups = { schedule: "cron(0 3 * * ? *)", keep: 7 };

function readBackups(reader: Reader): { schedule: string; keep: number } | undefined {
  const given = reader.json("backups") ?? {};
  const allowed =
    "it must be schedule and keep, such as {schedule: cron(0 3 * * ? *), keep: 7}, with keep 0 for none";
  if (typeof given !== "object" || Array.isArray(given)) {
    reader.problem("backups", reader.text("backups"), allowed);
    return undefined;
  }
  const { schedule, keep, ...others } = { ...defaultBackups, ...given } as Record<string, unknown>;
  // https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/dlm-elements.html
  if (typeof schedule !== "string" || !/^cron\(\S+( \S+){5}\)$/.test(schedule)) {
    reader.problem(
      "backups",
      `schedule ${String(schedule)}`,
      "it must be six fields in UTC: cron(MINUTE HOUR DAY MONTH WEEKDAY YEAR), such as cron(0 3 * * ? *)",
    );
  }
  if (!Number.isInteger(Number(keep)) || Number(keep) < 0 || Number(keep) > 1000) {
    reader.problem("backups", `keep ${String(keep)}`, "it must be a whole number from 0 to 1000");
  }
  for (const other of Object.keys(others)) {
    reader.problem("backups", other, allowed);
  }
  return Number(keep) === 0 ? undefined : { schedule: String(schedule), keep: Number(keep) };
}

/** A zone for each member, the first in Meteor's own. */
function readMongoZones(reader: Reader, region: string | undefined, own: string): string[] {
  // Two would have no majority without either of them: one alone is no worse.
  const members = Number(reader.oneOf("mongoMembers", ["1", "3"]));
  const given = reader.json("mongoZones") ?? [];
  if (!Array.isArray(given) || given.length > 3) {
    reader.problem(
      "mongoZones",
      reader.text("mongoZones"),
      "it must be a list of one to three zones",
    );
    return [own];
  }
  const zones = given.length === 0 ? [own] : given.map(String);
  for (const zone of zones) {
    if (region !== undefined && !new RegExp(`^${region}[a-z]$`).test(zone)) {
      reader.problem("mongoZones", zone, `each must be a zone of ${region}, such as ${region}b`);
    }
  }
  if (zones[0] !== own) {
    reader.problem(
      "mongoZones",
      zones.join(", "),
      `the first must be Meteor's own (availabilityZone), ${own}: the primary is there where it can be`,
    );
  }
  return Array.from({ length: members }, (_, index) => zones[index % zones.length] ?? own);
}

function readCertificate(reader: Reader, names: string[]): CertificateSource {
  const kind = reader.oneOf("tls", ["selfSigned", "pem", "acme"]);
  const certificatePem = reader.text("certificatePem");
  const privateKeyPem = reader.text("privateKeyPem");
  const account = readAcmeAccount(reader, kind === "acme");
  if (kind !== "pem" && names.length > nameLimit) {
    reader.problem(
      "extraDomains",
      `${names.length - 1} names`,
      `at most ${nameLimit - 1} fit the certificate beside rootUrl's`,
    );
  }
  if (kind === "acme") {
    checkAcmeNames(reader, names);
    const standIns = certificatePem + privateKeyPem === "" ? [] : readPairs(reader, names[0]);
    return { kind, names, ...account, standIns };
  }
  if (kind !== "pem") {
    return { kind: "selfSigned", names };
  }
  return { kind, pairs: readPairs(reader, names[0]) };
}

function readAcmeAccount(reader: Reader, needed: boolean): { email: string; directory: string } {
  const email = reader.text("acmeEmail");
  if ((needed || email !== "") && !emailAddress.test(email)) {
    reader.problem(
      "acmeEmail",
      email,
      "with tls acme it must be the address that the authority may write to, such as ops@example.com",
    );
  }
  const directory = reader.text("acmeDirectory");
  if (!/^https:\/\/[^\s'"@]+$/.test(directory) || !URL.canParse(directory)) {
    reader.problem(
      "acmeDirectory",
      directory,
      "it must be the https:// address of an ACME authority's directory",
    );
  }
  return { email, directory };
}

/** The authority looks for each name in the public DNS, and asks it for an answer on port 80. */
function checkAcmeNames(reader: Reader, names: string[]): void {
  const rootUrl = reader.text("rootUrl");
  if (!URL.canParse(rootUrl)) {
    return;
  }
  const { hostname, port } = new URL(rootUrl);
  if (port !== "") {
    reader.problem("rootUrl", rootUrl, "with tls acme it can't have a port but 443; leave it out");
  }
  for (const name of names) {
    const key = name === hostname ? "rootUrl" : "extraDomains";
    if (isWildcard(name)) {
      reader.problem(
        key,
        name,
        "with tls acme it needs a challenge by DNS; bring a wildcard certificate with tls pem",
      );
    } else if (!canBePublic(name)) {
      reader.problem(
        key,
        key === "rootUrl" ? rootUrl : name,
        "with tls acme it must be a name that the authority can reach, such as app.example.com",
      );
    }
  }
}

/** A certificate, and what goes into its parameters: with its intermediates, and its key. */
interface Chain {
  leaf: X509Certificate;
  links: X509Certificate[];
  pair: CertificatePair;
}

/** Each certificate with the intermediates after it and its key, wherever among the keys that one is. */
function readPairs(reader: Reader, host: string | undefined): CertificatePair[] {
  const certificates = readBlocks(
    reader,
    "certificatePem",
    "CERTIFICATE",
    (pem) => new X509Certificate(pem),
    "with tls pem it must be a certificate in PEM, its intermediates after it, or several such",
  );
  const keys = readBlocks(
    reader,
    "privateKeyPem",
    "(?:[A-Z]+ )?PRIVATE KEY",
    (pem) => createPrivateKey(pem),
    "with tls pem it must be a private key in PEM without a passphrase, or one for each certificate",
  );
  if (certificates.length === 0 || keys.length === 0) {
    return [];
  }
  const chains: Chain[] = [];
  const used = new Set<string>();
  for (const { pem, value } of certificates) {
    const own = keys.find((key) => value.checkPrivateKey(key.value));
    const last = chains.at(-1);
    if (own !== undefined) {
      used.add(own.pem);
      const pair = { certificatePem: `${pem}\n`, privateKeyPem: `${own.pem}\n` };
      chains.push({ leaf: value, links: [value], pair });
    } else if (last?.links.some((link) => link.checkIssued(value)) === true) {
      last.links.push(value);
      last.pair.certificatePem += `${pem}\n`;
    } else {
      reader.problem(
        "certificatePem",
        `without a key for ${titleOf(value)}`,
        "privateKeyPem must have each certificate's key, and an intermediate must follow what it issued",
      );
    }
  }
  for (const [index, { pem }] of keys.entries()) {
    if (!used.has(pem)) {
      reader.problem(
        "privateKeyPem",
        keys.length === 1
          ? "another certificate's key"
          : `no certificate's, in its key ${index + 1}`,
        "it must be the key that certificatePem was made with, or one for each certificate in it",
      );
    }
  }
  checkChains(reader, chains, host);
  return chains.map(({ pair }) => pair);
}

function checkChains(reader: Reader, chains: Chain[], host: string | undefined): void {
  const seen = new Set<string>();
  for (const { leaf, pair } of chains) {
    if (new Date(leaf.validTo) <= new Date()) {
      const given = `expired since ${leaf.validTo} for ${titleOf(leaf)}`;
      reader.problem("certificatePem", given, "renew it");
    }
    const size = Math.max(pair.certificatePem.length, pair.privateKeyPem.length);
    if (size > parameterLimit) {
      reader.problem(
        "certificatePem",
        `${size} bytes for ${titleOf(leaf)}`,
        `at most ${parameterLimit} are allowed; leave out the root certificate`,
      );
    }
    for (const name of namesOf(leaf)) {
      // Hitch chooses by name alone, not by the kind of key that a client takes.
      if (seen.has(name)) {
        reader.problem(
          "certificatePem",
          `two certificates for ${name}`,
          "a name can have one, with an ECDSA or an RSA key; leave one out",
        );
      }
      seen.add(name);
    }
  }
  if (
    host !== undefined &&
    chains.length > 0 &&
    !chains.some(
      ({ leaf }) => (isIP(host) === 0 ? leaf.checkHost(host) : leaf.checkIP(host)) !== undefined,
    )
  ) {
    reader.problem(
      "certificatePem",
      `for ${chains.map(({ leaf }) => titleOf(leaf)).join(" and ")}`,
      `one must be for rootUrl's ${host}`,
    );
  }
}

/** The PEM texts with that label; none if one can't be read. */
function readBlocks<T>(
  reader: Reader,
  key: ConfigKey,
  label: string,
  read: (pem: string) => T,
  allowed: string,
): { pem: string; value: T }[] {
  const text = reader.text(key);
  const pattern = new RegExp(`-----BEGIN ${label}-----[^-]+-----END ${label}-----`, "g");
  const found = [...text.matchAll(pattern)].flatMap(([pem]) => {
    const value = parsed(() => read(pem));
    return value === undefined ? [] : [{ pem, value }];
  });
  // Whatever a block is, it begins with this.
  if (
    found.length === 0 ||
    found.length < text.split(new RegExp(`-----BEGIN ${label}`)).length - 1
  ) {
    reader.problem(key, text === "" ? "" : undefined, allowed);
    return [];
  }
  return found;
}

/** The DNS names that a certificate is for; without any, its common name, which Hitch takes then. */
function namesOf(certificate: X509Certificate): string[] {
  const names = [...(certificate.subjectAltName ?? "").matchAll(/DNS:([^,"\s]+)/g)];
  const common = /^CN=(.+)$/m.exec(certificate.subject);
  return (names.length > 0 || common === null ? names : [common]).map(([, name]) =>
    String(name).toLowerCase(),
  );
}

function titleOf(certificate: X509Certificate): string {
  return namesOf(certificate).join(", ") || certificate.subject;
}

function parsed<T>(parse: () => T): T | undefined {
  try {
    return parse();
  } catch {
    return undefined;
  }
}

function readSettings(reader: Reader): string | undefined {
  const settings = reader.json("meteorSettings");
  if (settings === null || (typeof settings === "object" && Object.keys(settings).length === 0)) {
    return undefined;
  }
  if (typeof settings !== "object" || Array.isArray(settings)) {
    reader.problem("meteorSettings", undefined, "it must be an object, as in settings.json");
  }
  const text = JSON.stringify(settings);
  if (Buffer.byteLength(text) > parameterLimit) {
    reader.problem(
      "meteorSettings",
      `${Buffer.byteLength(text)} bytes of JSON`,
      `at most ${parameterLimit} are allowed; move large values to files or the database`,
    );
  }
  return text;
}

function readMailUrl(reader: Reader): string | undefined {
  const given = reader.text("mailUrl");
  if (given === "") {
    return undefined;
  }
  if (!/^smtps?:\/\/\S+$/.test(given)) {
    reader.problem(
      "mailUrl",
      undefined,
      "it must be smtp:// or smtps:// with user, password and host",
    );
  }
  return given;
}

function readEnvironment(reader: Reader): Record<string, string> {
  const given = reader.json("env") ?? {};
  if (typeof given !== "object" || Array.isArray(given)) {
    reader.problem("env", undefined, "it must be an object of names and texts");
    return {};
  }
  const environment: Record<string, string> = {};
  for (const [name, value] of Object.entries(given as Record<string, unknown>)) {
    if (!/^[A-Za-z_][A-Za-z0-9_]*$/.test(name)) {
      reader.problem(
        "env",
        name,
        "a name must be of letters, digits and _, and not begin with a digit",
      );
    } else if (ownVariables.has(name)) {
      reader.problem(
        "env",
        name,
        "the program sets that variable itself; use the config key for it",
      );
    } else if (!["string", "number", "boolean"].includes(typeof value) || value === "") {
      reader.problem(
        "env",
        `${name} without a text`,
        "each value must be a text that is not empty",
      );
    } else if (Buffer.byteLength(String(value)) > parameterLimit) {
      reader.problem(
        "env",
        `${name} of over ${parameterLimit} bytes`,
        `at most ${parameterLimit} are allowed`,
      );
    } else {
      environment[name] = String(value);
    }
  }
  return environment;
}

const privateRanges = ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10"];

function parseRange(text: string): Netmask | undefined {
  if (!/^\d{1,3}(\.\d{1,3}){3}\/\d{1,2}$/.test(text)) {
    return undefined;
  }
  try {
    const range = new Netmask(text);
    return range.base === text.split("/")[0] ? range : undefined;
  } catch {
    return undefined;
  }
}

function readVpcCidr(reader: Reader): string {
  const given = reader.text("vpcCidr");
  const range = parseRange(given);
  if (range === undefined || range.bitmask < 16 || range.bitmask > 25) {
    reader.problem(
      "vpcCidr",
      given,
      "it must be an IPv4 range of /16 to /25, written from its first address, such as 10.20.0.0/16",
    );
  } else if (!privateRanges.some((one) => new Netmask(one).contains(range))) {
    reader.problem(
      "vpcCidr",
      given,
      `it must lie inside a private range: ${privateRanges.join(", ")}`,
    );
  }
  return given;
}

function readAllowedCidrs(reader: Reader): string[] {
  const given = reader.json("allowedCidrs");
  if (!Array.isArray(given) || given.length === 0) {
    reader.problem(
      "allowedCidrs",
      reader.text("allowedCidrs"),
      "it must be a list of IPv4 ranges, such as [0.0.0.0/0]",
    );
    return [];
  }
  const ranges: Netmask[] = [];
  for (const one of given) {
    const range = parseRange(String(one));
    if (range === undefined) {
      reader.problem(
        "allowedCidrs",
        String(one),
        "each must be an IPv4 range written from its first address, such as 203.0.113.0/24",
      );
      continue;
    }
    const other = ranges.find((seen) => seen.contains(range) || range.contains(seen));
    if (other !== undefined) {
      reader.problem(
        "allowedCidrs",
        `${String(other)} and ${String(range)}`,
        "they overlap; leave out the smaller one",
      );
    }
    ranges.push(range);
  }
  return ranges.map(String);
}

/** Not looked up: a zone that AWS adds later may not move anybody's machines. */
function readZone(reader: Reader, region: string | undefined): string {
  const given = reader.text("availabilityZone");
  const zone = given === "" ? `${region ?? ""}a` : given;
  if (region !== undefined && !new RegExp(`^${region}[a-z]$`).test(zone)) {
    reader.problem("availabilityZone", given, `it must be a zone of ${region}, such as ${region}a`);
  }
  return zone;
}

function readAlarmEmail(reader: Reader): string | undefined {
  const given = reader.text("alarmEmail");
  if (given !== "" && !emailAddress.test(given)) {
    reader.problem("alarmEmail", given, "it must be an address, such as ops@example.com");
  }
  return given === "" ? undefined : given;
}

function readLogRetention(reader: Reader): number {
  const given = reader.text("logRetention");
  if (!logRetentions.includes(Number(given))) {
    reader.problem(
      "logRetention",
      given,
      `it must be a number of days that CloudWatch takes: ${logRetentions.join(", ")}`,
    );
  }
  return Number(given);
}

function readAmi(reader: Reader): string | undefined {
  const given = reader.text("amiId");
  if (given !== "" && !/^ami-[0-9a-f]{8,17}$/.test(given)) {
    reader.problem("amiId", given, "it must be an image's id, such as ami-0123456789abcdef0");
  }
  return given === "" ? undefined : given;
}
