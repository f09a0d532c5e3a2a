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
# Nobody else says that the machine is ready while this is there.
boots=/run/meteor-scale-boots
touch "$boots"

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

# Who waits is told of a step that takes a while; killed, it tells nothing, or is through with it.
tell_slow() {
  local timer
  sleep 3 &
  timer=$!
  trap 'kill "$timer"; exit' TERM
  wait "$timer"
  trap '' TERM
  "$here/tag-ready" "starting: $1"
}

"$here/install-packages" awscli ca-certificates curl 2>&1 | systemd-cat -t meteor-scale
for step in fetch-programs fetch-secrets $STEPS; do
  tell_slow "$step" >/dev/null 2>&1 &
  told=$!
  run "$step"
  outcome=$?
  kill "$told" 2>/dev/null
  wait "$told"
  if [ "$outcome" != 0 ]; then
    tag_surely "failed: $step: $(grep -v '^[[:space:]]*$' "$output" | tail -n 5 | tail -c $((220 - ${#step})))"
    exit 1
  fi
done
rm "$boots"
# Steps may have left remarks.
tag_surely "true$(cat /run/meteor-scale-remarks/* 2>/dev/null)"
