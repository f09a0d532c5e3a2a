#!/bin/bash
# The data volume on /var/lib/mongodb: at the first boot, before each start of mongod, and every minute,
# so that the file system grows when the volume has grown.
set -euo pipefail
target=/var/lib/mongodb
fail() {
  echo "$1" >&2
  exit 1
}

# By its id where disks are NVMe, else by the name that it was attached as.
find_device() {
  local name
  for name in "disk/by-id/nvme-Amazon_Elastic_Block_Store_${DATA_VOLUME/-/}" xvdf sdf; do
    if [ -b "/dev/$name" ]; then
      readlink -f "/dev/$name"
      return
    fi
  done
  return 1
}

if ! mountpoint -q "$target"; then
  # It is attached only when the machine runs.
  for _ in $(seq 150); do
    ! device="$(find_device)" || break
    sleep 2
  done
  [ -n "$device" ] || fail "the data volume $DATA_VOLUME was not attached within 5 minutes"
  content="$(wipefs --noheadings --output TYPE "$device")"
  if [ -z "$content" ]; then
    mkfs.xfs -q "$device"
  elif [ "$content" != xfs ]; then
    fail "the data volume $DATA_VOLUME holds $(xargs <<<"$content"), not XFS; it is left alone"
  fi
  mkdir -p "$target"
  mount -t xfs -o noatime "$device" "$target"
fi
# A volume made from a snapshot has the name of another one here.
[ -e "$target/.volume" ] || echo "$DATA_VOLUME" >"$target/.volume"
grown="$(xfs_growfs -d "$target" 2>&1)" || fail "the file system on $DATA_VOLUME could not grow: $grown"
# The number of the user may be another one than on the machine that wrote the files.
[ "$(stat -c %U "$target")" = mongodb ] || chown -R mongodb: "$target"
