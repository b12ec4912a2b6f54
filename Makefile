# genpool: build, try, test. `make` alone lists the targets.

SWIFT   ?= swift
RELEASE := .build/release
# The client in C: one source, compiled by the compiler that Swift brings along.
CLIENT := Sources/CGenPoolClient
CLIENT_CC ?= clang
COMPLETIONS := $(RELEASE)/completions
# The executables bring Swift's runtime along, so that they run where no Swift is installed.
RELEASE_FLAGS := -c release --static-swift-stdlib
SOURCES := Package.swift Sources Examples Tests
# Commands or files, and the Debian packages that have them.
TOOLS := pkg-config:pkg-config

.PHONY: help run test verify instructions arm64-test abi-test client-test hostile-test strangers-test start-test machine-test mutation-test fuzz build lint lint-system man format \
  deps clean

help:  ## list the targets
	@sed -n 's/^\([a-z0-9-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 16

run: build  ## build, start the daemon on an emulated device, lease, write, read back
	@Tests/EndToEnd/demo $(RELEASE)

test: deps  ## all tests that need no virtual machine
	$(SWIFT) build --build-tests
	$(SWIFT) test --skip-build --skip MockedUdevTests
	@echo "== udev's events, from a mocked bus"
	@if command -v umockdev-wrapper >/dev/null; then umockdev-wrapper $(SWIFT) test --skip-build --filter MockedUdevTests; \
	else echo "MockedUdevTests skipped: umockdev-wrapper is missing (apt-get install umockdev)"; fi
	@echo "== the pool under the thread sanitizer"
	$(SWIFT) build -c release --sanitize=thread -Xcc -fsanitize=thread --scratch-path .build-tsan --product thread-stress
	.build-tsan/release/thread-stress

abi-test: TOOLS += gcc:gcc g++:g++ nm:binutils valgrind:valgrind python3:python3
abi-test: build  ## libgenpool as programs in C, C++ and Python use it, under valgrind and DPDK too
	Tests/ABI/run $(RELEASE)

MACHINES ?= 6
OPERATIONS ?= 100000000
verify: build  ## the pool against the plainest model of it, OPERATIONS=100000000
	$(RELEASE)/genpool-bench replay Tests/Traces/golden/*.gpt
	$(RELEASE)/genpool-bench verify --operations $(OPERATIONS)

instructions: TOOLS += valgrind:valgrind objcopy:binutils
instructions: build  ## what an allocation costs where searching is hard, in instructions, and whether it grew
	Tests/Instructions/run $(RELEASE)/genpool-bench

arm64-test: TOOLS += qemu-aarch64:qemu-user /usr/aarch64-linux-gnu/lib/crt1.o:libc6-dev-arm64-cross
arm64-test: deps  ## the allocator on arm64, in qemu-user
	Tests/Portable/run

client-test: TOOLS += gcc:gcc g++:g++ readelf:binutils
client-test: build  ## the client in C, against brokers that behave and that do not; and PyPI's varlink, which is not ours
	Tests/CClient/run $(RELEASE)
	Tests/ForeignClients/run $(RELEASE)

hostile-test: build  ## rude clients: what they do to the daemon and to polite ones
	Tests/EndToEnd/hostile.py $(RELEASE)
	Tests/EndToEnd/bounded.py $(RELEASE)

strangers-test: TOOLS += lspci:pciutils python3:python3
strangers-test: build  ## trees of strangers' machines, against lspci and what is true of them
	Tests/Strangers/run $(RELEASE) --machines $(MACHINES)

start-test: build  ## the time until the daemon is ready with many pools
	Tests/EndToEnd/startup.py $(RELEASE)

# Those of TOOLS in Tests/Machine/run, and what it is written in.
machine-test: TOOLS += gcc:gcc python3:python3 qemu-system-x86_64:qemu-system-x86 busybox:busybox-static /usr/sbin/depmod:kmod
machine-test: build  ## real PCIe BARs in a QEMU machine
	@ln -sf libgenpool.so $(RELEASE)/libgenpool.so.1
	@for program in Examples/nvme-memory Tests/ABI/iova; do \
	  gcc -ISources/CGenPool/include $$program.c -L$(RELEASE) -lgenpool \
	    -Wl,-rpath,$(abspath $(RELEASE)) -o $(RELEASE)/$$(basename $$program)-c || exit 1; done
	Tests/Machine/run --bin $(RELEASE)

mutation-test: deps  ## whether tests fail when a witness answers "free"; 45 minutes
	Tests/Mutations/run

SECONDS ?= 60
fuzz: deps  ## libFuzzer on everything that takes bytes from outside, for SECONDS=60
	Tests/Fuzz/run $(SECONDS)
	Tests/CClient/fuzz $(SECONDS)

# All products by one invocation: each plans the package anew, and builds share what they compile.
build: deps  ## all executables, libgenpool.so and shell completions, in .build/release
	@$(SWIFT) build $(RELEASE_FLAGS)
	@$(CLIENT_CC) -std=c99 -O2 -fPIC -shared -s -I$(CLIENT)/include -Wl,-soname,libgenpool-client.so.1 \
	  -Wl,--version-script=$(CLIENT)/genpool_client.map -Wl,-z,relro,-z,now -o $(RELEASE)/libgenpool-client.so.1 $(CLIENT)/genpool_client.c
	@mkdir -p $(COMPLETIONS)
	@for program in genpoold genpoolctl; do for shell in bash zsh fish; do \
	  $(RELEASE)/$$program --generate-completion-script $$shell > $(COMPLETIONS)/$$program.$$shell || exit 1; done; done

lint: TOOLS += systemd-analyze:systemd groff:groff-base
lint: deps lint-system  ## format, language, arrows between modules, what the core may import, units, man pages
	$(SWIFT) format lint --strict --parallel --recursive $(SOURCES)
	$(SWIFT) build --build-tests --explicit-target-dependency-import-check error
	@echo "== the core imports nothing but Synchronization and its inlines"
	@! grep -rnE '^ *(public |package |internal )?import ' Sources/GenPool | grep -vE 'import (Synchronization|CGenPoolInline)$$'
	@echo "== no Foundation but in genpool-bench"
	@! grep -rnE '^ *(public |package |internal )?import Foundation' Sources --include='*.swift' | grep -v '^Sources/genpool-bench/'
	@echo "== the broker and the IOVAs know no virtual addresses"
	@! grep -rnE 'Virtual(Address|Space)' Sources/Broker Sources/BrokerProtocol Sources/DeviceSources/VFIO/IOVAAllocator.swift
	@echo "== the core compiles as Embedded Swift"
	@mkdir -p .build && $(SWIFT)c -enable-experimental-feature Embedded -wmo -parse-as-library -suppress-warnings \
	  -package-name genpool -I Sources/CGenPoolInline -c $$(find Sources/GenPool -name '*.swift') -o .build/GenPool-embedded.o
	@echo "== the floors are as CONTRIBUTING.md draws them"
	@SWIFT=$(SWIFT) Tests/Floors/run
	@echo "== language: what it counts may only become less"
	@Tests/Language/run
	@echo "== README's table of speeds is what the bench wrote"
	@Tests/Readme/table
	@echo "== one version, one ABI number"
	@Tests/Release/run
	@echo "== scripts parse"
	@for script in .ci/run Tests/EndToEnd/demo; do bash -n $$script || exit 1; done
	@python3 -c 'import ast,sys; [ast.parse(open(f).read(), f) for f in sys.argv[1:]]' man/render Tests/Readme/table $$(grep -lE '^#!.*python3' Tests/*/run) $$(find Tests -name '*.py')
	@echo "== the man pages say what the programs say"
	@man/render --check .build/debug

