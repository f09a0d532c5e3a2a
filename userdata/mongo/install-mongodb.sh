#!/bin/bash
# MongoDB from its own repository; its signing key is known by its fingerprint.
set -euo pipefail
if command -v mongod >/dev/null && command -v mongosh >/dev/null; then
  mongod --version | head -n 1
  exit 0
fi
release=8.0
fingerprint=4B0752C1BCA238C0B4EE14DC41DE058A4E7DCA05
keyring=/usr/share/keyrings/mongodb-server-$release.gpg
"$(dirname "$0")/install-packages" gpg curl xfsprogs
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
if ! curl -fsSL --retry 5 --connect-timeout 10 -o "$work/key.asc" "https://pgp.mongodb.com/server-$release.asc"; then
  echo "MongoDB's signing key could not be had from pgp.mongodb.com" >&2
  exit 1
fi
if ! gpg --homedir "$work" --with-colons --show-keys "$work/key.asc" | grep -q "^fpr:.*:$fingerprint:"; then
  echo "the key at pgp.mongodb.com is not $fingerprint" >&2
  exit 1
fi
gpg --homedir "$work" --dearmor <"$work/key.asc" >"$keyring"
echo "deb [signed-by=$keyring] https://repo.mongodb.org/apt/debian bookworm/mongodb-org/$release main" \
  >"/etc/apt/sources.list.d/mongodb-org-$release.list"
"$(dirname "$0")/install-packages" mongodb-org-server mongodb-mongosh
