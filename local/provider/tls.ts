import { execFile } from "node:child_process";
import {
  createHash,
  createPrivateKey,
  createPublicKey,
  generateKeyPairSync,
  type KeyObject,
  X509Certificate,
} from "node:crypto";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import type * as tls from "@pulumi/tls";
import { type Plain, type Provider, replaces, resource } from "./definition";

const curves: Record<string, string> = {
  P224: "secp224r1",
  P256: "prime256v1",
  P384: "secp384r1",
  P521: "secp521r1",
};

const privateKey = resource<null, tls.PrivateKeyArgs, tls.PrivateKeyState>({
  type: "tls:index/privateKey:PrivateKey",
  properties: {
    algorithm: replaces,
    ecdsaCurve: { replaces: true, computed: true },
    rsaBits: { replaces: true, computed: true },
  },
  // The forms for OpenSSH are left out: no machine of the program lets anyone log in by SSH.
  outputs: ["privateKeyPem", "privateKeyPemPkcs8", "publicKeyPem"],
  secrets: ["privateKeyPem", "privateKeyPemPkcs8"],
  create: (_context, inputs) => {
    const { key, ...chosen } = generateKey(inputs);
    const publicKeyPem = createPublicKey(key).export({ type: "spki", format: "pem" }).toString();
    return Promise.resolve({
      id: createHash("sha1").update(publicKeyPem).digest("hex"),
      state: {
        ...chosen,
        privateKeyPem: key.export({ type: traditional(key), format: "pem" }).toString(),
        privateKeyPemPkcs8: key.export({ type: "pkcs8", format: "pem" }).toString(),
        publicKeyPem,
      },
    });
  },
  read: (_context, _id, state) => Promise.resolve(state),
  delete: () => Promise.resolve(),
});

function generateKey(inputs: Plain<tls.PrivateKeyArgs>): {
  key: KeyObject;
  ecdsaCurve?: string;
  rsaBits?: number;
} {
  const { algorithm, ecdsaCurve = "P224", rsaBits = 2048 } = inputs;
  if (algorithm === "RSA") {
    return { key: generateKeyPairSync("rsa", { modulusLength: rsaBits }).privateKey, rsaBits };
  }
  const namedCurve = curves[ecdsaCurve];
  if (algorithm !== "ECDSA" || namedCurve === undefined) {
    throw new Error(
      `tls.PrivateKey has algorithm ${algorithm} and ecdsaCurve ${ecdsaCurve}; the local region makes RSA, and ECDSA with ${Object.keys(curves).join(", ")}`,
    );
  }
  return { key: generateKeyPairSync("ec", { namedCurve }).privateKey, ecdsaCurve };
}

/** The form that the real provider gives: the one of OpenSSL before PKCS #8. */
function traditional(key: KeyObject): "pkcs1" | "sec1" {
  return key.asymmetricKeyType === "rsa" ? "pkcs1" : "sec1";
}

/** OpenSSL's names of the uses. */
const keyUsages: Record<string, string> = {
  digital_signature: "digitalSignature",
  content_commitment: "nonRepudiation",
  key_encipherment: "keyEncipherment",
  data_encipherment: "dataEncipherment",
  key_agreement: "keyAgreement",
  cert_signing: "keyCertSign",
  crl_signing: "cRLSign",
  encipher_only: "encipherOnly",
  decipher_only: "decipherOnly",
};

const extendedKeyUsages: Record<string, string> = {
  any_extended: "anyExtendedKeyUsage",
  server_auth: "serverAuth",
  client_auth: "clientAuth",
  code_signing: "codeSigning",
  email_protection: "emailProtection",
  timestamping: "timeStamping",
  ocsp_signing: "OCSPSigning",
};

type CertificateInputs = Plain<tls.SelfSignedCertArgs>;

const selfSignedCert = resource<null, tls.SelfSignedCertArgs, tls.SelfSignedCertState>({
  type: "tls:index/selfSignedCert:SelfSignedCert",
  properties: {
    privateKeyPem: replaces,
    subject: replaces,
    dnsNames: replaces,
    ipAddresses: replaces,
    uris: replaces,
    validityPeriodHours: replaces,
    allowedUses: replaces,
    earlyRenewalHours: { default: 0 },
    isCaCertificate: { replaces: true, default: false },
    setSubjectKeyId: { replaces: true, default: false },
    setAuthorityKeyId: { replaces: true, default: false },
  },
  outputs: ["certPem", "keyAlgorithm", "readyForRenewal", "validityEndTime", "validityStartTime"],
  secrets: ["privateKeyPem"],
  due: (state, inputs) => (readyForRenewal(state, inputs) ? ["readyForRenewal"] : []),
  async create(_context, inputs) {
    const key = createPrivateKey(inputs.privateKeyPem ?? "");
    const certPem = await selfSigned(inputs);
    const certificate = new X509Certificate(certPem);
    return {
      id: BigInt(`0x${certificate.serialNumber}`).toString(),
      state: {
        certPem,
        keyAlgorithm: key.asymmetricKeyType === "rsa" ? "RSA" : "ECDSA",
        readyForRenewal: false,
        validityStartTime: timestamp(certificate.validFrom),
        validityEndTime: timestamp(certificate.validTo),
      },
    };
  },
  read: (_context, _id, state) =>
    Promise.resolve({ ...state, readyForRenewal: readyForRenewal(state, state) }),
  delete: () => Promise.resolve(),
});

