export interface NftablesConfigArgs {
  /** Range of the VPC, such as `10.20.0.0/16`. */
  vpcCidr: string;
}

/** /etc/nftables.conf: what the VPC's machines send goes on under this one's own address. */
export function nftablesConfig({ vpcCidr }: NftablesConfigArgs): string {
  return `#!/usr/sbin/nft -f
flush ruleset
table ip nat {
  chain postrouting {
    type nat hook postrouting priority srcnat; policy accept;
    ip saddr ${vpcCidr} masquerade
  }
}
`;
}
