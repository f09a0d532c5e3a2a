#!/bin/bash
# Whether the application will reach its database: a wrong address or password is told as such, before Meteor starts.
set -euo pipefail
cd /opt/meteor/bundle/programs/server
# Meteor's own, before one that the application brings for itself.
driver="$(find . -path '*/npm-mongo/node_modules/mongodb/package.json' -print -quit)"
[ -n "$driver" ] || driver="$(find . -path '*/node_modules/mongodb/package.json' -print -quit)"
if [ -z "$driver" ]; then
  echo "the bundle has no MongoDB driver, so its database is not checked"
  exit 0
fi
version="$(tr -d 'v[:space:]' <../../.node_version.txt)"
exec "/opt/node-v$version/bin/node" "$(dirname "$0")/check-mongo.js" "$PWD/${driver%/package.json}" \
  /etc/meteor-scale/secrets
