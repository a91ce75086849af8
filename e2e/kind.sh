#!/usr/bin/env bash
# A cluster with the controller in it, by kind: see --help. One function a verb below. offline/ has what a machine
# lacks: engine.sh a Docker engine, images.sh the two images where no registry can be reached.
# shellcheck source-path=SCRIPTDIR disable=SC1091,SC2154
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(dirname "$here")
offline=$here/offline
cache=${BTC_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/bitcoin-controller}
cluster=${CLUSTER:-btc-e2e}
ip_family=${IP_FAMILY:-ipv4}
node=$cluster-control-plane
worker=$cluster-worker
namespace=bitcoin-controller
controller_image=bitcoin-controller:dev
bitcoind_online=$(sed -n 's/.*--node-image=//p' "$root/manifests/controller/deployment.yaml")

# The node image is this kind's default; the two are released together.
kind_version=v0.33.0
kind_node=kindest/node:v1.37.0@sha256:a1ed56cfb0e7b93589bdf97c8cd566405a265939e3620fc4f5de89adff580ae5

# kind and kubectl obey it: nobody's ~/.kube/config is touched.
export KUBECONFIG=$cache/$cluster.kubeconfig
export PATH=$cache/bin:$PATH

# Where the suite writes what there is to know about a cluster on which a test failed.
export E2E_DUMP=$cache/failed/$cluster

# shellcheck source=offline/engine.sh
. "$offline/engine.sh"
# shellcheck source=offline/images.sh
. "$offline/images.sh"

usage() {
  cat <<USAGE
Usage: e2e/kind.sh VERB [--keep] [--purge]

  up      create the cluster, of two machines, or reuse it; build and load the images; install the controller and wait
          for it
  load    build and load the images again, and run the new controller
  lnd     build LND from source, and load it under the name that manifests/samples/lightning.yaml has for its image
  test    up, then the suite of rpc/rpctest with real bitcoinds, that of e2e/suite, and from the apiserver's audit log
          whether the controller's RBAC rules are what all of it needed, no more and no less. At last machines are
          drained and lost, and the controller is removed and installed again, by Helm too. A cluster created for it is
          deleted after, unless --keep. Where no engine can be had it is skipped, loudly; with CI set that is a failure
  bench   up, then measures: tables of how long a network takes to get ready and to heal. A cluster created for it is
          deleted after, unless --keep
  status  engine, clusters, nodes, controller, networks
  down    delete the cluster; stop the Docker engine if this script started it and nothing else uses it
          --purge: and delete the cache, so that the next run begins from nothing

Environment:
  CLUSTER         name of the cluster (now $cluster); several can run at once
  BITCOIND_IMAGE  what nodes run where their network names no image, and what the tests are held to, conformance
                  included: any image that the engine has or can pull. Unset: see OFFLINE
  NODE_IMAGE      node image of a cluster that is created: any release of kindest/node that the engine has or can pull,
                  or one that was built here. Unset: see OFFLINE
  OFFLINE         where the images that are not named come from. 0: ${kind_node%@*} and
                  $bitcoind_online are pulled; 1: both are built; unset: built where pulling fails
  IP_FAMILY       addresses of a cluster that is created: ipv4, or ipv6 where the engine has it (now $ip_family)
  BTC_CACHE       what is kept between runs (now $cache)

Needs Go, make and a Docker engine. On Debian, as root, it brings the engine itself.
The cluster's kubeconfig is $KUBECONFIG.
USAGE
}

main() {
  local verb='' argument
  keep='' purge=''
  for argument in "$@"; do
    case $argument in
      --keep) keep=yes ;;
      --purge) purge=yes ;;
      -h | --help) usage && exit ;;
      up | load | lnd | test | bench | status | down)
        [ -z "$verb" ] || fail "one verb at a time: $verb or $argument"
        verb=$argument
        ;;
      *) fail "don't know '$argument': see e2e/kind.sh --help" ;;
    esac
  done
  if [ -z "$verb" ]; then
    usage >&2
    exit 2
  fi
  mkdir -p "$cache/bin" "$cache/log"
  trap 'exit 130' INT
  trap 'exit 143' TERM
  trap 'exit 129' HUP
  trap cleanup EXIT
  "verb_$verb"
}

# --- verbs ---

verb_up() {
  up
  say "ready in ${SECONDS}s"
  echo "export KUBECONFIG=$KUBECONFIG"
}

