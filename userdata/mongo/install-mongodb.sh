#!/bin/bash
# MongoDB 8.0 from MongoDB's own repository, unless the image has it.
set -euo pipefail
"$(dirname "$0")/install-packages" gpg xfsprogs
if command -v mongod >/dev/null; then exit 0; fi
# "MongoDB 8.0 Release Signing Key <packaging@mongodb.com>"
fingerprint=4B0752C1BCA238C0B4EE14DC41DE058A4E7DCA05
keyring=/usr/share/keyrings/mongodb-8.0.gpg
GNUPGHOME="$(mktemp -d)"
export GNUPGHOME
trap 'rm -rf "$GNUPGHOME"' EXIT
if ! curl -fsSL --retry 5 --connect-timeout 10 --proto '=https' https://pgp.mongodb.com/server-8.0.asc |
  gpg --batch --quiet --import; then
  echo "MongoDB's key could not be had from pgp.mongodb.com" >&2
  exit 1
fi
# This key alone, whatever else the file has.
gpg --batch --export "$fingerprint" >"$keyring"
if [ ! -s "$keyring" ]; then
  rm "$keyring"
  echo "the key at pgp.mongodb.com is not the one with the fingerprint $fingerprint" >&2
  exit 1
fi
echo "deb [arch=amd64 signed-by=$keyring] https://repo.mongodb.org/apt/debian bookworm/mongodb-org/8.0 main" \
  >/etc/apt/sources.list.d/mongodb-8.0.list
# Our mongod.conf is there before the package's.
echo force-confold >/etc/dpkg/dpkg.cfg.d/mongod
"$(dirname "$0")/install-packages" mongodb-org-server mongodb-mongosh
apt-mark hold mongodb-org-server mongodb-mongosh
