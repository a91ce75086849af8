#!/usr/bin/env bash
# helm.sh ARGUMENTS: runs the helm that the tests are made for. The first run builds it into the cache's bin, where kind
# is, which takes a minute.
set -euo pipefail
cache=${BTC_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/bitcoin-controller}
helm_version=v4.3.1

# built is the version of the helm that there is. What `helm version` says was not set by `go install`.
built() {
  go version -m "$cache/bin/helm" 2>/dev/null | awk '$1 == "mod" {print $3}'
}

if [ "$(built)" != $helm_version ]; then
  mkdir -p "$cache/bin"
  # One builds, who came meanwhile waits: several at once take many times as long.
  exec 9>"$cache/bin/helm.lock"
  flock 9
fi
if [ "$(built)" != $helm_version ]; then
  echo "building helm $helm_version" >&2
  # For this machine, whatever is built for another one just now.
  env -u GOOS -u GOARCH CGO_ENABLED=0 GOBIN="$cache/bin" \
    go install -trimpath -ldflags '-s -w' helm.sh/helm/v4/cmd/helm@$helm_version >&2
fi
exec "$cache/bin/helm" "$@"
