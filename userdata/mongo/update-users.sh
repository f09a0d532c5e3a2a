#!/bin/bash
# Gives the set the users that SSM has now: a new password is valid before hosts use it, and an old one until then.
set -euo pipefail
known=/etc/meteor-scale/secrets
SECRETS="$(mktemp -d -p /run)"
export SECRETS
trap 'rm -rf "$SECRETS"' EXIT
"$(dirname "$0")/fetch-secrets"
if cmp -s "$SECRETS/USERS" "$known/USERS" && cmp -s "$SECRETS/ADMIN_PASSWORD" "$known/ADMIN_PASSWORD"; then
  exit 0
fi
# The key file is another matter: all members must change it at once, at their start.
cp "$known/KEY_FILE" "$SECRETS/KEY_FILE"
KNOWN_MEMBERS="" RESTORED=no mongosh --quiet --norc --nodb --file "$(dirname "$0")/set-up-replica-set.js"
mv "$SECRETS/USERS" "$SECRETS/ADMIN_PASSWORD" "$known"
echo "the set has the users of SSM"
