# tests/guest: bare-metal guests.  Included by the top Makefile; wants O, ARCH, CC, CROSS_COMPILE, Q and say.
# GUESTS is what it makes: $O/tests/guest/NAME.elf (x86) or NAME.img (arm64).

GUEST_NAMES := hello crash fuzz virtq irq debugexit exits debug
GUEST_DIR := build/$(ARCH)/tests/guest
GUEST_SUFFIX_x86 := elf
GUEST_SUFFIX_arm64 := img
GUESTS := $(GUEST_NAMES:%=$(GUEST_DIR)/%.$(GUEST_SUFFIX_$(ARCH)))
GUEST_LOAD_OFFSET := 0x200000

GUEST_CFLAGS_x86 := -m64 -mno-red-zone -mno-sse -mno-mmx -mgeneral-regs-only -mcmodel=small -fcf-protection=none
GUEST_CFLAGS_arm64 := -mgeneral-regs-only -mstrict-align
# clang has one compiler for all targets
GUEST_CFLAGS_CLANG := $(if $(findstring clang,$(CC)),--target=$(TRIPLET))
GUEST_CFLAGS := $(GUEST_CFLAGS_CLANG) -std=gnu11 -O2 -g -Wall -Wextra -Werror -Wstrict-prototypes -Wmissing-prototypes -I. \
	-ffreestanding -fno-pic -fno-pie -fno-stack-protector -fno-asynchronous-unwind-tables -fno-strict-aliasing \
	-DLOAD_OFFSET=$(GUEST_LOAD_OFFSET) $(GUEST_CFLAGS_$(ARCH))
GUEST_LDFLAGS := $(GUEST_CFLAGS_CLANG) -nostdlib -static -Wl,--build-id=none -Wl,-z,max-page-size=4096 -Wl,-z,noexecstack \
	-Wl,--no-warn-rwx-segments -Wl,--defsym=LOAD_OFFSET=$(GUEST_LOAD_OFFSET) -Wl,-T,tests/guest/$(ARCH).lds
GUEST_OBJCOPY := $(CROSS_COMPILE)objcopy
GUEST_COMMON_arm64 := its_arm64
GUEST_COMMON := $(patsubst %,$(GUEST_DIR)/obj/%.o,start_$(ARCH) traps_$(ARCH) cpu_$(ARCH) guest pci virtio $(GUEST_COMMON_$(ARCH)))

.SECONDARY: $(GUEST_COMMON) $(GUEST_NAMES:%=$(GUEST_DIR)/obj/%.o) $(GUEST_NAMES:%=$(GUEST_DIR)/obj/%.elf)

$(GUEST_DIR)/obj/%.o: tests/guest/%.c tests/guest/guest.mk | $(BUILD_STAMPS)
	@mkdir -p $(@D)
	$(call say,CC,$<)
	$Q$(CC) $(GUEST_CFLAGS) -MMD -MP -c -o $@ $<

$(GUEST_DIR)/obj/%.o: tests/guest/%.S tests/guest/guest.mk | $(BUILD_STAMPS)
	@mkdir -p $(@D)
	$(call say,AS,$<)
	$Q$(CC) $(GUEST_CFLAGS) -MMD -MP -c -o $@ $<

$(GUEST_DIR)/obj/%.elf: $(GUEST_DIR)/obj/%.o $(GUEST_COMMON) tests/guest/$(ARCH).lds
	$(call say,LINK,$@)
	$Q$(CC) $(GUEST_LDFLAGS) -o $@ $(filter %.o,$^)

$(GUEST_DIR)/obj/virtq.elf: $(GUEST_DIR)/obj/virtq_rings.o
$(GUEST_DIR)/obj/exits.elf $(GUEST_DIR)/obj/debug.elf: $(GUEST_DIR)/obj/exits_$(ARCH).o $(GUEST_DIR)/obj/exits_start_$(ARCH).o \
	$(GUEST_DIR)/obj/exits_sleep.o

$(GUEST_DIR)/%.elf: $(GUEST_DIR)/obj/%.elf
	$Q$(GUEST_OBJCOPY) -S $< $@

$(GUEST_DIR)/%.img: $(GUEST_DIR)/obj/%.elf
	$Q$(GUEST_OBJCOPY) -O binary $< $@

