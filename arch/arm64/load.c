/*
 * Placing kernel, initrd and device tree in guest memory [LINUX-ARM64-BOOT: Linux Documentation/arm64/booting.rst,
 * sections 2 to 4], and the tables `plan` shows.
 *
 * The kernel goes to the start of RAM, at the offset its header asks for; tree and initrd to the end of the
 * lowest 512 MiB, or as high as a kernel still finds them: so everything behind the kernel stays free for it.
 */
#include <errno.h>
#include <inttypes.h>
#include <limits.h>

#include "arch/arm64/arm64.h"
#include "common/blob.h"
#include "common/image.h"
#include "common/log.h"
#include "common/mem.h"
#include "common/util.h"
#include "common/vm.h"

#define INITRD_ALIGN KIB(64)            /* the largest guest page */
/*
 * Kernels before 4.2 look for the tree in the first 512 MiB; an initrd must lie in the 32 GiB window that starts at the
 * GiB boundary below the kernel, which RAM_BASE is.
 */
static const uint64_t span_max[] = { MIB(512), GIB(32) };

/* Puts tree and initrd right below `top`; false when they meet the kernel. */
static bool place_below(uint64_t top, struct arm64_layout *l)
{
	uint64_t floor = l->kernel + l->kernel_len;

	top = ALIGN_DOWN(top, ARM64_FDT_MAX);
	if (top < floor || top - floor < ARM64_FDT_MAX)
		return false;
	l->fdt = top - ARM64_FDT_MAX;
	if (l->fdt - floor < l->initrd_len)
		return false;
	l->initrd = l->initrd_len ? ALIGN_DOWN(l->fdt - l->initrd_len, INITRD_ALIGN) : 0;
	return !l->initrd_len || l->initrd >= floor;
}

static int no_room(const struct memmap *map, const struct image *img, const struct arm64_layout *l)
{
	uint64_t need = 0;
	/* Sizes beyond any RAM come from a broken header: no advice then. */
	if (img->text_offset < RAM_LEN_MAX && l->kernel_len < RAM_LEN_MAX && l->initrd_len < RAM_LEN_MAX)
		need = ALIGN_UP(img->text_offset + l->kernel_len, ARM64_FDT_MAX) + ARM64_FDT_MAX +
		       ALIGN_UP(l->initrd_len, ARM64_FDT_MAX);
	if (!need || need > RAM_LEN_MAX)
		return err_msg(-ENOSPC,
			       "kernel '%s': its header asks for %" PRIu64 " MiB at offset 0x%" PRIx64 ", more than any "
			       "machine has: the file is damaged", img->path, l->kernel_len >> 20, img->text_offset);
	return err_msg(-ENOSPC, "memory.size: %" PRIu64 " MiB are too little for kernel '%s'%s: give at least -m %" PRIu64 "M",
		       map->ram[0].len >> 20, img->path, l->initrd_len ? " and its initrd" : "", need >> 20);
}

int arm64_place(const struct memmap *map, const struct image *img, struct arm64_layout *l)
{
	uint64_t base = map->ram[0].base, len = map->ram[0].len;

	*l = (struct arm64_layout){ .kernel = base, .kernel_len = MAX(img->image_size, (uint64_t)img->len),
				    .initrd_len = img->initrd_len };
	if (img->text_offset > len || l->kernel_len > len - img->text_offset)
		return no_room(map, img, l);
	l->kernel += img->text_offset;
	for (size_t i = 0; i < NELEM(span_max); i++) {
		if (place_below(base + MIN(len, span_max[i]), l))
			return 0;
	}
	return no_room(map, img, l);
}

static int copy_in(struct vm *vm, const char *what, uint64_t gpa, const void *data, uint64_t len)
{
	if (len && !mem_write(&vm->mem, gpa, data, len))
		return err_msg(-EFAULT, "%s: %" PRIu64 " bytes at 0x%" PRIx64 " are not in guest memory", what, len, gpa);
	return 0;
}

int arm64_load(struct vm *vm, const struct image *img, struct entry *out)
{
	struct arm64_layout l;
	struct blob fdt = { 0 };

	if (img->kind != IMAGE_ARM64)
		return err_msg(-EINVAL,
			       "kernel '%s' is no arm64 Image: an arm64 machine needs one (Debian's linux-image-arm64 has it)",
			       img->path);
	int err = arm64_place(&vm->map, img, &l);
	if (!err)
		err = arm64_fdt_build(vm, &l, &fdt);
	if (!err)
		err = copy_in(vm, img->path, l.kernel, img->data, img->len);
	if (!err)
		err = copy_in(vm, img->initrd_path, l.initrd, img->initrd, img->initrd_len);
	if (!err)
		err = copy_in(vm, "device tree", l.fdt, fdt.data, fdt.len);
	blob_free(&fdt);
	if (!err)
		*out = (struct entry){ .mode = ENTRY_ARM64, .pc = l.kernel, .arg = l.fdt };
	return err;
}

/* The tree as a guest would get it; without a kernel, nothing has a place. */
static int tables_build(struct vm *vm, struct blob *fdt)
{
	struct arm64_layout l = { 0 };
	int err = vm->image.kind == IMAGE_ARM64 ? arm64_place(&vm->map, &vm->image, &l) : 0;

	return err ? err : arm64_fdt_build(vm, &l, fdt);
}

int arm64_print_tables(struct vm *vm, FILE *f)
{
	struct blob fdt = { 0 };
	int err = tables_build(vm, &fdt);

	if (!err)
		err = arm64_dts_print(fdt.data, f);
	blob_free(&fdt);
	return err;
}

int arm64_write_tables(struct vm *vm, const char *dir)
{
	struct blob fdt = { 0 };
	char path[PATH_MAX];
	int err = tables_build(vm, &fdt);

	if (!err && snprintf(path, sizeof(path), "%s/virt.dtb", dir) >= (int)sizeof(path))
		err = err_msg(-ENAMETOOLONG, "'%s': the path is too long", dir);
	FILE *f = err ? NULL : fopen(path, "we");
	if (!err && !f)
		err = err_sys("'%s': create", path);
	if (f) {
		bool written = fwrite(fdt.data, 1, fdt.len, f) == fdt.len;
		if ((fclose(f) || !written) && !err)
			err = err_sys("'%s': write", path);
	}
	blob_free(&fdt);
	return err;
}
