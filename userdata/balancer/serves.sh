#!/bin/bash
# Whether a client gets through Stud and HAProxy; no host need be up.
set -u
status() { curl -ks -o /dev/null --max-time 5 -w '%{http_code}' "$1"; }
https="$(status https://127.0.0.1/)"
http="$(status http://127.0.0.1/)"
# Every slot counts as up, even one without a host, until it was asked for the first time.
if [ "$https" = 000 ] || [ "$http" != 301 ] ||
  echo show stat | socat - /run/haproxy/admin.sock | grep -q '^apps,.*,UP [0-9]'; then
  echo "port 443 $https, port 80 $http" >&2
  exit 1
fi
