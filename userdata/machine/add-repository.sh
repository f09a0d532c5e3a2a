#!/bin/bash
# add-repository NAME KEY FINGERPRINT SOURCE: a package repository of /etc/apt, trusted by this one key alone.
# SOURCE is what stands in its list after "signed-by".
set -euo pipefail
name="$1" key="$2" fingerprint="$3" source="$4"
"$(dirname "$0")/install-packages" gpg
keyring="/usr/share/keyrings/$name.gpg"
GNUPGHOME="$(mktemp -d)"
export GNUPGHOME
trap 'rm -rf "$GNUPGHOME"' EXIT
if ! curl -fsSL --retry 5 --connect-timeout 10 --proto '=https' "$key" | gpg --batch --quiet --import; then
  echo "the key $key could not be had" >&2
  exit 1
fi
# This key alone, whatever else the file has.
gpg --batch --export "$fingerprint" >"$keyring"
if [ ! -s "$keyring" ]; then
  rm "$keyring"
  echo "the key at $key is not the one with the fingerprint $fingerprint" >&2
  exit 1
fi
echo "deb [signed-by=$keyring] $source" >"/etc/apt/sources.list.d/$name.list"
