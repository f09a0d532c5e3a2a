#!/bin/bash
# HAProxy, and Hitch as STUD_INSTALL says. Nothing is started here.
set -euo pipefail
here="$(dirname "$0")"
# Ours is stud.service.
systemctl mask --quiet hitch 2>/dev/null
# haproxy.cfg is there before its package.
export DPKG_FORCE=confold
"$here/install-packages" curl haproxy openssl socat ${ACME:+lego python3}
systemctl disable --quiet haproxy
id stud >/dev/null 2>&1 || useradd --system --no-create-home --shell /usr/sbin/nologin stud
if [ "$STUD_INSTALL" = package ]; then
  exec "$here/install-packages" hitch
fi
hitch=/usr/local/sbin/hitch
[ "$($hitch --version 2>/dev/null)" != "hitch 1.8.0" ] || exit 0
"$here/install-packages" libev4
packages() { dpkg-query -W -f '${binary:Package}\n' | sort; }
before="$(packages)"
# No compiler stays on the balancer.
trap 'comm -13 <(echo "$before") <(packages) | xargs apt-get -q purge -y' EXIT
"$here/install-packages" autoconf automake bison flex gcc libc6-dev libev-dev libssl-dev make pkg-config xz-utils
"$here/build-hitch" "$hitch"
