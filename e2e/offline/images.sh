# shellcheck shell=bash disable=SC2154
# Images for machines which can reach no registry, from Go modules and Debian's packages.
# Sourced by ../kind.sh, which brings say, fail, run, step, $cache and $offline.

debian=trixie

# An image carries the hash of what it was made of.
label=bitcoin-controller.inputs
bitcoind_offline=bitcoin-knots:$debian

# images_can_be_built says what it takes where it can't be done. What is here already needs none of it.
images_can_be_built() {
  if [ "$(uname -s)" != Linux ] || [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
    fail "no registry answers, and images are built on Debian only, as root: there, or with a registry, run this" \
      "again (OFFLINE=0 says why pulling fails)"
  fi
  packages_ensure mmdebstrap debian-archive-keyring
}

# --- the node ---

# node_image_build leaves the name of the image in $node_image.
node_image_build() {
  images_can_be_built
  kube_build
  local inputs
  inputs=$(hash_of "$offline/images.sh" "$offline/runc-nocap" "$offline"/node/* "$kube.inputs" "$coredns.inputs" \
    "$kube_router.inputs" "$local_path.inputs")
  node_image=btc-kind-node:$inputs
  if docker image inspect "$node_image" >/dev/null 2>&1; then
    return
  fi
  step "building the node image (about a minute)" node_image_assemble "$node_image" "$inputs"
}

# kube_build leaves the paths of the binaries in $kube, $coredns, $kube_router and $local_path. The last three are quick
# after the first.
kube_build() {
  local what
  for what in kube coredns kube-router local-path-provisioner; do
    run "$here/kube/build.sh" $what >"$cache/$what.path"
    [ "$code" = 0 ] || fail "building $what failed with code $code"
  done
  kube=$(cat "$cache/kube.path")
  coredns=$(cat "$cache/coredns.path")
  kube_router=$(cat "$cache/kube-router.path")
  local_path=$(cat "$cache/local-path-provisioner.path")
  ln -sf "$(basename "$kube")" "$cache/bin/kubectl"
}

node_image_assemble() {
  local tag=$1 inputs=$2 stage=$cache/stage-node name
  rm -rf "$stage"
  mkdir -p "$stage/node/kube" "$stage/images"
  ln "$kube" "$stage/node/kube/kube"
  for name in etcd kube-apiserver kube-controller-manager kube-proxy kube-scheduler kubeadm kubectl kubelet; do
    ln -s kube "$stage/node/kube/$name"
  done
  cp -al "$stage/node/kube" "$stage/images"

  debian_tree "$stage/node/debian.tar" --variant=essential --include="$(package_list "$offline/node/packages")" \
    --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' \
    --dpkgopt='path-exclude=/usr/share/locale/*'
  cp "$offline"/node/* "$offline/runc-nocap" "$stage/node"
  kube_version >"$stage/node/version"
  docker build -q --network host -t btc-kind-build:node "$stage/node"

  # The files of the packages only: nobody installs anything in the image of kube-proxy. mmdebstrap ends such a tree
  # early: of its hooks it runs the extract ones, and the customize ones never, without a word.
  debian_tree "$stage/images/iptables.tar" --variant=extract --include=base-files,iptables,ipset,iproute2 \
    --extract-hook="$offline/node/iptables-links"
  tar -xOf "$stage/node/debian.tar" ./usr/bin/busybox >"$stage/images/busybox"
  chmod +x "$stage/images/busybox"
  mkdir "$stage/images/commands"
  for name in sh mkdir rm; do
    ln -s /busybox "$stage/images/commands/$name"
  done
  ln "$coredns" "$stage/images/coredns"
  ln "$kube_router" "$stage/images/kube-router"
  ln "$local_path" "$stage/images/local-path-provisioner"
  for name in control-plane kube-proxy coredns pause kube-router local-path-provisioner; do
    docker build -q -f "$offline/node/images.Dockerfile" --target "$name" -t "btc-kind-build:$name" "$stage/images"
  done

  node_image_preload "$tag" "$inputs"
  for name in control-plane kube-proxy coredns pause kube-router local-path-provisioner node; do
    docker image rm -f "btc-kind-build:$name" >/dev/null
  done
  images_forget btc-kind-node "$inputs"
  rm -rf "$stage"
}

# node_image_preload puts the images of the control plane into the node's containerd, as kind's own build does: the
# importing containerd runs in a container of the image, whose /var then is committed. kubeadm says which images it
# wants. What is inside may be another version, as etcd's is: kubeadm looks at the names only. The last two are those
# that cni.yaml and storage.yaml name.
node_image_preload() {
  local tag=$1 inputs=$2 build=btc-kind-build image images part
  images=$("$kube" kubeadm config images list --kubernetes-version "$(kube_version)")
  mapfile -t images <<<"$images"
  images+=(kube-router:offline local-path-provisioner:offline)
  for image in "${images[@]}"; do
    part=${image##*/} part=${part%:*}
    case $part in
      coredns | kube-proxy | kube-router | local-path-provisioner) ;;
      pause)
        if ! grep -q "sandbox_image = \"$image\"" "$offline/node/containerd.toml"; then
          echo "kubeadm wants $image: let sandbox_image of offline/node/containerd.toml be the same"
          return 1
        fi
        ;;
      *) part=control-plane ;; # etcd, too
    esac
    docker tag "$build:$part" "$image"
  done

  docker rm -f $build >/dev/null 2>&1 || true
  docker run -d --name $build --network none --entrypoint sleep $build:node infinity
  docker exec -d $build containerd
  docker exec $build sh -c 'for i in $(seq 100); do ctr version >/dev/null 2>&1 && exit; sleep 0.1; done; exit 1'
  # Not unpacked, for that takes mounts; the node does it when it starts. Pinned: the kubelet can't fetch them again.
  docker save "${images[@]}" | docker exec -i $build ctr --namespace k8s.io images import \
    --label io.cri-containerd.pinned=pinned --no-unpack --digests -
  docker stop -t 5 $build >/dev/null
  docker commit --change "LABEL $label=$inputs" \
    --change 'ENTRYPOINT ["/usr/local/bin/entrypoint", "/sbin/init"]' $build "$tag"
  docker rm -f $build >/dev/null
  docker image rm "${images[@]}" >/dev/null
}

