#!/bin/bash
# The bundle, verified and unpacked to /opt/meteor/bundle.
set -euo pipefail
[ ! -e /opt/meteor/bundle/main.js ] || exit 0
id meteor >/dev/null 2>&1 ||
  useradd --system --home-dir /opt/meteor --no-create-home --shell /usr/sbin/nologin meteor
mkdir -p /opt/meteor
archive=/opt/meteor/bundle.tar.gz
case "$BUNDLE" in
  s3://*) aws s3 cp --only-show-errors "$BUNDLE" "$archive" ;;
  *) curl -fsSL --retry 5 --proto '=https' -o "$archive" "$BUNDLE" ;;
esac
if ! echo "$BUNDLE_SHA256  $archive" | sha256sum --check --status; then
  echo "the bundle's SHA-256 is $(sha256sum "$archive" | cut -c1-64), not $BUNDLE_SHA256" >&2
  exit 1
fi
tar -xzf "$archive" --no-same-owner -C /opt/meteor
rm "$archive"
for file in main.js .node_version.txt programs/server/package.json; do
  if [ ! -f "/opt/meteor/bundle/$file" ]; then
    echo "the bundle has no bundle/$file: it is not what meteor build makes" >&2
    exit 1
  fi
done
chown -R meteor: /opt/meteor
