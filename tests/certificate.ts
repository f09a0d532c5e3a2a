import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { CertificatePair } from "../components/certificate";

export interface CertificateOptions {
  /** DNS names. Default: app.example.com. */
  names?: string[];
  /** Default: ECDSA. */
  key?: "ECDSA" | "RSA";
  /** Who signs it. Default: itself. */
  authority?: CertificatePair;
  /** Whether it may sign others. Default: false. */
  isAuthority?: boolean;
  /** How long it is good. Default: 30. */
  days?: number;
  /** A key in PEM that there is already. Default: a new one, of the kind `key`. */
  privateKeyPem?: string;
}

/** A certificate with its key. */
export function makeCertificate({
  names = ["app.example.com"],
  key = "ECDSA",
  authority,
  isAuthority = false,
  days = 30,
  privateKeyPem,
}: CertificateOptions = {}): CertificatePair {
  const folder = mkdtempSync(join(tmpdir(), "meteor-scale-certificate-"));
  const file = (name: string): string => join(folder, name);
  const options = [
    ...["-x509", "-noenc", "-days", String(days), "-subj", `/CN=${String(names[0])}`],
    ...["-out", file("certificate.pem")],
    ...["-addext", `subjectAltName=${names.map((name) => `DNS:${name}`).join(",")}`],
    ...["-addext", `basicConstraints=critical,CA:${isAuthority ? "TRUE" : "FALSE"}`],
  ];
  if (privateKeyPem === undefined) {
    options.push(
      ...["-keyout", file("key.pem"), "-newkey"],
      ...(key === "RSA" ? ["rsa:2048"] : ["ec", "-pkeyopt", "ec_paramgen_curve:P-256"]),
    );
  } else {
    writeFileSync(file("key.pem"), privateKeyPem);
    options.push("-key", file("key.pem"));
  }
  if (authority !== undefined) {
    writeFileSync(file("ca.pem"), authority.certificatePem);
    writeFileSync(file("ca-key.pem"), authority.privateKeyPem);
    options.push("-CA", file("ca.pem"), "-CAkey", file("ca-key.pem"));
  }
  execFileSync("openssl", ["req", ...options], { stdio: "pipe" });
  const pair = {
    certificatePem: readFileSync(file("certificate.pem"), "utf8"),
    privateKeyPem: readFileSync(file("key.pem"), "utf8"),
  };
  rmSync(folder, { recursive: true });
  return pair;
}
