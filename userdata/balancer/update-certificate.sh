#!/bin/bash
# Makes the certificate and key in SSM Stud's PEM, if they have changed there. Bad ones change nothing.
set -euo pipefail
umask 077
export AWS_DEFAULT_REGION="$REGION"
pem=/etc/stud/ssl.pem
seen=/etc/stud/seen
refuse() {
  echo "the certificate in SSM is not taken: $1" >&2
  exit 1
}

# One call that decrypts nothing, most times the only one.
versions() {
  aws ssm get-parameters --names "$TLS_CERTIFICATE_PARAMETER" "$TLS_KEY_PARAMETER" \
    --query 'Parameters[].[Name,Version,LastModifiedDate]' --output text | sort
}
# At first boot the role's permissions may be some seconds younger than the machine.
for attempt in 1 2 3 4 5 6 7 8 9 10; do
  now="$(versions)" && break
  if [ -e "$pem" ] || [ "$attempt" = 10 ]; then refuse "SSM can not be asked"; fi
  sleep 6
done
if [ -e "$pem" ] && [ "$now" = "$(cat "$seen" 2>/dev/null)" ]; then exit 0; fi

new="$(mktemp -d -p /etc/stud)"
trap 'rm -rf "$new"' EXIT
value() { aws ssm get-parameter --name "$1" --with-decryption --query Parameter.Value --output text; }
value "$TLS_KEY_PARAMETER" >"$new/key" || refuse "$TLS_KEY_PARAMETER can not be read"
value "$TLS_CERTIFICATE_PARAMETER" >"$new/certificate" || refuse "$TLS_CERTIFICATE_PARAMETER can not be read"
openssl x509 -in "$new/certificate" -noout -pubkey >"$new/public" 2>/dev/null ||
  refuse "$TLS_CERTIFICATE_PARAMETER is not a certificate in PEM"
openssl pkey -in "$new/key" -passin pass: -pubout >"$new/public-of-key" 2>/dev/null ||
  refuse "$TLS_KEY_PARAMETER is not a private key in PEM without a passphrase"
cmp -s "$new/public" "$new/public-of-key" || refuse "the key is not the certificate's"
openssl x509 -in "$new/certificate" -noout -checkend 0 >/dev/null ||
  refuse "it expired: $(openssl x509 -in "$new/certificate" -noout -enddate)"
cat "$new/key" "$new/certificate" >"$new/pem"
sed "s|^pem-file = .*|pem-file = \"$new/pem\"|" /etc/stud/stud.conf >"$new/stud.conf"
"$HITCH" --test --config="$new/stud.conf" >"$new/output" 2>&1 ||
  refuse "$(tail -n 3 "$new/output" | tr '\n' ' ')"

if ! cmp -s "$new/pem" "$pem"; then
  mv "$new/pem" "$pem"
  systemctl try-reload-or-restart stud
  echo "new certificate: $(openssl x509 -in "$pem" -noout -subject -enddate | tr '\n' ' ')"
fi
echo "$now" >"$seen"
