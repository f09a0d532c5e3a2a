#!/bin/bash
# Passes on what others send, and proves that it does; each boot loads the same rules and settings.
set -euo pipefail
nft --check --file /etc/nftables.conf
systemctl enable --quiet nftables
systemctl restart nftables
/lib/systemd/systemd-sysctl /etc/sysctl.d/60-nat.conf
if ! nft list chain ip nat postrouting | grep -w masquerade; then
  echo "the rules of /etc/nftables.conf are not loaded" >&2
  exit 1
fi
if [ "$(cat /proc/sys/net/ipv4/ip_forward)" != 1 ]; then
  echo "IPv4 forwarding is off" >&2
  exit 1
fi
