#!/bin/bash
# AWS's agent for Session Manager, from the bucket that AWS keeps in each region.
# It updates itself, so no version is pinned.
set -euo pipefail
if systemctl cat amazon-ssm-agent >/dev/null 2>&1; then exit 0; fi
archive="$(mktemp --suffix=.deb)"
trap 'rm -f "$archive"' EXIT
source="https://s3.$REGION.amazonaws.com/amazon-ssm-$REGION/latest/debian_$(dpkg --print-architecture)/amazon-ssm-agent.deb"
if ! curl -fsSL --retry 5 --connect-timeout 10 -o "$archive" "$source"; then
  echo "the Session Manager agent could not be had from $source" >&2
  exit 1
fi
dpkg -i "$archive"
