/*
 * Firmware on the virt machine: two banks of flash at address 0, of which the first holds the code; the entry there with
 * the device tree at the start of RAM, which is where EDK2's ArmVirtQemu and U-Boot's qemu_arm64 look; and what they read
 * from fw_cfg: a kernel to start and ACPI tables [QEMU-FWCFG].
 *
 * EDK2 gives its operating system either ACPI or the device tree: ACPI when there are tables, unless its setting "ForceNoAcpi"
 * is on.  Without tables (acpi_tables=false) it is the device tree.
 */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sys/stat.h>
#include <unistd.h>

#include "arch/arm64/arm64.h"
#include "common/acpi/acpi.h"
#include "common/acpi/loader.h"
#include "common/blob.h"
#include "common/conf.h"
#include "common/device.h"
#include "common/fw_items.h"
#include "common/image.h"
#include "common/log.h"
#include "common/place.h"
#include "common/smbios.h"
#include "common/vm.h"
#include "devices/pflash.h"

/* EDK2's first stack ends 512 KiB into RAM and has 16 KiB; the device tree is below it. */
#define FIRMWARE_FDT_MAX (KIB(512) - KIB(16))

/*
 * ArmVirtQemu puts code and data that it needs early into the first 128 MiB of RAM.  It is told by the mark of the firmware
 * volume behind its first page [PI 3.2.1].
 */
#define UEFI_RAM_MIN MIB(128)
enum { VOLUME_MARK = 0x1000 + 40, HEAD_LEN = VOLUME_MARK + 4 };

/* --- flash --- */

/* Is this word, the first one executed, an instruction that firmware could begin with [Arm ARM DDI0487 C4.1]? */
static bool may_be_code(uint32_t insn)
{
	uint32_t group = insn >> 25 & 0xf;

	if (insn == UINT32_MAX || insn >> 24 == 0xea)   /* erased flash; the A32 branch of 32-bit firmware */
		return false;
	return group != 0 && group != 1 && group != 3;  /* reserved (all zeros among them); not allocated (ELF's mark) */
}

/* x86 firmware ends with 16 bytes of real-mode code, which jump to the rest soon. */
static bool has_x86_reset_vector(const uint8_t tail[16])
{
	for (unsigned i = 0; i < 8; i++) {
		if (tail[i] >= 0xe9 && tail[i] <= 0xeb)
			return true;
	}
	return false;
}

static int check_code(const struct vm *vm, const char *path, const uint8_t head[HEAD_LEN], const uint8_t tail[16])
{
	uint32_t insn = get_le32(head);
	bool branch = insn >> 26 == 5;                  /* b: how EDK2 and U-Boot begin */

	if (!branch && (!may_be_code(insn) || has_x86_reset_vector(tail)))
		return err_msg(-EINVAL, "firmware '%s' %s: give one for arm64, such as those of Debian's qemu-efi-aarch64 and "
			       "u-boot-qemu", path,
			       has_x86_reset_vector(tail) ? "is for x86 machines" : "does not begin with arm64 code");
	if (memcmp(head + VOLUME_MARK, "_FVH", 4) == 0 && vm->map.ram[0].len < UEFI_RAM_MIN)
		return err_msg(-EINVAL, "memory.size: %" PRIu64 " MiB are too little for the UEFI firmware '%s': give at least "
			       "-m 128M", vm->map.ram[0].len >> 20, path);
	return 0;
}

static int check_size(const char *what, const char *path, uint64_t size)
{
	if (size < 16)
		return err_msg(-EINVAL, "%s '%s' has %" PRIu64 " bytes, which is too few: give a file of 16 bytes to 64 MiB", what,
			       path, size);
	if (size > FLASH_BANK_LEN)
		return err_msg(-EFBIG, "%s '%s' has %" PRIu64 " bytes, but a flash bank of the virt machine has 64 MiB: give a "
			       "smaller file", what, path, size);
	return 0;
}

