#!/usr/bin/env bash
# Builds Kubernetes as one binary, when it is missing or its sources changed, and prints its path on stdout.
# The name a link to it carries says which component it is: kubectl, kube-apiserver, etcd, ... (see main.go).
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
version=$(awk '$1 == "k8s.io/kubernetes" {print $2}' "$here/go.mod")
bin=${BTC_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/bitcoin-controller}/bin
binary=$bin/kube-$version
stamp=$binary.inputs

if [ -z "$version" ]; then
  echo "e2e/kube/go.mod requires no k8s.io/kubernetes" >&2
  exit 1
fi

# Without these a binary built outside of Kubernetes' own tree calls itself v0.0.0-master, and kubeadm refuses to go on.
minor=${version#v1.}
minor=${minor%%.*}
ldflags="-s -w"
for package in k8s.io/component-base/version k8s.io/client-go/pkg/version; do
  ldflags+=" -X $package.gitVersion=$version"
done
ldflags+=" -X k8s.io/component-base/version.gitMajor=1 -X k8s.io/component-base/version.gitMinor=$minor"

inputs() {
  { cat "$here/go.mod" "$here/go.sum" "$here"/*.go; go env GOVERSION GOOS GOARCH; echo "$ldflags"; } | sha256sum | cut -d' ' -f1
}

mkdir -p "$bin"
# The integration tests and the kind script may both want it at the same time: one builds, the other waits.
exec 9>"$binary.lock"
flock 9

want=$(inputs)
if [ ! -x "$binary" ] || [ "$(cat "$stamp" 2>/dev/null)" != "$want" ]; then
  echo "building Kubernetes $version (from nothing about ten minutes on two cores)" >&2
  # Go names every module that it downloads, some 150.
  (cd "$here" && CGO_ENABLED=0 go build -trimpath -buildvcs=false -ldflags "$ldflags" -o "$binary.new" . 2> >(sed '/^go: downloading/d' >&2))
  mv "$binary.new" "$binary"
  echo "$want" >"$stamp"
  echo "built Kubernetes $version in ${SECONDS}s" >&2
fi
echo "$binary"
