#!/bin/bash
# Starts the application, and waits until it has answered for MIN_READY_SECONDS without a crash.
set -euo pipefail
# drain.sh needs it.
"$(dirname "$0")/install-packages" nftables
systemctl daemon-reload
systemctl enable --quiet meteor
systemctl start meteor
answers=0
# What it depends on may not be there at once; later a crash is a fault.
forgiven=1
for _ in $(seq $((120 + MIN_READY_SECONDS))); do
  restarts="$(systemctl show -p NRestarts --value meteor)"
  if [ "$restarts" -gt "$forgiven" ]; then
    # What it said, without systemd's words and where in the code it was.
    journalctl -u meteor -o cat --no-pager -n 40 |
      grep -vE '^(meteor\.service|Started|Stopped|Node\.js v|[[:space:]]+at |$)' | tail -n 3
    echo "the application's process dies" >&2
    exit 1
  fi
  if curl -fsS -o /dev/null --max-time 5 "http://127.0.0.1:$PORT/sockjs/info" 2>/dev/null; then
    forgiven="$restarts"
    answers=$((answers + 1))
    [ "$answers" -lt "$MIN_READY_SECONDS" ] || exit 0
  else
    answers=0
  fi
  sleep 1
done
journalctl -u meteor -o cat --no-pager -n 4
echo "the application did not answer on port $PORT for $MIN_READY_SECONDS s in a row" >&2
exit 1