# The service's exposure level, in tenths, may not grow. Its unit says what it consists of.
EXPOSURE := 14
lint-system: deps  # what the system's own tools say of units, udev rules and man pages
	@echo "== units"
	@rm -rf .build/units && mkdir -p .build/units && cp systemd/*.service systemd/*.socket systemd/*.target .build/units
	@sed -i 's|^\(Exec[A-Za-z]*\)=.*|\1=/bin/true|' .build/units/genpoold.service
	@! systemd-analyze verify --man=no .build/units/* 2>&1 | grep .
	@systemd-analyze security --offline=yes --threshold=$(EXPOSURE) .build/units/genpoold.service > .build/exposure \
	  || { cat .build/exposure; exit 1; }
	@tail -n 1 .build/exposure
	@echo "== udev rules"
	@if udevadm verify --help >/dev/null 2>&1; then udevadm verify udev/*.rules; \
	else echo 'not checked: needs the udevadm of systemd 254 or later'; fi
	@echo "== man pages"
	@! groff -man -ww -z man/*.[1-8] 2>&1 | grep .

man: build  ## the man pages anew, from man/*.in and what the programs say of their options
	man/render $(RELEASE)

format:  ## put the sources into the house style
	$(SWIFT) format format --in-place --parallel --recursive $(SOURCES)

# What is needed beside Swift 6.2 or later. Installed if missing and root, else named.
deps:
	@command -v $(SWIFT) >/dev/null || { echo 'genpool needs Swift 6.2 or later: https://swift.org/install' >&2; exit 1; }
	@missing=; for p in $(TOOLS); do command -v $${p%%:*} >/dev/null || [ -e $${p%%:*} ] || missing="$$missing $${p##*:}"; done; \
	for lib in libpci libudev; do pkg-config --exists $$lib 2>/dev/null || missing="$$missing $$lib-dev"; done; \
	if [ -n "$$missing" ]; then \
	  if [ "$$(id -u)" = 0 ]; then echo "installing$$missing"; apt-get update -qq && apt-get install -qq -y $$missing >/dev/null; \
	  else echo "missing packages: sudo apt-get install$$missing" >&2; exit 1; fi; fi

clean:  ## remove what was built
	rm -rf .build .build-tsan .build-fuzz

include install.mk
