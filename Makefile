# Builds, tests and shows Holdfast. `make` alone lists what it can do.
#
# What is built goes to bin/, tools and logs to build/; git ignores both. Go
# decides what needs building again, so that every target may always run.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
# In the order written: what builds with cgo wants the packages first.
.NOTPARALLEL:
.PHONY: help build bin/holdfast bin/holdfast-client bin/lab bin/demo build/runall \
	demo demo-down test bench screenshots lint tools packages clean

# The pinned tools come first.
export PATH := $(CURDIR)/build/tools:$(PATH)

VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
LDFLAGS := -X holdfast/internal/telemetry.version=$(VERSION)
# Binds libvirt when the program runs, not when it is linked: one binary for
# every version of libvirt, and for machines without it.
TAGS    := libvirt_dlopen

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "%-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

build: bin/holdfast bin/holdfast-client bin/lab ## build bin/holdfast, bin/holdfast-client (no cgo) and bin/lab

bin/holdfast:
	CGO_ENABLED=1 go build -tags '$(TAGS)' -trimpath -ldflags '$(LDFLAGS)' -o $@ ./cmd/holdfast

bin/holdfast-client:
	CGO_ENABLED=0 go build -trimpath -ldflags '$(LDFLAGS)' -o $@ ./cmd/holdfast

bin/lab:
	go build -tags '$(TAGS)' -trimpath -o $@ ./test/lab/cmd/lab

build/runall:
	@go build -o $@ ./test/runall

bin/demo:
	@go build -tags '$(TAGS)' -o $@ ./test/demo

demo: tools packages build bin/demo ## two hosts, two VMs, a crash and its repair, on this machine (root)
	@exec bin/demo up

demo-down: bin/demo ## take the demo down
	@exec bin/demo down

# make test ONLY=lint,unit  only these stages
# make test RUN=TestName    only the tests that match
# Real hosts and guests need Debian packages and bin/lab; the other stages do not.
test: tools build/runall $(if $(and $(ONLY),$(filter-out %lab,$(ONLY))),,packages bin/lab) ## run every check and test; ONLY=stage,... RUN=regexp
	@exec build/runall $(if $(ONLY),-only '$(ONLY)') $(if $(RUN),-run '$(RUN)')

bench: tools packages ## measure times to repair
	exec go test -tags '$(TAGS) bench' -count=1 -v -timeout=90m ./test/bench

screenshots: tools packages build ## take the pictures of the documentation
	@deploy/install-packages.sh deploy/packages-screenshots.txt
	@mkdir -p build/report
	HOLDFAST_E2E_KEEP_REPORT=$(CURDIR)/build/report go test -tags '$(TAGS) lab' -count=1 -timeout=20m -run '^TestFourRungs$$' ./test/e2e
	cd test/screenshots && exec go run . -report ../../build/report/incident.html

lint: tools ## run the linters alone
	golangci-lint run

tools: ## install the pinned Go programs of deploy/tools.txt into build/tools
	@deploy/install-tools.sh build/tools

packages: ## install the Debian packages of deploy/packages.txt (root)
	@deploy/install-packages.sh

clean: ## remove bin/ and build/
	rm -rf bin build
