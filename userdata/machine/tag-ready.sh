#!/bin/bash
# tag-ready TEXT: tells how the machine is doing, in the instance's tag `ready`.
set -euo pipefail
# With the instance's id: an engine that has refreshed its state gives a new machine the tags of the one before.
# A tag takes 256 characters of few kinds: https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/Using_Tags.html
instance="$(cat /var/lib/cloud/data/instance-id)"
value="$(printf '%s' "$instance $1" | tr '\n' '|' | tr -c 'A-Za-z0-9+=._:/@-' ' ' | tr -s ' ' | cut -c1-256)"
# The boot waits for this, so an API that never answers must not hold it up: by itself the client asks for five minutes.
AWS_MAX_ATTEMPTS=2 aws --cli-connect-timeout 5 --cli-read-timeout 10 \
  ec2 create-tags --resources "$instance" --tags "Key=ready,Value=$value"
