import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

/** A certificate for 30 days, with its key. */
export function makeCertificate(): { certificatePem: string; privateKeyPem: string } {
  const folder = mkdtempSync(join(tmpdir(), "meteor-scale-certificate-"));
  const [key, certificate] = [join(folder, "key.pem"), join(folder, "certificate.pem")];
  execFileSync(
    "openssl",
    ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"].concat([
      "-days",
      "30",
      "-subj",
      "/CN=app.example.com",
      "-keyout",
      key,
      "-out",
      certificate,
    ]),
    { stdio: "pipe" },
  );
  return {
    certificatePem: readFileSync(certificate, "utf8"),
    privateKeyPem: readFileSync(key, "utf8"),
  };
}