verb_load() {
  lock
  engine_answers || fail "no Docker engine answers: e2e/kind.sh up"
  kind_install
  cluster_exists || fail "no cluster $cluster: e2e/kind.sh up"
  images_load
  if kubectl get deployment -n $namespace bitcoin-controller >/dev/null 2>&1; then
    controller_install
  fi
  unlock
}

verb_lnd() {
  lock
  engine_answers || fail "no Docker engine answers: e2e/kind.sh up"
  kind_install
  cluster_exists || fail "no cluster $cluster: e2e/kind.sh up"
  lnd_load
  unlock
}

verb_test() {
  local why
  if [ -z "${CI:-}" ] && ! why=$( (engine_answers || engine_may_be_ours) 2>&1); then
    say "SKIPPED: the end-to-end tests. $why"
    return
  fi
  at_exit=test_teardown
  up
  step "holding the fake bitcoind of the tests to $bitcoind_image (about 3 minutes)" \
    "$here/conformance.sh" "$bitcoind_image"
  PROMETHEUS=$("$here/prometheus.sh") || fail "Prometheus can't be built"
  export PROMETHEUS
  verb_lnd
  say "running the suite on $bitcoind_image"
  suite test -tags e2e ./e2e/suite/...
  # After the suite, and only if all was green: what a test did not get to do would be missing.
  say "comparing the controller's RBAC rules with what it asked for"
  suite audit -tags e2e ./e2e/audit/...
  say "taking machines away, and at last all that was installed (about 3 minutes)"
  suite disruptive -tags e2e,disruptive -run '^TestDisruptive$' ./e2e/suite/...
}

verb_bench() {
  at_exit=test_teardown
  up
  say "measuring, for about 8 minutes; what else runs on this machine makes it slower"
  suite bench -tags e2e,bench -run '^TestBench$' ./e2e/suite/...
}

verb_status() {
  if ! engine_answers; then
    echo "engine      none"
    return
  fi
  local whose="this machine's"
  if engine_is_ours; then
    whose="started by this script, pid $(cat "$engine_pid")"
  fi
  echo "engine      Docker $(docker version --format '{{.Server.Version}}'), $whose"
  kind_install
  echo "clusters    $(kind get clusters 2>/dev/null | xargs)"
  if ! cluster_exists; then
    echo "cluster     $cluster: none"
    return
  fi
  kubectl_install
  echo "kubeconfig  $KUBECONFIG"
  kubectl get nodes -o wide || return
  echo
  kubectl get deployments,pods -n $namespace -o wide || true
  local kind
  for kind in $(kubectl get crds -o name); do
    echo
    kubectl get "${kind#*/}" -A || true
  done
}

verb_down() {
  lock
  engine_recover
  if engine_answers; then
    kind_install
    cluster_delete
    engine_down
    say "cluster $cluster is gone"
  else
    rm -f "$KUBECONFIG"
    say "no Docker engine runs, and so no cluster"
  fi
  if [ -n "$purge" ]; then
    cache_purge
  fi
}

# --- parts of the verbs ---

up() {
  lock
  engine_up
  kind_install
  cluster_up
  images_load
  controller_install
  unlock
}

# suite NAME ARGUMENTS is go test on the cluster, shown as it runs and kept in a log of that name. It ends the script
# where a test fails.
suite() {
  run suite_run "$cache/log/$cluster-$1.log" "${@:2}"
  [ "$code" = 0 ] || exit "$code"
}

suite_run() {
  cd "$root"
  go test -count=1 -v -timeout 90m "${@:2}" 2>&1 | tee "$1"
}

# test_teardown leaves nothing of what the tests started. It is a shell of its own, for a step that fails exits.
test_teardown() {
  local log=$cache/log/$cluster-teardown.log
  if [ -n "$keep" ] || [ -z "${created:-}" ]; then
    return
  fi
  (
    lock
    cluster_delete
    engine_down
  ) >"$log" 2>&1 || { cat "$log" >&2 && return 1; }
}

cache_purge() {
  if engine_is_ours; then
    fail "the engine still runs for other clusters ($(kind get clusters 2>/dev/null | xargs)): take them down first"
  fi
  if engine_answers; then
    images_forget btc-kind-node none
    images_forget btc-lnd none
    docker image rm "$bitcoind_offline" "$controller_image" >/dev/null 2>&1 || true
  fi
  unmount_below "$cache"
  rm -rf "$cache"
  say "removed $cache"
}

