# Thin over cargo xtask: see `cargo xtask help`.
.PHONY: help demo demo-clean test lint bench soak image manifests kubernetes cluster cluster-down conformance proofs

help:
	@echo "make demo            a lab of nodes, router, pods and policies at work (root; KEEP=1 leaves it up)"
	@echo "make demo-clean      remove a kept lab"
	@echo "make test            everything that must hold (root)"
	@echo "make lint            formatting, lints, licences"
	@echo "make bench BENCH=x   measure against benches/limits.toml (root; BENCH=all)"
	@echo "make soak            the randomised tests for hours (root)"
	@echo "make image           Brindle's image as an OCI archive, with digest and SBOM"
	@echo "make manifests       manifests/brindle.yaml from its pieces"
	@echo "make cluster         a real Kubernetes of three nodes and a router, with Brindle (root; ARGS=\"--nodes 2\")"
	@echo "make cluster-down    remove it, or what a crash left of it"
	@echo "make conformance     the upstream suites on a cluster of their own (root; BACKEND=nftables, iptables-nft, iptables-legacy, mixed)"
	@echo "make proofs          faults, races and times on a cluster of their own (root; ARGS=\"--proof chaos\")"

demo:
	cargo xtask demo $(if $(KEEP),--keep)

demo-clean:
	cargo xtask demo-clean

test:
	cargo xtask test

lint:
	cargo xtask lint

bench:
	@test -n "$(BENCH)" || { echo "say which: make bench BENCH=all"; exit 2; }
	cargo xtask bench $(BENCH)

soak:
	cargo xtask soak

image:
	cargo xtask image

manifests:
	cargo xtask manifests

kubernetes:
	cargo xtask kubernetes

cluster:
	cargo xtask cluster $(ARGS)

cluster-down:
	cargo xtask cluster-down

conformance:
	cargo xtask conformance $(if $(BACKEND),--backend $(BACKEND)) $(ARGS)

proofs:
	cargo xtask proofs $(ARGS)
