# Thin over cargo xtask: see `cargo xtask help`.
.PHONY: help demo demo-clean test lint bench soak

help:
	@echo "make demo            a lab of nodes, router, pods and policies at work (root; KEEP=1 leaves it up)"
	@echo "make demo-clean      remove a kept lab"
	@echo "make test            everything that must hold (root)"
	@echo "make lint            formatting, lints, licences"
	@echo "make bench BENCH=x   measure against benches/limits.toml (root; BENCH=all)"
	@echo "make soak            the randomised tests for hours (root)"

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