# --- the cluster ---

kind_install() {
  if [ "$("$cache/bin/kind" version 2>/dev/null | awk '{print $2}')" = $kind_version ]; then
    return
  fi
  command -v go >/dev/null || fail "no go on PATH: install Go (https://go.dev/dl)"
  step "building kind $kind_version" env CGO_ENABLED=0 GOBIN="$cache/bin" \
    go install -trimpath -ldflags '-s -w' sigs.k8s.io/kind@$kind_version
}

# kubectl_install makes kubectl the version of the cluster, which is the node's own where that is a program for here.
kubectl_install() {
  if [ -x "$cache/bin/kubectl" ]; then
    return
  fi
  if [ "$(uname -s)" = Linux ]; then
    docker cp -q -L "$node:/usr/bin/kubectl" "$cache/bin/kubectl" 2>/dev/null ||
      docker cp -L "$node:/usr/bin/kubectl" "$cache/bin/kubectl"
  else
    command -v kubectl >/dev/null || fail "no kubectl on PATH: install it (https://kubernetes.io/docs/tasks/tools)"
  fi
}

cluster_exists() {
  kind get clusters 2>/dev/null | grep -qx "$cluster"
}

cluster_up() {
  if cluster_exists; then
    cluster_is_as_asked
    if cluster_answers; then
      say "reusing cluster $cluster"
      return
    fi
    say "cluster $cluster is unfinished or doesn't answer: creating it again"
    cluster_delete
  fi
  case $ip_family in
    ipv4 | ipv6) ;;
    *) fail "IP_FAMILY is '$ip_family': want ipv4, ipv6 or nothing" ;;
  esac
  node_image_choose
  local config=$cache/$cluster.kind.yaml
  cp "$here/kind.yaml" "$config"
  if built_here "$node_image"; then
    cat "$offline/kind.yaml" >>"$config"
  fi
  # The apiserver's port on this machine stays one of IPv4, which every engine can publish.
  printf 'networking: {ipFamily: %s, apiServerAddress: 127.0.0.1}\n' "$ip_family" >>"$config"
  created=yes
  step "creating cluster $cluster" cluster_create --name "$cluster" --image "$node_image" --config "$config" --wait 120s
  kubectl_install
}

# cluster_is_as_asked refuses to go on with a cluster of another node image or family than the one that was asked for.
cluster_is_as_asked() {
  local config=$cache/$cluster.kind.yaml
  if [ -n "${IP_FAMILY:-}" ] && [ -e "$config" ] && ! grep -q "ipFamily: $IP_FAMILY," "$config"; then
    fail "cluster $cluster exists and isn't of IP_FAMILY=$IP_FAMILY: take it down first, or name another CLUSTER"
  fi
  if [ -n "${NODE_IMAGE:-}" ] && [ "$(docker inspect -f '{{.Config.Image}}' "$node")" != "$NODE_IMAGE" ]; then
    fail "cluster $cluster exists and isn't of NODE_IMAGE=$NODE_IMAGE: take it down first, or name another CLUSTER"
  fi
}

# cluster_create is for the paths in kind.yaml, which are relative to the working directory. It tries twice, since
# kubeadm has deadlines of its own, which a busy machine may miss.
cluster_create() {
  cd "$root"
  if kind create cluster "$@"; then
    return
  fi
  echo "once more"
  kind delete cluster --name "$cluster"
  kind create cluster "$@"
}

# cluster_answers is whether the cluster was finished, for kind writes the kubeconfig last, and is well. One whose
# engine has just been started needs a moment.
cluster_answers() {
  [ -s "$KUBECONFIG" ] || return 1
  kubectl_install
  local attempt
  for attempt in 1 2 3 4 5 6 7 8; do
    if kubectl wait --request-timeout=3s --for=condition=Ready --timeout=3s node/"$node" node/"$worker" \
      >/dev/null 2>&1; then
      return
    fi
    sleep $((attempt / 3))
  done
  return 1
}

cluster_delete() {
  if cluster_exists; then
    step "deleting cluster $cluster" kind delete cluster --name "$cluster"
  fi
  rm -f "$KUBECONFIG" "$cache/$cluster.kind.yaml"
}

# --- which images: named by NODE_IMAGE and BITCOIND_IMAGE, else pulled, else built by offline/images.sh ---

