#!/bin/bash
# MongoDB 8.0 from MongoDB's own repository, unless the image has it.
set -euo pipefail
here="$(dirname "$0")"
"$here/install-packages" xfsprogs
if command -v mongod >/dev/null; then exit 0; fi
# "MongoDB 8.0 Release Signing Key <packaging@mongodb.com>"
"$here/add-repository" mongodb-8.0 https://pgp.mongodb.com/server-8.0.asc 4B0752C1BCA238C0B4EE14DC41DE058A4E7DCA05 \
  "https://repo.mongodb.org/apt/debian bookworm/mongodb-org/8.0 main"
# Our mongod.conf is there before the package's.
echo force-confold >/etc/dpkg/dpkg.cfg.d/mongod
"$here/install-packages" mongodb-org-server mongodb-mongosh
apt-mark hold mongodb-org-server mongodb-mongosh
