#!/bin/bash
# Debian's security updates, at night, as /etc/apt/apt.conf.d/60meteor-scale says.
set -euo pipefail
"$(dirname "$0")/install-packages" unattended-upgrades
systemctl daemon-reload
timers=(apt-daily.timer apt-daily-upgrade.timer ${REBOOT_LOCK:+reboot-in-turn.timer})
systemctl enable --quiet "${timers[@]}" ${REBOOT_LOCK:+end-turn.service}
systemctl restart "${timers[@]}"
