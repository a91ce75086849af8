#!/usr/bin/env bash
# prometheus.sh prints the directory of Prometheus and promtool, which it builds if they aren't there: from source, as Go's
# module proxy has it, without the service discoveries of other platforms than Kubernetes. The first time takes some minutes.
set -euo pipefail

version=v0.316.0 # of the module, which is Prometheus 3.16.0
cache=${BTC_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/bitcoin-controller}
dir=$cache/bin/prometheus-$version

if ! { [ -x "$dir/prometheus" ] && [ -x "$dir/promtool" ]; }; then
  command -v go >/dev/null || { echo "no go on PATH: install Go (https://go.dev/dl)" >&2 && exit 1; }
  echo "==> building Prometheus $version (a few minutes)" >&2
  mkdir -p "$dir"
  # A lock, since several runs share the cache; a name of its own until it is whole is what go install sees to.
  exec 9>"$dir.lock"
  flock 9
  for command in promtool prometheus; do
    CGO_ENABLED=0 GOBIN=$dir go install -trimpath -ldflags '-s -w' -tags remove_all_sd,enable_kubernetes_sd \
      "github.com/prometheus/prometheus/cmd/$command@$version" >&2
  done
fi
echo "$dir"
