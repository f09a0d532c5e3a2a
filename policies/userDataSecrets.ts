import { gunzipSync } from "node:zlib";
import type { PolicyResource } from "@pulumi/policy";
import { parseDocument } from "yaml";
import { known } from "./unknowns";

/** A text that nobody else may read, and whose it is. */
export interface Secret {
  owner: string;
  text: string;
}

/** Outputs that are secrets, by the type of the resource. */
const secretOutputs: Record<string, string[]> = {
  "aws:ssm/parameter:Parameter": ["value"],
  "random:index/randomPassword:RandomPassword": ["result"],
  "random:index/randomBytes:RandomBytes": ["base64", "hex"],
  "tls:index/privateKey:PrivateKey": [
    ...["privateKeyPem", "privateKeyPemPkcs8", "privateKeyOpenssh"],
  ],
};

/** A shorter one, such as a number in `env`, is found anywhere by chance. */
const shortestSecret = 16;

/**
 * The secrets that a stack's resources have, as far as a preview knows them; of one in JSON its parts too. The
 * stack's own address may be among them, and is none.
 */
export function secretsOf(resources: PolicyResource[]): Secret[] {
  const read = ({ props }: PolicyResource, key: string): unknown =>
    known(() => props[key] as unknown);
  const stack = resources.find(({ type }) => type === "pulumi:pulumi:Stack");
  const address = stack && read(stack, "url");
  return resources
    .filter((one) => !one.type.startsWith("aws:") || read(one, "type") === "SecureString")
    .flatMap((one) =>
      (secretOutputs[one.type] ?? []).flatMap((key) =>
        textsIn(read(one, key)).map((text) => ({ owner: one.name, text })),
      ),
    )
    .filter(({ text }) => text.length >= shortestSecret && text !== address);
}

/** What no user data has, whoever knows it. */
const patterns: [RegExp, string][] = [
  [/-----BEGIN [A-Z ]*PRIVATE KEY-----/, "a private key"],
  [/\b(AKIA|ASIA)[0-9A-Z]{16}\b/, "an AWS access key"],
  [/\b[a-z][a-z0-9+.-]*:\/\/[^\s:/@'"]*:[^\s/@'"$]+@/, "an address with a password"],
];

/** Names what of the secrets a user data has: in clear, in its YAML, in base64 or compressed. */
export function secretsIn(userData: string | undefined, secrets: Secret[]): string[] {
  const texts = textsOfUserData(userData ?? "");
  const unspaced = texts.map(withoutSpace);
  const owners = secrets
    .filter(({ text }) => unspaced.some((part) => part.includes(withoutSpace(text))))
    .map(({ owner }) => `the secret of ${owner}`);
  const kinds = patterns
    .filter(([pattern]) => texts.some((text) => pattern.test(text)))
    .map(([, kind]) => kind);
  return [...new Set([...owners, ...kinds])];
}

/** Lines are indented anew where a text of several is put into another. */
function withoutSpace(text: string): string {
  return text.replaceAll(/\s/g, "");
}

function textsOfUserData(userData: string): string[] {
  const parts: unknown = userData.startsWith("#cloud-config")
    ? parseDocument(userData).toJS()
    : undefined;
  const plain = [userData, ...textsIn(parts)];
  const encoded = plain.flatMap((text) => text.match(/[A-Za-z0-9+/]{20,}={0,2}/g) ?? []);
  const decoded = [...new Set(encoded)].map(decode);
  return [...plain, ...decoded];
}

function decode(base64: string): string {
  const bytes = Buffer.from(base64, "base64");
  try {
    return gunzipSync(bytes).toString("utf8");
  } catch {
    return bytes.toString("utf8");
  }
}

/** All texts of a value, those of JSON in a text included. */
function textsIn(value: unknown): string[] {
  if (typeof value === "string") {
    return [value, ...textsIn(parsedJson(value))];
  }
  return typeof value === "object" && value !== null ? Object.values(value).flatMap(textsIn) : [];
}

function parsedJson(text: string): unknown {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === "object" ? value : undefined;
  } catch {
    return undefined;
  }
}
