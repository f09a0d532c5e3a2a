#!/bin/bash
# Runs this machine's steps once, in order, and tells the outcome in the instance's tag `ready`.
set -uo pipefail
set -a
# shellcheck source=/dev/null
. /etc/meteor-scale/machine.env
set +a
export AWS_DEFAULT_REGION="$REGION"
here="$(dirname "$0")"
instance="$(cat /var/lib/cloud/data/instance-id)"
output=/run/meteor-scale-step

# With the instance's id: an engine that has refreshed its state gives a new machine the tags of the one before.
# A tag takes 256 characters of few kinds: https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/Using_Tags.html
tag() {
  local value
  value="$(printf '%s' "$instance $1" | tr '\n' '|' | tr -c 'A-Za-z0-9+=._:/@-' ' ' | tr -s ' ' | cut -c1-256)"
  aws ec2 create-tags --resources "$instance" --tags "Key=ready,Value=$value"
}

# The role's permissions may be some seconds younger than the machine.
tag_surely() {
  for _ in 1 2 3 4 5 6 7 8; do
    tag "$1" && return
    sleep 5
  done
}

run() {
  echo "step $1" | systemd-cat -t meteor-scale
  "$here/$1" 2>&1 | tee "$output" | systemd-cat -t meteor-scale
}

"$here/install-packages" awscli ca-certificates curl 2>&1 | systemd-cat -t meteor-scale
for step in fetch-secrets $STEPS; do
  tag "starting: $step" || true
  if ! run "$step"; then
    tag_surely "failed: $step: $(grep -v '^[[:space:]]*$' "$output" | tail -n 5 | tail -c $((220 - ${#step})))"
    exit 1
  fi
done
tag_surely true
