import { createPrivateKey } from "node:crypto";
import { isIP } from "node:net";
import fc from "fast-check";
import { configKeys, parseConfig, type StackConfig } from "../../components/config";
import { hostNameProblem } from "../../components/hostNames";
import { declaredConfig, withDefaults } from "../../local/mockEngine";
import { makeCertificate } from "../certificate";
import { sampleBundle } from "../sampleBundle";

const bundle = sampleBundle();
const region = "eu-central-1";

const acme = { tls: "acme", acmeEmail: "ops@example.com" };

/** The configuration of a stack that sets just these keys. */
function parse(values: Record<string, unknown> = {}): StackConfig {
  const all = withDefaults({ bundle, rootUrl: "https://app.example.com", ...values });
  const own = Object.entries(all)
    .filter(([key]) => key.startsWith("meteor-scale:"))
    .map(([key, value]) => [key.slice("meteor-scale:".length), value] as const);
  return parseConfig(Object.fromEntries(own), region);
}

test("two keys are enough", () => {
  expect(parse()).toMatchObject({
    hostCount: 3,
    maxHosts: 8,
    hostInstanceType: "c7a.medium",
    mongo: { kind: "machines", accessControl: "rbac" },
    names: ["app.example.com"],
    hostedZone: undefined,
    certificate: { kind: "selfSigned", names: ["app.example.com"] },
    availabilityZone: "eu-central-1a",
    nat: "gateway",
    protectData: true,
  });
});

test("Pulumi.yaml declares every key that the program reads, and no other", () => {
  const declared = Object.keys(declaredConfig()).filter((key) => !key.includes(":"));
  expect(declared).toEqual([...configKeys]);
  for (const key of declared) {
    expect(declaredConfig()[key]?.description).toMatch(/\.$/);
  }
});

