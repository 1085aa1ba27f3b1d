# Thin: meson does the work, and scripts in tests/ and demo/.
#
#: make            build into build/; the programs run from there
#: make demo       build, and run the main job on this machine, shown step by step
#: make check      build, and run all tests; the last line counts them (T="unit bats" for some)
#: make proof      moves of large and busy tenants, and between two virtual machines (half an hour)
#: make install    install, raising itself with sudo (PREFIX=/usr/local, DESTDIR=)
#: make uninstall  remove what make install put there
#: make fuzz       run each fuzzer for FUZZ_SECONDS=20
#: make bench      measure against other tools
#: make clean      remove what was built; make distclean the cached test machine, too
SHELL = /bin/bash
PREFIX ?= /usr/local
FUZZ_SECONDS ?= 20
MESON_ARGS ?=
T ?=

meson_setup = meson setup --prefix=$(PREFIX) --sysconfdir=/etc --localstatedir=/var $(MESON_ARGS)

# What makes VPSs or writes outside this directory is run by root.
define as_root
	if [ $$(id -u) -eq 0 ]; then $(1); \
	elif command -v sudo >/dev/null; then sudo $(1); \
	else echo "make $@: this needs root and there is no sudo; run it as root" >&2; exit 1; fi
endef

.PHONY: all help packages asan demo check proof install uninstall fuzz bench clean distclean

all: packages build/build.ninja
	@ninja -C build

help:
	@sed -n 's/^#: //p' Makefile

# Quick, and without a network, when nothing is missing.
packages:
	@tests/install build

# The build files come after the packages that make them, whatever make runs in parallel.
build/build.ninja: | packages
	@$(meson_setup) build

# It is compiled in half the time so; a compiler that optimizes little warns of what cannot be.
build-asan/build.ninja: | packages
	@$(meson_setup) build-asan -Db_sanitize=address,undefined -Db_lundef=false -Doptimization=1 \
		-Dc_args="-g1 -Wno-format-overflow"

asan: packages build-asan/build.ninja
	@ninja -C build-asan

demo:
	@tests/install build demo
	@$(MAKE) --no-print-directory all
	@$(call as_root,demo/run)

check:
	@tests/install build demo check vm
	@$(MAKE) --no-print-directory all
	@$(MAKE) --no-print-directory asan
	@$(call as_root,tests/run $(T))

# redis with its keys twice: the smaller ones are the file that is fetched, too.
proof:
	@tests/install build demo check vm
	@$(MAKE) --no-print-directory all
	@$(call as_root,env VPS_TEST_FILE_LIMIT=7200 VPS_TEST_JOBS=1 VPS_PROOF_MACHINES=1 VPS_PROOF_MOVES=20 \
		VPS_PROOF_MIB=1024 tests/run -v $(wildcard tests/proof/*.bats))
	@$(call as_root,env VPS_TEST_FILE_LIMIT=7200 VPS_PROOF_MOVES=4 VPS_PROOF_MIB=4096 \
		tests/run -v tests/proof/data.bats)
	@$(call as_root,env VPS_TEST_FILE_LIMIT=7200 VPS_PROOF_MOVES=200 tests/run -v tests/migrate/journal.bats)

# With a prefix other than that of the last time, the paths compiled in are made again.
install: all
	@[ "$(origin PREFIX)" = file ] || { meson configure build -Dprefix=$(PREFIX) && ninja -C build; }
	@if [ -n "$(DESTDIR)" ]; then DESTDIR="$(DESTDIR)" meson install -C build --no-rebuild; \
	else $(call as_root,meson install -C build --no-rebuild); fi

uninstall:
	@$(call as_root,ninja -C build uninstall)

fuzz:
	@tests/install build fuzz
	@[ -f build-fuzz/build.ninja ] || CC=clang $(meson_setup) build-fuzz -Dfuzz=true \
		-Db_sanitize=address,undefined -Db_lundef=false -Dc_args=-fsanitize=fuzzer-no-link
	@ninja -C build-fuzz
	@tests/fuzz/run $(FUZZ_SECONDS)

bench: all
	@tests/install bench
	@$(call as_root,bench/run)

# The cached test machine and Debian tree take minutes to make and stay until distclean.
clean:
	@find build -mindepth 1 -maxdepth 1 ! -name vm ! -name cache -exec rm -rf {} + 2>/dev/null; \
		rm -rf build-asan build-fuzz

distclean: clean
	@rm -rf build