# node_image_choose leaves the name of an image that the engine has in $node_image.
node_image_choose() {
  node_image=$kind_node
  if [ -n "${NODE_IMAGE:-}" ]; then
    node_image=$NODE_IMAGE
    image_ensure "$node_image"
    return
  fi
  case ${OFFLINE:-} in
    1) node_image_build ;;
    0) image_ensure "$node_image" ;;
    '')
      if ! host_has_sys_resource; then
        say "this machine withholds CAP_SYS_RESOURCE, without which kind's own node image starts no pod: building one"
        node_image_build
      elif ! docker image inspect "$kind_node" >/dev/null 2>&1 && ! pull_node; then
        say "can't pull ${kind_node%@*}: building the images here"
        node_image_build
      fi
      ;;
    *) fail "OFFLINE is '$OFFLINE': want 1, 0 or nothing" ;;
  esac
}

# bitcoind_image_choose leaves the name of an image that the engine has in $bitcoind_image. It is built where the node
# image was.
bitcoind_image_choose() {
  bitcoind_image=${BITCOIND_IMAGE:-$bitcoind_online}
  if [ -z "${BITCOIND_IMAGE:-}" ] && { [ "${OFFLINE:-}" = 1 ] || built_here "$node"; }; then
    bitcoind_image=$bitcoind_offline
    bitcoind_image_build
    return
  fi
  image_ensure "$bitcoind_image"
}

image_ensure() {
  docker image inspect "$1" >/dev/null 2>&1 || step "pulling $1" docker pull -q "$1"
}

# built_here is whether an image, or that of a container, is one of offline/images.sh.
built_here() {
  [ -n "$(built_of "$1")" ]
}

# pull_node gives the registry 20 seconds to answer and then the image all the time it takes.
pull_node() {
  local log=$cache/log/pull.log deadline=$((SECONDS + 20)) pull
  say "pulling ${kind_node%@*}"
  docker pull "$kind_node" >"$log" 2>&1 &
  pull=$!
  while alive $pull && ! grep -q 'Pulling from' "$log"; do
    if [ $SECONDS -ge $deadline ]; then
      kill $pull
      break
    fi
    sleep 0.2
  done
  wait $pull
}

# --- images in the cluster ---

images_load() {
  local before
  before=$(docker image inspect -f '{{.Id}}' $controller_image 2>/dev/null || true)
  step "building the controller's image" make -s -C "$root" image
  if [ -n "$before" ] && [ "$before" != "$(docker image inspect -f '{{.Id}}' $controller_image)" ]; then
    docker image rm "$before" >/dev/null 2>&1 || true # nameless now
  fi
  image_load $controller_image
  bitcoind_image_choose
  image_load "$bitcoind_image"
}

image_load() {
  image_is_loaded "$1" || step "loading $1" image_load_or_pull "$1"
}

# lnd_load makes an image of what lnd.sh built. It has the name of the public one in the cluster alone, which is nobody
# else's: this machine's engine may have, or get, the public one itself.
lnd_load() {
  local dir local_name machine name
  dir=$("$here/lnd.sh") || fail "LND can't be built"
  name=$(sed -n 's/^ *image: //p' "$root/manifests/samples/lightning.yaml" | sort -u)
  local_name=btc-lnd:${dir##*/lnd-}
  step "building the image of LND" docker build -q -t "$local_name" -f "$here/lightning/Dockerfile" "$dir"
  image_load "$local_name"
  for machine in $(machines); do
    docker exec "$machine" ctr --namespace k8s.io images tag --force "docker.io/library/$local_name" "$name" >/dev/null
  done
}

# image_load_or_pull: some engines save one of several platforms of an image in a way that kind can't load (kind issue
# 3795). The nodes can pull an image of a registry themselves.
image_load_or_pull() {
  local machine
  kind load docker-image --name "$cluster" "$1" && return
  for machine in $(machines); do
    docker exec "$machine" crictl pull "$1"
  done
}

# image_is_loaded is whether the name means the same image in all nodes as it does here.
image_is_loaded() {
  local machine
  for machine in $(machines); do
    image_is_loaded_in "$machine" "$1" || return
  done
}

# machines are the containers that are the cluster's nodes.
machines() {
  kind get nodes --name "$cluster" 2>/dev/null
}

# image_is_loaded_in: kind asks crictl, which not every node has. containerd knows an image by its name and by its id,
# and both must point to the same thing.
image_is_loaded_in() {
  local id machine=$1 name=$2
  id=$(docker image inspect -f '{{.Id}}' "$name")
  case $name in
    */*/*) ;;
    */*) name=docker.io/$name ;;
    *) name=docker.io/library/$name ;;
  esac
  docker exec "$machine" ctr --namespace k8s.io images list | awk -v name="$name" -v id="$id" '
    $1 == name {of_name = $3}
    $1 == id {of_id = $3}
    END {exit !(of_name != "" && of_name == of_id)}'
}

