#!/bin/bash
# Takes the certificate and key over from SSM if they have changed there. Bad ones change nothing.
set -euo pipefail
umask 077
export AWS_DEFAULT_REGION="$REGION"
pem=/etc/stud/ssl.pem
seen=/etc/stud/seen
refuse() {
  echo "the certificate in SSM is not taken: $1" >&2
  exit 1
}

# One call that decrypts nothing, and most times the only one.
versions() {
  aws ssm get-parameters --names "$TLS_PATH/CERTIFICATE" "$TLS_PATH/PRIVATE_KEY" ${ACME:+"$TLS_PATH/acme/CERTIFICATE"} --output text \
    --query 'sort_by(Parameters,&Name)[].[Version,LastModifiedDate]'
}
# At first boot, the role's permissions may be too young yet.
for attempt in 1 2 3 4 5 6 7 8 9 10; do
  now="$(versions)" && break
  if [ -e "$pem" ] || [ "$attempt" = 10 ]; then refuse "SSM can't be asked"; fi
  sleep 6
done
if [ -e "$pem" ] && [ "$now" = "$(cat "$seen")" ]; then exit 0; fi

folder="$(mktemp -d -p /etc/stud)"
trap 'rm -rf "$folder"' EXIT
cd "$folder"
value() {
  aws ssm get-parameter --name "$1" --with-decryption --output text --query Parameter.Value ||
    refuse "$1 can't be read"
}
value "$TLS_PATH/PRIVATE_KEY" >key
value "$TLS_PATH/CERTIFICATE" >certificate
public_key() { openssl x509 -in "$1" -noout -pubkey 2>/dev/null; }
# The ACME authority's takes the place of what stands in for it.
if [ -n "${ACME:-}" ]; then
  value "$TLS_PATH/acme/CERTIFICATE" >obtained
  if openssl x509 -in obtained -noout -checkend 0 >/dev/null 2>&1 &&
    [ "$(public_key obtained)" = "$(openssl pkey -in key -passin pass: -pubout)" ]; then
    mv obtained certificate
  fi
fi
openssl x509 -in certificate -noout -pubkey >public 2>/dev/null ||
  refuse "$TLS_PATH/CERTIFICATE is no certificate in PEM"
openssl pkey -in key -passin pass: -pubout >public-of-key 2>/dev/null ||
  refuse "$TLS_PATH/PRIVATE_KEY is no key in PEM without a passphrase"
cmp -s public public-of-key || refuse "the key is another certificate's"
openssl x509 -in certificate -noout -checkend 0 >/dev/null || refuse "it has expired"
cat key certificate >new.pem
sed "s|^pem-file = .*|pem-file = \"$folder/new.pem\"|" /etc/stud/stud.conf >stud.conf
"$HITCH" --test --config=stud.conf >output 2>&1 || refuse "$(tail -n 2 output)"
if ! cmp -s new.pem "$pem"; then
  mv new.pem "$pem"
  systemctl try-reload-or-restart stud
  openssl x509 -in "$pem" -noout -subject -enddate
fi
echo "$now" >"$seen"
