.PHONY: help demo test screenshots check bench bench-load bench-memory bench-flow bench-revocation outages fmt

help: ## What there is
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 16

demo: ## Build, then try the gateway with nothing else installed
	@.ci/setup build
	cargo run --locked -- demo

test: ## Run every test; starts a private Postgres and Redis by itself
	@.ci/setup test
	cargo test --locked

screenshots: ## Take a picture of every view of the page at /device, in target/screenshots
	@.ci/setup test
	DIFYGATE_SCREENSHOTS=target/screenshots cargo test --locked --test it device_page::views

check: ## What CI checks: format, lints, docs, benches, tests
	@.ci/run

bench: ## Measure the token check, the naive alternative beside it
	@.ci/setup build
	cargo bench --locked --bench check

bench-load: ## Compare the gateway with a bare proxy under load
	@.ci/setup test
	cargo bench --locked --bench load

bench-memory: ## Measure resident memory, idle and for each cached token
	@.ci/setup test
	cargo bench --locked --bench load -- --check-memory

bench-flow: ## Run 1,000 complete logins at once, from code to revocation
	@.ci/setup test
	cargo bench --locked --bench flow

bench-revocation: ## Measure how fast 10,000 revocations are heard of, and race 20,000 fills
	@.ci/setup test
	cargo bench --locked --bench revocation

outages: ## Strike Redis and Postgres under load, check every answer, write docs/outages.md
	@.ci/setup test
	cargo bench --locked --bench outages -- --write

fmt: ## Format the code
	cargo fmt
