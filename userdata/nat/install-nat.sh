#!/bin/bash
# nftables; nothing is started here.
set -euo pipefail
# nftables.conf is there before its package.
export DPKG_FORCE=confold
"$(dirname "$0")/install-packages" nftables
