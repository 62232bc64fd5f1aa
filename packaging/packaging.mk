# Installing from source, and the two forms a release has.
.PHONY: install uninstall deb tarball test-deb

PREFIX ?= /usr/local
DESTDIR ?=
BINDIR ?= $(PREFIX)/bin
MANDIR ?= $(PREFIX)/share/man
DOCDIR ?= $(PREFIX)/share/doc/sallyport
UNITDIR ?= $(PREFIX)/lib/systemd/system
BASHDIR ?= $(PREFIX)/share/bash-completion/completions
ZSHDIR ?= $(PREFIX)/share/zsh/site-functions
FISHDIR ?= $(PREFIX)/share/fish/vendor_completions.d

BUILT ?= .build/release
VERSION := $(shell sed -n 's/.*sallyportVersion = "\(.*\)"/\1/p' Sources/ControlAPI/Version.swift)
# Packages of one commit are alike, whenever they are made.
export SOURCE_DATE_EPOCH ?= $(shell git log -1 --format=%ct 2>/dev/null || date +%s)

# program, section of its manual
PROGRAMS := teleport:8 tctl:8 tsh:1

install: ## Install what 'make build' made; PREFIX, DESTDIR
	@test -x $(BUILT)/teleport || { echo "nothing to install yet: run 'make build' first" >&2; exit 1; }
	install -d $(addprefix $(DESTDIR),$(BINDIR) $(MANDIR)/man1 $(MANDIR)/man8 $(DOCDIR) $(UNITDIR) $(BASHDIR) $(ZSHDIR) $(FISHDIR))
	install -d $(DESTDIR)/etc/default
	set -e; for entry in $(PROGRAMS); do \
	  program=$${entry%:*}; section=$${entry#*:}; \
	  install -m 755 $(BUILT)/$$program $(DESTDIR)$(BINDIR)/$$program; \
	  $(BUILT)/$$program --generate-completion-script bash > $(DESTDIR)$(BASHDIR)/$$program; \
	  $(BUILT)/$$program --generate-completion-script zsh > $(DESTDIR)$(ZSHDIR)/_$$program; \
	  $(BUILT)/$$program --generate-completion-script fish > $(DESTDIR)$(FISHDIR)/$$program.fish; \
	  $(BUILT)/$$program --experimental-dump-help \
	    | python3 packaging/man/manual.py $$section packaging/man/$$program.mdoc \
	    > $(DESTDIR)$(MANDIR)/man$$section/$$program.$$section; \
	done
	sed 's|@BINDIR@|$(BINDIR)|' packaging/systemd/teleport.service > $(DESTDIR)$(UNITDIR)/teleport.service
	install -m 644 LICENSE docs/operations.md $(DESTDIR)$(DOCDIR)
	test -e $(DESTDIR)/etc/default/teleport || install -m 644 packaging/systemd/teleport.default $(DESTDIR)/etc/default/teleport

uninstall: ## Remove what 'make install' installed; configuration and state stay
	set -e; for entry in $(PROGRAMS); do \
	  program=$${entry%:*}; section=$${entry#*:}; \
	  rm -f $(DESTDIR)$(BINDIR)/$$program $(DESTDIR)$(BASHDIR)/$$program $(DESTDIR)$(ZSHDIR)/_$$program \
	    $(DESTDIR)$(FISHDIR)/$$program.fish $(DESTDIR)$(MANDIR)/man$$section/$$program.$$section; \
	done
	rm -f $(DESTDIR)$(UNITDIR)/teleport.service $(DESTDIR)$(DOCDIR)/LICENSE $(DESTDIR)$(DOCDIR)/operations.md
	-rmdir $(DESTDIR)$(DOCDIR)

deb: build ## Debian package in dist/
	packaging/deb/build.sh $(VERSION) dist

tarball: build ## Release tarball, its sha256 and install.sh in dist/
	packaging/tarball/build.sh $(VERSION) dist

test-deb: deb ## Install, run, remove and purge the package in a fresh Debian and under its systemd (root, two minutes)
	Tests/Packaging/test-deb.sh dist/sallyport_$(VERSION)_$$(dpkg --print-architecture).deb
