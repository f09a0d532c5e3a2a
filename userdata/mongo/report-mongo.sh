#!/bin/bash
# How this member is, in InfluxDB's line protocol, for Telegraf.
set -euo pipefail
exec mongosh --quiet --norc --nodb --file "$(dirname "$0")/report-mongo.js"
