.DEFAULT_GOAL := help
.PHONY: help prerequisites build test unit end-to-end sanitize demo simulation simulate simulate-matrix simulate-every-byte bench fmt lint clean

help: ## Show the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 24

prerequisites: ## Install what building and testing need (Debian 12)
	@Tests/install-prerequisites.sh

build: prerequisites ## Release binaries in .build/release, Swift's runtime within
	swift build -c release --static-swift-stdlib

demo: build ## Play the whole guide, with a real psql session at the end
	@Tests/Demo/demo.sh

test: build unit end-to-end test-deb ## All tests

unit: prerequisites
	@Tests/fetch-sigv4-suite.sh .build/sigv4
	# One after the other: tests whose work fills all cores would run others into their time limits.
	SIGV4_SUITE_DIR=$(CURDIR)/.build/sigv4 swift test --no-parallel

end-to-end: build
	.venv/bin/python -m pytest -q -p no:cacheprovider Tests/AWSEmulator Tests/EndToEnd Tests/Packaging

sanitize: prerequisites ## Unit tests under AddressSanitizer, then ThreadSanitizer
	LSAN_OPTIONS=suppressions=$(CURDIR)/Tests/leaks-of-others.supp swift test --no-parallel --sanitize=address --scratch-path .build-asan
	TSAN_OPTIONS=suppressions=$(CURDIR)/Tests/races-of-others.supp swift test --no-parallel --sanitize=thread --scratch-path .build-tsan

simulation:
	swift build -c release --static-swift-stdlib --product simulate

simulate: simulation ## Whole sessions on a simulated kernel and clock: SEEDS=N FROM=K
	.build/release/simulate --seeds $(or $(SEEDS),10000) --from $(or $(FROM),1)

simulate-matrix: simulation ## Faults of each link in each phase, in simulated time
	.build/release/simulate matrix

simulate-every-byte: simulation ## Golden conversations cut and broken off at every byte
	.build/release/simulate every-byte

bench: build ## Side by side: direct, PgBouncer, Sallyport
	.venv/bin/python Benchmarks/bench.py

fmt: ## Format the Swift sources
	swift format -i --configuration .swift-format -r Package.swift Sources Tests

lint: ## Check the format
	swift format lint --strict --configuration .swift-format -r Package.swift Sources Tests

include packaging/packaging.mk

clean: ## Remove what builds made
	rm -rf .build .build-asan .build-tsan .venv dist