test.each<[string, Record<string, unknown>, RegExp]>([
  ["hostCount", { hostCount: 9 }, /hostCount is 9; the balancer lists hosts 1 to 8 \(maxHosts\)/],
  ["hostCount", { hostCount: 0 }, /hostCount is 0; the balancer lists/],
  ["hostCount", { hostCount: "many" }, /hostCount is many/],
  ["maxHosts", { maxHosts: 101 }, /maxHosts is 101; it must be a whole number from 1 to 100/],
  ["bundle", { bundle: "" }, /bundle is not set; it must be the path/],
  ["bundle", { bundle: "./none.tar.gz" }, /bundle is \.\/none\.tar\.gz; there is no file/],
  ["bundle", { bundle: "http://example.com/a.tar.gz" }, /an address must be https:/],
  ["bundleSha256", { bundle: "https://example.com/a.tar.gz" }, /bundleSha256 is not set/],
  ["bundleSha256", { bundleSha256: "abc" }, /bundleSha256 is abc; it must be 64/],
  ["bundleSha256", { bundleSha256: "0".repeat(64) }, /bundleSha256 is 0{64}; the file/],
  ["rootUrl", { rootUrl: "http://app.example.com" }, /rootUrl is http:.*https:\/\/ address/],
  ["rootUrl", { rootUrl: "" }, /rootUrl is not set/],
  ["hostInstanceType", { hostInstanceType: "big" }, /hostInstanceType is big; .*c7a\.medium/],
  ["mongoMembers", { mongoMembers: 2 }, /mongoMembers is 2; it must be 1 or 3/],
  ["mongoSnapshot", { mongoSnapshot: "latest" }, /mongoSnapshot is latest; .*snap-0123/],
  ["backups", { backups: "daily" }, /backups/],
  ["backups", { backups: { schedule: "daily" } }, /backups is schedule daily; .*six fields/],
  ["backups", { backups: { keep: 1001 } }, /backups is keep 1001; .*from 0 to 1000/],
  ["backups", { backups: { retain: 3 } }, /backups is retain; it must be schedule and keep/],
  ["mongoZones", { mongoZones: "eu-central-1b" }, /mongoZones is not valid; it must be JSON/],
  [
    "mongoZones",
    { mongoZones: ["eu-central-1b"] },
    /the first must be Meteor's own .*eu-central-1a/,
  ],
  [
    "mongoZones",
    { mongoZones: ["eu-central-1a", "us-east-1b"] },
    /mongoZones is us-east-1b; each must be a zone of eu-central-1/,
  ],
  ["mongoZones", { mongoZones: ["a", "b", "c", "d"] }, /a list of one to three zones/],
  ["mongoVolumeSize", { mongoVolumeSize: 5 }, /mongoVolumeSize is 5; .*from 10 to 16384/],
  ["mongoAccessControl", { mongoAccessControl: "none" }, /must be firewall or rbac/],
  ["mongoUrl", { mongoOplogUrl: "mongodb://db/local" }, /mongoUrl is not set; with mongoOplogUrl/],
  ["mongoOplogUrl", { mongoUrl: "mongodb://db/app" }, /mongoOplogUrl is not set; with mongoUrl/],
  [
    "mongoOplogUrl",
    { mongoUrl: "mongodb://db/app", mongoOplogUrl: "mongodb://db/app" },
    /mongoOplogUrl is not valid; .*database local/,
  ],
  ["extraDomains", { extraDomains: "www" }, /extraDomains is not valid; it must be JSON/],
  ["extraDomains", { extraDomains: { a: 1 } }, /extraDomains is .*; it must be a list of names/],
  ["extraDomains", { extraDomains: ["www"] }, /extraDomains is www; it must be a whole name/],
  ["extraDomains", { extraDomains: ["*.com"] }, /extraDomains is \*\.com; it must be a whole name/],
  ["extraDomains", { extraDomains: ["192.0.2.1"] }, /is 192\.0\.2\.1; it must be a name, not an/],
  ["extraDomains", { extraDomains: ["2001:db8::1"] }, /it must be a name, not an address/],
  ["extraDomains", { extraDomains: ["example.com."] }, /leave out the dot at its end/],
  ["extraDomains", { extraDomains: ["bücher.example.org"] }, /xn--bcher-kva\.example\.org/],
  [
    "extraDomains",
    { extraDomains: ["https://a.example.com"] },
    /letters, digits, hyphens and dots/,
  ],
  ["extraDomains", { extraDomains: ["a-.example.com"] }, /a letter or digit beside each dot/],
  ["extraDomains", { extraDomains: ["a..example.com"] }, /a letter or digit beside each dot/],
  ["extraDomains", { extraDomains: ["a.*.example.com"] }, /letters, digits, hyphens and dots/],
  ["extraDomains", { extraDomains: [`${"a".repeat(64)}.com`] }, /253 characters, and 63 between/],
  ["extraDomains", { extraDomains: [`${"a.".repeat(126)}com`] }, /253 characters, and 63 between/],
  ["extraDomains", { extraDomains: ["App.example.com"] }, /it is rootUrl's own, or there twice/],
  [
    "extraDomains",
    { extraDomains: ["a.example.com", "A.example.com"] },
    /extraDomains is a\.example\.com; it is rootUrl's own, or there twice/,
  ],
  [
    "extraDomains",
    { extraDomains: Array.from({ length: 30 }, (_, index) => `a${index}.example.com`) },
    /extraDomains is 30 names; at most 29 fit the certificate/,
  ],
  ["hostedZone", { hostedZone: "com" }, /hostedZone is com; it must be a whole name/],
  ["hostedZone", { hostedZone: "*.example.com" }, /hostedZone is \*.*letters, digits/],
  [
    "hostedZone",
    { hostedZone: "ample.com", extraDomains: ["www.example.org"] },
    /hostedZone is ample\.com; none of .* in that zone \(app\.example\.com, www\.example\.org\)/,
  ],
  ["tls", { tls: "magic" }, /tls is magic; it must be selfSigned or pem or acme/],
  ["acmeEmail", { tls: "acme" }, /acmeEmail is not set; with tls acme it must be the address/],
  ["acmeEmail", { acmeEmail: "ops" }, /acmeEmail is ops; .*ops@example\.com/],
  ["acmeDirectory", { acmeDirectory: "http://ca.example.com" }, /https:\/\/ address of an ACME/],
  ["acmeDirectory", { acmeDirectory: "" }, /acmeDirectory is not set/],
  ["rootUrl", { ...acme, rootUrl: "https://a.example.com:8443" }, /can't have a port but 443/],
  ["rootUrl", { ...acme, rootUrl: "https://192.0.2.1" }, /rootUrl is https:.* can reach/],
  ["rootUrl", { ...acme, rootUrl: "https://meteor.localhost" }, /rootUrl is https:.* can reach/],
  ["rootUrl", { ...acme, rootUrl: "https://*.example.com" }, /rootUrl is \*.* challenge by DNS/],
  [
    "extraDomains",
    { ...acme, extraDomains: ["*.example.com"] },
    /extraDomains is \*\.example\.com; .* challenge by DNS; bring a wildcard certificate with tls pem/,
  ],
  [
    "extraDomains",
    { ...acme, extraDomains: ["app.internal"] },
    /extraDomains is app\.internal; .* authority can reach/,
  ],
  ["certificatePem", { tls: "pem" }, /certificatePem is not set/],
  ["meteorSettings", { meteorSettings: { long: "x".repeat(9000) } }, /bytes of JSON; at most 8192/],
  ["meteorSettings", { meteorSettings: "{" }, /meteorSettings is not valid/],
  ["mailUrl", { mailUrl: "mail.example.com" }, /mailUrl is not valid; it must be smtp:/],
  ["env", { env: { PORT: "80" } }, /env is PORT; the program sets that variable itself/],
  ["env", { env: { "A-B": "c" } }, /env is A-B; a name must be/],
  ["env", { env: { A: "" } }, /env is A without a text/],
  ["vpcCidr", { vpcCidr: "10.0.0.0/8" }, /vpcCidr is 10\.0\.0\.0\/8; .*\/16 to \/25/],
  ["vpcCidr", { vpcCidr: "10.0.0.0/26" }, /\/16 to \/25/],
  ["vpcCidr", { vpcCidr: "10.0.0.1/16" }, /written from its first address/],
  ["vpcCidr", { vpcCidr: "8.8.0.0/16" }, /inside a private range/],
  ["availabilityZone", { availabilityZone: "us-east-1a" }, /must be a zone of eu-central-1/],
  ["allowedCidrs", { allowedCidrs: [] }, /allowedCidrs is \[\]; it must be a list/],
  ["allowedCidrs", { allowedCidrs: ["all"] }, /allowedCidrs is all; each must be/],
  [
    "allowedCidrs",
    { allowedCidrs: ["10.0.0.0/8", "10.1.0.0/16"] },
    /10\.0\.0\.0\/8 and 10\.1\.0\.0\/16; they overlap/,
  ],
  ["nat", { nat: "magic" }, /nat is magic; it must be gateway or instance or none/],
  ["nat", { nat: "none" }, /nat is none; .*set amiId/],
  ["amiId", { amiId: "debian" }, /amiId is debian; it must be an image's id/],
  ["securityUpgrades", { securityUpgrades: "on" }, /is on; it must be install or reboot or off/],
  ["sessionManager", { sessionManager: "yes" }, /must be true or false/],
  ["readyTimeout", { readyTimeout: 10 }, /from 60 to 3600/],
  ["minReadySeconds", { minReadySeconds: 0 }, /from 1 to 600/],
  ["minReadySeconds", { readyTimeout: 60 }, /no host could be ready in time; readyTimeout \(60\)/],
  ["drainTimeout", { drainTimeout: 200 }, /from 15 to 120/],
  [
    "hostcount",
    { hostcount: 3 },
    /hostcount is not a key of this project; did you mean hostCount\?/,
  ],
])("%s in error is told with what was given and what is allowed: %j", (_key, values, message) => {
  expect(() => parse(values)).toThrow(message);
});

test("all keys in error are told at once", () => {
  expect(() => parse({ hostCount: 0, tls: "x", rootUrl: "" })).toThrow(
    /^rootUrl .*\nhostCount .*\ntls /,
  );
});

test("without a region there is no stack", () => {
  expect(() => parseConfig({}, undefined)).toThrow(/aws:region is not set/);
});

test("a NAT instance is a choice", () => {
  expect(parse({ nat: "instance" })).toMatchObject({ nat: "instance", amiId: undefined });
});

test("names are rootUrl's and those of extraDomains, which the certificate is for", () => {
  const names = ["xn--bcher-kva.example.com", "www.example.com", "example.org"];
  const values = {
    rootUrl: "https://Bücher.example.com:443/",
    extraDomains: ["WWW.example.com", "example.org"],
  };
  expect(parse(values)).toMatchObject({ names, certificate: { kind: "selfSigned", names } });
  expect(parse({ ...acme, ...values })).toMatchObject({
    names,
    certificate: {
      kind: "acme",
      names,
      email: "ops@example.com",
      directory: "https://acme-v02.api.letsencrypt.org/directory",
    },
  });
});

test("a wildcard is a name where no authority has to be asked", () => {
  expect(parse({ extraDomains: ["*.example.com"] }).names).toContain("*.example.com");
});

test("a zone is one that has a name of the application", () => {
  const values = { extraDomains: ["example.org", "*.example.net"] };
  for (const hostedZone of ["Example.com", "app.example.com", "example.org", "example.net"]) {
    expect(parse({ ...values, hostedZone }).hostedZone).toBe(hostedZone.toLowerCase());
  }
});

test("whatever the names, those that are accepted are what a URL makes of them", () => {
  const label = fc.stringMatching(/^[a-zA-Z0-9-]{1,70}$/);
  const name = fc.oneof(
    fc.domain(),
    fc.array(label, { minLength: 1, maxLength: 5 }).map((labels) => labels.join(".")),
    fc.string(),
  );
  fc.assert(
    fc.property(name, (given) => {
      const lower = given.toLowerCase();
      if (hostNameProblem(lower) === undefined) {
        expect(new URL(`https://${given}/`).hostname).toBe(lower);
        expect(lower.split(".").length).toBeGreaterThan(1);
        expect(isIP(lower)).toBe(0);
      }
    }),
  );
  fc.assert(fc.property(fc.domain(), (given) => hostNameProblem(given) === undefined));
});

test("a certificate and its key are accepted together", () => {
  expect(parse({ tls: "pem", ...makeCertificate() }).certificate.kind).toBe("pem");
});

describe("several certificates", () => {
  const root = makeCertificate({ names: ["root"], isAuthority: true });
  const issuing = makeCertificate({ names: ["issuing"], isAuthority: true, authority: root });
  const app = makeCertificate({ authority: issuing });
  const other = makeCertificate({ names: ["www.example.org"], key: "RSA", authority: root });
  const wildcard = makeCertificate({ names: ["*.example.com"], authority: issuing });
  const twin = makeCertificate({ key: "RSA", authority: issuing });
  const locked = {
    privateKeyPem: createPrivateKey(app.privateKeyPem)
      .export({ type: "pkcs8", format: "pem", cipher: "aes-256-cbc", passphrase: "a" })
      .toString(),
  };

  const given = (certificates: string[], keys: { privateKeyPem: string }[]): StackConfig =>
    parse({
      tls: "pem",
      certificatePem: certificates.join("\n"),
      privateKeyPem: keys.map(({ privateKeyPem }) => privateKeyPem).join(""),
    });
  const certificatesOf = (...pairs: { certificatePem: string }[]): string[] =>
    pairs.map(({ certificatePem }) => certificatePem);

  test("have their intermediates after them, and their keys in any order", () => {
    fc.assert(
      fc.property(fc.shuffledSubarray([app, other], { minLength: 2 }), (keys) => {
        const { certificate } = given(certificatesOf(other, app, issuing, root), keys);
        expect(certificate).toEqual({
          kind: "pem",
          pairs: [other, { ...app, certificatePem: certificatesOf(app, issuing, root).join("") }],
        });
      }),
    );
  });

  test("may be for all names beside rootUrl's", () => {
    expect(given(certificatesOf(other, wildcard), [other, wildcard]).certificate).toMatchObject({
      pairs: [other, wildcard],
    });
  });

  test("stand in for an authority's too", () => {
    const { certificatePem, privateKeyPem } = app;
    expect(parse({ ...acme, certificatePem, privateKeyPem }).certificate).toMatchObject({
      standIns: [app],
    });
  });

  test.each<[string, string[], { privateKeyPem: string }[], RegExp]>([
    ["a key is missing", certificatesOf(app, issuing, other), [app], /key for www\.example\.org/],
    [
      "a key is over",
      certificatesOf(app),
      [other, app],
      /privateKeyPem is no certificate's, in its key 1/,
    ],
    [
      "an intermediate is another's",
      certificatesOf(other, issuing, app),
      [app, other],
      /without a key for issuing; .*must follow what it issued/,
    ],
    [
      "two are for one name",
      certificatesOf(app, twin),
      [app, twin],
      /two certificates for app\.example\.com; a name can have one/,
    ],
    [
      "none is for rootUrl",
      certificatesOf(other),
      [other],
      /for www\.example\.org; one must be for rootUrl's app\.example\.com/,
    ],
    [
      "one is too long",
      certificatesOf(app, ...Array<typeof issuing>(20).fill(issuing)),
      [app],
      /\d+ bytes for app\.example\.com; at most 8192 .*leave out the root/,
    ],
    [
      "one is damaged",
      [app.certificatePem.replace(/M/g, "?")],
      [app],
      /certificatePem is not valid/,
    ],
    ["a key has a passphrase", certificatesOf(app), [locked], /privateKeyPem is not valid/],
  ])("are refused where %s", (_what, certificates, keys, reason) => {
    expect(() => given(certificates, keys)).toThrow(reason);
  });
});

test("a certificate is refused with another's key", () => {
  const { privateKeyPem } = makeCertificate();
  expect(() => parse({ tls: "pem", ...makeCertificate(), privateKeyPem })).toThrow(
    /another certificate's key/,
  );
});

test("a certificate is refused when it has expired", () => {
  const pair = makeCertificate();
  jest.useFakeTimers({ now: Date.now() + 31 * 24 * 3600 * 1000 });
  try {
    expect(() => parse({ tls: "pem", ...pair })).toThrow(/expired since .*; renew it/);
  } finally {
    jest.useRealTimers();
  }
});

test("no secret is in an error", () => {
  const secrets = ["privateKeyPem", "mongoUrl", "mongoOplogUrl", "meteorSettings", "mailUrl"];
  fc.assert(
    fc.property(fc.constantFrom(...secrets), fc.uuid(), (key, secret) => {
      let message = "";
      try {
        parse({ tls: "pem", [key]: secret });
      } catch (error) {
        message = (error as Error).message;
      }
      expect(message).toContain(`${key} is not valid`);
      expect(message).not.toContain(secret);
    }),
  );
});

test("any host count within the slots is accepted", () => {
  fc.assert(
    fc.property(
      fc
        .integer({ min: 1, max: 100 })
        .chain((most) => fc.tuple(fc.constant(most), fc.integer({ min: 1, max: most }))),
      ([maxHosts, hostCount]) => {
        expect(parse({ maxHosts, hostCount })).toMatchObject({ maxHosts, hostCount });
      },
    ),
    { numRuns: 30 },
  );
});
