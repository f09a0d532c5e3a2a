#!/bin/bash
# Runs inside the machine image while it is made: the product's own install scripts, as a machine on
# AWS runs them at its first boot, so that a machine here finds everything in place.
set -euo pipefail
scripts=/usr/local/lib/meteor-scale
set -a
# shellcheck source=/dev/null
. /etc/meteor-scale/machine.env
set +a
export DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8
# Services are started by the machines, not here.
export SYSTEMD_OFFLINE=1
printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d
chmod 755 /usr/sbin/policy-rc.d

update-ca-certificates
"$scripts/install-packages" awscli ca-certificates curl
for script in "$scripts"/install-*; do
  case "${script##*/}" in
    # No step of its own.
    install-packages) ;;
    # Lies in /opt already, in the version of the sample bundle.
    install-node) ;;
    # There is no Session Manager here.
    install-session-manager) ;;
    # Both kinds, so that a stack can change from one to the other.
    install-balancer)
      "$script"
      STUD_INSTALL=package "$script"
      ;;
    *)
      echo "== ${script##*/}"
      "$script"
      ;;
  esac
done

# A machine has no way out to fetch updates.
systemctl disable --quiet apt-daily.timer apt-daily-upgrade.timer unattended-upgrades
apt-get clean
rm -rf /var/lib/apt/lists/* /var/cache/apt/*.bin /var/log/* /tmp/* /root/.cache "$scripts" /etc/meteor-scale
rm /usr/sbin/policy-rc.d
# Each machine makes its own at its first boot.
: >/etc/machine-id
