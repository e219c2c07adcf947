/*
 * Firmware on the q35 machine: flash that ends at 4 GiB, and what fw_cfg holds beside the common items.
 *
 * CODE is the upper device and read-only, VARS the one below it and written through; this is how Debian's OVMF_CODE and
 * OVMF_VARS are made.  A single file is one device that forgets what is written when the VM ends.
 */
#include <errno.h>
#include <inttypes.h>
#include <sys/stat.h>

#include "arch/x86/acpi.h"
#include "arch/x86/layout.h"
#include "arch/x86/x86.h"
#include "common/acpi/loader.h"
#include "common/conf.h"
#include "common/fw_items.h"
#include "common/log.h"
#include "common/vm.h"
#include "devices/fw_cfg.h"
#include "devices/pci/pci.h"
#include "devices/pflash.h"

#define FLASH_BLOCK KIB(4)

/* --- flash --- */

static int file_len(const char *key, const char *path, uint64_t room, uint64_t *len)
{
	struct stat st;

	if (stat(path, &st) < 0)
		return err_sys("%s: firmware '%s'", key, path);
	if (!S_ISREG(st.st_mode))
		return err_msg(-EINVAL, "%s: firmware '%s' is no regular file; give a flash image", key, path);
	*len = (uint64_t)st.st_size;
	if (*len == 0 || *len % FLASH_BLOCK)
		return err_msg(-EINVAL, "%s: firmware '%s' has %" PRIu64 " bytes, but flash consists of blocks of %" PRIu64
			       "; give a flash image for x86", key, path, *len, (uint64_t)FLASH_BLOCK);
	if (*len > room)
		return err_msg(-EFBIG, "%s: firmware '%s' has %" PRIu64 " KiB, and the x86 machine has room for %" PRIu64 " KiB below 4 GiB"
			       "; is it for arm64?", key, path, *len >> 10, room >> 10);
	return 0;
}

static int add_flash(struct vm *vm, struct pflash_spec spec, uint64_t end)
{
	int err = 0;

	spec.block = FLASH_BLOCK;
	spec.width = 1;
	struct device *d = pflash_new(vm, &spec, &err);

	return d ? device_place(d, &vm->mmio, end - spec.len) : err;
}

int x86_add_flash(struct vm *vm)
{
	const char *code = conf_str(vm->conf, "lpc.bootrom"), *vars = conf_str(vm->conf, "lpc.bootvars");
	struct pflash_spec c = { .id = "flash0", .path = code, .slot = 0, .readonly = vars };
	struct pflash_spec v = { .id = "flash1", .path = vars, .slot = 1, .persistent = true };
	int err = file_len("lpc.bootrom", code, X86_FLASH_MAX, &c.len);

	if (!err && vars)
		err = file_len("lpc.bootvars", vars, X86_FLASH_MAX - c.len, &v.len);
	if (!err)
		err = add_flash(vm, c, X86_FLASH_END);
	if (!err && vars)
		err = add_flash(vm, v, X86_FLASH_END - c.len);
	return err;
}

/* --- tables --- */

/* ECAM inside the window: firmware has its BARs below, or above when nothing is left there. */
static void cut_window(struct memmap *m)
{
	uint64_t end = m->pci32_base + m->pci32_len, ecam_end = m->ecam_base + m->ecam_len;

	if (!m->ecam_len || !ranges_overlap(m->pci32_base, m->pci32_len, m->ecam_base, m->ecam_len))
		return;
	if (m->ecam_base > m->pci32_base) {
		m->pci32_len = m->ecam_base - m->pci32_base;
	} else {
		m->pci32_base = MIN(ecam_end, end - MIB(1));
		m->pci32_len = end - m->pci32_base;
	}
}

