.PHONY: help demo test screenshots check fuzz corpora growth bench bench-load bench-memory bench-flow bench-revocation bench-start changes outages chaos soak chart packaging sbom deny install release fmt

help: ## What there is
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 16

demo: ## Build, then try the gateway with nothing else installed
	@.ci/setup build
	cargo run --locked -- demo

test: ## Run every test; starts a private Postgres and Redis by itself
	@.ci/setup test
	cargo test --locked

screenshots: ## Take a picture of every view of the pages at /device and of the status, in target/screenshots
	@.ci/setup test
	DIFYGATE_SCREENSHOTS=target/screenshots cargo test --locked --test it -- device_page:: status::browser::

check: ## What CI checks: format, lints, docs, benches, tests
	@.ci/run

chart: ## Lint, render and validate the chart and its alerts
	@.ci/setup test
	cargo build --locked
	@.ci/chart/run

packaging: ## Check the Dockerfile, the compose file and the systemd unit
	@.ci/setup test
	cargo build --locked
	@.ci/packaging/run

sbom: ## Write a software bill of materials, target/difygate.cdx.json
	@.ci/setup build
	cargo install --locked --quiet --root target/sbom cargo-cyclonedx@0.5.9
	target/sbom/bin/cargo-cyclonedx cyclonedx --format json --spec-version 1.5 --override-filename difygate.cdx
	mv difygate.cdx.json target/

deny: ## Ask cargo-deny about advisories (from GitHub), licences, bans and sources
	@.ci/setup build
	cargo install --locked --quiet --root target/deny cargo-deny@0.20.2
	target/deny/bin/cargo-deny check

install: ## Build a release and install it below DESTDIR/usr: program, unit, manual, completions
	@.ci/setup build
	cargo build --locked --release
	@.ci/packaging/install target/release/difygate "$(DESTDIR)"

fuzz: ## Fuzz everything that reads strangers' bytes, SECONDS=60 each; TARGETS="path json" chooses
	@.ci/setup build
	.ci/fuzz $(or $(SECONDS),60) $(TARGETS)

corpora: ## Keep what fuzzing has reached in tests/fuzz/corpora, for the tests to replay
	@.ci/setup build
	.ci/corpora $(TARGETS)

growth: ## Look for inputs whose cost grows faster than their size, SECONDS=20 for each fuzz target
	@.ci/setup build
	cargo bench --locked --bench growth -- --seconds $(or $(SECONDS),20)

bench: ## Measure the token check and compare with other proxies, write docs/benchmarks.md (20 min)
	@.ci/setup bench
	cargo bench --locked --bench check
	ulimit -n 16384; cargo bench --locked --bench load -- --write $(if $(PROFILED),--profiled $(PROFILED))

bench-load: ## Compare the gateway with a bare proxy under load, in detail
	@.ci/setup bench
	cargo bench --locked --bench load -- --peers bare,difygate --only "64 connections, 60 B" --threads 2 --rounds 7 --seconds 4

bench-memory: ## Measure resident memory, idle and for each cached token
	@.ci/setup test
	cargo bench --locked --bench load -- --check-memory

bench-flow: ## Run 1,000 complete logins at once, from code to revocation
	@.ci/setup test
	cargo bench --locked --bench flow

bench-revocation: ## Measure how fast 10,000 revocations are heard of, and race 20,000 fills
	@.ci/setup test
	cargo bench --locked --bench revocation

bench-start: ## Measure starts, and what 10,000 tokens in no cache cost Postgres
	@.ci/setup test
	cargo bench --locked --bench start

changes: ## Reload and upgrade for a minute under load, not one request may fail
	@.ci/setup test
	cargo bench --locked --bench changes

outages: ## Strike Redis and Postgres under load, check every answer, write docs/outages.md
	@.ci/setup test
	cargo bench --locked --bench outages -- --write

chaos: ## Strike everything around a gateway by schedules from seeds, SEEDS=1000 of them
	@.ci/setup test
	cargo bench --locked --bench chaos -- --seeds $(or $(SEEDS),1000)

soak: ## Mixed traffic and restarts for MINUTES=60, after which the gateway may hold no more
	@.ci/setup test
	cargo bench --locked --bench chaos -- --soak $(or $(MINUTES),60)

release: ## Build with a profile of the gateway under load, target/profiled/difygate (10 min)
	@.ci/setup bench
	ulimit -n 16384; .ci/release

fmt: ## Format the code
	cargo fmt
