#!/bin/bash
# Node of exactly the version that the bundle was built for, in /opt/node-vVERSION.
set -euo pipefail
version="$(tr -d 'v[:space:]' </opt/meteor/bundle/.node_version.txt)"
if [ -x "/opt/node-v$version/bin/node" ]; then
  echo "Node $version is in the image"
  exit 0
fi
case "$(uname -m)" in
  aarch64) name="node-v$version-linux-arm64" ;;
  *) name="node-v$version-linux-x64" ;;
esac
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
cd "$folder"
for file in SHASUMS256.txt "$name.tar.gz"; do
  if ! curl -fsSL --retry 5 --connect-timeout 10 --proto '=https' -O "https://nodejs.org/dist/v$version/$file" 2>error; then
    echo "Node $version, which the bundle needs, could not be had from nodejs.org: $(tail -n 1 error)" >&2
    exit 1
  fi
done
grep "  $name.tar.gz\$" SHASUMS256.txt | sha256sum --check --quiet
tar -xzf "$name.tar.gz" --no-same-owner
mv "$name" "/opt/node-v$version"
