#!/bin/bash
# Starts the application, and waits until it answers and has stayed up for a moment.
set -euo pipefail
systemctl daemon-reload
systemctl enable --quiet meteor
systemctl start meteor
answers=0
for _ in $(seq 120); do
  if [ "$(systemctl show -p NRestarts --value meteor)" -ge 2 ]; then
    # What it said, without systemd's words and where in the code it was.
    journalctl -u meteor -o cat --no-pager -n 40 |
      grep -vE '^(meteor\.service|Started|Node\.js v|[[:space:]]+at |$)' | tail -n 3
    echo "the application's process dies" >&2
    exit 1
  fi
  if curl -fsS -o /dev/null --max-time 5 "http://127.0.0.1:$PORT/sockjs/info" 2>/dev/null; then
    answers=$((answers + 1))
    [ "$answers" -lt 3 ] || exit 0
  else
    answers=0
  fi
  sleep 1
done
journalctl -u meteor -o cat --no-pager -n 4
echo "the application does not answer on port $PORT after 120 s" >&2
exit 1