function timestamp(date: string): string {
  return new Date(date).toISOString().replace(".000Z", "Z");
}

function readyForRenewal(
  state: { validityEndTime?: string },
  { earlyRenewalHours = 0 }: { earlyRenewalHours?: number },
): boolean {
  const end = Date.parse(state.validityEndTime ?? "");
  return Date.now() >= end - earlyRenewalHours * 3_600_000;
}

/** OpenSSL makes the certificate; Node's own crypto only reads them. */
async function selfSigned(inputs: CertificateInputs): Promise<string> {
  const days = inputs.validityPeriodHours / 24;
  if (!Number.isInteger(days)) {
    throw new Error(
      `tls.SelfSignedCert has validityPeriodHours ${inputs.validityPeriodHours}; the local region makes certificates of whole days, so of 24, 48, … hours`,
    );
  }
  const folder = await mkdtemp(join(tmpdir(), "certificate-"));
  try {
    const files = { key: join(folder, "key.pem"), request: join(folder, "request") };
    await writeFile(files.key, inputs.privateKeyPem ?? "", { mode: 0o600 });
    await writeFile(files.request, request(inputs));
    const { stdout } = await promisify(execFile)("openssl", [
      ...["req", "-x509", "-new", "-utf8", "-sha256", "-days", String(days)],
      ...["-key", files.key, "-config", files.request],
    ]);
    return stdout;
  } finally {
    await rm(folder, { recursive: true });
  }
}

/** What OpenSSL reads of the certificate to make. */
function request(inputs: CertificateInputs): string {
  const of = inputs.subject;
  const subject = {
    C: of?.country,
    ST: of?.province,
    L: of?.locality,
    street: of?.streetAddresses?.join(", "),
    postalCode: of?.postalCode,
    O: of?.organization,
    OU: of?.organizationalUnit,
    CN: of?.commonName,
    serialNumber: of?.serialNumber,
  };
  const names = [
    ...(inputs.dnsNames ?? []).map((name, index) => [`DNS.${index + 1}`, name] as const),
    ...(inputs.ipAddresses ?? []).map((name, index) => [`IP.${index + 1}`, name] as const),
    ...(inputs.uris ?? []).map((name, index) => [`URI.${index + 1}`, name] as const),
  ];
  const usages = uses(inputs.allowedUses, keyUsages);
  const extendedUsages = uses(inputs.allowedUses, extendedKeyUsages);
  const extensions = {
    basicConstraints: `critical,CA:${inputs.isCaCertificate === true ? "TRUE" : "FALSE"}`,
    keyUsage: usages && `critical,${usages}`,
    extendedKeyUsage: extendedUsages,
    subjectAltName: names.length > 0 ? "@names" : undefined,
    subjectKeyIdentifier: inputs.setSubjectKeyId === true ? "hash" : "none",
    authorityKeyIdentifier: inputs.setAuthorityKeyId === true ? "keyid:always" : "none",
  };
  return [
    ...["[req]", "prompt=no", "distinguished_name=subject", "x509_extensions=extensions"],
    ...section("subject", Object.entries(subject)),
    ...section("extensions", Object.entries(extensions)),
    ...section("names", names),
  ].join("\n");
}

function section(name: string, entries: (readonly [string, string | undefined])[]): string[] {
  return [
    `[${name}]`,
    ...entries.flatMap(([key, value]) =>
      value === undefined ? [] : [`${key}=${value.replaceAll(/[\\"'#$]/g, "\\$&")}`],
    ),
  ];
}

/** @throws Error if a use is in neither table */
function uses(allowed: string[], table: Record<string, string>): string | undefined {
  const known = { ...keyUsages, ...extendedKeyUsages };
  const strange = allowed.filter((use) => !(use in known));
  if (strange.length > 0) {
    throw new Error(
      `tls.SelfSignedCert has allowedUses ${strange.join(", ")}; the local region knows ${Object.keys(known).join(", ")}`,
    );
  }
  const found = allowed.flatMap((use) => table[use] ?? []);
  return found.length > 0 ? found.join(",") : undefined;
}

/** The part of @pulumi/tls that the program uses. */
export const tlsProvider: Provider<null> = {
  name: "tls",
  version: "5.6.1",
  configuration: {},
  configure: () => Promise.resolve(null),
  tagRules: () => ({ defaults: {}, ignores: () => false }),
  resources: [privateKey, selfSignedCert],
  functions: [],
};