# --- other boot protocols: PVH and Multiboot by ELF and by addresses; files without a header; arm64 ELF ---
# proto.elf: 64-bit ELF with a PVH note; proto32.elf: 32-bit ELF with note and Multiboot header; multi.elf: with the header only;
# multi.flat: a flat file with the header's address fields.
PROTO_x86 := proto.elf proto32.elf multi.elf multi.flat raw-real.flat raw-protected.flat raw-long.flat
PROTO_arm64 := elfhello.elf
GUESTS += $(PROTO_$(ARCH):%=$(GUEST_DIR)/%)
RAW_AT_real := 0
RAW_AT_protected := 0x200000
RAW_AT_long := 0x200000
.SECONDARY: $(GUEST_DIR)/obj/proto.elf $(patsubst %,$(GUEST_DIR)/obj/%,proto.o proto32.elf multi-flat.elf mbheader.o mbheader-flat.o)

$(GUEST_DIR)/obj/mbheader-flat.o: tests/guest/mbheader.S tests/guest/guest.mk | $(BUILD_STAMPS)
	@mkdir -p $(@D)
	$Q$(CC) $(GUEST_CFLAGS) -DADDRESSES -c -o $@ $<
$(GUEST_DIR)/obj/proto32.elf: $(GUEST_DIR)/obj/proto.o $(GUEST_DIR)/obj/mbheader.o $(GUEST_COMMON) tests/guest/x86.lds
	$Q$(CC) $(GUEST_LDFLAGS) -o $@ $(filter %.o,$^)
$(GUEST_DIR)/obj/multi-flat.elf: $(GUEST_DIR)/obj/proto.o $(GUEST_DIR)/obj/mbheader-flat.o $(GUEST_COMMON) tests/guest/x86.lds
	$Q$(CC) $(GUEST_LDFLAGS) -o $@ $(filter %.o,$^)
$(GUEST_DIR)/proto32.elf: $(GUEST_DIR)/obj/proto32.elf
	$Q$(GUEST_OBJCOPY) -g -O elf32-i386 $< $@
$(GUEST_DIR)/multi.elf: $(GUEST_DIR)/obj/proto32.elf
	$Q$(GUEST_OBJCOPY) -g -O elf32-i386 -R .note $< $@
$(GUEST_DIR)/multi.flat: $(GUEST_DIR)/obj/multi-flat.elf
	$Q$(GUEST_OBJCOPY) -O binary $< $@
$(GUEST_DIR)/raw-%.flat: tests/guest/raw_x86.S tests/guest/guest.mk | $(BUILD_STAMPS)
	@mkdir -p $(GUEST_DIR)/obj
	$(call say,AS,$@)
	$Q$(CC) $(GUEST_CFLAGS) -DMODE_$* -c -o $(GUEST_DIR)/obj/raw-$*.o $<
	$Q$(CC) $(GUEST_CFLAGS_CLANG) -nostdlib -static -Wl,--build-id=none -Wl,-Ttext=$(RAW_AT_$*) -Wl,-e,start -o $(GUEST_DIR)/obj/raw-$*.elf \
		$(GUEST_DIR)/obj/raw-$*.o
	$Q$(GUEST_OBJCOPY) -O binary -j .text $(GUEST_DIR)/obj/raw-$*.elf $@
$(GUEST_DIR)/elfhello.elf: $(GUEST_DIR)/obj/hello.elf
	$Q$(GUEST_OBJCOPY) -S $< $@

# --- a stand-in for a FreeBSD kernel and two modules, as a host directory: fbsd-root/boot/kernel/{kernel,mod1.ko,mod2.ko} ---
FBSD_ROOT := $(GUEST_DIR)/fbsd-root/boot/kernel
FBSD_OBJ := $(GUEST_DIR)/obj/fbsd
FBSD_FILES_arm64 := kernel.bin
GUESTS += $(addprefix $(FBSD_ROOT)/,kernel mod1.ko mod2.ko $(FBSD_FILES_$(ARCH)))
FBSD_START_x86 := 0xffffffff80200000
FBSD_START_arm64 := 0xffff000000000000
FBSD_ENTRY_x86 := btext
FBSD_ENTRY_arm64 := _start
FBSD_CFLAGS_x86 := -mcmodel=kernel
FBSD_MOD_CFLAGS_arm64 := -fPIC
# Relocatable files on amd64, shared objects on arm64, as FreeBSD has them.
FBSD_MOD_LINK_x86 := -r
FBSD_MOD_LINK_arm64 := -shared -Wl,--hash-style=sysv -Wl,-z,max-page-size=4096
FBSD_LINK := $(GUEST_CFLAGS_CLANG) -nostdlib -Wl,--build-id=none
FBSD_OBJS := $(patsubst %,$(FBSD_OBJ)/%.o,start_fbsd_$(ARCH) traps_$(ARCH) cpu_$(ARCH) $(GUEST_COMMON_$(ARCH)) guest fbsd fbsd_link fbsd_$(ARCH))
FBSD_ELFEDIT := $(CROSS_COMPILE)elfedit --output-osabi=FreeBSD

