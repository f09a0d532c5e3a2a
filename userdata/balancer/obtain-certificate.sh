#!/bin/bash
# Keeps the ACME authority's certificate in SSM fit: asks for one where that one was asked for in other words
# (authority, email, key, names) or has a third of its time left. What is in the way becomes the remark of `ready`.
set -euo pipefail
export AWS_DEFAULT_REGION="$REGION"
here="$(dirname "$0")"
state=/var/lib/meteor-scale/acme
remarks=/run/meteor-scale-remarks
remark="$remarks/certificate"
install -d -m 700 "$state"
mkdir -p "$remarks"
cd "$state"
exec 9>lock
flock --nonblock 9 || exit 0

# Once for each new one.
tell() {
  [ "$1" != "$(cat "$remark" 2>/dev/null)" ] || return 0
  echo "${1:-: the certificate is fit}" | cut -c3-
  printf %s "$1" >"$remark"
  # While the machine boots, its last word is boot's own.
  [ ! -e /run/meteor-scale-boots ] || return 0
  "$here/tag-ready" "true$(cat "$remarks"/*)" || echo untold >"$remark"
}
stuck() {
  tell ": $holds: $1"
  exit 0
}
value() { aws ssm get-parameter --name "$TLS_PATH/$1" --with-decryption --output text --query Parameter.Value; }
# Of over 4 KB only where the tier may change with it.
save() { aws ssm put-parameter --name "$TLS_PATH/$1" --value "file://$2" --overwrite --tier Intelligent-Tiering >/dev/null; }

# What was asked for stands before the PEM.
seconds() { date -d "$(openssl x509 -in "$1" -noout "-$2" | cut -d= -f2)" +%s; }
fits() {
  [ "$(sed '/^-----BEGIN/,$d' "$1")" = "$(cat request)" ] || return 1
  local start end
  start="$(seconds "$1" startdate)"
  end="$(seconds "$1" enddate)"
  [ $((end - $(date +%s))) -gt $(((end - start) / 3)) ]
}

obtain() {
  local names authority email token name failed=0 outcome=0
  { read -r authority && read -r email && read -r _ && mapfile -t names; } <request
  # An authority locks out who fails often; Let's Encrypt a name that fails five times in an hour:
  # https://letsencrypt.org/docs/rate-limits/
  [ ! -e failures ] || failed="$(wc -l <failures)"
  if [ "$failed" -gt 0 ] && [ -n "$(find failures -mmin "-$((1 << (failed < 8 ? failed : 8)))")" ]; then exit 0; fi

  webroot="$(mktemp -d)"
  trap 'kill "$server" 2>/dev/null || true; rm -rf "$webroot" key request.csr' EXIT
  chmod 755 "$webroot"
  mkdir -p "$webroot/.well-known/acme-challenge"
  setpriv --reuid=stud --regid=stud --clear-groups --no-new-privs \
    python3 -m http.server 8402 --bind 127.0.0.1 --directory "$webroot" >/dev/null 2>&1 9>&- &
  server=$!
  curl -s --retry 10 --retry-delay 1 --retry-connrefused -o /dev/null http://127.0.0.1:8402/ ||
    stuck "nothing answers its challenges"
  # No attempt is wasted while a name has no record yet, or leads elsewhere.
  token="$(od -An -N16 -tx1 /dev/urandom | tr -d ' \n')"
  echo "$token" >"$webroot/.well-known/acme-challenge/$token"
  for name in "${names[@]}"; do
    [ "$(curl -fs --max-time 5 "http://$name/.well-known/acme-challenge/$token")" = "$token" ] ||
      stuck "port 80 of $name does not lead to this machine"
  done

  if [ ! -e account ]; then
    value acme/ACCOUNT >account.new || stuck "SSM can't be asked"
    # The program's own word while there is none.
    [ "$(cat account.new)" = none ] || base64 -d account.new | tar -xz
    mv account.new account
  fi
  value PRIVATE_KEY >key || stuck "SSM can't be asked"
  openssl req -new -key key -subj / -addext "subjectAltName=$(printf ',DNS:%s' "${names[@]}" | cut -c2-)" -out request.csr
  rm -rf certificates
  lego --accept-tos --path "$state" --server "$authority" --email "$email" --csr request.csr \
    --http --http.webroot "$webroot" run >output 2>&1 || outcome=$?
  if [ -d accounts ]; then
    tar -cz --sort=name --mtime=@0 accounts | base64 -w0 >account.new
    echo >>account.new
    if ! cmp -s account.new account && save acme/ACCOUNT account.new; then mv account.new account; fi
  fi
  if [ "$outcome" != 0 ]; then
    echo >>failures
    cat output
    # It was deleted there: the next attempt makes another.
    if grep -q accountDoesNotExist output; then rm -r accounts; fi
    stuck "$(grep -v '^[[:space:]]*$' output | tail -n 1 | sed 's|^[0-9/]* [0-9:]* ||')"
  fi
  rm -f failures
  # It is not asked for again if SSM does not take it now.
  find certificates -name '*.crt' ! -name '*.issuer.crt' -exec cat request {} + >unsaved.new
  mv unsaved.new unsaved
}

holds="no certificate of the authority yet"
if ! value acme/REQUEST >request.new || ! value acme/CERTIFICATE >saved; then stuck "SSM can't be asked"; fi
cmp -s request.new request || rm -f failures
mv request.new request
if openssl x509 -in saved -noout -checkend 0 >/dev/null 2>&1; then holds="the certificate could not be renewed"; fi
if [ -e unsaved ] && ! fits unsaved; then rm unsaved; fi
[ -e unsaved ] || fits saved || obtain
if [ -e unsaved ]; then
  save acme/CERTIFICATE unsaved || stuck "SSM does not take it"
  rm unsaved
  systemctl start update-certificate || stuck "the balancer does not take it over"
fi
tell ""
