/*
 * Which boot protocol a kernel file is for: by its own headers, or the one asked for among those it has; and in a sentence
 * what a file is that has none.
 */
#include <elf.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "common/image.h"
#include "common/log.h"
#include "common/util.h"
#include "loaders/freebsd/freebsd.h"
#include "loaders/kelf.h"
#include "loaders/loaders.h"

/* In the order in which `auto` asks; several rows of one protocol are its forms. */
static const struct {
	const char *protocol;
	int (*probe)(struct image *);
} probes[] = {
	{ "linux", bzimage_probe },
	{ "freebsd", fbsd_probe },      /* before PVH: FreeBSD's kernels have that entry as well */
	{ "pvh", pvh_probe },
	{ "multiboot", multiboot_probe },
	{ "elf", elf_arm64_probe },
	{ "linux", arm64_image_probe },
};

/* --- what it is instead --- */

static int refuse(const struct image *im, const char *is, const char *remedy)
{
	return err_msg(-ENOEXEC, "kernel '%s' is %s: %s", im->path, is, remedy);
}

static int not_this_elf(const struct image *im)
{
	unsigned machine = get_le16(im->data + offsetof(Elf64_Ehdr, e_machine));
	bool little = im->data[EI_DATA] == ELFDATA2LSB, freebsd = im->data[EI_OSABI] == ELFOSABI_FREEBSD;

	if (little && machine == EM_386 && freebsd)
		return refuse(im, "a 32-bit (i386) FreeBSD kernel or program", "give a FreeBSD kernel for amd64 or arm64");
	if (little && (machine == EM_X86_64 || machine == EM_386))
		return refuse(im, "an ELF file without a PVH entry note, a Multiboot header or the marks of a FreeBSD kernel",
			      "give a bzImage, or a kernel built with CONFIG_PVH");
	return refuse(im, "an ELF file of another architecture", "give a kernel for x86 or arm64");
}

/* A Windows or EFI program: "MZ", and "PE\0\0" where the word at 60 says. */
static bool is_pe(const struct image *im)
{
	if (im->len < 64 || im->data[0] != 'M' || im->data[1] != 'Z')
		return false;
	uint64_t pe = get_le32(im->data + 60);

	return pe + 4 <= im->len && memcmp(im->data + pe, "PE\0", 4) == 0;
}

static bool is_mach_o(const struct image *im)
{
	static const uint32_t magics[] = { 0xfeedface, 0xfeedfacf, 0xcefaedfe, 0xcffaedfe, 0xbebafeca };

	for (size_t i = 0; i < NELEM(magics) && im->len >= 4; i++) {
		if (get_le32(im->data) == magics[i])
			return true;
	}
	return false;
}

/* The magic of a Multiboot 2 header, aligned to 8 in the first 32 KiB [MULTIBOOT2 3.1.1]. */
static bool is_multiboot2(const struct image *im)
{
	for (size_t i = 0; i + 16 <= MIN(im->len, (size_t)KIB(32)); i += 8) {
		const uint8_t *h = im->data + i;

		if (get_le32(h) == 0xe85250d6 && get_le32(h) + get_le32(h + 4) + get_le32(h + 8) + get_le32(h + 12) == 0)
			return true;
	}
	return false;
}

static bool is_iso(const struct image *im)
{
	return im->len > 0x8006 && memcmp(im->data + 0x8001, "CD001", 5) == 0;
}

static int unknown(const struct image *im)
{
	if (is_multiboot2(im))
		return refuse(im, "a Multiboot 2 kernel", "skep knows Multiboot 1; give a kernel with that header, "
			      "or a disk and --firmware uefi");
	if (kelf_is(im))
		return not_this_elf(im);
	if (is_pe(im))
		return refuse(im, "a Windows or EFI program", "put it on a disk with an EFI system partition and start "
			      "that with --firmware uefi");
	if (is_mach_o(im))
		return refuse(im, "a Mach-O file of macOS", "give a kernel for Linux, FreeBSD, PVH or Multiboot");
	if (is_iso(im))
		return refuse(im, "a CD image", "start it with --cdrom and --firmware uefi");
	return err_msg(-ENOEXEC, "kernel '%s': not a kernel skep knows (Linux bzImage or arm64 Image, FreeBSD kernel, ELF with a "
		       "PVH note, Multiboot, arm64 ELF); files without a header go with --load FILE@ADDR and --entry ADDR", im->path);
}

/* --- choosing --- */

/* 1 when a row's probe has recognised it, 0, or -errno (reported). */
static int ask(struct image *im, const char *protocol)
{
	for (size_t i = 0; i < NELEM(probes); i++) {
		if (protocol && strcmp(probes[i].protocol, protocol) != 0)
			continue;
		int r = probes[i].probe(im);

		if (r != 0)
			return r;
	}
	return 0;
}

/* The protocol asked for is not there: names those that are. */
static int refuse_protocol(struct image *im, const char *protocol)
{
	char list[80] = "";
	size_t n = 0;

	for (size_t i = 0; i < NELEM(probes); i++) {
		int r = probes[i].probe(im);

		if (r < 0)
			return r;
		if (r == 0)
			continue;
		n += (size_t)snprintf(list + n, sizeof(list) - n, "%s%s", n ? ", " : "", probes[i].protocol);
		im->kind = IMAGE_NONE;
	}
	if (n == 0)
		return unknown(im);
	return err_msg(-ENOEXEC, "kernel '%s' has nothing for --protocol %s, only for: %s; choose that, or leave --protocol out",
		       im->path, protocol, list);
}

int image_recognise(struct image *im, const char *protocol)
{
	bool any = strcmp(protocol, "auto") == 0;

	if (im->len >= 2 && im->data[0] == 0x1f && im->data[1] == 0x8b) {
		int err = image_gunzip(im);

		if (err)
			return err;
	}
	int r = ask(im, any ? NULL : protocol);

	if (r)
		return r < 0 ? r : 0;
	return any ? unknown(im) : refuse_protocol(im, protocol);
}
