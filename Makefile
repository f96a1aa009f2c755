# Every target needs Go 1.26 only. What else the tests use, setup fetches and builds outside the repository.

GO          ?= go
STATICCHECK ?= honnef.co/go/tools/cmd/staticcheck@v0.8.2
TESTFLAGS   ?=
TAGS        ?=
FUZZTIME    ?= 20000x
BENCHTIME   ?= 1s

# Tests wait for the servers that they start, so one package more than this machine's processors is not too many.
GOTEST = $(GO) test -p 3 $(TESTFLAGS)

# What is different with -tags pkcs11, which needs cgo.
TAGGED = -tags pkcs11 ./backup/custodian/pkcs11 ./backup/custodian/byurl

# With RACE=1 tests run under the race detector, except two kinds of code. The arithmetic of curves and lattices shares
# nothing, and is most of what it would slow down. In the packages of ALONE nothing runs beside anything else, and they
# would take ten times as long.
RACE  ?=
QUIET = $(foreach p,edwards25519/... mlkem sha3,-gcflags=crypto/internal/fips140/$(p)=-race=false)
FLAGS = $(if $(RACE),-race $(QUIET)) -timeout 30m
ALONE = internal/repocheck internal/segment internal/sha256mb backup/evidence

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

test: setup check ## all checks and tests; with RACE=1 under the race detector; what this machine cannot have is skipped by name
ifdef RACE
	$(GOTEST) $(FLAGS) $$($(GO) list ./... | grep -v $(foreach p,$(ALONE),-e '/$(p)$$'))
	$(GOTEST) -timeout 30m $(addprefix ./,$(ALONE))
	$(GOTEST) -run EveryStoreCall ./backup
else
	$(GOTEST) $(FLAGS) ./...
endif
	$(GOTEST) $(FLAGS) $(TAGGED)
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
