# Copyright The devicecert-operator Authors.
# SPDX-License-Identifier: Apache-2.0

MAKEFLAGS += --no-print-directory
# The tools are built once; `make verify` works on a copy of the tree and shares them.
TOOLS ?= $(CURDIR)/bin/tools
FUZZTIME ?= 20s
FLOOD ?= 10000
TESTFLAGS ?= -race -shuffle=on -timeout=20m

CONTROLLER_GEN := $(TOOLS)/controller-gen
LINTER := $(TOOLS)/golangci-lint-kube-api-linter
GOVULNCHECK := $(TOOLS)/govulncheck
HELM := $(TOOLS)/helm

.PHONY: help
help: ## Show this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: build
build: ## Build the programs of cmd/ into bin/
	CGO_ENABLED=0 go build -trimpath -o bin/ ./cmd/...

.PHONY: controlplane
controlplane: ## Build etcd and Kubernetes for tests and demo into bin/k8s/ (once, about six minutes)
	@hack/controlplane/build.sh bin/k8s

.PHONY: generate
generate: $(CONTROLLER_GEN) ## Regenerate deepcopy functions and apply configurations
	rm -rf internal/applyconfiguration
	$(CONTROLLER_GEN) object:headerFile=hack/boilerplate.go.txt paths=./api/...
	$(CONTROLLER_GEN) applyconfiguration:headerFile=hack/boilerplate.go.txt paths=./api/...

