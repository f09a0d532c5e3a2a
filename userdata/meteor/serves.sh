#!/bin/bash
# Whether the application answers, and reaches its database.
set -euo pipefail
curl -fsS -o /dev/null --max-time 5 "http://127.0.0.1:$PORT/sockjs/info"
PATIENCE=0 "$(dirname "$0")/check-mongo"
