#!/bin/bash
# Whether this member and all others of the set are there, one of them as the primary.
set -euo pipefail
# shellcheck disable=SC2016 # the dollars are JavaScript's
exec mongosh --quiet --norc --nodb --eval '
  const hello = (host) =>
    connect(`mongodb://${host}/admin?directConnection=true&serverSelectionTimeoutMS=2000`).hello();
  let primaries = 0;
  for (const host of hello(process.env.MEMBER_HOST).hosts) {
    const { isWritablePrimary, secondary } = hello(host);
    if (isWritablePrimary) primaries++;
    else if (!secondary) throw new Error(`${host} is neither primary nor secondary`);
  }
  if (primaries !== 1) throw new Error(`the set has ${primaries} primaries`);'
