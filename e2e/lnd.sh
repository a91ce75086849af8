#!/usr/bin/env bash
# lnd.sh prints the directory of lnd and lncli, which it builds if they aren't there: static, for Linux on this machine's
# platform, from source as Go's module proxy has it, with the tags of LND's releases but for those of databases. The first
# time takes some minutes.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
module=github.com/lightningnetwork/lnd
version=$(awk -v module=$module '$1 == module {print $2}' "$here/lightning/go.mod")
tags=autopilotrpc,signrpc,walletrpc,chainrpc,invoicesrpc,watchtowerrpc,neutrinorpc,monitoring,peersrpc
cache=${BTC_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/bitcoin-controller}
dir=$cache/bin/lnd-$version

if ! { [ -x "$dir/lnd" ] && [ -x "$dir/lncli" ]; }; then
  command -v go >/dev/null || { echo "no go on PATH: install Go (https://go.dev/dl)" >&2 && exit 1; }
  echo "==> building LND $version (a few minutes)" >&2
  mkdir -p "$dir"
  # A lock, since several runs share the cache; a name of its own until it is whole.
  exec 9>"$dir.lock"
  flock 9
  for command in lncli lnd; do
    env -u GOARCH GOOS=linux CGO_ENABLED=0 go build -C "$here/lightning" -trimpath -ldflags '-s -w' -tags "$tags" \
      -o "$dir/$command.new" "$module/cmd/$command" >&2
    mv "$dir/$command.new" "$dir/$command"
  done
fi
echo "$dir"
