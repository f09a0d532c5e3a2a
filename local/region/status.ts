import type { ActualState } from "./machine";

/** What `region/status.json` says of one machine. */
export interface StatusOfMachine {
  /** Its tag `Name`. */
  name: string;
  /** Its tag `role`. */
  role: string | undefined;
  instanceId: string;
  instanceType: string;
  cores: number;
  state: ActualState;
  /** Why it could not be started or stopped. */
  problem: string | undefined;
  /** Its tag `ready`: a step, `true`, or why it failed. */
  ready: string | undefined;
  privateAddress: string;
  /** Where this computer reaches its ports 80 and 443. */
  elasticAddress: string | undefined;
  /** The same as seen from the namespace that plays the internet. */
  internetAddress: string | undefined;
  /** The process id of its systemd on this computer. */
  leader: number | undefined;
}

/** The contents of `region/status.json`. */
export interface RegionStatus {
  /** Oldest first. */
  machines: StatusOfMachine[];
}
