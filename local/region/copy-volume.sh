#!/bin/bash
# Copies a volume as it is at one moment: copy-volume.sh SOURCE TARGET LOCK [MOUNT POINT]
# The file system at the mount point stands still meanwhile. Nothing but SIGKILL ends this before it is
# thawed: the region may end first, and whoever removes its remains waits for the lock.
set -euo pipefail
source=$1 target=$2 lock=$3 mount=${4-}
trap '' HUP INT TERM
exec 9>"$lock"
flock 9
if ! [ -d "/proc/$PPID" ]; then
  echo "the region is gone" >&2
  exit 1
fi
if [ -n "$mount" ]; then
  # Held open, so that it can be thawed when its machine is gone.
  exec 8<"$mount"
  fsfreeze --freeze /proc/self/fd/8
  trap 'fsfreeze --unfreeze /proc/self/fd/8' EXIT
fi
cp --reflink=auto --sparse=always "$source" "$target"
