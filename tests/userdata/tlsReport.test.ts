import { readFileSync } from "node:fs";
import { join } from "node:path";
import { installTools, run } from "../tools";
import { installBalancerTools, RunningBalancer } from "./runningBalancer";

beforeAll(() => {
  installBalancerTools();
  installTools({ "/usr/bin/testssl": "testssl.sh" });
}, 600_000);

const keys = {
  ECDSA: ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"],
  RSA: ["-newkey", "rsa:2048"],
};

/** https://wiki.mozilla.org/Security/Server_Side_TLS, intermediate; less DHE, which we offer none of. */
const mozilla = {
  protocols: { SSLv2: false, SSLv3: false, TLS1: false, TLS1_1: false, TLS1_2: true, TLS1_3: true },
  ciphers: (kind: keyof typeof keys): string[] => [
    ...["TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256"],
    ...["AES128-GCM-SHA256", "AES256-GCM-SHA384", "CHACHA20-POLY1305"].map(
      (cipher) => `ECDHE-${kind}-${cipher}`,
    ),
  ],
  curves: ["X25519", "prime256v1", "secp384r1"],
  hstsSeconds: 63_072_000,
};

/** What testssl finds above low although all is as it should be, and why. */
const explained: Record<string, string> = {
  engine_problem: "testssl's own OpenSSL knows no GOST, which we do not offer",
  cipher_order:
    "Mozilla's intermediate profile leaves the choice to the client, as all ciphers are strong",
  sessionresumption_ticket:
    "testssl hangs up before TLS 1.3's ticket has come, and returns without one; resumption has its own test",
  security_headers:
    "the application's to set, such as Content-Security-Policy; the test's host sets none",
  cert_revocation: "the test's authority has no OCSP or CRL to name in a certificate",
};

interface Finding {
  id: string;
  severity: string;
  finding: string;
}

