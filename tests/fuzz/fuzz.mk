# tests/fuzz: a program for each parser of guest or file data.  Included by the top Makefile behind the unit tests; wants O, SAN,
# LINK, LIBS, LIB_PATH, TEST_LIBS, Q and say.  FUZZ_BINS is what it makes: $O/tests/fuzz/fuzz_NAME.
#
# With gcc or clang, they replay and mutate tests/fuzz/corpus/NAME (tests/fuzz/run.sh, or by hand with -t SECONDS -s SEED):
#	make fuzz SAN=address,undefined
#	tests/fuzz/run.sh fuzz build/x86/san-address-undefined/tests/fuzz/fuzz_*
# Guided by coverage, until something is found:
#	make fuzz CC=clang SAN=fuzzer,address
#	mkdir -p build/found && build/x86/clang/san-fuzzer-address/tests/fuzz/fuzz_pvh -close_fd_mask=3 -max_len=4096 \
#		build/found tests/fuzz/corpus/pvh
# What is found goes to the corpus, made small (-minimize_crash=1), under a name that says what it was.

FUZZ_NAMES := bzimage pvh multiboot elf arm64_image conf snap virtqueue kld fw_cfg pflash fbsd loader_conf ahci scsi nvme vmdk vdi vhd vhdx qcow2 ctl gdb
FUZZ_BINS := $(FUZZ_NAMES:%=$O/tests/fuzz/fuzz_%)
# libFuzzer brings its own main().
FUZZ_MAIN := $(if $(findstring fuzzer,$(SAN)),,$O/obj/tests/fuzz/main.o)

.PHONY: fuzz
fuzz: $(FUZZ_BINS)

$O/tests/fuzz/fuzz_virtqueue $O/tests/fuzz/fuzz_scsi: $O/obj/tests/unit/devices/virtio/driver.o
$O/tests/fuzz/fuzz_ahci: $O/obj/tests/unit/devices/virtio/driver.o $O/obj/tests/unit/devices/ahci/hba.o
$O/tests/fuzz/fuzz_nvme: $O/obj/tests/unit/devices/virtio/driver.o $O/obj/tests/unit/devices/nvme/nvdrv.o
$(FUZZ_BINS): $O/tests/fuzz/%: $O/obj/tests/fuzz/%.o $(FUZZ_MAIN) $O/libskep.a
	@mkdir -p $(@D)
	$(call say,LINK,$@)
	$Q$(LINK) -o $@ $(filter %.o,$^) $(filter %.a,$^) $(LIB_PATH) $(TEST_LIBS) $(LIBS)

.SECONDARY: $(FUZZ_NAMES:%=$O/obj/tests/fuzz/fuzz_%.o) $O/obj/tests/fuzz/main.o
-include $(FUZZ_NAMES:%=$O/obj/tests/fuzz/fuzz_%.d) $O/obj/tests/fuzz/main.d
