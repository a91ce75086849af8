#!/usr/bin/env bash
# The main job, shown on a real cluster on this machine: a network of three nodes that know each other, and a block that
# one mines and all have. The cluster stays until `make down`.
set -euo pipefail
cd "$(dirname "$0")/.."
export CLUSTER=btc-demo
cache=${BTC_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/bitcoin-controller}

e2e/kind.sh up
export KUBECONFIG=$cache/$CLUSTER.kubeconfig PATH=$cache/bin:$PATH

# show prints a command and runs it, so that it can be tried again.
show() {
  printf '\n$'
  printf ' %q' "$@"
  echo
  "$@"
}

cli() {
  kubectl exec "my-network-sts-$1" -- bitcoin-cli "${@:2}"
}

show kubectl apply -f manifests/samples/my-network.yaml
show kubectl wait btcnet/my-network --for=condition=Ready --timeout=10m
show kubectl get btcnet
show kubectl get pods -o wide
show kubectl exec my-network-sts-0 -- bitcoin-cli getaddednodeinfo

echo
echo "Node 0 mines a block; the others get it from their peers:"
height=$(($(cli 0 getblockcount) + 1))
show kubectl exec my-network-sts-0 -- bitcoin-cli generatetodescriptor 1 'raw(51)'
deadline=$((SECONDS + 120))
for ordinal in 0 1 2; do
  until found=$(cli $ordinal getblockcount) && [ "$found" -ge $height ]; do
    if [ $SECONDS -ge $deadline ]; then
      echo "node $ordinal has ${found:-no} blocks, not $height" >&2
      exit 1
    fi
    sleep 0.2
  done
  echo "my-network-sts-$ordinal: height $found, best block $(cli $ordinal getbestblockhash)"
done

cat <<NEXT

It works. To look further:
  export KUBECONFIG=$KUBECONFIG PATH=$cache/bin:\$PATH
  kubectl get btcnet my-network -o yaml                  # the network's status, node by node
  kubectl delete pod my-network-sts-1                    # watch it heal: kubectl get btcnet -w
  kubectl patch btcnet my-network --type=merge --patch '{"spec": {"nodes": 5}}'
  kubectl patch btcnet my-network --type=merge --patch '{"spec": {"mining": {"interval": "10s"}}}'    # blocks, and coins
  kubectl exec my-network-sts-0 -- bitcoin-cli getpeerinfo
  kubectl logs -n bitcoin-controller deployment/bitcoin-controller
  make plugin && PATH=\$PWD/bin:\$PATH kubectl btcnet status my-network    # and split it, reorganise it, draw it: docs/plugin.md
To stop it all:
  make down
NEXT
