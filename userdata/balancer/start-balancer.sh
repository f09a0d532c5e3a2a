#!/bin/bash
# Starts HAProxy and Stud, and waits until a client would get through both; no host need be up.
set -euo pipefail
haproxy -c -q -f /etc/haproxy/haproxy.cfg
systemctl daemon-reload
units=(haproxy stud update-certificate.timer ${ACME:+obtain-certificate.timer})
systemctl enable --quiet "${units[@]}"
# HAProxy may run with its package's configuration.
systemctl restart "${units[@]}"
status() { curl -ks -o /dev/null --max-time 5 -w '%{http_code}' "$1" || true; }
# Every slot counts as up, even one without a host, until it was asked for the first time.
checked() { ! echo show stat | socat - /run/haproxy/admin.sock | grep -q '^apps,.*,UP [0-9]'; }
for _ in $(seq 30); do
  https="$(status https://127.0.0.1/)"
  http="$(status http://127.0.0.1/)"
  if [ "$https" != 000 ] && [ "$http" = 301 ] && checked; then exit 0; fi
  sleep 1
done
journalctl -u haproxy -u stud -o cat --no-pager -n 4
echo "no answer after 30 s: port 443 $https, port 80 $http" >&2
exit 1
