/*
 * Placing kernel, initrd and device tree in guest memory [LINUX-ARM64-BOOT: Linux Documentation/arm64/booting.rst,
 * sections 2 to 4], and the tables `plan` shows.
 *
 * An Image goes to the start of RAM, at the offset its header asks for; an ELF file and files of --load go where they say.
 * Tree and initrd go to the end of the lowest 512 MiB, or as high as a kernel still finds them: so everything behind the
 * kernel stays free for it.
 */
#include <errno.h>
#include <inttypes.h>
#include <libfdt.h>
#include <limits.h>

#include "arch/arm64/arm64.h"
#include "common/acpi/acpi.h"
#include "common/blob.h"
#include "common/image.h"
#include "common/log.h"
#include "common/mem.h"
#include "common/place.h"
#include "common/util.h"
#include "common/vm.h"

#define INITRD_ALIGN KIB(64)            /* the largest guest page */
/*
 * Kernels before 4.2 look for the tree in the first 512 MiB; an initrd must lie in the 32 GiB window that starts at the
 * GiB boundary below the kernel, which RAM_BASE is.
 */
static const uint64_t span_max[] = { MIB(512), GIB(32) };

/* Puts tree and initrd right below `top`; false when they meet what lies below `floor`. */
static bool place_below(uint64_t top, uint64_t floor, struct arm64_layout *l)
{
	top = ALIGN_DOWN(top, ARM64_FDT_MAX);
	if (top < floor || top - floor < ARM64_FDT_MAX)
		return false;
	l->fdt = top - ARM64_FDT_MAX;
	if (l->fdt - floor < l->initrd_len)
		return false;
	l->initrd = l->initrd_len ? ALIGN_DOWN(l->fdt - l->initrd_len, INITRD_ALIGN) : 0;
	return !l->initrd_len || l->initrd >= floor;
}

/* The lowest start of what the operator has put where tree and initrd would be; 0: they are in nobody's way. */
static uint64_t in_the_way(const struct image *img, const struct arm64_layout *l)
{
	uint64_t start = l->initrd_len ? l->initrd : l->fdt, len = l->fdt + ARM64_FDT_MAX - start, found = UINT64_MAX;

	for (unsigned i = 0; i < img->nblobs; i++) {
		if (img->blob[i].len && ranges_overlap(start, len, img->blob[i].gpa, img->blob[i].len))
			found = MIN(found, img->blob[i].gpa);
	}
	for (unsigned i = 0; i < img->nseg && img->kind != IMAGE_ARM64; i++) {
		if (ranges_overlap(start, len, img->seg[i].gpa, img->seg[i].mem_len))
			found = MIN(found, img->seg[i].gpa);
	}
	return found == UINT64_MAX ? 0 : found;
}

/* Below `top` and out of everybody's way. */
static bool place_free(const struct image *img, uint64_t top, uint64_t floor, struct arm64_layout *l)
{
	uint64_t start;

	while (place_below(top, floor, l)) {
		start = in_the_way(img, l);
		if (!start)
			return true;
		top = start;
	}
	return false;
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
	if (img->kind != IMAGE_ARM64)
		return err_msg(-ENOSPC, "memory.size: %" PRIu64 " MiB have no room for the device tree%s beside '%s': "
			       "give more with -m", map->ram[0].len >> 20, l->initrd_len ? " and the initrd" : "",
			       img->path ? img->path : img->blob[0].path);
	return err_msg(-ENOSPC, "memory.size: %" PRIu64 " MiB are too little for kernel '%s'%s: give at least -m %" PRIu64 "M",
		       map->ram[0].len >> 20, img->path, l->initrd_len ? " and its initrd" : "", need >> 20);
}

int arm64_place(const struct memmap *map, const struct image *img, struct arm64_layout *l)
{
	uint64_t base = map->ram[0].base, len = map->ram[0].len;

	*l = (struct arm64_layout){ .kernel = base, .initrd_len = img->initrd_len };
	if (img->kind == IMAGE_ARM64) {
		l->kernel_len = MAX(img->image_size, (uint64_t)img->len);
		if (img->text_offset > len || l->kernel_len > len - img->text_offset)
			return no_room(map, img, l);
		l->kernel += img->text_offset;
	}
	for (size_t i = 0; i < NELEM(span_max); i++) {
		if (place_free(img, base + MIN(len, span_max[i]), l->kernel + l->kernel_len, l))
			return 0;
	}
	return no_room(map, img, l);
}

