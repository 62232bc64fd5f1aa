.DEFAULT_GOAL := help
.PHONY: help prerequisites build test unit end-to-end sanitize memcheck fuzz mutate demo simulation simulate simulate-matrix fault-matrix simulate-every-byte soak kills bench overload role-sets bench-check bench-prerequisites fmt lint clean

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

sanitize: prerequisites ## Unit tests, and end-to-end tests of the data path, under AddressSanitizer and under ThreadSanitizer
	LSAN_OPTIONS=suppressions=$(CURDIR)/Tests/leaks-of-others.supp swift test --no-parallel --sanitize=address --scratch-path .build-asan
	.venv/bin/python Tests/Watched/watched.py address
	TSAN_OPTIONS=suppressions=$(CURDIR)/Tests/races-of-others.supp swift test --no-parallel --sanitize=thread --scratch-path .build-tsan
	.venv/bin/python Tests/Watched/watched.py thread

memcheck: build ## The same end-to-end tests under valgrind, for what is written in C
	@Tests/install-prerequisites.sh valgrind
	.venv/bin/python Tests/Watched/watched.py memcheck

simulation:
	swift build -c release --static-swift-stdlib --product simulate

simulate: simulation ## Whole sessions on a simulated kernel and clock: SEEDS=N FROM=K
	.build/release/simulate --seeds $(or $(SEEDS),10000) --from $(or $(FROM),1)

simulate-matrix: simulation ## Faults of each link in each phase, in simulated time
	.build/release/simulate matrix

fault-matrix: simulate-matrix build ## All of it: also the links to the Auth Service and to AWS, by real processes
	.venv/bin/python -m pytest -q -p no:cacheprovider Tests/EndToEnd/survived/test_control_links.py

simulate-every-byte: simulation ## Golden conversations cut and broken off at every byte
	.build/release/simulate every-byte

fuzz: prerequisites ## Fuzz every parser for SECONDS each, or for RUNS inputs each
	SALLYPORT_FUZZ=1 swift build -c release --scratch-path .build-fuzz --product fuzz
	python3 Tests/Fuzz/run.py .build-fuzz/release/fuzz $(if $(SECONDS),--seconds=$(SECONDS)) $(if $(RUNS),--runs=$(RUNS))

role-sets: prerequisites ## Random role sets against a naive evaluator: SETS=N
	SALLYPORT_ROLE_SETS=$(or $(SETS),1000000) swift test --no-parallel --filter agreesOnRandomRoleSets

mutate: prerequisites ## Spoil the access control in one place after the other: do its tests notice?
	python3 Tests/Mutation/mutate.py

soak: build ## Sessions at full rate, with an eye on memory and descriptors: SESSIONS=N, a day at 50 a second by itself
	SALLYPORT_SOAK_SESSIONS=$(or $(SESSIONS),4320000) SALLYPORT_SOAK_LOGINS=$(or $(LOGINS),60000) \
	  .venv/bin/python -m pytest -q -s -p no:cacheprovider Tests/EndToEnd/survived/test_soak.py

kills: build ## kill -9 at random moments of the Auth Service that writes, and of every part under load: KILLS=N
	SALLYPORT_KILLS=$(or $(KILLS),200) SALLYPORT_ROUNDS=5 .venv/bin/python -m pytest -q -p no:cacheprovider \
	  Tests/EndToEnd/survived/test_state_kills.py Tests/EndToEnd/survived/test_kills.py

bench-prerequisites:
	@Tests/install-prerequisites.sh haproxy make stunnel4 strace valgrind

bench: build bench-prerequisites ## Side by side: direct, PgBouncer, HAProxy, stunnel, a floor in C, Sallyport; writes docs/performance.md (15 minutes). BENCH=--resume goes on
	.venv/bin/python Benchmarks/bench.py $(BENCH)
	.venv/bin/python Benchmarks/report.py

overload: build ## Throughput and refusals with twice as many sessions as may be
	.venv/bin/python Benchmarks/overload.py

bench-check: build bench-prerequisites ## Allocations, locks and instructions a relayed message costs, against perf/counts.json
	.venv/bin/python Benchmarks/check.py

fmt: ## Format the Swift sources
	swift format -i --configuration .swift-format -r Package.swift Sources Tests

lint: ## Check the format
	swift format lint --strict --configuration .swift-format -r Package.swift Sources Tests

include packaging/packaging.mk

clean: ## Remove what builds made
	rm -rf .build .build-asan .build-fuzz .build-mutation .build-tsan .venv dist
