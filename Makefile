# skep: build, test and demonstrate.  `make help` lists the targets.

ifneq ($(filter undefine,$(.FEATURES)),)
MAKEFLAGS += --no-builtin-rules
endif
.SUFFIXES:
.DELETE_ON_ERROR:
.DEFAULT_GOAL := all

# --- which architecture ---
HOST_ARCH := $(patsubst x86_64,x86,$(patsubst aarch64,arm64,$(shell uname -m)))
ARCH ?= $(HOST_ARCH)
override ARCH := $(patsubst x86_64,x86,$(patsubst amd64,x86,$(patsubst aarch64,arm64,$(ARCH))))
ifeq ($(filter $(ARCH),x86 arm64),)
$(error ARCH=$(ARCH): skep knows x86 and arm64)
endif
TRIPLET_x86 := x86_64-linux-gnu
TRIPLET_arm64 := aarch64-linux-gnu
TRIPLET := $(TRIPLET_$(ARCH))
OTHER_x86 := arm64
OTHER_arm64 := x86

# --- tools and flags ---
V ?= 0
Q := $(if $(filter 1,$(V)),,@)
say = $(if $(filter 1,$(V)),,@printf '  %-8s%s\n' '$(1)' '$(2)')
ifneq ($(ARCH),$(HOST_ARCH))
CROSS_COMPILE ?= $(TRIPLET)-
SYSROOT := build/$(ARCH)/sysroot
endif
ifeq ($(origin CC),default)
CC := $(CROSS_COMPILE)gcc
endif
# clang has one compiler for all targets
ifneq ($(findstring clang,$(CC)),)
ifneq ($(ARCH),$(HOST_ARCH))
override CC += --target=$(TRIPLET)
endif
endif
AR := $(CROSS_COMPILE)ar
STRIP := $(CROSS_COMPILE)strip
VERSION := 0.1
PREFIX ?= /usr/local
comma := ,
SAN ?=
O := build/$(ARCH)$(if $(findstring clang,$(CC)),/clang)$(if $(SAN),/san-$(subst $(comma),-,$(SAN)))
OPT ?= -O2 -g
CFLAGS ?=
STD := -std=gnu11 -D_GNU_SOURCE -D_FILE_OFFSET_BITS=64 -DSKEP_VERSION='"$(VERSION)"'
# KVM's structures end in flexible arrays, which one can only fill by wrapping them in another structure.
WARN := -Wall -Wextra -Werror -Wstrict-prototypes -Wmissing-prototypes -Wno-unused-parameter -Wno-gnu-variable-sized-type-not-at-end
# In the path of every exit and request; the rest runs once, or for a human, and is built small.
HOT := common/bus.c common/exits.c common/iov.c common/irq.c common/kvm.c common/loop.c common/mem.c common/vcpu.c devices/%
ALL_CFLAGS = $(STD) $(if $(filter $(HOT),$<),$(OPT),$(OPT:-O2=-Os)) $(WARN) -I. -pthread -ffunction-sections -fdata-sections -fno-asynchronous-unwind-tables $(CFLAGS)
LIBS := -luring -lfdt -lelf -ljansson -lz -lzstd
ifdef SYSROOT
ALL_CFLAGS += -isystem $(SYSROOT)/usr/include -isystem $(SYSROOT)/usr/include/$(TRIPLET)
LIB_PATH := -L$(SYSROOT)/usr/lib/$(TRIPLET)
endif
ifneq ($(SAN),)
ALL_CFLAGS += -fsanitize=$(SAN) -fno-sanitize-recover=all -fno-omit-frame-pointer
# Sanitizers cannot be linked statically; everything else still is, so that test hosts need only libc beside it.
LINK := $(CC) -pthread -fsanitize=$(SAN)
LIBS := -Wl,-Bstatic $(LIBS) -Wl,-Bdynamic
else
LINK := $(CC) -pthread -static -Wl,--gc-sections -Wl,-T,common/static.lds
endif

