#!/usr/bin/env bash
# conformance.sh IMAGE: the suite that the fake bitcoind of rpc/rpctest passes in its own tests, against the real bitcoind
# of an image. Its processes talk over the loopback interface of one container that has no other network.
set -euo pipefail
cd "$(dirname "$0")/.."

image=${1:?usage: e2e/conformance.sh IMAGE}
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT

# Static, since the image has another C library or none.
CGO_ENABLED=0 GOOS=linux go test -c -o "$dir/conformance" ./rpc/rpctest
chmod 755 "$dir"
docker run --rm --network none --user 10001 --tmpfs /tmp --env BITCOIND=bitcoind --env HOME=/tmp --workdir /tmp \
  --volume "$dir:/suite:ro" --entrypoint /suite/conformance "$image" -test.v -test.run '^TestConformanceOfBitcoind$' -test.timeout 15m
