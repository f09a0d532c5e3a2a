import type { ConfigKey } from "../components/config";

/** Kinds of machines, as their tag `role` says. */
export type Role = "meteor" | "mongo" | "balancer" | "nat";

export interface Change {
  /** Kinds of machines that another value replaces, in a stack with one of each. */
  replaces: Role[];
  /** The same, and what else happens, for readers. */
  what: string;
}

const all: Role[] = ["meteor", "mongo", "balancer", "nat"];
const release = "a release: replaces all hosts";
const balancer = "replaces the balancer";

/** What another value of each key does to a stack that runs. */
export const changes: Record<ConfigKey, Change> = {
  bundle: { replaces: ["meteor"], what: release },
  bundleSha256: { replaces: ["meteor"], what: `${release}, where \`bundle\` is an address` },
  rootUrl: {
    replaces: ["meteor"],
    what: `${release}; a self-signed certificate is made anew for the new name`,
  },
  extraDomains: {
    replaces: [],
    what: "another certificate, where it is the stack's own or an authority's, and records in `hostedZone`",
  },
  hostedZone: { replaces: [], what: "makes records there, or removes its own" },
  hostCount: { replaces: [], what: "adds hosts or removes the last ones" },
  maxHosts: { replaces: ["balancer"], what: balancer },
  hostInstanceType: { replaces: ["meteor"], what: release },
  mongoMembers: {
    replaces: ["meteor"],
    what: "adds two members, then a release; from 3 to 1 it is refused",
  },
  mongoZones: { replaces: [], what: "refused for members that have data" },
  mongoInstanceType: {
    replaces: ["mongo"],
    what: "replaces the members one after the other; data volumes stay",
  },
  mongoVolumeSize: { replaces: [], what: "grows the volumes in place; less fails" },
  mongoAccessControl: {
    replaces: ["meteor", "mongo"],
    what: "replaces the member, then a release; refused with three members",
  },
  mongoPasswordVersion: {
    replaces: ["meteor"],
    what: "one more: members take new users over in place, then a release; any other step is refused",
  },
  mongoSnapshot: { replaces: [], what: "nothing, where there is data" },
  backups: { replaces: [], what: "changes the schedule; no snapshot is lost by `keep` 0" },
  mongoUrl: {
    replaces: ["meteor"],
    what: `${release}; to set it is refused while the stack's own set has data and \`protectData\` is on`,
  },
  mongoOplogUrl: { replaces: ["meteor"], what: `${release}; as \`mongoUrl\`` },
  balancerInstanceType: { replaces: ["balancer"], what: balancer },
  studInstall: { replaces: ["balancer"], what: balancer },
  tls: {
    replaces: [],
    what: "another certificate, served within a minute; to `acme` or away from it: replaces the balancer",
  },
  certificatePem: { replaces: [], what: "another certificate, served within a minute" },
  privateKeyPem: { replaces: [], what: "another certificate, served within a minute" },
  acmeEmail: { replaces: [], what: "the balancer tells the authority" },
  acmeDirectory: { replaces: [], what: "the balancer asks the new authority for a certificate" },
  meteorSettings: { replaces: ["meteor"], what: release },
  mailUrl: { replaces: ["meteor"], what: release },
  env: { replaces: ["meteor"], what: release },
  vpcCidr: { replaces: all, what: "replaces everything, which fails while data is protected" },
  availabilityZone: { replaces: [], what: "refused while there is data" },
  allowedCidrs: { replaces: [], what: "changes rules of the firewall" },
  nat: { replaces: [], what: "makes the new way out beside the old one, then turns the route" },
  amiId: { replaces: all, what: "replaces every machine" },
  alarmEmail: { replaces: [], what: "asks the new address; the old one gets no more mails" },
  logRetention: { replaces: [], what: "older logs than that go" },
  sessionManager: { replaces: all, what: "replaces every machine" },
  securityUpgrades: { replaces: all, what: "replaces every machine" },
  protectData: { replaces: [], what: "nothing but whether the volumes may be deleted" },
  minReadySeconds: { replaces: ["meteor"], what: release },
  drainTimeout: { replaces: ["meteor"], what: release },
  readyTimeout: { replaces: [], what: "nothing; the next update waits as long" },
};
