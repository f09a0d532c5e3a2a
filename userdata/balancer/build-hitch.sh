#!/bin/bash
# build-hitch FILE: Hitch 1.8.0, Stud's successor, compiled from Debian 13's signed source package.
set -euo pipefail
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
mkdir -p "$folder/lists/partial"
cd "$folder"
# shellcheck disable=SC2016 # the dollars are apt's
mirror="$(apt-get indextargets --format '$(RELEASE) $(COMPONENT) $(REPO_URI)' 'Created-By: Packages' |
  sed -n '/^bookworm main /{s///p;q}')"
echo "deb-src [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror trixie main" >list
# Nothing else of apt changes.
own=(-q -o Dir::Etc::sourcelist="$folder/list" -o Dir::Etc::sourceparts=- -o Dir::State::lists="$folder/lists"
  -o APT::Sandbox::User=root -o Acquire::Retries=5)
apt-get "${own[@]}" update
apt-get "${own[@]}" source --download-only hitch=1.8.0-1
sha256sum --check <<<'bade8e7f4005259caf60cf5d17ff65412c53327d609d7bd45f0dc185705909c9  hitch_1.8.0.orig.tar.xz'
tar -xJf hitch_1.8.0.orig.tar.xz
cd hitch-1.8.0
# A reload closes its pipes to the workers that retire, and the next writes to those numbers, which are other
# pipes by then: every second reload cut all connections. A pipe is to live as long as its worker.
sed -i -e 's/(void)close(c->pfd);/continue;/' -e 's/VTAILQ_REMOVE(&worker_procs, c, list);/(void)close(c->pfd); &/' src/hitch.c
# A client that takes nothing more would stay after HAProxy has given it up, its buffers in memory.
sed -i '/^#ifdef TCP_KEEPIDLE/i optval = 1000 * CONFIG->TCP_KEEPALIVE_TIME; setsockopt(fd, SOL_TCP, TCP_USER_TIMEOUT, &optval, optlen);' src/hitch.c
autoreconf -fi
./configure --quiet --with-lex --with-yacc
# The rest is documentation.
make -s -C src
install -D src/hitch "$1"
