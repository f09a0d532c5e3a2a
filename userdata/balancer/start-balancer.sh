#!/bin/bash
# Starts HAProxy and Stud, and waits until they serve.
set -euo pipefail
haproxy -c -q -f /etc/haproxy/haproxy.cfg
systemctl daemon-reload
units=(haproxy stud update-certificate.timer ${ACME:+obtain-certificate.timer})
systemctl enable --quiet "${units[@]}"
# HAProxy may run with its package's configuration.
systemctl restart "${units[@]}"
for _ in $(seq 30); do
  if said="$("$(dirname "$0")/serves" 2>&1)"; then exit 0; fi
  sleep 1
done
journalctl -u haproxy -u stud -o cat --no-pager -n 4
echo "no answer after 30 s: $(tail -n 1 <<<"$said")" >&2
exit 1
