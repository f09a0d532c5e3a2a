import { type MachineContents, script } from "../cloudConfig";

/** What every machine gets around its role. */
export interface CommonMachineArgs {
  role: "balancer" | "meteor" | "mongo" | "nat";
  /** The AWS region, such as `eu-central-1`. */
  region: string;
  /** The SSM path whose parameters the machine reads at its first boot; empty if it has none. */
  secretsPath: string;
  /** Whether Session Manager can open a session on the machine. */
  sessionManager: boolean;
}

/** The role's contents with the boot sequence that every machine shares. */
export function withCommon(role: MachineContents, args: CommonMachineArgs): MachineContents {
  return {
    environment: {
      ROLE: args.role,
      REGION: args.region,
      SECRETS_PATH: args.secretsPath,
      ...role.environment,
    },
    files: [
      script("machine", "boot"),
      script("machine", "tag-ready"),
      script("machine", "install-packages"),
      script("machine", "fetch-secrets"),
      ...(args.sessionManager ? [script("machine", "install-session-manager")] : []),
      ...role.files,
    ],
    steps: [...(args.sessionManager ? ["install-session-manager"] : []), ...role.steps],
  };
}
