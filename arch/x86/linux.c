/*
 * Linux by the 64-bit boot protocol [Linux x86 boot protocol 2.15]: the kernel, its zero page, the initrd and
 * a seed for the guest's random numbers.
 */
#include <errno.h>
#include <inttypes.h>
#include <sys/random.h>

#include "arch/x86/layout.h"
#include "arch/x86/x86.h"
#include "common/log.h"
#include "common/vm.h"
#include "loaders/bzimage.h"

#define SEED_LEN 32
#define CMDLINE_SIZE_DEFAULT 255        /* what cmdline_size 0 stands for */

/*
 * Where the kernel goes.  A relocatable kernel below its preferred address moves itself up to it, so there is
 * no lower place for it and init_size counts from there.
 */
static uint64_t load_address(const uint8_t *hdr)
{
	uint64_t align = get_le32(hdr + HDR_KERNEL_ALIGNMENT), at = get_le64(hdr + HDR_PREF_ADDRESS);

	if (at < X86_HIGH_START && hdr[HDR_RELOCATABLE])
		at = X86_HIGH_START;
	/* A power of two, says the protocol; another figure is ignored rather than believed. */
	if (hdr[HDR_RELOCATABLE] && align && (align & (align - 1)) == 0)
		at = ALIGN_UP(at, align);
	return at;
}

/* The list of extra data has one element: the seed.  *gpa is 0 in a dry VM, whose tables must not vary. */
static int put_seed(struct vm *vm, uint64_t *gpa)
{
	uint8_t data[SETUP_DATA_HDR_LEN + SEED_LEN] = { 0 };

	*gpa = 0;
	if (vm->dry)
		return 0;
	put_le32(data + 8, SETUP_RNG_SEED);
	put_le32(data + 12, SEED_LEN);
	if (getrandom(data + SETUP_DATA_HDR_LEN, SEED_LEN, 0) != SEED_LEN)
		return err_sys("random seed for the guest: getrandom");
	*gpa = X86_SETUP_DATA;
	return boot_copy(vm, X86_SETUP_DATA, data, sizeof(data), sizeof(data), "random seed");
}

static void fill_e820(const struct vm *vm, uint8_t *zp)
{
	struct e820_entry e[X86_E820_MAX];
	unsigned n = x86_e820(&vm->map, e);

	zp[BP_E820_ENTRIES] = (uint8_t)n;
	memcpy(zp + BP_E820_TABLE, e, n * sizeof(e[0]));
}

static int put_zero_page(struct vm *vm, const struct image *im, uint64_t initrd, uint64_t setup_data)
{
	uint8_t zp[BP_LEN] = { 0 };
	const uint8_t *hdr = im->data;
	size_t end = MIN((size_t)HDR_MAGIC + hdr[HDR_JUMP_LEN], (size_t)HDR_END_MAX);

	end = MIN(end, im->len);
	if (end > HDR_SETUP_SECTS)
		memcpy(zp + HDR_SETUP_SECTS, hdr + HDR_SETUP_SECTS, end - HDR_SETUP_SECTS);
	put_le16(zp + HDR_VID_MODE, VID_MODE_NORMAL);
	zp[HDR_TYPE_OF_LOADER] = LOADER_UNDEFINED;
	/* Everything is placed below 4 GiB: the ext_ fields stay 0. */
	put_le32(zp + HDR_RAMDISK_IMAGE, (uint32_t)initrd);
	put_le32(zp + HDR_RAMDISK_SIZE, initrd ? (uint32_t)im->initrd_len : 0);
	put_le32(zp + HDR_CMD_LINE_PTR, X86_CMDLINE);
	put_le64(zp + HDR_SETUP_DATA, setup_data);
	put_le64(zp + BP_ACPI_RSDP_ADDR, x86_rsdp(vm));
	fill_e820(vm, zp);
	return boot_copy(vm, X86_ZERO_PAGE, zp, sizeof(zp), sizeof(zp), "zero page");
}

int x86_load_bzimage(struct vm *vm, const struct image *im, struct entry *out)
{
	const uint8_t *hdr = im->data;
	uint64_t at = load_address(hdr), end = at + im->seg[0].mem_len, initrd, seed;
	uint32_t cmdline_max = get_le32(hdr + HDR_CMDLINE_SIZE);
	/* The kernel zeroes its own memory behind the image. */
	int err = x86_put_segment(vm, im, 0, at, false);

	if (!err)
		err = x86_put_cmdline(vm, im, cmdline_max ? cmdline_max : CMDLINE_SIZE_DEFAULT);
	if (!err)
		err = x86_put_initrd(vm, im, end, (uint64_t)get_le32(hdr + HDR_INITRD_ADDR_MAX) + 1, &initrd);
	if (!err)
		err = put_seed(vm, &seed);
	if (!err)
		err = put_zero_page(vm, im, initrd, seed);
	if (!err)
		*out = (struct entry){ .mode = ENTRY_X86_LONG, .pc = at + ENTRY64_OFFSET, .arg = X86_ZERO_PAGE };
	return err;
}
