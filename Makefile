# Two commands: `make demo` (the main job on real parts, from nothing) and `make test` (everything).
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c

CARGO ?= cargo
# The tests that need no control plane; see `make test`.
FAST := --workspace --exclude registrar-tests

# Where tools of ours are kept between checkouts.
TOOLS ?= $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/k8s-workload-registrar/tools
DENY := $(TOOLS)/bin/cargo-deny-0.20.2
MACHETE := $(TOOLS)/bin/cargo-machete-0.9.2
LLVM_COV := $(TOOLS)/bin/cargo-llvm-cov-0.9.1
MUTANTS := $(TOOLS)/bin/cargo-mutants-27.0.0
FUZZ := $(TOOLS)/bin/cargo-fuzz-0.13.2
# Of the version that tests/instructions/Cargo.toml has.
GUNGRAUN := $(TOOLS)/bin/gungraun-runner-0.20.0

# What `make image` builds: release is what the Dockerfile builds, dev is built in a fraction of the time.
PROFILE ?= release

.PHONY: help tools demo test test-matrix check dependencies fast it image slow released bench bench-publish instructions soak proof coverage deeper \
  mutants fuzz control-plane valgrind

help:
	@echo 'make demo   the main job on a real control plane, from nothing to an SVID (cold 20 min, warm 1 min)'
	@echo 'make test   everything: format, lints, fast tests, tests on the real control plane (cold 30 min, warm 5 min)'
	@echo 'make check  format, lints and dependencies only'
	@echo 'make bench  what it costs beside the raw limits (N=1000,10000 RUNS=1 ROWS=...; about 45 min)'
	@echo 'make bench-publish  puts the runs in target/bench/runs together into docs/benchmark.md'
	@echo 'make instructions  counts processor instructions of events, rules and decoding, which are the same on every run; needs'
	@echo '            valgrind (cold 15 min, warm 6 min)'
	@echo 'make image  the lines of deploy/Dockerfile without a container engine, and the result run as nobody in an empty'
	@echo '            folder, as root (PROFILE=dev; about 8 min, dev 3 min)'
	@echo 'make slow   tests that last: the three minutes after which a SPIRE Server closes a connection'
	@echo 'make test-matrix  the tests on real parts with older releases of Kubernetes and SPIRE (cold 40 min, warm 15 min)'
	@echo 'make soak   two registrars under churn while everything beneath them fails at random (MODE=reconcile'
	@echo '            SOAK=20m SEED=n RATE=20 OUTAGE=0s)'
	@echo 'make proof  how good the tests are: coverage, deeper, mutants; hours (STEP=coverage for one of them, GROUP=rules'
	@echo '            for the mutants of one part; see tests/proof)'
	@echo 'make fuzz   hostile input with coverage as the guide (TARGET=spiffe_id TIME=120; all targets, 2 min each)'
	@echo 'make fast   the tests that need no control plane'

tools:
	@for tool in cargo go gcc setpriv; do command -v $$tool >/dev/null || { \
	  echo "$$tool is missing: Rust (rustup.rs), Go 1.26, gcc and util-linux are needed"; exit 1; }; done

demo: tools
	@echo 'The demo will: build the registrar, show which entries the example pods should get, build and start a real'
	@echo 'etcd, kube-apiserver, spire-server and spire-agent, run the registrar in reconcile mode, show the entries on'
	@echo 'the server, hand a workload its X509-SVID, delete a pod and show its entry go.'
	@echo '== building the registrar and the demo (about 4 min the first time, seconds afterwards)'
	$(CARGO) build -p k8s-workload-registrar -p registrar-tests --bins
	$(CARGO) run -q -p registrar-tests --bin demo -- plan
	@$(MAKE) --no-print-directory control-plane
	$(CARGO) run -q -p registrar-tests --bin demo

control-plane: tools
	tests/control-plane/build

check: tools
	@echo '== format'
	$(CARGO) fmt --all --check
	@echo '== lints (about 4 min the first time)'
	$(CARGO) clippy --workspace --all-targets -- -D warnings

# Built once, from the registry; installed under the name with its version, so that another version is built anew.
$(TOOLS)/bin/%:
	@tool=$$(echo '$*' | sed -E 's/-[0-9.]+$$//') && version=$$(echo '$*' | sed -E 's/.*-//') && \
	  echo "== building $$tool $$version, a tool of the checks (2 to 4 min the first time, never again)" && \
	  $(CARGO) install --quiet --root '$(TOOLS)' --version "$$version" --locked "$$tool" && \
	  mv "$(TOOLS)/bin/$$tool" '$@'

