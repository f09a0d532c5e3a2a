#!/bin/bash
# Starts mongod and makes the set and its users, as far as they are not there yet.
set -euo pipefail
secrets=/etc/meteor-scale/secrets
if [ "$ACCESS_CONTROL" = rbac ]; then
  install -m 0400 -o mongodb -g mongodb "$secrets/KEY_FILE" /etc/mongod.key
fi
sysctl -q -w vm.swappiness=1 || true
systemctl daemon-reload
systemctl enable --quiet --now meteor-scale-kernel
systemctl enable --quiet mongod
systemctl restart mongod
if ! mongosh --quiet --norc --nodb "$(dirname "$0")/set-up-replica-set.js"; then
  tail -n 3 /var/log/mongodb/mongod.log 2>/dev/null | cut -c1-200 || true
  echo "the replica set could not be set up" >&2
  exit 1
fi
