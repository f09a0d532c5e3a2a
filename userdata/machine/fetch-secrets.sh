#!/bin/bash
# Each parameter under SECRETS_PATH becomes a file that root alone can read, in the folder SECRETS.
# Once: a host that restarts keeps the secrets of its own release.
set -euo pipefail
[ -n "$SECRETS_PATH" ] || exit 0
umask 077
export SECRETS="${SECRETS:-/etc/meteor-scale/secrets}"
mkdir -p "$SECRETS"
fetch() {
  aws ssm get-parameters-by-path --path "$SECRETS_PATH" --with-decryption --output json |
    python3 -c '
import json, os, sys
for parameter in json.load(sys.stdin)["Parameters"]:
    name = os.path.basename(parameter["Name"])
    with open(os.path.join(os.environ["SECRETS"], name), "w") as file:
        file.write(parameter["Value"])
'
}
# A new role's permissions take some seconds to hold everywhere.
for _ in 1 2 3 4 5 6 7 8 9 10; do
  fetch && exit 0
  sleep 6
done
echo "the secrets under $SECRETS_PATH could not be read" >&2
exit 1
