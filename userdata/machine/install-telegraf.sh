#!/bin/bash
# Telegraf from InfluxData's own repository, unless the image has it. A machine serves without it, too.
set -euo pipefail
here="$(dirname "$0")"
version=1.37.2
if command -v telegraf >/dev/null; then exit 0; fi
# Ours is there before the package's.
export DPKG_FORCE=confold
# "InfluxData Package Signing Key <support@influxdata.com>": https://docs.influxdata.com/telegraf/v1/install/
if "$here/add-repository" influxdata https://repos.influxdata.com/influxdata-archive.key \
  24C975CBA61A024EE1B631787C3D57159FC2F927 "https://repos.influxdata.com/debian stable main" &&
  "$here/install-packages" "telegraf=$version-1"; then
  apt-mark hold telegraf
else
  # No other package is to wait for this repository.
  rm -f /etc/apt/sources.list.d/influxdata.list
  echo "Telegraf $version could not be had from repos.influxdata.com" >&2
  mkdir -p /run/meteor-scale-remarks
  printf ': neither metrics nor logs: Telegraf could not be had from repos.influxdata.com' >/run/meteor-scale-remarks/telegraf
fi
