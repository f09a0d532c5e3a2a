#!/bin/bash
# Starts mongod and makes it the primary, with users if there is access control.
set -euo pipefail
if [ "$ACCESS_CONTROL" = rbac ]; then
  install -m 0400 -o mongodb -g mongodb /etc/meteor-scale/secrets/KEY_FILE /etc/mongod.key
fi
# mongod must find itself by its name, whose record may be younger than what the resolver remembers.
# Cloud-init may write /etc/hosts anew from its template at each boot.
host="${MEMBER_HOST%:*}"
for file in /etc/hosts /etc/cloud/templates/hosts.debian.tmpl; do
  if [ -d "${file%/*}" ] && ! grep -qsF " $host" "$file"; then echo "127.0.0.1 $host" >>"$file"; fi
done
systemd-tmpfiles --create /etc/tmpfiles.d/mongod.conf
/lib/systemd/systemd-sysctl /etc/sysctl.d/60-mongod.conf
systemctl daemon-reload
systemctl enable --quiet mongod mongo-data.timer
systemctl restart mongod mongo-data.timer
if ! mongosh --quiet --norc --nodb --file "$(dirname "$0")/set-up-replica-set.js"; then
  systemctl is-active --quiet mongod || journalctl -u mongod -o cat --no-pager -n 2
  exit 1
fi
