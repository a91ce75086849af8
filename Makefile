# `make help` lists the targets.
IMAGE    ?= bitcoin-controller:dev
# A count, as Go up to 1.26 may fail a target whose *time* is up: go.dev/issue/75804.
FUZZTIME ?= 50000x
VERSION  ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
# A shell of its own for every line, which stops at the first error.
SHELL       := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  make %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: ## boot a cluster on this machine, run a network of 3 nodes in it, mine a block
	@e2e/demo.sh

down: ## stop what `make demo` left running
	@CLUSTER=btc-demo e2e/kind.sh down

test: test-unit test-alerts fuzz test-integration test-e2e ## all tests

test-unit: ## tests that need nothing but Go and a C compiler
	@.ci/need gcc:build-essential  # the race detector needs a C compiler
	go test -race ./...
	go -C e2e/admission/inprocess test -count=1 ./...  # the cache would not see a changed CRD

test-alerts: ## unit tests of the alerts, by Prometheus' promtool
	@PROMETHEUS=$$(e2e/prometheus.sh) && export PROMETHEUS && go test -tags promtool -run '^TestEachAlertFiresWhenItHasTo$$' -count=1 ./e2e/monitoring

test-integration: ## tests against a real apiserver and its controllers, with simulated pods; Linux
	@e2e/integration.sh

test-e2e: ## tests on a kind cluster with real bitcoind, the controller within it (BITCOIND_IMAGE=name:tag)
	@CLUSTER=btc-e2e e2e/kind.sh test

bench: ## how long networks of 3 to 20 nodes take to get ready and to heal, on a kind cluster
	@CLUSTER=btc-bench e2e/kind.sh bench

fuzz: ## look for replies that the RPC client can't bear, FUZZTIME for each of two targets
	go test -run xxx -fuzz '^FuzzReply$$' -fuzztime $(FUZZTIME) -fuzzminimizetime 1s ./rpc
	go test -run xxx -fuzz '^FuzzBatch$$' -fuzztime $(FUZZTIME) -fuzzminimizetime 1s ./rpc

# The same sources and VERSION are the same bytes, wherever they are built: .ci/reproducible.
build: ## the controller as a static binary for Linux, bin/bitcoin-controller
	CGO_ENABLED=0 GOOS=linux go build -trimpath -buildvcs=false -ldflags '-s -w -X main.version=$(VERSION)' -o bin/bitcoin-controller .

image: build ## the image of the controller, into the Docker engine (IMAGE=name:tag)
	docker build --quiet --tag $(IMAGE) --file Dockerfile bin

sbom: build ## what is linked into the controller, as CycloneDX: bin/bitcoin-controller.cdx.json
	go build -C .ci/tools -o "$$PWD/bin/sbom" ./sbom
	bin/sbom bin/bitcoin-controller $(VERSION) >bin/bitcoin-controller.cdx.json

vulnerabilities: ## whether code with a known vulnerability is called
	@.ci/vulnerabilities

lint: ## gofmt, vet, staticcheck, shellcheck
	@.ci/lint

chart: ## the Helm chart as an archive in dist/ (VERSION, IMAGE=name:tag)
	@.ci/chart '$(VERSION)' '$(IMAGE)'

clean: ## delete what was built in this checkout
	rm -rf bin dist

.PHONY: help demo down test fuzz test-unit test-alerts test-integration test-e2e bench build image sbom vulnerabilities lint chart clean
