import { existsSync, mkdirSync } from "node:fs";
import { join } from "node:path";
import { awsRegion, certificateAuthorityFolder } from "../paths";
import { run } from "./commands";

/** What the machine image puts in its trust store. */
export const authorityFile = join(certificateAuthorityFolder, "ca.pem");
/** Certificate and key, one after the other, that answers as AWS. */
export const serverFile = join(certificateAuthorityFolder, "server.pem");

const names = [
  "amazonaws.com",
  "*.amazonaws.com",
  `*.${awsRegion}.amazonaws.com`,
  `s3.${awsRegion}.amazonaws.com`,
  `*.s3.${awsRegion}.amazonaws.com`,
];

const key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-noenc"];

/** Makes the region's certificate authority and its certificate for AWS's names, once. */
export async function ensureCertificateAuthority(): Promise<void> {
  if (existsSync(serverFile) && existsSync(authorityFile)) {
    return;
  }
  mkdirSync(certificateAuthorityFolder, { recursive: true, mode: 0o700 });
  const authorityKey = join(certificateAuthorityFolder, "ca-key.pem");
  await run("openssl", [
    ...["req", "-x509", ...key, "-days", "3650", "-subj", "/CN=meteor-scale local region"],
    ...["-addext", "keyUsage=critical,keyCertSign,cRLSign"],
    ...["-keyout", authorityKey, "-out", authorityFile],
  ]);
  await run("openssl", [
    ...["req", "-x509", ...key, "-days", "3650", "-subj", `/CN=${awsRegion}.amazonaws.com`],
    ...["-CA", authorityFile, "-CAkey", authorityKey],
    ...["-addext", "basicConstraints=critical,CA:FALSE"],
    ...["-addext", "extendedKeyUsage=serverAuth"],
    ...["-addext", `subjectAltName=${names.map((name) => `DNS:${name}`).join(",")}`],
    // OpenSSL appends nothing: key and certificate go to one file by way of its standard output.
    ...["-keyout", `${serverFile}.key`, "-out", `${serverFile}.certificate`],
  ]);
  await run("sh", [
    "-c",
    'umask 077; cat "$1.certificate" "$1.key" > "$1" && rm "$1.certificate" "$1.key"',
    "sh",
    serverFile,
  ]);
}