.PHONY: manifests
manifests: $(CONTROLLER_GEN) ## Regenerate the CRDs, the manager's roles and Argo CD's scripts in config/, and the chart from them
	rm -f config/crd/bases/*.yaml
	$(CONTROLLER_GEN) crd paths=./api/... output:crd:dir=config/crd/bases
	$(CONTROLLER_GEN) rbac:roleName=manager-role paths=./controllers/... output:rbac:dir=config/rbac
	go run ./hack/roles
	go run ./hack/chart
	go run ./hack/gitops

.PHONY: docs
docs: ## Regenerate docs/reference from the types, the CRDs and the flags
	go run ./hack/docs

.PHONY: verify
verify: $(CONTROLLER_GEN) ## Check that generated files, formatting and go.mod are up to date, and vet
	@TOOLS=$(TOOLS) hack/verify.sh

.PHONY: lint
lint: $(LINTER) ## Run the linters of .golangci.yml
	$(LINTER) run ./...

.PHONY: prerequisites
prerequisites: ## Install what the tests compare with (openssl, Java, nginx, ...), where apt-get can
	@hack/prerequisites.sh

.PHONY: helm
helm: $(HELM) ## Build Helm, which tests and packages the chart

.PHONY: test
test: prerequisites build controlplane helm $(CONTROLLER_GEN) ## Run all tests
	go test $(TESTFLAGS) ./...

.PHONY: e2e
e2e: prerequisites build controlplane helm ## Run only the tests of whole processes, and walk the quick start
	go test $(TESTFLAGS) ./test/e2e/... ./test/walk/...

.PHONY: faults
faults: build controlplane ## Break every step of the protocol once; table in bin/faults/result.json
	go test ./test/faults -count=1 -timeout=60m -faults.full -faults.result=$(CURDIR)/bin/faults/result.json

.PHONY: faults-pairs
faults-pairs: build controlplane ## Kill the manager at every ordered pair of steps of creating and renewing
	go test ./test/faults -count=1 -timeout=90m -run=TestWhateverBreaks -faults.pairs
	go test ./controllers -count=1 -timeout=30m -run=TestTwoCrashesInARow -controllers.pairs

.PHONY: mutants
mutants: build controlplane ## Take one safeguard out at a time and expect a test to fail
	go run ./test/faults/mutants

.PHONY: watcher
watcher: controlplane ## Watch a Secret through a thousand renewals under edits: never a mismatched or partial set
	go test ./controllers -run TestAWatcherNeverSees -count=1 -timeout=60m -renewals=1000

.PHONY: fuzz
fuzz: ## Run every fuzz target for FUZZTIME (20s)
	@hack/fuzz.sh $(FUZZTIME)

N ?= 500,2000

.PHONY: bench
bench: build controlplane ## Measure fleets of N (500,2000) certificates as whole processes; results in bin/bench/
	go run ./test/bench -n $(N)

.PHONY: bench-go
bench-go: ## Run the benchmarks of single functions
	@grep -rlE '^func Benchmark' --include='*_test.go' . | xargs -r -n1 dirname | sort -u | \
		xargs -r go test -run='^$$' -bench=. -benchmem

.PHONY: node
node: controlplane helm ## Run the shipped image and the packaged chart on a real kubelet; needs root on Linux. CHAPTERS (regular expression)
	@hack/node/run.sh

.PHONY: gitops-argo
gitops-argo: controlplane ## Ask Argo CD's own evaluator about every status that the tests judge; builds Argo CD's packages, for some minutes once
	@mkdir -p bin && rm -f bin/gitops-corpus.jsonl
	GITOPS_CORPUS=$(CURDIR)/bin/gitops-corpus.jsonl go test -count=1 ./internal/plan ./controllers -run='^(TestConditions|TestArgoAndFlux)'
	go -C test/argo test -count=1 -v . -args -corpus=$(CURDIR)/bin/gitops-corpus.jsonl

.PHONY: edge
edge: controlplane ## Serve our Secrets by Ingress and Gateway with Traefik's code, check Envoy's files, follow renewals with gRPC; builds for minutes once
	go -C test/edge test -count=1 -timeout=10m .

.PHONY: platforms
platforms: prerequisites build controlplane ## Run the manager for arm64 and arm/v7 against the control plane, translated by qemu; TESTS
	@hack/platforms.sh

.PHONY: demo
demo: build controlplane ## Show the operator at work on this machine, against the simulator
	go run ./hack/demo

.PHONY: playground
playground: prerequisites build controlplane helm ## Be the cluster, account and Prometheus for docs/quick-start.md, on this machine
	go run ./hack/demo playground

.PHONY: vulncheck
vulncheck: $(GOVULNCHECK) ## Look for known vulnerabilities; VULNDB names a copy of the database
	@GOVULNCHECK=$(GOVULNCHECK) hack/vulncheck.sh

.PHONY: security
security: prerequisites build controlplane $(GOVULNCHECK) $(LINTER) ## Try all that docs/threat-model.md claims, in full size; FLOOD (10000) objects, FUZZTIME (20s)
	go run ./hack/security -fuzztime=$(FUZZTIME) -flood=$(FLOOD)

.PHONY: sbom
sbom: ## Write what the manager is made of to dist/manager.cdx.json (CycloneDX)
	@mkdir -p dist bin/tools
	go -C hack/sbom build -trimpath -o $(CURDIR)/bin/tools/cyclonedx-gomod github.com/CycloneDX/cyclonedx-gomod/cmd/cyclonedx-gomod
	CGO_ENABLED=0 bin/tools/cyclonedx-gomod app -json -std -noserial -notimestamp -main cmd/manager -output dist/manager.cdx.json .

.PHONY: reproducible
reproducible: controlplane helm ## Build the manager and a whole release twice, in different folders, and compare
	@hack/reproducible.sh

.PHONY: fips
fips: ## Build with Go's FIPS 140-3 module and test with it switched on
	@hack/fips.sh

.PHONY: release
release: controlplane helm sbom ## Build programs, chart, install.yaml, SBOM and checksums of VERSION (v0.1.0) into dist/
	@hack/release.sh

# Helm has a module of its own: the versions of Kubernetes it wants are not the other tools'.
$(HELM): hack/helm/go.mod hack/helm/go.sum
	go -C hack/helm build -trimpath -ldflags="-s -w -X helm.sh/helm/v4/internal/version.version=$$(go -C hack/helm list -m -f '{{.Version}}' helm.sh/helm/v4)" -o $@ helm.sh/helm/v4/cmd/helm
	@touch $@

$(CONTROLLER_GEN): PACKAGE := sigs.k8s.io/controller-tools/cmd/controller-gen
$(LINTER): PACKAGE := sigs.k8s.io/kube-api-linter/cmd/golangci-lint-kube-api-linter
$(GOVULNCHECK): PACKAGE := golang.org/x/vuln/cmd/govulncheck
$(TOOLS)/%: hack/tools/go.mod hack/tools/go.sum
	go -C hack/tools build -trimpath -o $@ $(PACKAGE)
	@touch $@
