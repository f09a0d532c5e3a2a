import { type MachineContents, type MachineFile, script, staticFile, unit } from "../cloudConfig";
import { aptConfig, type SecurityUpgrades } from "./aptConfig";

/** What every machine gets around its role. */
export interface CommonMachineArgs {
  role: "balancer" | "meteor" | "mongo" | "nat";
  /** The AWS region, such as `eu-central-1`. */
  region: string;
  /** Namespace of the metrics in CloudWatch, such as `meteor-scale-dev`. */
  metricNamespace: string;
  /** Name of the group in CloudWatch Logs that gets the journal. */
  logGroup: string;
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
      METRIC_NAMESPACE: args.metricNamespace,
      LOG_GROUP: args.logGroup,
      ...(securityUpgrades === "reboot" && { REBOOT_LOCK: args.rebootLock }),
      ...role.environment,
    },
    files: [
      // These fetch the others.
      ...["boot", "tag-ready", "install-packages", "fetch-programs"].map((name) => ({
        ...script("machine", name),
        fetched: false,
      })),
      script("machine", "fetch-secrets"),
      script("machine", "add-repository"),
      script("machine", "install-telegraf"),
      script("machine", "start-telegraf"),
      script("machine", "run-telegraf"),
      script("machine", "read-journal"),
      unit("machine", "telegraf.service"),
      {
        path: "/etc/telegraf/telegraf.conf",
        content: staticFile("machine", "telegraf.conf"),
        fetched: true,
      },
      ...(sessionManager ? [script("machine", "install-session-manager")] : []),
      ...securityFiles(securityUpgrades),
      ...role.files,
    ],
    steps: [
      // First, so that CloudWatch has what goes wrong later.
      ...["install-telegraf", "start-telegraf"],
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
            fetched: true,
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
