# Every target needs Go 1.26 only. What else the tests use, setup fetches and builds outside the repository.

GO          ?= go
STATICCHECK ?= honnef.co/go/tools/cmd/staticcheck@v0.8.2
TESTFLAGS   ?=
TAGS        ?=
FUZZTIME    ?= 20000x
BENCHTIME   ?= 1s

# Two packages at a time: their tests start servers of their own.
GOTEST = $(GO) test -p 2 $(TESTFLAGS)

# What is different with -tags pkcs11, which needs cgo.
TAGGED = -tags pkcs11 ./backup/custodian/pkcs11 ./backup/custodian/byurl

# The arithmetic of curves and lattices shares nothing, and is most of what the race detector would slow down.
QUIET = $(foreach p,edwards25519/... mlkem sha3,-gcflags=crypto/internal/fips140/$(p)=-race=false)
RACE  = -race $(QUIET)

# Nothing in these runs beside anything else, and the race detector makes them take ten times as long.
ALONE = ./internal/repocheck ./internal/segment ./internal/sha256mb ./backup/evidence

.DEFAULT_GOAL := help
.PHONY: help demo build setup check test test-long bench fuzz fmt

help: ## print the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: ## the whole job on this machine in a minute: capture, commit, verify, tamper, restore, erase
	@$(GO) run ./examples/demo

build: ## build bin/compactor and bin/stele; with TAGS=pkcs11 also for hardware security modules
	$(GO) build -tags '$(TAGS)' -o bin/ ./cmd/compactor ./cmd/stele

setup: ## get the real services that the tests use: Kafka, MinIO, versitygw, Vault, SoftHSM, litewitness, Trillian, pyarrow, DuckDB, kcat
	@.ci/packages
	@$(GO) run ./internal/testbed/prepare

check: ## gofmt, go vet and staticcheck
	@unformatted=$$(gofmt -l .); test -z "$$unformatted" || { echo "not gofmt-ed:" $$unformatted; exit 1; }
	$(GO) vet ./...
	$(GO) vet $(TAGGED)
	$(GO) run $(STATICCHECK) ./...
	$(GO) run $(STATICCHECK) $(TAGGED)

test: setup check ## all checks and tests, with the race detector; what this machine cannot have is skipped by name
	$(GOTEST) $(RACE) -timeout 30m $$($(GO) list ./... | grep -v -E '/(internal/repocheck|internal/segment|internal/sha256mb|backup/evidence)$$')
	$(GOTEST) -timeout 30m $(ALONE)
	$(GOTEST) -run EveryStoreCall ./backup
	$(GOTEST) $(RACE) -timeout 30m $(TAGGED)
	$(GOTEST) -tags purego ./internal/sha256mb ./merkle

test-long: setup ## the long runs: more data, more kills, more time
	STELE_LONG=1 $(GOTEST) -timeout 3h ./...
	STELE_LONG=1 $(GOTEST) -timeout 3h $(TAGGED)

bench: setup ## the benchmarks beside the code
	$(GO) test -p 1 -run '^$$' -bench . -benchmem -benchtime $(BENCHTIME) -timeout 2h $(TESTFLAGS) ./...

fuzz: ## every fuzz target for FUZZTIME runs each
	@set -e; grep -r --include='*_test.go' '^func Fuzz' . | sed 's|^\(.*\)/[^/]*:func \(Fuzz[A-Za-z0-9_]*\).*|\1 \2|' | sort | \
	while read -r package target; do \
		echo "$$package $$target"; \
		$(GO) test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 100x $(TESTFLAGS) "$$package"; \
	done

fmt: ## format all Go files
	gofmt -w .
