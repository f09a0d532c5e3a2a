import { createHash, X509Certificate } from "node:crypto";
import * as pulumi from "@pulumi/pulumi";
import * as tls from "@pulumi/tls";
import * as aws from "./aws";
import { Secrets } from "./secrets";

/** A certificate with its intermediates, and its key. */
export interface CertificatePair {
  certificatePem: string;
  privateKeyPem: string;
}

/** Where the certificate comes from. */
export type CertificateSource =
  | { kind: "selfSigned"; names: string[] }
  /** The first is for clients that name no site. */
  | { kind: "pem"; pairs: CertificatePair[] }
  | {
      kind: "acme";
      /** The names that it is for, the main one first. */
      names: string[];
      email: string;
      /** Address of the authority's directory. */
      directory: string;
      /**
       * What is served until the authority's is there, which gets the first's key and takes its place.
       * None: a self-signed one.
       */
      standIns: CertificatePair[];
    };

export interface CertificateArgs {
  source: CertificateSource;
  /** SSM path of the certificates and their keys. */
  path: string;
}

/** A year; Apple's devices refuse more than 825 days, even from one's own authority. */
const validityHours = 365 * 24;
const renewalHours = 30 * 24;

/**
 * The certificates and their keys in SSM, where the balancer looks for newer ones all the time: neither a
 * renewal nor one more replaces a machine. CERTIFICATE and PRIVATE_KEY are the first pair, CERTIFICATE_2 and
 * PRIVATE_KEY_2 the second. A self-signed one is made anew by the first `pulumi up` in its last 30 days.
 *
 * From an ACME authority the balancer gets one by itself, when it is due, and keeps it in SSM too, so that a new
 * balancer has it at once. Other names, another address or another authority replace no machine either.
 *
 * Cost: none up to 4 KB a value; 0.05 USD a month for one of up to 8 KB.
 */
export class Certificate extends pulumi.ComponentResource {
  /** SSM path of all of it. */
  readonly path: string;
  /** Whether the balancer asks an ACME authority for it. */
  readonly acme: boolean;
  readonly parameters: aws.ssm.Parameter[];
  /** Those that the balancer itself writes. */
  readonly writtenByBalancer: aws.ssm.Parameter[] = [];

  constructor(
    private readonly name: string,
    args: CertificateArgs,
    options?: pulumi.ComponentResourceOptions,
  ) {
    super("meteor-scale:certificate:Certificate", name, {}, options);
    const { source } = args;
    this.path = args.path;
    this.acme = source.kind === "acme";
    const given =
      source.kind === "pem" ? source.pairs : source.kind === "acme" ? source.standIns : [];
    const first = this.first(source, given[0]);
    const values: Record<string, pulumi.Input<string>> = {
      CERTIFICATE: first.certificate,
      PRIVATE_KEY: first.key,
    };
    for (const [index, { certificatePem, privateKeyPem }] of given.slice(1).entries()) {
      values[`CERTIFICATE_${index + 2}`] = certificatePem;
      values[`PRIVATE_KEY_${index + 2}`] = privateKeyPem;
    }
    const secrets = new Secrets(`${name}-pem`, { path: this.path, values }, { parent: this });
    this.parameters = [...secrets.parameters];
    if (source.kind === "acme") {
      const key = first.publicKey.apply(
        (pem) => `sha256:${createHash("sha256").update(pem).digest("hex")}`,
      );
      this.parameters.push(
        this.acmeParameter("REQUEST", {
          type: "String",
          insecureValue: pulumi
            .all([source.directory, source.email, key, ...source.names])
            .apply((lines) => lines.join("\n")),
        }),
      );
      // The balancer's to write, but the stack's to take away.
      this.writtenByBalancer = [
        this.acmeParameter("ACCOUNT", { type: "SecureString", value: pulumi.secret("none") }),
        this.acmeParameter("CERTIFICATE", { type: "String", insecureValue: "none" }),
      ];
      this.parameters.push(...this.writtenByBalancer);
    }
    this.registerOutputs({});
  }

  private acmeParameter(
    key: string,
    value: Pick<aws.ssm.ParameterArgs, "type" | "value" | "insecureValue">,
  ): aws.ssm.Parameter {
    return new aws.ssm.Parameter(
      `${this.name}-acme-${key}`,
      { name: `${this.path}/acme/${key}`, tier: "Intelligent-Tiering", ...value },
      { parent: this, ignoreChanges: key === "REQUEST" ? [] : ["value", "insecureValue"] },
    );
  }

  /** The pair for clients that name no site, or that stands in until the authority's is there. */
  private first(
    source: CertificateSource,
    given: CertificatePair | undefined,
  ): {
    certificate: pulumi.Input<string>;
    key: pulumi.Input<string>;
    publicKey: pulumi.Output<string>;
  } {
    if (given === undefined) {
      return this.selfSigned(source.kind === "pem" ? [] : source.names);
    }
    const { publicKey } = new X509Certificate(given.certificatePem);
    return {
      certificate: given.certificatePem,
      key: given.privateKeyPem,
      publicKey: pulumi.output(publicKey.export({ type: "spki", format: "pem" }).toString()),
    };
  }

  private selfSigned(names: string[]): ReturnType<Certificate["first"]> {
    const key = new tls.PrivateKey(
      `${this.name}-key`,
      { algorithm: "ECDSA", ecdsaCurve: "P256" },
      { parent: this },
    );
    const certificate = new tls.SelfSignedCert(
      `${this.name}-self-signed`,
      {
        privateKeyPem: key.privateKeyPem,
        subject: { commonName: names[0] },
        dnsNames: names,
        validityPeriodHours: validityHours,
        earlyRenewalHours: renewalHours,
        allowedUses: ["digital_signature", "server_auth"],
      },
      { parent: this },
    );
    return {
      certificate: certificate.certPem,
      key: key.privateKeyPem,
      publicKey: key.publicKeyPem,
    };
  }
}
