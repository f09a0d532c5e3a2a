#!/bin/bash
# Before a shutdown: serve on until the balancer has moved to another host. Records have a TTL of 5 s,
# HAProxy asks every second, and what runs may take some seconds more.
[ "$(systemctl is-system-running)" != stopping ] || sleep "$DRAIN_SECONDS"
