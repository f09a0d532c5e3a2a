#!/bin/bash
# After a reboot: lets the next machine have its turn once this one serves again. One that does not come back keeps it,
# as nothing else is to go away then.
set -euo pipefail
export AWS_DEFAULT_REGION="$REGION"
here="$(dirname "$0")"
state=/var/lib/meteor-scale
own="$MACHINE $(cat /var/lib/cloud/data/instance-id)"
# Taken in this boot: there was no reboot yet.
[ ! -e /run/meteor-scale/turn ] || exit 0
# For half a minute, so that the balancer and other members have found it too.
for ((answers = 0; answers < 6; answers++)); do
  sleep 5
  "$here/serves" >/dev/null 2>&1 || answers=-1
done
if holder="$(aws ssm get-parameter --name "$REBOOT_LOCK" --output text --query Parameter.Value 2>&1)"; then
  [ "$holder" != "$own" ] || aws ssm delete-parameter --name "$REBOOT_LOCK"
elif [[ $holder != *ParameterNotFound* ]]; then
  echo "SSM can't be asked: $(tail -n 1 <<<"$holder")" >&2
  exit 1
fi
mv "$state/turn" "$state/rebooted"
touch "$state/rebooted"
echo "serves again after its reboot"
