#!/bin/bash
# The data volume, by its id; a file system is made on a blank one only.
set -euo pipefail
mount=/var/lib/mongodb
"$(dirname "$0")/install-packages" xfsprogs
find_device() {
  local device
  # NVMe names the device after the volume, Xen after the name it was attached by.
  for device in "/dev/disk/by-id/nvme-Amazon_Elastic_Block_Store_${DATA_VOLUME/-/}" /dev/xvdf /dev/sdf; do
    if [ -b "$device" ]; then
      readlink -f "$device"
      return
    fi
  done
  return 1
}
# It is attached when the machine runs already.
for _ in $(seq 300); do
  device="$(find_device)" && break
  sleep 1
done
if [ -z "${device:-}" ]; then
  echo "the data volume $DATA_VOLUME was not attached within 5 minutes" >&2
  exit 1
fi
kind="$(blkid -p -o value -s TYPE "$device" || true)"
if [ -z "$kind" ]; then
  mkfs.xfs -q -L mongodb "$device"
elif [ "$kind" != xfs ]; then
  echo "the data volume $DATA_VOLUME holds $kind, not XFS" >&2
  exit 1
fi
mkdir -p "$mount"
grep -q " $mount " /etc/fstab ||
  echo "UUID=$(blkid -p -o value -s UUID "$device") $mount xfs noatime,nofail,x-systemd.device-timeout=300s 0 0" >>/etc/fstab
mountpoint -q "$mount" || mount -o noatime "$device" "$mount"
xfs_growfs "$mount" >/dev/null
chown mongodb: "$mount"
