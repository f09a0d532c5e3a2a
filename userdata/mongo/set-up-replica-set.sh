#!/bin/bash
# Starts mongod and makes it a member of the set, with users if there is access control.
set -euo pipefail
# Where a member has been ready once, there is data: an empty volume must copy it, and never begin a new set.
# A new role's permissions take some seconds to hold everywhere.
read -ra parameters <<<"$GATES"
ready=unknown
for _ in 1 2 3 4 5 6 7 8 9 10; do
  ready="$(aws ssm get-parameters --region "$REGION" --names "${parameters[@]}" \
    --query 'Parameters[].Name' --output text)" && break
  ready=unknown
  sleep 6
done
if [ "$ready" = unknown ]; then
  echo "it is unknown whether the set has data: $GATES can't be read" >&2
  exit 1
fi
KNOWN_MEMBERS=
for gate in $ready; do
  # What the shell prints for an empty list.
  if [ "$gate" != None ]; then KNOWN_MEMBERS+="${gate##*/}.${MEMBER_HOST#*.},"; fi
done
RESTORED=$([ "$(cat /var/lib/mongodb/.volume)" = "$DATA_VOLUME" ] && echo no || echo yes)
SECRETS=/etc/meteor-scale/secrets
export KNOWN_MEMBERS RESTORED SECRETS
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
timers=(mongo-data.timer)
[ "$ACCESS_CONTROL" != rbac ] || timers+=(update-users.timer)
systemctl enable --quiet mongod "${timers[@]}"
systemctl restart mongod mongo-data.timer
until mongosh --quiet --norc --nodb --file "$(dirname "$0")/set-up-replica-set.js"; do
  if [ $? = 75 ]; then continue; fi
  systemctl is-active --quiet mongod || journalctl -u mongod -o cat --no-pager -n 2
  exit 1
done
echo "$DATA_VOLUME" >/var/lib/mongodb/.volume
systemctl start "${timers[@]}"
