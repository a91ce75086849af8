# `make help` lists the targets.
IMAGE    ?= bitcoin-controller:dev
# What the binary and the image are for, amd64 or arm64: this machine's own, unless it is named.
GOARCH   ?= $(shell go env GOARCH)
# A count, as Go up to 1.26 may fail a target whose *time* is up: go.dev/issue/75804.
FUZZTIME ?= 50000x
VERSION  ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
# Where dist/ will be for those who download it: the krew manifest names its files there.
RELEASE_URL ?= https://github.com/bitcoin-controller/bitcoin-controller/releases/download/$(VERSION)
# Go for tools, which run here, whatever the GOARCH is that the controller is built for.
TOOL     := env -u GOOS -u GOARCH go
# A shell of its own for every line, which stops at the first error.
SHELL       := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z0-9.-]+:.*## / {printf "  make %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: ## boot a cluster on this machine, run a network of 3 nodes in it, mine a block
	@e2e/demo.sh

down: ## stop what `make demo` left running
	@CLUSTER=btc-demo e2e/kind.sh down

test: test-unit test-alerts fuzz test-integration test-e2e ## all tests

test-unit: ## tests that need nothing but Go and a C compiler
	@.ci/need gcc:build-essential  # the race detector needs a C compiler
	go test -race ./...
	go -C e2e/admission/inprocess test -count=1 ./...  # the cache would not see a changed CRD
	go -C e2e/rival test ./...

test-alerts: ## unit tests of the alerts, by Prometheus' promtool
	@PROMETHEUS=$$(e2e/prometheus.sh) && export PROMETHEUS && go test -tags promtool -run '^TestEachAlertFiresWhenItHasTo$$' -count=1 ./e2e/monitoring

test-integration: ## tests against a real apiserver and its controllers, with simulated pods; Linux
	@e2e/integration.sh

# About an hour. Without ONLY the report begins anew.
faults: ## all plans of faults, of which test-integration takes a sample, into docs/fault-report.md (ONLY=regexp)
	@[ -n '$(ONLY)' ] || rm -f docs/fault-report.md
	FAULTS=all go -C e2e/admission/inprocess test -count=1 -timeout 2h -run '^TestWhatIsRefusedIsNamed' ./...
	FAULTS=all FAULTS_REPORT="$$PWD/docs/fault-report.md" \
	  e2e/integration.sh -timeout 12h -parallel 10 -run '$(or $(ONLY),^TestFaults)'

test-e2e: ## tests on a kind cluster with real bitcoind, the controller within it (BITCOIND_IMAGE=name:tag)
	@CLUSTER=btc-e2e e2e/kind.sh test

# The whole of it takes about four hours. `make bench RUNS=1 SIZES=3,10 ONLY=^apply` is a minute: e2e/bench/run.sh --help.
bench: ## what the controller costs, beside a rival, in a simulated cluster (RUNS, ONLY=regexp, SIZES=3,10, IDLE=10m); Linux
	@e2e/bench/run.sh

bench-real: ## how long networks of 3 to 20 nodes take to get ready, to heal, to be cut in two and joined, on a kind cluster
	@CLUSTER=btc-bench e2e/kind.sh bench

fuzz: ## look for replies that the RPC client can't bear, FUZZTIME for each of two targets
	go test -run xxx -fuzz '^FuzzReply$$' -fuzztime $(FUZZTIME) -fuzzminimizetime 1s ./rpc
	go test -run xxx -fuzz '^FuzzBatch$$' -fuzztime $(FUZZTIME) -fuzzminimizetime 1s ./rpc

# The same sources, VERSION and IMAGE are the same bytes, wherever they are built: .ci/reproducible.
build: ## the controller as a static binary for Linux, bin/bitcoin-controller (GOARCH=amd64|arm64)
	@case '$(GOARCH)' in amd64 | arm64) ;; \
	*) echo "GOARCH is '$(GOARCH)': the controller is built for amd64 and for arm64" >&2; exit 2 ;; esac
	CGO_ENABLED=0 GOOS=linux GOARCH=$(GOARCH) go build -trimpath -buildvcs=false \
	  -ldflags '-s -w -X main.version=$(VERSION)' -o bin/bitcoin-controller .

plugin: ## the kubectl plugin as a static binary, bin/kubectl-btcnet (GOOS=linux|darwin|windows, GOARCH=amd64|arm64)
	CGO_ENABLED=0 GOARCH=$(GOARCH) go build -trimpath -buildvcs=false -ldflags '-s -w -X main.version=$(VERSION)' -o bin/ \
	  ./cmd/kubectl-btcnet

image: image-archive ## the image of the controller, into the Docker engine (IMAGE=name:tag, GOARCH=amd64|arm64)
	docker load --quiet --input bin/image.tar

image-archive: build ## the image as a file, bin/image.tar; no engine is needed (IMAGE=name:tag, GOARCH=amd64|arm64)
	$(TOOL) build -C .ci/tools -o "$$PWD/bin/image" ./image
	bin/image bin/bitcoin-controller '$(IMAGE)' '$(VERSION)' bin/image.tar

sbom: build ## what is linked into the controller, as CycloneDX: bin/bitcoin-controller.cdx.json
	$(TOOL) build -C .ci/tools -o "$$PWD/bin/sbom" ./sbom
	bin/sbom bin/bitcoin-controller $(VERSION) >bin/bitcoin-controller.cdx.json

install.yaml: ## all of manifests/ in one file, dist/install.yaml (IMAGE=name:tag, BITCOIND_IMAGE=name:tag)
	@mkdir -p dist
	.ci/install-yaml '$(IMAGE)' '$(BITCOIND_IMAGE)' >dist/install.yaml.new
	@mv dist/install.yaml.new dist/install.yaml

# How a release is made: write its section of CHANGELOG.md, commit, `git tag v1.2.3`, and on that commit
#
#   make release VERSION=v1.2.3 IMAGE=registry.example.com/you/bitcoin-controller:v1.2.3 \
#     RELEASE_URL=https://example.com/v1.2.3
#
# Nothing is published by that. Whoever does so pushes the two images as IMAGE-amd64 and IMAGE-arm64, makes one list IMAGE
# of both (docker manifest create), and uploads dist/ to RELEASE_URL. Anybody can make it again, and compare SHA256SUMS.
release: ## what users download, in dist/: binaries, images, install.yaml, chart, plugin (VERSION, IMAGE, RELEASE_URL)
	@.ci/release '$(VERSION)' '$(if $(filter file,$(origin IMAGE)),bitcoin-controller:$(VERSION),$(IMAGE))' '$(RELEASE_URL)'

vulnerabilities: ## whether code with a known vulnerability is called
	@.ci/vulnerabilities

lint: ## gofmt, vet, staticcheck, shellcheck, helm lint
	@.ci/lint

chart: ## the Helm chart as an archive in dist/ (VERSION, IMAGE=name:tag)
	@.ci/chart '$(VERSION)' '$(IMAGE)'

clean: ## delete what was built in this checkout
	rm -rf bin dist

.PHONY: help demo down test fuzz faults test-unit test-alerts test-integration test-e2e bench bench-real build plugin image \
  image-archive sbom install.yaml release vulnerabilities lint chart clean
