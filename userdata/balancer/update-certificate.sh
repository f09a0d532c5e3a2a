#!/bin/bash
# Takes the certificates and keys over from SSM if they have changed there: all, or none if one is bad.
set -euo pipefail
umask 077
export AWS_DEFAULT_REGION="$REGION"
# A link, so that all change in one step.
served=/etc/stud/pem
seen=/etc/stud/seen
refuse() {
  echo "the certificates in SSM are not taken: $1" >&2
  exit 1
}

# One call that decrypts nothing, and most times the only one.
versions() {
  aws ssm get-parameters-by-path --path "$TLS_PATH" --recursive --output text \
    --query 'Parameters[].[Name,Version,LastModifiedDate]' | sort
}
# At first boot, the role's permissions may be too young yet.
for attempt in 1 2 3 4 5 6 7 8 9 10; do
  now="$(versions)" && break
  if [ -e "$served" ] || [ "$attempt" = 10 ]; then refuse "SSM can't be asked"; fi
  sleep 6
done
if [ -e "$served" ] && [ "$now" = "$(cat "$seen")" ]; then exit 0; fi

folder="$(mktemp -d -p /etc/stud pem.XXXXXX)"
chmod 755 "$folder"
work="$(mktemp -d)"
trap '[ "$folder" = "$(readlink "$served")" ] || rm -rf "$folder"; rm -rf "$work"' EXIT
cd "$work"
value() {
  aws ssm get-parameter --name "$TLS_PATH/$1" --with-decryption --output text --query Parameter.Value ||
    refuse "$TLS_PATH/$1 can't be read"
}
public_key() { openssl x509 -in "$1" -noout -pubkey 2>/dev/null; }
take() {
  local certificate="CERTIFICATE$1" key="PRIVATE_KEY$1"
  value "$certificate" >chain
  value "$key" >own
  openssl pkey -in own -passin pass: -pubout >public-of-key 2>/dev/null ||
    refuse "$TLS_PATH/$key is no key in PEM without a passphrase"
  # The ACME authority's takes the place of what stands in for it.
  if [ -n "${ACME:-}" ] && [ -z "$1" ]; then
    value acme/CERTIFICATE >obtained
    if openssl x509 -in obtained -noout -checkend 0 >/dev/null 2>&1 &&
      [ "$(public_key obtained)" = "$(cat public-of-key)" ]; then
      mv obtained chain
    fi
  fi
  public_key chain >public || refuse "$TLS_PATH/$certificate is no certificate in PEM"
  cmp -s public public-of-key || refuse "$TLS_PATH/$key is another certificate's key"
  openssl x509 -in chain -noout -checkend 0 >/dev/null || refuse "$TLS_PATH/$certificate has expired"
  # Hitch's default is the first by name.
  local file
  file="$folder/$(printf '%03d' "$((10#0${1#_}))")"
  cat own chain >"$file.pem"
  # Telegraf tells how long it has.
  install -m 644 chain "$file.crt"
}
take ""
while read -r suffix; do take "$suffix"; done < <(sed -nE "s|^$TLS_PATH/CERTIFICATE(_[0-9]+)\s.*|\1|p" <<<"$now")

sed "s|^pem-dir = .*|pem-dir = \"$folder\"|" /etc/stud/stud.conf >stud.conf
"$HITCH" --test --config=stud.conf >output 2>&1 || refuse "$(tail -n 2 output)"
# Without `seen`, the last run was killed, perhaps before the reload.
if [ ! -e "$seen" ] || ! diff -qr "$folder" "$served" >/dev/null 2>&1; then
  rm -f "$seen"
  old="$(readlink "$served" || true)"
  ln -sfn "$folder" "$served.new"
  mv -T "$served.new" "$served"
  rm -rf "$old"
  systemctl try-reload-or-restart stud
  for pem in "$served"/*.pem; do openssl x509 -in "$pem" -noout -subject -enddate; done
fi
echo "$now" >"$seen"