static int put_kernel(struct vm *vm, const struct image *img, const struct arm64_layout *l)
{
	int err = 0;

	if (img->kind == IMAGE_ARM64) {
		err = boot_place(vm, l->kernel, l->kernel_len, "kernel '%s'", img->path);
		/* The kernel zeroes its own memory behind the image. */
		if (!err && !mem_write(&vm->mem, l->kernel, img->data, img->len))
			err = err_msg(-EFAULT, "kernel '%s': no guest memory", img->path);
		return err;
	}
	for (unsigned i = 0; i < img->nseg && !err; i++)
		err = boot_copy(vm, img->seg[i].gpa, img->seg[i].data, img->seg[i].len, img->seg[i].mem_len, "kernel '%s'",
				img->path);
	return err;
}

static int load_kernel(struct vm *vm, const struct image *img, struct entry *out)
{
	struct arm64_layout l;
	struct blob fdt = { 0 };
	int err = arm64_place(&vm->map, img, &l);

	if (!err)
		err = arm64_fdt_build(vm, &l, &fdt);
	if (!err)
		err = boot_blobs(vm, img);
	if (!err)
		err = put_kernel(vm, img, &l);
	if (!err)
		err = boot_copy(vm, l.initrd, img->initrd, img->initrd_len, 0, "initrd '%s'", img->initrd_path);
	if (!err)
		err = boot_copy(vm, l.fdt, fdt.data, fdt.len, ARM64_FDT_MAX, PLACE_FDT);
	blob_free(&fdt);
	if (!err)
		*out = (struct entry){ .mode = ENTRY_ARM64, .pc = img->kind == IMAGE_ARM64 ? l.kernel : img->entry, .arg = l.fdt };
	return err;
}

int arm64_load(struct vm *vm, const struct image *img, struct entry *out)
{
	int err;

	boot_places_clear(vm);
	*out = (struct entry){ .mode = ENTRY_NONE };
	if (vm->firmware)
		return arm64_load_firmware(vm, out);
	switch (img->kind) {
	case IMAGE_ARM64: case IMAGE_ELF_ARM64: case IMAGE_RAW:
		return load_kernel(vm, img, out);
	case IMAGE_FREEBSD_ARM64:
		err = boot_blobs(vm, img);
		return err ? err : arm64_load_freebsd(vm, img, out);
	default:
		return err_msg(-EINVAL,
			       "kernel '%s' is no arm64 kernel: give a Linux Image (Debian's linux-image-arm64 has it), a FreeBSD "
			       "kernel or an arm64 ELF file", img->path);
	}
}

/*
 * The tree as the guest gets it, read back from its memory; without a kernel, nothing has a place.  (A dry machine's tree has
 * no random seeds.)
 */
static int tables_build(struct vm *vm, struct blob *fdt)
{
	const struct placement *p = boot_placed(vm, PLACE_FDT);
	struct arm64_layout l = { 0 };

	if (p) {
		const void *data = mem_at(&vm->mem, p->gpa, p->len);

		blob_add(fdt, data, fdt_totalsize(data));
		return 0;
	}
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
	if (!err && vm->firmware)
		arm64_print_firmware(vm, f);
	return err;
}

static int write_file(const char *dir, const char *name, const void *data, size_t len)
{
	char path[PATH_MAX];

	if (snprintf(path, sizeof(path), "%s/%s", dir, name) >= (int)sizeof(path))
		return err_msg(-ENAMETOOLONG, "'%s': the path is too long", dir);
	FILE *f = fopen(path, "we");

	if (!f)
		return err_sys("'%s': create", path);
	bool written = fwrite(data, 1, len, f) == len;

	return fclose(f) || !written ? err_sys("'%s': write", path) : 0;
}

int arm64_write_tables(struct vm *vm, const char *dir)
{
	struct blob fdt = { 0 };
	struct acpi_set s = { 0 };
	int err = tables_build(vm, &fdt);

	if (!err)
		err = write_file(dir, "virt.dtb", fdt.data, fdt.len);
	blob_free(&fdt);
	if (err || !arm64_has_acpi(vm))
		return err;
	arm64_acpi_build(vm, &s);
	for (unsigned i = 0; i < s.n && !err; i++) {
		char name[ACPI_FILE_NAME_MAX];

		acpi_file_name(&s.t[i], name);
		err = write_file(dir, name, s.blob.data + s.t[i].off, s.t[i].len);
	}
	acpi_free(&s);
	return err;
}
