import { createHash, X509Certificate } from "node:crypto";
import * as aws from "@pulumi/aws";
import * as pulumi from "@pulumi/pulumi";
import * as tls from "@pulumi/tls";
import { Secrets } from "./secrets";

/** A certificate with its intermediates, and its key. */
export interface CertificatePair {
  certificatePem: string;
  privateKeyPem: string;
}

/** Where the certificate comes from. */
export type CertificateSource =
  | { kind: "selfSigned"; names: string[] }
  | ({ kind: "pem" } & CertificatePair)
  | {
      kind: "acme";
      /** The names that it is for, the main one first. */
      names: string[];
      email: string;
      /** Address of the authority's directory. */
      directory: string;
      /** What is served until the authority's is there, and whose key that one gets; by default a self-signed one. */
      standIn: CertificatePair | undefined;
    };

export interface CertificateArgs {
  source: CertificateSource;
  /** SSM path of the certificate and its key. */
  path: string;
}

/** A year; Apple's devices refuse more than 825 days, even from one's own authority. */
const validityHours = 365 * 24;
const renewalHours = 30 * 24;

/**
 * The certificate and its key in SSM, where the balancer looks for a newer one all the time: a renewal
 * replaces no machine. A self-signed one is made anew by the first `pulumi up` in its last 30 days.
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
    const pair = this.pair(source);
    const secrets = new Secrets(
      `${name}-pem`,
      { path: this.path, values: { CERTIFICATE: pair.certificate, PRIVATE_KEY: pair.key } },
      { parent: this },
    );
    this.parameters = [...secrets.parameters];
    if (source.kind === "acme") {
      const key = pair.publicKey.apply(
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

  /** The pair that is served, or that stands in until the authority's is there. */
  private pair(source: CertificateSource): {
    certificate: pulumi.Input<string>;
    key: pulumi.Input<string>;
    publicKey: pulumi.Output<string>;
  } {
    if (source.kind === "selfSigned") {
      return this.selfSigned(source.names);
    }
    const given = source.kind === "pem" ? source : source.standIn;
    if (given === undefined) {
      return this.selfSigned(source.kind === "acme" ? source.names : []);
    }
    const { publicKey } = new X509Certificate(given.certificatePem);
    return {
      certificate: given.certificatePem,
      key: given.privateKeyPem,
      publicKey: pulumi.output(publicKey.export({ type: "spki", format: "pem" }).toString()),
    };
  }

  private selfSigned(names: string[]): ReturnType<Certificate["pair"]> {
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
