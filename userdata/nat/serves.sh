#!/bin/bash
# Whether what others send is passed on under this machine's own address.
set -euo pipefail
if ! nft list chain ip nat postrouting | grep -w masquerade; then
  echo "the rules of /etc/nftables.conf are not loaded" >&2
  exit 1
fi
if [ "$(cat /proc/sys/net/ipv4/ip_forward)" != 1 ]; then
  echo "IPv4 forwarding is off" >&2
  exit 1
fi
