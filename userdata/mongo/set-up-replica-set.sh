#!/bin/bash
# Starts mongod and makes it the primary, with users if there is access control.
set -euo pipefail
if [ "$ACCESS_CONTROL" = rbac ]; then
  install -m 0400 -o mongodb -g mongodb /etc/meteor-scale/secrets/KEY_FILE /etc/mongod.key
fi
# mongod must find itself by its name, whose record may be younger than what the resolver remembers.
host="${MEMBER_HOST%:*}"
grep -qw "$host" /etc/hosts || echo "127.0.0.1 $host" >>/etc/hosts
systemd-tmpfiles --create /etc/tmpfiles.d/mongod.conf
/lib/systemd/systemd-sysctl /etc/sysctl.d/60-mongod.conf
systemctl daemon-reload
systemctl enable --quiet mongod mongo-data.timer
systemctl restart mongod mongo-data.timer
if ! mongosh --quiet --norc --nodb --file "$(dirname "$0")/set-up-replica-set.js"; then
  systemctl is-active --quiet mongod || journalctl -u mongod -o cat --no-pager -n 2
  exit 1
fi
