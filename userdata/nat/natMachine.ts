import { type MachineContents, script } from "../cloudConfig";
import { nftablesConfig, type NftablesConfigArgs } from "./nftablesConfig";

// By default the kernel tracks 8192 connections where there is 1 GiB (nf_conntrack_init_start in its
// net/netfilter/nf_conntrack_core.c), and drops new ones beyond. "-": where a container may not set it.
const kernel = `net.ipv4.ip_forward = 1
-net.netfilter.nf_conntrack_max = 65536
`;

/** The way out of the private subnet, beside what every machine gets. */
export function natMachine(args: NftablesConfigArgs): MachineContents {
  return {
    environment: {},
    files: [
      { path: "/etc/nftables.conf", content: nftablesConfig(args) },
      { path: "/etc/sysctl.d/60-nat.conf", content: kernel },
      // At boot, settings come before the rules, with which it would be loaded otherwise.
      { path: "/etc/modules-load.d/nat.conf", content: "nf_conntrack\n" },
      script("nat", "install-nat"),
      script("nat", "start-nat"),
      script("nat", "serves"),
    ],
    steps: ["install-nat", "start-nat"],
  };
}