describe.each(["ECDSA", "RSA"] as const)("TLS with a certificate of an %s key", (kind) => {
  const balancer = new RunningBalancer();
  const { sandbox } = balancer;
  const file = (name: string): string => join(sandbox.folder, name);
  let findings: Finding[] = [];

  beforeAll(async () => {
    makeCertificate();
    const pem = ["app.key", "app.crt"].map((name) => readFileSync(file(name), "utf8")).join("");
    await balancer.start({ studInstall: "source", pem });
    sandbox.write("/etc/hosts", "127.0.0.1 localhost app.example.com\n");
    const { output } = sandbox.outcomeOf("testssl", [
      ...["--quiet", "--color", "0", "--warnings", "off", "--jsonfile", file("report.json")],
      ...["--openssl", "/usr/bin/openssl", "--add-ca", file("authority.crt")],
      ...["--ip", "127.0.0.1", "--nodns", "none"],
      ...["--protocols", "--std", "--pfs", "--server-preference", "--server-defaults", "--headers"],
      // Those of the protocol are the same for both keys; this one is about RSA.
      ...(kind === "RSA" ? ["--vulnerable"] : []),
      // A path whose answer has no Cache-Control of the host's own.
      "https://app.example.com:443/sockjs/info",
    ]);
    try {
      findings = JSON.parse(readFileSync(file("report.json"), "utf8")) as Finding[];
    } catch (error) {
      throw new Error(`testssl wrote no report: ${String(error)}\n${output}`);
    }
    console.log(table());
  }, 300_000);

  afterAll(() => {
    balancer.stop();
  });

  /** A certificate of an authority that exists in the test only. */
  function makeCertificate(): void {
    const make = (name: string, ...more: string[]): void => {
      const files = ["-keyout", file(`${name}.key`), "-out", file(`${name}.crt`)];
      run("openssl", ["req", "-x509", "-noenc", ...files, ...more]);
    };
    make("authority", ...keys.RSA, "-days", "3650", "-subj", "/CN=Test authority/O=Test");
    make(
      "app",
      ...keys[kind],
      ...["-CA", file("authority.crt"), "-CAkey", file("authority.key"), "-days", "90"],
      ...["-subj", "/CN=app.example.com", "-addext", "subjectAltName=DNS:app.example.com"],
      ...["-addext", "basicConstraints=critical,CA:FALSE"],
      ...[
        "-addext",
        "keyUsage=critical,digitalSignature",
        "-addext",
        "extendedKeyUsage=serverAuth",
      ],
    );
  }

  function finding(id: string): string {
    const found = findings.find((one) => one.id === id);
    if (found === undefined) {
      throw new Error(`testssl did not look at ${id}`);
    }
    return found.finding;
  }

  const words = (id: string): string[] => finding(id).split(/\s+/).filter(Boolean);

  /** What testssl found above low. */
  const serious = (): Finding[] =>
    findings.filter(({ severity }) => !["OK", "INFO", "LOW", "DEBUG"].includes(severity));

  function table(): string {
    const offered = Object.keys(mozilla.protocols).filter((id) =>
      finding(id).startsWith("offered"),
    );
    const rows = [
      ["protocols", offered.join(" ")],
      ["ciphers", finding("PFS_ciphers")],
      ["curves", finding("PFS_ECDHE_curves")],
      ["ALPN", finding("ALPN")],
      ["HSTS", finding("HSTS_time")],
      ["OCSP stapling", finding("OCSP_stapling")],
      ...serious().map(({ id, severity }) => [
        `${severity} ${id}`,
        explained[id] ?? "not explained",
      ]),
    ];
    return rows.map(([name = "", value = ""]) => `${name.padEnd(22)} ${value}`).join("\n");
  }

  test("has Mozilla's protocols, ciphers and curves, and no others", () => {
    const offered = Object.keys(mozilla.protocols).map((id) => [
      id,
      finding(id).startsWith("offered"),
    ]);
    expect(Object.fromEntries(offered)).toEqual(mozilla.protocols);
    expect(words("PFS_ciphers").sort()).toEqual(mozilla.ciphers(kind).sort());
    expect(words("PFS_ECDHE_curves").sort()).toEqual(mozilla.curves.sort());
    // Nothing but what has forward secrecy.
    for (const id of ["NULL", "aNULL", "EXPORT", "LOW", "3DES_IDEA", "AVERAGE"]) {
      expect(finding(`cipherlist_${id}`)).toBe("not offered");
    }
  });

  test("speaks HTTP/1.1 alone, and forbids plain HTTP for as long as Mozilla wants", () => {
    expect(finding("ALPN")).toBe("http/1.1");
    expect(finding("HSTS_time")).toMatch(new RegExp(`=${mozilla.hstsSeconds} seconds`));
  });

  test("has a whole chain, and staples nothing", () => {
    expect(finding("cert_chain_of_trust")).toBe("passed.");
    expect(finding("OCSP_stapling")).toBe("not offered");
  });

  test.each(["TLSv1.2", "TLSv1.3"] as const)(
    "lets a %s client come back with its session, whichever worker it meets",
    async (version) => {
      const versions = { minVersion: version, maxVersion: version };
      const first = await sandbox.connect("127.0.0.1", versions);
      const session = await new Promise<Buffer>((resolve) => {
        // TLS 1.2 has it by the end of the handshake, TLS 1.3 a little later.
        const had = version === "TLSv1.2" ? first.getSession() : undefined;
        if (had !== undefined) {
          resolve(had);
        }
        first.once("session", resolve).resume();
      });
      first.destroy();
      for (let again = 0; again < 8; again++) {
        const socket = await sandbox.connect("127.0.0.1", { ...versions, session });
        expect(socket.isSessionReused()).toBe(true);
        socket.destroy();
      }
    },
  );

  test("gives testssl nothing to say above low but what is explained", () => {
    expect(findings.length).toBeGreaterThan(60);
    expect(serious().filter(({ id }) => !(id in explained))).toEqual([]);
  });
});