# cargo-deny looks at what other systems would need, too, which no build here has downloaded.
dependencies: tools $(DENY) $(MACHETE)
	@echo '== dependencies: licences, sources, bans, and none unused'
	$(CARGO) fetch --quiet --locked
	'$(DENY)' --offline check licenses bans sources
	'$(MACHETE)' core adapters app tests tests/instructions tests/proof/weave fuzz

fast: tools
	@echo '== fast tests (about 3 min to build the first time)'
	$(CARGO) test $(FAST) -- --show-output

it: control-plane
	@echo '== tests on the real control plane'
	$(CARGO) build -p k8s-workload-registrar -p registrar-tests --bins
	$(CARGO) test -p registrar-tests
	@echo '== the demo'
	$(CARGO) run -q -p registrar-tests --bin demo

image: control-plane
	@echo '== the image, by the lines of deploy/Dockerfile'
	PROFILE=$(PROFILE) tests/image/build target/image
	@echo '== the image, run as nobody in an empty folder'
	$(CARGO) test -p registrar-tests --test it -- --ignored image::

slow: control-plane
	$(CARGO) build -p k8s-workload-registrar
	$(CARGO) test -p registrar-tests --test it -- --ignored the_servers_three_minutes

# Older releases than those that `make test` builds: folders of tests/control-plane.
OLDER := $(CURDIR)/target/control-plane-older
test-matrix: tools
	@echo '== the tests on real parts, on older releases (cold 40 min, warm 15 min)'
	CONTROL_PLANE_DIR='$(OLDER)' KUBERNETES=versions/kubernetes-1.30 SPIRE=versions/spire-1.12 tests/control-plane/build
	$(CARGO) build -p k8s-workload-registrar -p registrar-tests --bins
	CONTROL_PLANE_DIR='$(OLDER)' $(CARGO) test -p registrar-tests --test it

# The program as the image has it, static, and what measures and torments it: with the flags of the image, and --target, which
# keeps them away from build scripts.
HOST := $(shell rustc -vV 2>/dev/null | sed -n 's/^host: //p')
RELEASED := target/$(HOST)/release
released: control-plane
	@echo '== building for release, static as in the image (about 10 min the first time)'
	RUSTFLAGS=$(shell sed -n 's/^ENV RUSTFLAGS=//p' deploy/Dockerfile) \
	  $(CARGO) build --release --target '$(HOST)' -p k8s-workload-registrar -p registrar-tests --bins

bench: released
	$(RELEASED)/bench

# RUN_FILES="a.json b.json": those alone. Nothing is measured; the page, its charts and its JSON file are to be committed.
bench-publish: released
	$(RELEASED)/bench publish $(RUN_FILES)

valgrind:
	@command -v valgrind >/dev/null || { echo 'valgrind is missing: `make instructions` counts under it'; exit 1; }

COUNT := GUNGRAUN_RUNNER='$(GUNGRAUN)' $(CARGO) bench -q -p registrar-instructions
instructions: tools valgrind $(GUNGRAUN)
	@echo '== the core (about 1 min to build the first time); most of the time is making 100,000 pods ready, uncounted'
	$(COUNT) --no-default-features --features valgrind --bench core
	@echo '== the adapters (about 5 min to build the first time)'
	$(COUNT) --features valgrind --bench adapters

# Not part of `make test`: it takes as long as it is told to.
soak: released
	$(RELEASED)/soak

# Not part of `make test`: how good the tests are is looked at now and then.
proof: $(or $(STEP),coverage deeper mutants)

coverage: tools $(LLVM_COV)
	LLVM_COV_TOOL='$(LLVM_COV)' tests/proof/coverage

deeper: tools
	tests/proof/deeper

mutants: tools $(MUTANTS)
	MUTANTS_TOOL='$(MUTANTS)' tests/proof/mutants $(GROUP)

fuzz: tools $(FUZZ)
	FUZZ_TOOL='$(FUZZ)' TIME='$(or $(TIME),120)' tests/proof/fuzz $(TARGET)

test: check dependencies fast it
	@echo 'all tests passed'
