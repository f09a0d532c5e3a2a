import { X509Certificate } from "node:crypto";
import { GetParametersCommand, type SSMClient } from "@aws-sdk/client-ssm";

/** A certificate that the balancer serves. */
export interface CertificateStatus {
  /** Where it is, below the stack's `certificate`: `CERTIFICATE`, `CERTIFICATE_2`, or `acme/CERTIFICATE`. */
  parameter: string;
  /** DNS names that it is for. */
  names: string[];
  /** When it expires. */
  ends: string;
  /** Who signed it; `itself` if nobody did. */
  issuer: string;
}

/** As many as one call takes. */
const mostNames = 10;

/**
 * Values of parameters by their names, of those that are there.
 *
 * @param names each with the path before it; ten at most
 */
async function readParameters(
  client: SSMClient,
  path: string,
  names: string[],
): Promise<Record<string, string>> {
  const { Parameters } = await client.send(
    new GetParametersCommand({
      Names: names.map((name) => `${path}/${name}`),
      WithDecryption: true,
    }),
  );
  return Object.fromEntries(
    (Parameters ?? []).map(({ Name = "", Value = "" }) => [Name.slice(path.length + 1), Value]),
  );
}

/** Ids of the instances that an update has switched traffic to, the balancer's not among them. */
export async function readGates(client: SSMClient, parameterPath: string): Promise<string[]> {
  const gates = await readParameters(client, `${parameterPath}/gates`, [
    "hosts",
    "nat",
    "mongo1",
    "mongo2",
    "mongo3",
  ]);
  return Object.values(gates)
    .flatMap((value) => value.split(" "))
    .filter((part) => part.startsWith("i-"));
}

/** Asks for certificates by their names, so that no key is ever read. */
export async function readCertificates(
  client: SSMClient,
  parameterPath: string,
  now: Date,
): Promise<CertificateStatus[]> {
  const found: Record<string, string> = {};
  for (let next = 0; ; next += mostNames) {
    const names = Array.from({ length: mostNames }, (_, index) => certificateName(next + index));
    const values = await readParameters(client, `${parameterPath}/certificate`, names);
    Object.assign(found, values);
    if (values[certificateName(next + mostNames - 1)] === undefined) {
      return servedCertificates(found, now);
    }
  }
}

const acmeName = "acme/CERTIFICATE";

/** They are numbered without a gap from 1; the authority's comes before them. */
function certificateName(number: number): string {
  return [acmeName, "CERTIFICATE"][number] ?? `CERTIFICATE_${number}`;
}

/**
 * Which of the certificates in SSM are served, the first one first: the authority's takes the place of CERTIFICATE
 * if it is valid and of the same key, as userdata/balancer/update-certificate.sh has it.
 *
 * @param values PEM by the parameter's name
 */
export function servedCertificates(values: Record<string, string>, now: Date): CertificateStatus[] {
  const certificates = Object.entries(values)
    .map(([parameter, pem]) => ({ parameter, certificate: parsed(pem) }))
    .filter((one): one is Parsed => one.certificate !== undefined)
    .sort((a, b) => a.parameter.localeCompare(b.parameter, "en", { numeric: true }));
  const own = certificates.filter(({ parameter }) => parameter !== acmeName);
  const first = own.find(({ parameter }) => parameter === certificateName(1));
  const obtained = certificates.find(({ parameter }) => parameter === acmeName);
  const replaces =
    obtained !== undefined &&
    first !== undefined &&
    obtained.certificate.publicKey.equals(first.certificate.publicKey) &&
    endOf(obtained.certificate) > now;
  return (replaces ? [obtained, ...own.filter((one) => one !== first)] : own).map(described);
}

interface Parsed {
  parameter: string;
  certificate: X509Certificate;
}

/** The first certificate of a PEM, before which other lines may stand; undefined where there is none. */
function parsed(pem: string): X509Certificate | undefined {
  try {
    return new X509Certificate(pem);
  } catch {
    return undefined;
  }
}

function endOf({ validTo }: X509Certificate): Date {
  return new Date(validTo);
}

function described({ parameter, certificate }: Parsed): CertificateStatus {
  const { subject, issuer, subjectAltName = "" } = certificate;
  const [, organization] = /^O=(.*)$/m.exec(issuer) ?? [];
  const [, commonName] = /^CN=(.*)$/m.exec(issuer) ?? [];
  return {
    parameter,
    names: [...subjectAltName.matchAll(/DNS:([^,\s]+)/g)].map(([, name = ""]) => name),
    ends: endOf(certificate).toISOString(),
    issuer: issuer === subject ? "itself" : (organization ?? commonName ?? issuer),
  };
}
