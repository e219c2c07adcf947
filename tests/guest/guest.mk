# tests/guest: bare-metal guests.  Included by the top Makefile; wants O, ARCH, CC, CROSS_COMPILE, Q and say.
# GUESTS is what it makes: $O/tests/guest/NAME.elf (x86) or NAME.img (arm64).

GUEST_NAMES := hello crash fuzz virtq irq
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
GUEST_COMMON := $(patsubst %,$(GUEST_DIR)/obj/%.o,start_$(ARCH) cpu_$(ARCH) guest pci virtio)

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

$(GUEST_DIR)/%.elf: $(GUEST_DIR)/obj/%.elf
	$Q$(GUEST_OBJCOPY) -S $< $@

$(GUEST_DIR)/%.img: $(GUEST_DIR)/obj/%.elf
	$Q$(GUEST_OBJCOPY) -O binary $< $@

-include $(wildcard $(GUEST_DIR)/obj/*.d)