# --- bitcoind ---

bitcoind_image_build() {
  local inputs
  inputs=$(hash_of "$offline/images.sh" "$offline"/bitcoind/*)
  if [ "$(built_of "$bitcoind_offline")" = "$inputs" ]; then
    return
  fi
  images_can_be_built
  step "building the bitcoind image" bitcoind_image_assemble "$inputs"
  docker image prune -f --filter "label=$label" >/dev/null # its nameless predecessor
}

bitcoind_image_assemble() {
  local stage=$cache/stage-bitcoind
  rm -rf "$stage"
  mkdir -p "$stage"
  cp "$offline"/bitcoind/* "$stage"
  debian_tree "$stage/debian.tar" --variant=extract --include="$(package_list "$offline/bitcoind/packages")" \
    --extract-hook="$offline/bitcoind/trim" "deb $(debian_mirror) $debian-backports main"
  docker build -q --label "$label=$1" -t "$bitcoind_offline" "$stage"
  # A library that is missing shows here, not in a pod which crashes.
  docker run --rm --network none --read-only --user 10001 "$bitcoind_offline" bitcoind -version
  rm -rf "$stage"
}

# --- parts ---

# built_of is the hash of what an image was made of, or that of a container; nothing if it was not made here.
built_of() {
  docker inspect -f "{{index .Config.Labels \"$label\"}}" "$1" 2>/dev/null || true
}

# debian_tree writes a tree of packages into the tar file $1; the other arguments are mmdebstrap's, and more sources.
debian_tree() {
  local tar=$1 argument options=() sources=("deb $(debian_mirror) $debian main")
  shift
  for argument in "$@"; do
    case $argument in
      -*) options+=("$argument") ;;
      *) sources+=("$argument") ;;
    esac
  done
  # What this machine's apt needs in order to reach Debian (a proxy, say) the apt of the new tree needs as well.
  apt-config dump | grep -E '^Acquire::(http|https|Check-|Retries|ForceIPv)' >"$cache/apt.conf" || true
  mkdir -p "$cache/tmp"
  TMPDIR=$cache/tmp mmdebstrap --mode=root --format=tar --aptopt="$cache/apt.conf" "${options[@]}" \
    $debian "$tar" "${sources[@]}"
}

# debian_mirror is the one this machine's apt gets its own Debian from.
debian_mirror() {
  local mirror
  # shellcheck disable=SC2016 # apt's variable, not the shell's
  mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Origin: Debian' 'Label: Debian' |
    sed -n 1p)
  echo "${mirror:-http://deb.debian.org/debian}"
}

package_list() {
  grep -v '^#' "$1" | xargs | tr ' ' ','
}

hash_of() {
  cat "$@" | sha256sum | cut -c1-12
}

kube_version() {
  basename "$kube" | sed 's/^kube-//'
}

# images_forget removes the images of repository $1 other than the tag $2; one that a cluster runs stays.
images_forget() {
  docker images --format '{{.Repository}}:{{.Tag}}' "$1" | grep -v ":$2\$" | while IFS= read -r old; do
    docker image rm "$old" >/dev/null 2>&1 || true
  done || true
}