# --- the controller ---

# controller_install applies the manifests and waits until the image that was loaded last is what runs. Which one that
# is the tag doesn't say, so the id is written at the Deployment after the fact: cut off in the middle, the next run
# restarts it once more.
controller_install() {
  local id before
  id=$(docker image inspect -f '{{.Id}}' $controller_image)
  before=$(controller_image_id)
  step "installing the controller" controller_apply
  if [ "$before" != "$id" ] && [ "$before" != none ]; then
    kubectl rollout restart -n $namespace deployment/bitcoin-controller >/dev/null
  fi
  if ! controller_wait; then
    kubectl describe deployments,pods -n $namespace >&2 || true
    kubectl logs -n $namespace deployment/bitcoin-controller --tail 60 >&2 || true
    fail "the controller did not become ready"
  fi
  kubectl annotate --overwrite -n $namespace deployment/bitcoin-controller "$image_annotation=$id" >/dev/null
}

# controller_apply is manifests/ with the image of bitcoind. It is forced: a test that scaled the Deployment and died
# must not stop the next one.
controller_apply() {
  kubectl kustomize "$root/manifests" | sed "s|--node-image=.*|--node-image=$bitcoind_image|" |
    kubectl apply --server-side --force-conflicts -f -
}

image_annotation=e2e.bitcoin-controller/image

# controller_image_id is the id of the image that is known to run, or none where no controller is installed.
controller_image_id() {
  kubectl get deployment -n $namespace bitcoin-controller \
    -o "jsonpath={.metadata.annotations.e2e\.bitcoin-controller/image}" 2>/dev/null || echo none
}

controller_wait() {
  local started=$SECONDS
  say "waiting for the controller"
  kubectl rollout status -n $namespace deployment/bitcoin-controller --timeout 5m \
    >"$cache/log/$cluster-rollout.log" 2>&1 || return
  say "waiting for the controller: $((SECONDS - started))s"
}

# --- progress, processes, the lock ---

say() {
  echo "==> $*"
}

fail() {
  echo "kind.sh: $*" >&2
  exit 1
}

# step runs something that takes a while: a line when it begins, one with the time it took, its output only if it fails.
step() {
  local what=$1 started=$SECONDS log
  shift
  log=$cache/log/$(echo "${what%% (*}" | tr -c 'a-zA-Z0-9\n' '-' | cut -c1-40).log
  say "$what"
  run "$@" >"$log" 2>&1
  if [ "$code" != 0 ]; then
    tail -n 40 "$log" >&2
    fail "$what: failed with code $code; the whole output is in $log"
  fi
  say "${what%% (*}: $((SECONDS - started))s"
}

# run leaves the exit code of a command in $code. The command is a process group of its own that the script waits for:
# bash would run a trap only after the command has ended, so a signal ends both at once. The code is not returned, for
# whoever asks by "if run ..." or "run ... ||" turns off set -e for all that the command does.
run() {
  code=0
  set -m
  ("$@") </dev/null &
  child=$!
  set +m
  wait $child 2>/dev/null || code=$?
  child=''
}

child='' at_exit='' code=0

# cleanup ends what runs, and then what the verb wants to be ended, by the end of the script or by a signal.
cleanup() {
  local exit_code=$?
  trap '' INT TERM HUP
  if [ -n "$child" ]; then
    kill -TERM -- "-$child" 2>/dev/null || true
    wait "$child" 2>/dev/null || true
  fi
  if [ -n "$at_exit" ] && ! $at_exit && [ $exit_code = 0 ]; then
    exit_code=1
  fi
  exit $exit_code
}

# One at a time prepares or takes down on a machine: images, engine and caches are shared by its clusters.
lock() {
  command -v flock >/dev/null || return 0
  exec 9>"$cache/lock"
  if ! flock -n 9; then
    say "waiting for another run of this script"
    flock 9
  fi
}

unlock() {
  exec 9>&-
}

main "$@"
