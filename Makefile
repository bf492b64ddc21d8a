# Every task of the project; `make` lists them.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
export CGO_ENABLED ?= 0
LDFLAGS := -s -w
BINARIES := fairlead fairlead-agent fairlead-router fairlead-runtime

help: ## This list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

build: ## Build the binaries into bin/
	go build -ldflags "$(LDFLAGS)" -o bin/ $(addprefix ./cmd/,$(BINARIES))

cluster: ## Build what the local cluster runs (Kubernetes, containerd, images), cached by content
	localcluster/build

demo: build cluster ## Build everything, start the local cluster, train a model on it, serve it, print accuracy and latency
	scripts/demo

test: build cluster ## All tests, with the set-up they need (root: the local cluster's tests run too)
	scripts/test

unit: ## Tests that need neither root nor the local cluster
	go test -shuffle=on ./...

# Left out: tests with more goroutines than the race detector takes (8,128).
race: ## Tests of the packages with concurrency under the race detector (needs a C compiler)
	CGO_ENABLED=1 go test -race -shuffle=on -timeout 20m -skip 'TestScaleFromZero|TestIdleConnections' ./internal/controlplane/... ./internal/link/... ./internal/runtime/... \
	  ./internal/cluster/gateway ./internal/cluster/reporter ./internal/cluster/relayserver ./internal/cluster/connect ./internal/cluster/training ./internal/cluster/inference \
	  ./internal/cluster/csi ./internal/cluster/hostdevice ./internal/router/...

conformance: build cluster ## Other people's clients against a control plane of this tree (installs them once, from their package indexes)
	scripts/conformance

fuzz: ## Every fuzz target for a short while each
	scripts/fuzz

bench: build cluster ## Benchmarks; figures are described in docs/benchmarks.md
	scripts/bench

bench-router: build cluster ## The router beside httputil.ReverseProxy, nginx, HAProxy, Caddy and Traefik
	scripts/bench-router

lint: ## golangci-lint with the project's rules
	go tool -modfile=go.tools.mod golangci-lint run
	cd localcluster && go tool -modfile=../go.tools.mod golangci-lint run --config ../.golangci.yml ./cmd/pause # the others would check all of Kubernetes

generate: ## Regenerate what is generated
	go generate ./...

verify: ## Regenerate, tidy, vet and test the rules; fails on a dirty tree
	scripts/verify

clean: ## Remove build results of this checkout (not the content cache)
	rm -rf bin out

.PHONY: help build cluster demo test unit race conformance fuzz bench bench-router lint generate verify clean
