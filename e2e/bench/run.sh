#!/usr/bin/env bash
# Builds the contenders and measures them: `make bench`. Settings are variables of the environment, which `run.sh
# --help` lists. No root, no container engine; the first run builds Kubernetes, which takes some minutes.
set -euo pipefail
cd "$(dirname "$0")/../.."

if [ "$(uname -s)" != Linux ]; then
  echo "SKIPPED: the figures need Linux: Kubernetes in one binary doesn't build elsewhere" >&2
  exit 0
fi
if [ $# -gt 0 ]; then
  exec go run ./e2e/bench --help
fi
mkdir -p bin
export CGO_ENABLED=0 # as in the image of the controller
go build -trimpath -ldflags '-s -w' -o bin/bench-controller ./e2e/bench/controller
go build -C e2e/rival -trimpath -ldflags '-s -w' -o "$PWD/bin/bench-rival" .
go build -trimpath -o bin/bench ./e2e/bench
KUBE_BINARY=$(e2e/kube/build.sh)
export KUBE_BINARY
exec bin/bench
