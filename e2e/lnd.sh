#!/usr/bin/env bash
# lnd.sh prints the directory of lnd and lncli, which it builds if they aren't there: static, for Linux on this machine's
# platform, from source as Go's module proxy has it, with the tags of LND's releases but for those of databases. The first
# time takes some minutes.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=e2e/once.sh
. "$here/once.sh"

module=github.com/lightningnetwork/lnd
version=$(awk -v module=$module '$1 == module {print $2}' "$here/lightning/go.mod")
tags=autopilotrpc,signrpc,walletrpc,chainrpc,invoicesrpc,watchtowerrpc,neutrinorpc,monitoring,peersrpc
cache=${BTC_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/bitcoin-controller}
dir=$cache/bin/lnd-$version

# Each has a name of its own until it is whole.
build() {
  local command
  for command in lncli lnd; do
    env -u GOARCH GOOS=linux CGO_ENABLED=0 go build -C "$here/lightning" -trimpath -ldflags '-s -w' -tags "$tags" \
      -o "$dir/$command.new" "$module/cmd/$command"
    mv "$dir/$command.new" "$dir/$command"
  done
}

once "LND $version" "$dir" build lnd lncli
echo "$dir"
