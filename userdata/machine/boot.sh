#!/bin/bash
# Runs this machine's steps once, in order, and tells the outcome in the instance's tag `ready`.
set -uo pipefail
set -a
# shellcheck source=/dev/null
. /etc/meteor-scale/machine.env
set +a
export AWS_DEFAULT_REGION="$REGION"
here="$(dirname "$0")"
output=/run/meteor-scale-step

# The role's permissions may be some seconds younger than the machine.
tag_surely() {
  for _ in 1 2 3 4 5 6 7 8; do
    "$here/tag-ready" "$1" && return
    sleep 5
  done
}

run() {
  echo "step $1" | systemd-cat -t meteor-scale
  "$here/$1" 2>&1 | tee "$output" | systemd-cat -t meteor-scale
}

"$here/install-packages" awscli ca-certificates curl 2>&1 | systemd-cat -t meteor-scale
for step in fetch-secrets $STEPS; do
  "$here/tag-ready" "starting: $step" || true
  if ! run "$step"; then
    tag_surely "failed: $step: $(grep -v '^[[:space:]]*$' "$output" | tail -n 5 | tail -c $((220 - ${#step})))"
    exit 1
  fi
done
# A step may have left a remark.
tag_surely "true$(cat /run/meteor-scale-remark 2>/dev/null)"
