/** `off`; `install`: at night; `reboot`: the machine starts anew then where an update takes effect only so. */
export type SecurityUpgrades = "off" | "install" | "reboot";

/** What Debian's unattended-upgrades reads after its own file: Debian's security updates and nothing else. */
export function aptConfig(securityUpgrades: SecurityUpgrades): string {
  if (securityUpgrades === "off") {
    return `APT::Periodic::Unattended-Upgrade "0";\n`;
  }
  return `APT::Periodic::Update-Package-Lists "1";
APT::Periodic::Unattended-Upgrade "1";
#clear Unattended-Upgrade::Origins-Pattern;
Unattended-Upgrade::Origins-Pattern { "origin=Debian,codename=\${distro_codename}-security,label=Debian-Security"; };
Unattended-Upgrade::Automatic-Reboot "false";
DPkg::Options { "--force-confold"; };
`;
}