.SECONDARY: $(FBSD_OBJS) $(FBSD_OBJ)/fbsd_mod1.o $(FBSD_OBJ)/fbsd_mod2.o

$(FBSD_OBJ)/fbsd_mod%.o: tests/guest/fbsd_mod%.c tests/guest/guest.mk | $(BUILD_STAMPS)
	@mkdir -p $(@D)
	$(call say,CC,$<)
	$Q$(CC) $(GUEST_CFLAGS) $(FBSD_CFLAGS_$(ARCH)) $(FBSD_MOD_CFLAGS_$(ARCH)) -MMD -MP -c -o $@ $<

$(FBSD_OBJ)/%.o: tests/guest/%.c tests/guest/guest.mk | $(BUILD_STAMPS)
	@mkdir -p $(@D)
	$(call say,CC,$<)
	$Q$(CC) $(GUEST_CFLAGS) $(FBSD_CFLAGS_$(ARCH)) -MMD -MP -c -o $@ $<

$(FBSD_OBJ)/%.o: tests/guest/%.S tests/guest/guest.mk | $(BUILD_STAMPS)
	@mkdir -p $(@D)
	$(call say,AS,$<)
	$Q$(CC) $(GUEST_CFLAGS) -MMD -MP -c -o $@ $<

# A library without content makes the linker add the dynamic section and the interpreter that a FreeBSD kernel has.
$(FBSD_OBJ)/hack.so: tests/guest/guest.mk | $(BUILD_STAMPS)
	@mkdir -p $(@D)
	$Q$(CC) $(FBSD_LINK) -shared -o $@ -x c /dev/null

$(FBSD_ROOT)/kernel: $(FBSD_OBJS) $(FBSD_OBJ)/hack.so tests/guest/fbsd.lds
	@mkdir -p $(@D)
	$(call say,LINK,$@)
	$Q$(CC) $(FBSD_LINK) -no-pie -Wl,-T,tests/guest/fbsd.lds -Wl,--defsym=FBSD_START=$(FBSD_START_$(ARCH)) -Wl,-e,$(FBSD_ENTRY_$(ARCH)) \
		-Wl,--no-as-needed -Wl,--export-dynamic -Wl,--hash-style=sysv -Wl,--dynamic-linker=/red/herring -Wl,-z,noexecstack \
		-Wl,-z,max-page-size=4096 -Wl,-z,norelro -Wl,--no-warn-rwx-segments -o $@ $(filter %.o,$^) $(FBSD_OBJ)/hack.so
	$Q$(GUEST_OBJCOPY) -g $@
	$Q$(FBSD_ELFEDIT) $@

$(FBSD_ROOT)/kernel.bin: $(FBSD_OBJS) tests/guest/fbsd_bin.lds
	@mkdir -p $(@D)
	$(call say,LINK,$@)
	$Q$(CC) $(FBSD_LINK) -static -Wl,-T,tests/guest/fbsd_bin.lds -Wl,--defsym=FBSD_START=$(FBSD_START_$(ARCH)) -Wl,-e,$(FBSD_ENTRY_$(ARCH)) \
		-Wl,-z,noexecstack -Wl,--no-warn-rwx-segments -o $(FBSD_OBJ)/kernel.bin.elf $(filter %.o,$^)
	$Q$(GUEST_OBJCOPY) -O binary $(FBSD_OBJ)/kernel.bin.elf $@

$(FBSD_ROOT)/%.ko: $(FBSD_OBJ)/fbsd_%.o
	@mkdir -p $(@D)
	$(call say,LINK,$@)
	$Q$(CC) $(FBSD_LINK) $(FBSD_MOD_LINK_$(ARCH)) -o $@ $<
	$Q$(GUEST_OBJCOPY) -g $@
	$Q$(FBSD_ELFEDIT) $@

-include $(wildcard $(GUEST_DIR)/obj/*.d $(FBSD_OBJ)/*.d)
