#!/bin/bash
# First of all, so that what goes wrong with the other steps is in CloudWatch.
set -euo pipefail
command -v telegraf >/dev/null || exit 0
systemctl daemon-reload
systemctl enable --quiet telegraf
# It may run with its package's configuration.
systemctl restart telegraf
