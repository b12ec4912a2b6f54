# make install, what undoes it, and what tests it.

# Everything goes below PREFIX; DESTDIR stands in front of it, for packages.
PREFIX  ?= /usr/local
DESTDIR ?=
ROOT    := $(DESTDIR)$(PREFIX)
# Where the daemon and its unit look for it, whatever PREFIX is.
CONFIGURATION := $(DESTDIR)/etc/genpool/genpoold.json
# Debian's packages have share/zsh/vendor-completions.
ZSH_COMPLETIONS ?= share/zsh/site-functions

# Mode, what is installed, and where. The library's symbols and lines go to a file beside it, which it names
# (gnu-debuglink): gdb finds it there under any PREFIX. Remove lib/.debug where 16 MB matter.
define INSTALLED
755 $(RELEASE)/genpoold        sbin/genpoold
755 $(RELEASE)/genpoolctl      bin/genpoolctl
755 $(RELEASE)/genpool-bench   bin/genpool-bench
debug $(RELEASE)/libgenpool.so   lib/.debug/libgenpool.so.1.0.0.debug
linked $(RELEASE)/libgenpool.so  lib/libgenpool.so.1.0.0
link libgenpool.so.1.0.0       lib/libgenpool.so.1
link libgenpool.so.1           lib/libgenpool.so
644 Sources/GenPoolABI/genpool.pc                   lib/pkgconfig/genpool.pc
644 Sources/GenPoolABI/libgenpool.supp              share/genpool/libgenpool.supp
644 Sources/CGenPool/include/genpool.h              include/genpool.h
644 Sources/CGenPool/include/linux/genalloc.h       include/genpool/linux/genalloc.h
755 $(RELEASE)/libgenpool-client.so.1   lib/libgenpool-client.so.1.0.0
link libgenpool-client.so.1.0.0         lib/libgenpool-client.so.1
link libgenpool-client.so.1             lib/libgenpool-client.so
644 Sources/CGenPoolClient/genpool-client.pc            lib/pkgconfig/genpool-client.pc
644 Sources/CGenPoolClient/include/genpool_client.h     include/genpool_client.h
644 systemd/genpoold.service   lib/systemd/system/genpoold.service
644 systemd/genpoold.socket    lib/systemd/system/genpoold.socket
644 systemd/genpoold-admin.socket  lib/systemd/system/genpoold-admin.socket
644 systemd/genpool.target     lib/systemd/system/genpool.target
644 systemd/sysusers.conf      lib/sysusers.d/genpool.conf
644 systemd/tmpfiles.conf      lib/tmpfiles.d/genpool.conf
644 udev/70-genpool.rules      lib/udev/rules.d/70-genpool.rules
644 man/genpoold.8             share/man/man8/genpoold.8
644 man/genpoold.json.5        share/man/man5/genpoold.json.5
644 man/genpoolctl.1           share/man/man1/genpoolctl.1
644 man/genpool.3              share/man/man3/genpool.3
644 man/genpool_client.3       share/man/man3/genpool_client.3
644 man/genpool.7              share/man/man7/genpool.7
644 $(COMPLETIONS)/genpoold.bash    share/bash-completion/completions/genpoold
644 $(COMPLETIONS)/genpoolctl.bash  share/bash-completion/completions/genpoolctl
644 $(COMPLETIONS)/genpoold.zsh     $(ZSH_COMPLETIONS)/_genpoold
644 $(COMPLETIONS)/genpoolctl.zsh   $(ZSH_COMPLETIONS)/_genpoolctl
644 $(COMPLETIONS)/genpoold.fish    share/fish/vendor_completions.d/genpoold.fish
644 $(COMPLETIONS)/genpoolctl.fish  share/fish/vendor_completions.d/genpoolctl.fish
644 systemd/genpoold.json      share/doc/genpool/examples/genpoold.json
644 Examples/nvme-memory.c     share/doc/genpool/examples/nvme-memory.c
644 Examples/lease.c           share/doc/genpool/examples/lease.c
644 Sources/CGenPoolClient/genpool_client.c  share/doc/genpool/examples/genpool_client.c
644 Sources/BrokerProtocol/io.genpool.Broker1.varlink  share/genpool/io.genpool.Broker1.varlink
644 README.md                  share/doc/genpool/README.md
644 CHANGELOG.md               share/doc/genpool/CHANGELOG.md
644 SECURITY.md                share/doc/genpool/SECURITY.md
644 LICENSE                    share/doc/genpool/LICENSE
endef
export INSTALLED

.PHONY: install uninstall install-test

# Builds nothing, so that `sudo make install` does not compile as root.
install:  ## what `make build` built, units, man pages, … (PREFIX=/usr/local DESTDIR=)
	@test -x $(RELEASE)/genpoold -a -e $(RELEASE)/libgenpool.so -a -d $(COMPLETIONS) || { echo 'nothing is built yet: make build' >&2; exit 1; }
	@echo "$$INSTALLED" | while read -r mode source place; do \
	  echo "$(ROOT)/$$place"; \
	  case $$mode in \
	  755) install -D -m 755 -s $$source "$(ROOT)/$$place" ;; \
	  debug) install -d "$$(dirname "$(ROOT)/$$place")" && objcopy --only-keep-debug $$source "$(ROOT)/$$place" && \
	    chmod 644 "$(ROOT)/$$place" ;; \
	  linked) install -D -m 755 -s $$source "$(ROOT)/$$place" && \
	    objcopy --add-gnu-debuglink="$(ROOT)/$$(dirname $$place)/.debug/$$(basename $$place).debug" "$(ROOT)/$$place" ;; \
	  link) ln -sf $$source "$(ROOT)/$$place" ;; \
	  *) install -D -m $$mode $$source "$(ROOT)/$$place" && \
	    sed -i 's|/usr/sbin/genpoold|$(PREFIX)/sbin/genpoold|; s|^prefix=/usr/local$$|prefix=$(PREFIX)|' "$(ROOT)/$$place" ;; \
	  esac || exit 1; done
	@test -e $(CONFIGURATION) || { echo $(CONFIGURATION); install -D -m 644 systemd/initial.json $(CONFIGURATION); }
ifeq ($(DESTDIR),)
	@echo
	@echo 'Next: ldconfig && systemd-sysusers && systemd-tmpfiles --create && udevadm control --reload && systemctl daemon-reload'
	@echo 'Then: systemctl enable --now genpoold.socket'
endif

# A configuration that was written stays.
uninstall:  ## what `make install` installed, given the same PREFIX and DESTDIR
	@echo "$$INSTALLED" | while read -r mode source place; do rm -f "$(ROOT)/$$place" || exit 1; done
	@for own in share/doc/genpool share/genpool include/genpool lib/.debug; do \
	  if [ -d "$(ROOT)/$$own" ]; then find "$(ROOT)/$$own" -type d -empty -delete; fi; done
	@if cmp -s systemd/initial.json $(CONFIGURATION); then rm $(CONFIGURATION) && rmdir --ignore-fail-on-non-empty $(dir $(CONFIGURATION)); \
	elif [ -e $(CONFIGURATION) ]; then echo 'kept, since it was edited: $(CONFIGURATION)'; fi
	@echo 'genpool is uninstalled from $(ROOT)'

install-test: TOOLS += gcc:gcc
install-test: build  ## install into a temporary tree, use what is there, uninstall
	@Tests/Install/run
