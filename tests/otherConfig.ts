import type { ConfigKey } from "../components/config";
import { makeCertificate } from "./certificate";

const external = {
  mongoUrl: "mongodb://secret-db.example.com/app",
  mongoOplogUrl: "mongodb://secret-db.example.com/local",
};
const certificate = { tls: "pem", ...makeCertificate() };

/** Another value of each key than the default, or than that of the tests' stack. */
export const otherConfig: Record<ConfigKey, Record<string, unknown>> = {
  bundle: { bundle: "https://example.com/a.tar.gz", bundleSha256: "0".repeat(64) },
  bundleSha256: { bundle: "https://example.com/a.tar.gz", bundleSha256: "1".repeat(64) },
  rootUrl: { rootUrl: "https://www.example.com" },
  extraDomains: { extraDomains: ["www.example.com"] },
  hostedZone: { hostedZone: "example.com" },
  hostCount: { hostCount: 2 },
  maxHosts: { maxHosts: 12 },
  hostInstanceType: { hostInstanceType: "m7a.medium" },
  mongoMembers: { mongoMembers: 3 },
  mongoZones: { mongoMembers: 3, mongoZones: ["eu-central-1a", "eu-central-1b"] },
  mongoInstanceType: { mongoInstanceType: "r7a.medium" },
  mongoVolumeSize: { mongoVolumeSize: 100 },
  mongoAccessControl: { mongoAccessControl: "firewall" },
  mongoPasswordVersion: { mongoPasswordVersion: 2 },
  mongoSnapshot: { mongoSnapshot: "snap-0123456789abcdef0" },
  backups: { backups: { keep: 0 } },
  mongoUrl: external,
  mongoOplogUrl: external,
  balancerInstanceType: { balancerInstanceType: "m7a.medium" },
  studInstall: { studInstall: "package" },
  tls: certificate,
  certificatePem: certificate,
  privateKeyPem: certificate,
  acmeEmail: { tls: "acme", acmeEmail: "ops@example.com" },
  acmeDirectory: {
    tls: "acme",
    acmeEmail: "ops@example.com",
    acmeDirectory: "https://acme.example.com/directory",
  },
  meteorSettings: { meteorSettings: '{"a": 1}' },
  mailUrl: { mailUrl: "smtps://secret-user:secret-word@mail.example.com" },
  env: { env: { A: "b" } },
  vpcCidr: { vpcCidr: "10.30.0.0/16" },
  availabilityZone: { availabilityZone: "eu-central-1b" },
  allowedCidrs: { allowedCidrs: ["192.0.2.0/24"] },
  nat: { nat: "instance" },
  amiId: { amiId: "ami-0123456789abcdef0" },
  alarmEmail: { alarmEmail: "ops@example.com" },
  logRetention: { logRetention: 90 },
  sessionManager: { sessionManager: false },
  securityUpgrades: { securityUpgrades: "reboot" },
  protectData: { protectData: false },
  minReadySeconds: { minReadySeconds: 5 },
  drainTimeout: { drainTimeout: 20 },
  readyTimeout: { readyTimeout: 300 },
};
