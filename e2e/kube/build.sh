#!/usr/bin/env bash
# build.sh [kube|coredns|kube-router|local-path-provisioner]: builds Kubernetes as one binary, or the DNS, the network
# or the provisioner of volumes of its clusters, when it is missing or its sources changed, and prints its path on
# stdout. The name a link to the binary of Kubernetes carries says which component it is: kubectl, kube-apiserver, etcd,
# ... (see main.go).
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
bin=${BTC_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/bitcoin-controller}/bin
what=${1:-kube}
ldflags="-s -w"
folder=$here
case $what in
  kube)
    module=k8s.io/kubernetes package=.
    takes="from nothing six to ten minutes on two cores"
    ;;
  coredns)
    module=github.com/coredns/coredns package=./coredns
    takes="half a minute after Kubernetes, which shares most packages with it"
    ;;
  # These two are built as they are, in a module of their own: what they require would change Kubernetes' own modules.
  kube-router)
    folder=$here/addons module=github.com/cloudnativelabs/kube-router/v2 package=$module/cmd/kube-router
    takes="about a minute on two cores"
    ;;
  local-path-provisioner)
    folder=$here/addons module=github.com/rancher/local-path-provisioner package=$module
    takes="about a minute on two cores"
    ;;
  *)
    echo "usage: e2e/kube/build.sh [kube|coredns|kube-router|local-path-provisioner]" >&2
    exit 2
    ;;
esac
version=$(awk -v module=$module '$1 == module && NF > 1 {print $2}' "$folder/go.mod")
if [ -z "$version" ]; then
  echo "$folder/go.mod requires no $module" >&2
  exit 1
fi

if [ "$what" = kube ]; then
  # Built outside of Kubernetes' own tree it calls itself v0.0.0-master without these, and kubeadm refuses to go on.
  minor=${version#v1.}
  for stamped in k8s.io/component-base/version k8s.io/client-go/pkg/version; do
    ldflags+=" -X $stamped.gitVersion=$version"
  done
  ldflags+=" -X k8s.io/component-base/version.gitMajor=1 -X k8s.io/component-base/version.gitMinor=${minor%%.*}"
fi

inputs() {
  {
    cat "$folder/go.mod" "$folder/go.sum"
    [ "$folder" != "$here" ] || cat "$here/$package"/*.go
    go env GOVERSION GOOS GOARCH
    echo "$ldflags"
  } | sha256sum | cut -d' ' -f1
}

binary=$bin/$what-$version
stamp=$binary.inputs
mkdir -p "$bin"
# The integration tests and the kind script may both want it at the same time: one builds, the other waits.
exec 9>"$binary.lock"
flock 9

want=$(inputs)
if [ ! -x "$binary" ] || [ "$(cat "$stamp" 2>/dev/null)" != "$want" ]; then
  echo "building $what $version ($takes)" >&2
  # Go names every module that it downloads, some 150.
  (
    cd "$folder"
    CGO_ENABLED=0 go build -trimpath -buildvcs=false -ldflags "$ldflags" -o "$binary.new" $package \
      2> >(sed '/^go: downloading/d' >&2)
  )
  mv "$binary.new" "$binary"
  echo "$want" >"$stamp"
  echo "built $what $version in ${SECONDS}s" >&2
fi
echo "$binary"