# --- sources: both architectures' pure halves, the KVM half of one ---
KVM_HALVES := $(wildcard arch/*/kvm_*.c)
SRCS := $(filter-out $(filter-out arch/$(ARCH)/%,$(KVM_HALVES)),$(wildcard common/*.c common/*/*.c arch/*/*.c devices/*.c devices/*/*.c devices/*/*/*.c loaders/*.c loaders/*/*.c))
OBJS := $(SRCS:%.c=$O/obj/%.o)
LIB_OBJS := $(filter-out $O/obj/common/main.o,$(OBJS))
TESTS := $(wildcard tests/unit/*_test.c tests/unit/*/*_test.c tests/unit/*/*/*_test.c tests/unit/*/*/*/*_test.c)
TEST_HELPERS := $(filter-out $(TESTS),$(wildcard tests/unit/*.c tests/unit/*/*.c tests/unit/*/*/*.c tests/unit/*/*/*/*.c))
TEST_BINS := $(TESTS:%_test.c=$O/%_test)

.PHONY: all
all: $O/skep

# --- set-up: packages and, when crossing, the other architecture's libraries ---
STAMPS := build/stamps
$(addprefix $(STAMPS)/,build clang cross test hosts vtx): $(STAMPS)/%: ci/setup.sh
	@mkdir -p $(@D)
	$Q ci/setup.sh $*
	@touch $@
$(STAMPS)/sysroot-x86 $(STAMPS)/sysroot-arm64: $(STAMPS)/sysroot-%: ci/setup.sh | $(STAMPS)/build
	@mkdir -p $(@D)
	$Q ci/setup.sh sysroot $*
	@touch $@
BUILD_STAMPS := $(STAMPS)/build $(if $(findstring clang,$(CC)),$(STAMPS)/clang) $(if $(SYSROOT),$(STAMPS)/cross $(STAMPS)/sysroot-$(ARCH))

# --- building ---
$O/obj/%.o: %.c | $(BUILD_STAMPS)
	@mkdir -p $(@D)
	$(call say,CC,$<)
	$Q$(CC) $(ALL_CFLAGS) -MMD -MP -c -o $@ $<

$O/libskep.a: $(LIB_OBJS)
	$(call say,AR,$@)
	$Qrm -f $@ && $(AR) rcs $@ $^

$O/skep: $O/obj/common/main.o $O/libskep.a
	$(call say,LINK,$@)
	$Q$(LINK) -o $@ $< $O/libskep.a $(LIB_PATH) $(LIBS)

-include $(OBJS:.o=.d)

# --- unit and device tests: a program each ---
TEST_LIBS := -lcheck -lsubunit -lm -lrt
$O/%_test: $O/obj/%_test.o $(TEST_HELPERS:%.c=$O/obj/%.o) $O/libskep.a
	@mkdir -p $(@D)
	$(call say,LINK,$@)
	$Q$(LINK) -o $@ $^ $(LIB_PATH) $(TEST_LIBS) $(LIBS)

.PHONY: unit-tests
unit-tests: $(STAMPS)/test $(TEST_BINS)

.SECONDARY: $(TESTS:%.c=$O/obj/%.o) $(TEST_HELPERS:%.c=$O/obj/%.o)
-include $(TESTS:%.c=$O/obj/%.d) $(TEST_HELPERS:%.c=$O/obj/%.d)

# --- fuzz targets: replayed with a few mutations by `make check` ---
include tests/fuzz/fuzz.mk

# --- crash tests of disk images ---
include tests/crash/crash.mk

# --- bare-metal guests ---
include tests/guest/guest.mk
.PHONY: guests
guests: $(GUESTS)

# --- tests ---
SUB := $(MAKE) --no-print-directory
.PHONY: check check-size check-fuzz check-html check-schema check-crash check-tree check-clang check-unit check-unit-x86 check-unit-arm64 check-hosts check-svm check-gicv3 check-gicv2 check-vtx check-firmware
check:
	$Q ci/check.sh svm unit-x86 unit-arm64 img html schema fuzz clang size tree gicv3 gicv2
check-unit:
	$Q ci/check.sh unit-x86 unit-arm64 fuzz clang size tree
check-hosts:
	$Q ci/check.sh svm gicv3 gicv2
check-firmware:
	$Q ci/check.sh fw-svm fw-gicv3 fw-gicv2
check-unit-x86 check-unit-arm64 check-img check-html check-schema check-svm check-gicv3 check-gicv2 check-vtx check-tree check-clang check-fuzz check-crash check-size: check-%:
	$Q ci/check.sh $*

# --- figures ---
$O/tests/bench/timed: tests/bench/timed.c | $(BUILD_STAMPS)
	@mkdir -p $(@D)
	$(call say,CC,$@)
	$Q$(CC) -O2 -Wall -Wextra -Werror -static -o $@ $<
.PHONY: bench bench-exits exits
bench: bench-exits
	$Q ci/bench.sh
# What counting exits costs
bench-exits:
	$Q ci/exits.sh cost
# Profiles of the workload kit on both architectures
exits:
	$Q ci/exits.sh report

# --- demonstration ---
.PHONY: demo
demo: all
	$Q ci/demo.sh $(ARCH)

# --- documentation and installation ---
MAN_SRCS := $(wildcard docs/man/*.scd)
MANS := $(MAN_SRCS:docs/man/%.scd=build/man/%)
.PHONY: man install strip
man: $(MANS)
build/man/%: docs/man/%.scd ci/man.sh $O/skep | $(STAMPS)/build $(if $(SYSROOT),$(STAMPS)/hosts)
	@mkdir -p $(@D)
	$(call say,MAN,$@)
	$Q ci/man.sh $< $O/skep > $@

$O/skep.stripped: $O/skep
	$Q$(STRIP) -o $@ $<
strip: $O/skep.stripped

# The binary may be of the other architecture.
$O/completion.bash: $O/skep | $(if $(SYSROOT),$(STAMPS)/hosts)
	$Q ci/man.sh --completion $O/skep > $@

install: $O/skep.stripped $O/completion.bash man
	install -D -m 755 $O/skep.stripped $(DESTDIR)$(PREFIX)/bin/skep
	for n in bhyve bhyveload bhyvectl; do ln -sf skep $(DESTDIR)$(PREFIX)/bin/$$n || exit 1; done
	install -D -m 644 $O/completion.bash $(DESTDIR)$(PREFIX)/share/bash-completion/completions/skep
	mkdir -p $(DESTDIR)$(PREFIX)/lib/systemd/system
	sed 's,@BINDIR@,$(PREFIX)/bin,g' contrib/skep@.service.in >$(DESTDIR)$(PREFIX)/lib/systemd/system/skep@.service
	install -D -m 644 contrib/example.conf $(DESTDIR)$(PREFIX)/share/doc/skep/example.conf
	for m in $(MANS); do install -D -m 644 $$m $(DESTDIR)$(PREFIX)/share/man/man$${m##*.}/$${m##*/} || exit 1; done