void x86_placed_map(const struct vm *vm, struct memmap *m)
{
	struct pci_windows w;
	uint64_t ram_end = MAX(vm->map.ram[vm->map.nram - 1].base + vm->map.ram[vm->map.nram - 1].len, GIB(4));

	*m = vm->map;
	pci_host_windows(vm->pci, &w);
	/* Tables have 32 bits for it. */
	bool low = w.ecam_base + w.ecam_len <= GIB(4);

	m->ecam_base = low ? w.ecam_base : 0;
	m->ecam_len = low ? w.ecam_len : 0;
	cut_window(m);
	if (w.high_first > w.high_last || (w.high_first >= m->pci64_base && w.high_last - m->pci64_base < m->pci64_len))
		return;
	uint64_t end = w.high_last < UINT64_MAX - GIB(1) ? ALIGN_UP(w.high_last + 1, GIB(1)) : UINT64_MAX & ~(GIB(1) - 1);

	m->pci64_base = MAX(ALIGN_DOWN(w.high_first, GIB(1)), ram_end);
	m->pci64_len = end > m->pci64_base ? end - m->pci64_base : GIB(1);
}

static int put_tables(struct vm *vm, struct device *fw_cfg, const struct memmap *m, bool replace)
{
	struct acpi_set s;

	acpi_build_with(vm, m, 0, &s);
	int err = acpi_loader_put(fw_cfg, &s, replace);

	acpi_free(&s);
	return err;
}

/* fw_cfg_on_tables: firmware has placed PCI and asks for the tables. */
static void tables_wanted(struct vm *vm, struct device *fw_cfg)
{
	struct memmap m;

	x86_placed_map(vm, &m);
	put_tables(vm, fw_cfg, &m, true);
}

static int add_acpi(struct vm *vm, struct device *fw_cfg)
{
	if (!conf_bool(vm->conf, "acpi_tables"))
		return 0;
	int err = put_tables(vm, fw_cfg, &vm->map, false);

	if (!err)
		fw_cfg_on_tables(fw_cfg, tables_wanted);
	return err;
}

/* --- items --- */

static int add_e820(struct vm *vm, struct device *fw_cfg)
{
	struct e820_entry e[X86_E820_MAX];
	unsigned n = x86_e820_firmware(&vm->map, e);

	return fw_cfg_file(fw_cfg, "etc/e820", e, n * sizeof(e[0]));
}

static int add_kernel(struct vm *vm, struct device *fw_cfg, const struct image *im)
{
	if (im->kind == IMAGE_NONE)
		return 0;
	if (im->kind != IMAGE_BZIMAGE)
		return err_msg(-ENOEXEC, "kernel '%s' is an %s, which firmware cannot start; give a Linux bzImage that UEFI can start, or "
			       "leave the firmware out", im->path, image_kind_name(im->kind));
	/* The set-up sectors are what stands before the kernel proper. */
	return fw_items_kernel(fw_cfg, im, x86_cmdline(vm), (size_t)(im->seg[0].data - im->data));
}

int x86_fill_fw_cfg(struct vm *vm, struct device *fw_cfg, const struct image *im)
{
	if (!vm->firmware)
		return 0;               /* the kernel is in memory, and so are its tables */
	int err = add_e820(vm, fw_cfg);

	if (!err)
		err = add_acpi(vm, fw_cfg);
	return err ? err : add_kernel(vm, fw_cfg, im);
}

/* --- plan --- */

void x86_print_firmware(struct vm *vm, FILE *f)
{
	static const char *const ids[] = { "flash0", "flash1" }, *const keys[] = { "lpc.bootrom", "lpc.bootvars" };

	fprintf(f, "firmware\n");
	for (unsigned i = 0; i < NELEM(ids); i++) {
		const struct device *d = vm_device(vm, ids[i]);

		if (d)
			fprintf(f, "  %s 0x%08" PRIx64 "-0x%08" PRIx64 "  %s\n", d->id, d->io.base, d->io.base + d->io.len - 1,
				conf_str(vm->conf, keys[i]));
	}
	fputc('\n', f);
	fw_items_print(vm, f);
}
