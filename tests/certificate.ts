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
}

/** A certificate for 30 days, with its key. */
export function makeCertificate({
  names = ["app.example.com"],
  key = "ECDSA",
  authority,
  isAuthority = false,
}: CertificateOptions = {}): CertificatePair {
  const folder = mkdtempSync(join(tmpdir(), "meteor-scale-certificate-"));
  const file = (name: string): string => join(folder, name);
  const options = [
    ...["-x509", "-noenc", "-days", "30", "-subj", `/CN=${String(names[0])}`],
    ...(key === "RSA"
      ? ["-newkey", "rsa:2048"]
      : ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]),
    ...["-keyout", file("key.pem"), "-out", file("certificate.pem")],
    ...["-addext", `subjectAltName=${names.map((name) => `DNS:${name}`).join(",")}`],
    ...["-addext", `basicConstraints=critical,CA:${isAuthority ? "TRUE" : "FALSE"}`],
  ];
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
