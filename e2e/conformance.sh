#!/usr/bin/env bash
# conformance.sh IMAGE: against the real bitcoind of an image, the suite that the fake bitcoind of rpc/rpctest passes in its
# own tests, and the meshing of nodes with addresses of either family. The processes talk over the loopback interface of one
# container that has no other network.
set -euo pipefail
cd "$(dirname "$0")/.."

image=${1:?usage: e2e/conformance.sh IMAGE}
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
chmod 755 "$dir"

# against_bitcoind PACKAGE TEST
against_bitcoind() {
  # Static, since the image has another C library or none; with the flags of the controller, so that packages are there already.
  CGO_ENABLED=0 GOOS=linux go test -trimpath -c -o "$dir/tests" "$1"
  docker run --rm --network none --sysctl net.ipv6.conf.lo.disable_ipv6=0 --user 10001 --tmpfs /tmp --workdir /tmp \
    --env BITCOIND=bitcoind --env HOME=/tmp --volume "$dir:/suite:ro" --entrypoint /suite/tests "$image" \
    -test.v -test.run "^$2\$" -test.timeout 15m
}
against_bitcoind ./rpc/rpctest TestConformanceOfBitcoind
against_bitcoind ./reconcile TestBitcoindsOfEitherFamilyAreMeshed
