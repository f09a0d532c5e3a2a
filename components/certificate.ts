import * as pulumi from "@pulumi/pulumi";
import * as tls from "@pulumi/tls";
import { Secrets } from "./secrets";

/** Where the certificate comes from. */
export type CertificateSource =
  | { kind: "selfSigned"; names: string[] }
  | { kind: "pem"; certificatePem: string; privateKeyPem: string }
  | { kind: "acme"; names: string[]; email: string; directory: string };

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
 */
export class Certificate extends pulumi.ComponentResource {
  readonly secrets: Secrets;
  readonly certificateParameter: string;
  readonly keyParameter: string;

  constructor(name: string, args: CertificateArgs, options?: pulumi.ComponentResourceOptions) {
    super("meteor-scale:certificate:Certificate", name, {}, options);
    const { certificate, key } = this.pair(name, args.source);
    this.secrets = new Secrets(
      `${name}-pem`,
      { path: args.path, values: { CERTIFICATE: certificate, PRIVATE_KEY: key } },
      { parent: this },
    );
    this.certificateParameter = `${args.path}/CERTIFICATE`;
    this.keyParameter = `${args.path}/PRIVATE_KEY`;
    this.registerOutputs({});
  }

  private pair(
    name: string,
    source: CertificateSource,
  ): { certificate: pulumi.Input<string>; key: pulumi.Input<string> } {
    if (source.kind === "pem") {
      return { certificate: source.certificatePem, key: source.privateKeyPem };
    }
    const key = new tls.PrivateKey(
      `${name}-key`,
      { algorithm: "ECDSA", ecdsaCurve: "P256" },
      { parent: this },
    );
    const certificate = new tls.SelfSignedCert(
      `${name}-self-signed`,
      {
        privateKeyPem: key.privateKeyPem,
        subject: { commonName: source.names[0] },
        dnsNames: source.names,
        validityPeriodHours: validityHours,
        earlyRenewalHours: renewalHours,
        allowedUses: ["digital_signature", "server_auth"],
      },
      { parent: this },
    );
    return { certificate: certificate.certPem, key: key.privateKeyPem };
  }
}
