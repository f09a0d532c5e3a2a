#!/bin/bash
# What a bundle asks for on its target: npm install in programs/server.
set -euo pipefail
cd /opt/meteor/bundle/programs/server
# Modules without a prebuilt binary are compiled here.
if [ -n "$(find . -name binding.gyp -print -quit)" ]; then
  "$(dirname "$0")/install-packages" g++ make python3
fi
version="$(tr -d 'v[:space:]' <../../.node_version.txt)"
runuser -u meteor -- env HOME=/opt/meteor "PATH=/opt/node-v$version/bin:$PATH" \
  npm install --omit=dev --prefer-offline --no-audit --no-fund --no-update-notifier