.PHONY: clean help
clean:
	rm -rf build/x86/clang build/arm64/clang build/x86/obj build/x86/tests build/x86/san-* build/x86/skep* build/x86/libskep.a
	rm -rf build/arm64/obj build/arm64/tests build/arm64/san-* build/arm64/skep* build/arm64/libskep.a build/man build/hosts

help:
	@printf '%s\n' \
	'make [ARCH=x86|arm64]     build/<arch>/skep, static; the other architecture is cross-built' \
	'make demo [ARCH=...]      boot a Linux guest and show its console (in a test host where KVM is missing)' \
	'make check                unit tests of both architectures, then the SVM, GICv3 and GICv2 test hosts' \
	'make check-unit           unit and device tests only: no KVM, no root' \
	'make check-crash          power failures under disk images, for two and a half minutes' \
	'make check-hosts          the three test hosts; check-svm, check-gicv3, check-gicv2: one of them' \
	'make check-firmware       UEFI, U-Boot and installers in the three test hosts' \
	'make check-vtx            the VT-x test host' \
	'make bench                start-up, memory and boot figures under the instruction clock' \
	'make exits                exit profiles of a workload kit, x86 and arm64 side by side: build/exits/report.html' \
	'make bench-exits          what counting exits costs' \
	'make guests               bare-metal test guests' \
	'make man                  man pages in build/man' \
	'make install              DESTDIR=, PREFIX=/usr/local' \
	'make clean                keeps packages, kernels and sysroots' \
	'variables: CC=clang  SAN=address,undefined  OPT=-O0\ -g  V=1'
