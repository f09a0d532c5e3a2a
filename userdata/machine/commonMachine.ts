import { type MachineContents, type MachineFile, script, staticFile, unit } from "../cloudConfig";
import { aptConfig, type SecurityUpgrades } from "./aptConfig";

/** What every machine gets around its role. */
export interface CommonMachineArgs {
  role: "balancer" | "meteor" | "mongo" | "nat";
  /** The AWS region, such as `eu-central-1`. */
  region: string;
  /** The SSM path whose parameters the machine reads at its first boot; empty if it has none. */
  secretsPath: string;
  /** Whether Session Manager can open a session on the machine. */
  sessionManager: boolean;
  /** What becomes of Debian's security updates. */
  securityUpgrades: SecurityUpgrades;
  /** Name of the SSM parameter that tells which machine of the stack may reboot, such as `/meteor-scale/dev/reboot`. */
  rebootLock: string;
}

/** The role's contents with the boot sequence that every machine shares. */
export function withCommon(role: MachineContents, args: CommonMachineArgs): MachineContents {
  const { sessionManager, securityUpgrades } = args;
  return {
    environment: {
      ROLE: args.role,
      REGION: args.region,
      SECRETS_PATH: args.secretsPath,
      ...(securityUpgrades === "reboot" && { REBOOT_LOCK: args.rebootLock }),
      ...role.environment,
    },
    files: [
      script("machine", "boot"),
      script("machine", "tag-ready"),
      script("machine", "install-packages"),
      script("machine", "fetch-secrets"),
      ...(sessionManager ? [script("machine", "install-session-manager")] : []),
      ...securityFiles(securityUpgrades),
      ...role.files,
    ],
    steps: [
      ...(sessionManager ? ["install-session-manager"] : []),
      ...role.steps,
      // Last, as it would be in the way of what the others install.
      ...(securityUpgrades === "off" ? [] : ["install-security-upgrades"]),
    ],
  };
}

function securityFiles(securityUpgrades: SecurityUpgrades): MachineFile[] {
  return [
    { path: "/etc/apt/apt.conf.d/60meteor-scale", content: aptConfig(securityUpgrades) },
    ...(securityUpgrades === "off"
      ? []
      : [
          {
            path: "/etc/systemd/system/apt-daily-upgrade.timer.d/meteor-scale.conf",
            content: staticFile("machine", "apt-daily-upgrade.conf"),
            packed: true,
          },
          script("machine", "install-security-upgrades"),
        ]),
    ...(securityUpgrades === "reboot"
      ? [
          script("machine", "reboot-in-turn"),
          unit("machine", "reboot-in-turn.service"),
          unit("machine", "reboot-in-turn.timer"),
          script("machine", "end-turn"),
          unit("machine", "end-turn.service"),
        ]
      : []),
  ];
}
