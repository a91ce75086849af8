#!/usr/bin/env bash
# prometheus.sh prints the directory of Prometheus and promtool, which it builds if they aren't there: from source, as Go's
# module proxy has it, without the service discoveries of other platforms than Kubernetes. The first time takes some minutes.
set -euo pipefail
# shellcheck source=e2e/once.sh
. "$(dirname "${BASH_SOURCE[0]}")/once.sh"

version=v0.316.0 # of the module, which is Prometheus 3.16.0
cache=${BTC_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/bitcoin-controller}
dir=$cache/bin/prometheus-$version

# A name of its own until it is whole is what go install sees to.
build() {
  local command
  for command in promtool prometheus; do
    CGO_ENABLED=0 GOBIN=$dir go install -trimpath -ldflags '-s -w' -tags remove_all_sd,enable_kubernetes_sd \
      "github.com/prometheus/prometheus/cmd/$command@$version"
  done
}

once "Prometheus $version" "$dir" build prometheus promtool
echo "$dir"
