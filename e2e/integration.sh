#!/usr/bin/env bash
# The controller against a real apiserver with its controllers, as plain processes on loopback; pods are simulated. No
# root, no container engine; the first run builds Kubernetes, which takes some minutes. Arguments are those of `go test`.
set -euo pipefail
cd "$(dirname "$0")/.."

if [ "$(uname -s)" != Linux ]; then
  echo "SKIPPED: the integration tests need Linux: kubelet and kube-proxy, parts of the one binary, don't build elsewhere" >&2
  exit 0
fi
KUBE_BINARY=$(e2e/kube/build.sh)
export KUBE_BINARY
go test -tags integration -count=1 -timeout 40m "$@" ./e2e/integration
