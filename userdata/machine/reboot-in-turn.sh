#!/bin/bash
# Reboots this machine where an update needs it, and no other machine of the stack meanwhile: whose turn it is, the
# parameter REBOOT_LOCK in SSM tells. end-turn deletes it after the reboot, once this machine serves again.
set -euo pipefail
export AWS_DEFAULT_REGION="$REGION"
here="$(dirname "$0")"
state=/var/lib/meteor-scale
own="$MACHINE $(cat /var/lib/cloud/data/instance-id)"
# Gone with each boot.
boot=/run/meteor-scale
get() { aws ssm get-parameter --name "$REBOOT_LOCK" --output text --query "$1"; }

# Programs that run keep a library that was replaced.
needed() { [ -e /run/reboot-required ] || grep -qsE ' /(usr/)?lib/.*\.so[.0-9]* \(deleted\)$' /proc/[0-9]*/maps; }

mkdir -p "$state" "$boot"
# What was killed in the middle goes on; of another boot, it is end-turn's business.
if [ -e "$state/turn" ]; then
  [ -e "$boot/turn" ] || exit 0
else
  # A reboot that did not help is not tried again all night.
  if [ -n "$(find "$state" -name rebooted -mmin -1200)" ] || ! needed; then exit 0; fi
  if ! "$here/serves" >/dev/null; then
    echo "an update needs a reboot, but this machine does not serve as it is"
    exit 0
  fi
  touch "$boot/turn" "$state/turn"
fi

# Refused where it is there: one machine alone can make it.
if ! said="$(aws ssm put-parameter --name "$REBOOT_LOCK" --type String --value "$own" 2>&1)"; then
  if [[ $said != *ParameterAlreadyExists* ]]; then
    echo "an update needs a reboot, but SSM can't be asked: $(tail -n 1 <<<"$said")" >&2
    exit 1
  fi
  read -r since holder < <(get 'Parameter.[LastModifiedDate,Value]') || exit 0
  if [ "$holder" != "$own" ]; then
    rm "$state/turn"
    echo "an update needs a reboot, but it is the turn of $holder, since $since"
    # Perhaps no machine any more. Not taken at once: whoever comes next competes for it as always.
    if [ "$(date -d "$since" +%s)" -lt "$(date -d '1 day ago' +%s)" ]; then
      aws ssm delete-parameter --name "$REBOOT_LOCK" || true
    fi
    exit 0
  fi
fi
# Another one may have found the turn before this one too old, and deleted this one. Then the next run competes again.
sleep 20
[ "$(get Parameter.Value)" = "$own" ] || exit 0
echo "reboots, as an update needs it"
# Whoever connects from here on is refused, so the balancer goes to the others; what is connected has drain's time.
if [ "$ROLE" = meteor ]; then
  nft "add table inet leave; flush table inet leave; add chain inet leave input { type filter hook input priority 0; }; add rule inet leave input tcp dport $PORT tcp flags & (syn | ack) == syn reject with tcp reset"
fi
if ! systemctl reboot; then
  [ "$ROLE" != meteor ] || nft delete table inet leave
  exit 1
fi
