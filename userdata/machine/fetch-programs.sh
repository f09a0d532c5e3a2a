#!/bin/bash
# The programs and units of this machine, which have no room in its user data, each to its place.
set -euo pipefail
script="$(mktemp)"
trap 'rm -f "$script"' EXIT
# A new role's permissions take some seconds to hold everywhere.
for _ in 1 2 3 4 5 6 7 8 9 10; do
  aws s3 cp --only-show-errors "$PROGRAMS" "$script" && break
  sleep 6
done
if [ ! -s "$script" ]; then
  echo "$PROGRAMS can't be read" >&2
  exit 1
fi
if ! echo "$PROGRAMS_SHA256  $script" | sha256sum --check --status; then
  echo "$PROGRAMS has the SHA-256 $(sha256sum "$script" | cut -c1-64), not $PROGRAMS_SHA256" >&2
  exit 1
fi
bash "$script"
