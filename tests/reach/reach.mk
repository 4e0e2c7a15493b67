# Other systems than the one that builds. `make reach` is for before a release: it takes an hour on two cores, and wants the
# network. Each part can be run by itself, and sets up what it needs.

REACH_PACKAGES := wine wine64 gcc-mingw-w64-x86-64 g++-mingw-w64-x86-64 qemu-user libc6-arm64-cross libc6-i386 musl-tools file abigail-tools
ZIG := PATH=$(CURDIR)/$(VENV)/bin:$$PATH CARGO_TARGET_DIR=$(TARGET)

.PHONY: reach wheels reach-windows reach-machines reach-macos reach-wasm reach-size releases abi

reach: wheels reach-windows reach-machines reach-macos reach-wasm reach-size releases

$(VENV)/reach: requirements/reach.txt | $(VENV)/bin/python
	$(PIP) -r $<
	touch $@

# All in one go: what it installs has no program of its own name.
reach-packages:
	@dpkg -s $(REACH_PACKAGES) >/dev/null 2>&1 || { test "$$(id -u)" = 0 || { echo "As root: apt-get install $(REACH_PACKAGES)" >&2; exit 1; }; \
	apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends $(REACH_PACKAGES); }
	@dpkg --print-foreign-architectures | grep -q arm64 || { dpkg --add-architecture arm64 && apt-get update -q; }
.PHONY: reach-packages

# manylinux2014 and musllinux_1_2, x86-64 and aarch64, and the sdist, in target/wheels/release.
wheels: $(VENV)/python-tools $(VENV)/reach reach-packages
	REMAP="$(REMAP)" REMAP_C="$(REMAP_C)" $(PYTHON) tests/reach/wheels.py $(VENV) $(TARGET) $(if $(ONLY),--only $(ONLY))

reach-windows: reach-packages
	$(PYTHON) tests/reach/windows.py $(CARGO) $(TARGET)

reach-machines: $(VENV)/reach reach-packages
	$(PYTHON) tests/reach/machines.py $(VENV) $(TARGET)

# There is no macOS here: the compiler checks it, and zig compiles the C of the cryptography.
reach-macos: $(VENV)/reach
	rustup --quiet target add aarch64-apple-darwin
	$(ZIG) RUSTFLAGS="-D warnings" cargo-zigbuild check --quiet --workspace --target aarch64-apple-darwin

# One error, which says what to use instead.
reach-wasm:
	rustup --quiet target add wasm32-unknown-unknown
	for features in --no-default-features --all-features; do \
		! $(CARGO) check --target wasm32-unknown-unknown --package tidings $$features 2>$(TARGET)/wasm && \
		grep -q "EventSource. of the browser" $(TARGET)/wasm && test "$$(grep -c '^error' $(TARGET)/wasm)" = 2 || { cat $(TARGET)/wasm; exit 1; }; \
	done

# What it costs without the parts that not everybody needs.
reach-size:
	$(PYTHON) tests/reach/size.py $(CARGO) $(TARGET)

# What a release is held to: RELEASING.md. cargo-deny and cargo-semver-checks are built once, which takes minutes.
MSRV := $(shell sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)
LAST := $(shell git describe --tags --abbrev=0 2>/dev/null)

releases: abi reach-actions
	rustup --quiet toolchain install $(MSRV) --profile minimal
	$(CARGO) +$(MSRV) check --workspace --all-features --target-dir $(TARGET)/msrv
	rm -rf $(TARGET)/msrv
	$(CARGO) deny --version >/dev/null 2>&1 || $(CARGO) install --locked --quiet cargo-deny
	$(CARGO) deny --all-features check licenses bans sources
	@if test -n "$(LAST)"; then \
		{ $(CARGO) semver-checks --version >/dev/null 2>&1 || $(CARGO) install --locked --quiet cargo-semver-checks; } && \
		$(CARGO) semver-checks --package tidings --baseline-rev $(LAST); \
	else echo "No release is tagged yet: there is nothing that the interface could be compared with."; fi

# Programs that are linked with the last release must run with this library: nothing vanished, nothing changed its form.
abi:
	@if test -n "$(LAST)" && git show $(LAST):bindings/c/abi.xml >$(TARGET)/abi-last.xml 2>/dev/null; then \
		abidiff --no-added-syms $(TARGET)/abi-last.xml bindings/c/abi.xml; \
	else echo "No release has a record of the binary interface yet: there is nothing to compare with."; fi

ACTIONLINT := github.com/rhysd/actionlint/cmd/actionlint@v1.7.12
.PHONY: reach-actions
reach-actions: tools-go
	$(GO) run $(ACTIONLINT) .github/workflows/*.yml