static int check_file(const struct vm *vm, const char *what, const char *path, bool code)
{
	uint8_t head[HEAD_LEN] = { 0 }, tail[16];
	struct stat st;
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);

	if (fd < 0)
		return err_sys("%s '%s'", what, path);
	int err = fstat(fd, &st) ? err_sys("%s '%s'", what, path) : check_size(what, path, (uint64_t)st.st_size);

	if (!err && code) {
		if (pread(fd, head, sizeof(head), 0) < 0 ||
		    pread(fd, tail, sizeof(tail), st.st_size - (off_t)sizeof(tail)) != sizeof(tail))
			err = err_sys("%s '%s': read", what, path);
		else
			err = check_code(vm, path, head, tail);
	}
	close(fd);
	return err;
}

static int add_bank(struct vm *vm, const struct pflash_spec *spec)
{
	int err = 0;
	struct device *d = pflash_new(vm, spec, &err);

	return d ? device_place(d, &vm->mmio, FLASH_BASE + spec->slot * FLASH_BANK_LEN) : err;
}

int arm64_add_flash(struct vm *vm)
{
	const char *code = conf_str(vm->conf, "lpc.bootrom"), *vars = conf_str(vm->conf, "lpc.bootvars");
	struct pflash_spec spec = { .id = "flash0", .path = code, .len = FLASH_BANK_LEN, .block = FLASH_BLOCK, .width = FLASH_WIDTH,
				    .slot = 0, .readonly = true };
	int err = check_file(vm, "firmware", code, true);

	if (!err && vars)
		err = check_file(vm, "firmware variables", vars, false);
	if (!err)
		err = add_bank(vm, &spec);
	spec = (struct pflash_spec){ .id = "flash1", .path = vars, .len = FLASH_BANK_LEN, .block = FLASH_BLOCK,
				     .width = FLASH_WIDTH, .slot = 1, .persistent = vars };
	return err ? err : add_bank(vm, &spec);
}

/* --- fw_cfg --- */

bool arm64_has_acpi(const struct vm *vm)
{
	return vm->firmware && conf_bool(vm->conf, "acpi_tables");
}

/* The kernel firmware starts instead of looking for a disk. */
static int put_kernel(const struct vm *vm, struct device *fw_cfg, const struct image *im)
{
	if (im->kind != IMAGE_ARM64)
		return err_msg(-EINVAL, "kernel '%s' (%s): firmware starts arm64 Images only; leave the firmware out to start it "
			       "directly", im->path, image_kind_name(im->kind));
	return fw_items_kernel(fw_cfg, im, conf_str(vm->conf, ARM64_CMDLINE_KEY), 0);
}

int arm64_fill_fw_cfg(struct vm *vm, struct device *fw_cfg, const struct image *im)
{
	struct acpi_set acpi;
	int err = 0;

	if (!vm->firmware)
		return 0;
	if (im->kind != IMAGE_NONE)
		err = put_kernel(vm, fw_cfg, im);
	if (err || !arm64_has_acpi(vm))
		return err;
	arm64_acpi_build(vm, &acpi);
	err = acpi_loader_put(fw_cfg, &acpi, false);
	acpi_free(&acpi);
	return err;
}

void arm64_print_firmware(struct vm *vm, FILE *f)
{
	struct blob smbios = { 0 };
	uint8_t entry[SM3_LEN];
	struct acpi_set acpi;

	fputc('\n', f);
	fw_items_print(vm, f);
	if (arm64_has_acpi(vm)) {
		/* Before the firmware has placed them, addresses are offsets. */
		fprintf(f, "ACPI tables, addresses from the start of %s\n", ACPI_FILE_TABLES);
		arm64_acpi_build(vm, &acpi);
		acpi_print(&acpi, f);
		acpi_free(&acpi);
	}
	smbios_build(vm, 0, &smbios, entry);
	smbios_print(&smbios, f);
	blob_free(&smbios);
}

/* --- entry --- */

int arm64_load_firmware(struct vm *vm, struct entry *out)
{
	const struct arm64_layout nothing = { 0 };
	struct blob fdt = { 0 };
	int err = arm64_fdt_build(vm, &nothing, &fdt);

	assert(fdt.len <= FIRMWARE_FDT_MAX);            /* there is no command line in it */
	if (!err)
		err = boot_copy(vm, vm->map.ram[0].base, fdt.data, fdt.len, 0, PLACE_FDT);
	blob_free(&fdt);
	if (!err)
		*out = (struct entry){ .mode = ENTRY_ARM64, .pc = FLASH_BASE };
	return err;
}
