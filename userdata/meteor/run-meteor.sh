#!/bin/bash
# Started by meteor.service: the secrets become the environment that Meteor reads.
set -euo pipefail
for file in "$CREDENTIALS_DIRECTORY"/secrets_*; do
  export "${file##*/secrets_}=$(<"$file")"
done
version="$(tr -d 'v[:space:]' <.node_version.txt)"
exec "/opt/node-v$version/bin/node" --require /usr/local/lib/meteor-scale/report-node.js --max-old-space-size="$HEAP_MEGABYTES" main.js
