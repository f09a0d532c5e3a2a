#!/bin/bash
# install-packages PACKAGE...: Debian packages, only those that are missing.
set -euo pipefail
missing=()
for package in "$@"; do
  # shellcheck disable=SC2016 # the dollar is dpkg's
  dpkg-query -W -f '${Status}\n' "$package" 2>/dev/null | grep -qx 'install ok installed' ||
    missing+=("$package")
done
[ "${#missing[@]}" -gt 0 ] || exit 0
export DEBIAN_FRONTEND=noninteractive
for seconds in 5 10 20 40 0; do
  if apt-get -q -o DPkg::Lock::Timeout=120 update &&
    apt-get -q -o DPkg::Lock::Timeout=120 install -y --no-install-recommends "${missing[@]}"; then
    exit 0
  fi
  sleep "$seconds"
done
echo "Debian packages could not be installed: ${missing[*]}" >&2
exit 1
