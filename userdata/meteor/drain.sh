#!/bin/bash
# Before a shutdown: serve on until no new request comes, let those under way end, then stop as gently as can be.
[ "$(systemctl is-system-running)" = stopping ] || exit 0
connections() { ss -Htn state established "sport = :$PORT" | wc -l; }
# A record's TTL of 5 s, HAProxy's second, and what a lost query costs.
sleep 10
# A WebSocket stays until its end, so it may take the whole time.
for _ in $(seq 11 "$DRAIN_TIMEOUT"); do
  [ "$(connections)" -gt 0 ] || exit 0
  sleep 1
done
# Nothing more is heard, but answers still go out: what a client sends from here on was never run, so a
# client that sends it again elsewhere does not run it twice. Only what carries something (PSH) is dropped: without
# acknowledgements the kernel would hold back the end of a connection, and its client would wait on.
nft "add table inet drain; add chain inet drain input { type filter hook input priority 0; }; add rule inet drain input tcp dport $PORT tcp flags & psh == psh drop"
sleep 1
