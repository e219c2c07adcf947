/*
 * The arm64 kernel Image [LINUX-ARM64-BOOT 4: Linux Documentation/arm64/booting.rst "Call the kernel image"], as
 * Linux, FreeBSD's kernel.bin and small bare-metal guests carry it, and its EFI wrapping with a compressed payload
 * (zboot: Linux drivers/firmware/efi/libstub/zboot-header.S).
 *
 * Flags of the header are the kernel's business but for the page size, which the KVM half compares with the CPU.
 */
#include <errno.h>
#include <inttypes.h>
#include <sys/mman.h>

#include "common/image.h"
#include "common/log.h"
#include "common/util.h"
#include "loaders/loaders.h"

enum { HDR_TEXT_OFFSET = 8, HDR_IMAGE_SIZE = 16, HDR_MAGIC = 56, HDR_PE = 60, HDR_LEN = 64 };
#define IMAGE_MAGIC 0x644d5241u         /* "ARM\x64" */
#define LEGACY_TEXT_OFFSET 0x80000      /* kernels before 3.17, which say image_size 0 */

/* zboot: "MZ", 2 bytes, "zimg", payload offset and length, 8 bytes, compression name */
enum { ZBOOT_MAGIC = 4, ZBOOT_OFFSET = 8, ZBOOT_SIZE = 12, ZBOOT_COMP = 24, ZBOOT_COMP_LEN = 32 };

/* PE/COFF [PECOFF 11.0 section 3]: offsets in the COFF header behind "PE\0\0", and in a section header */
enum { COFF_NSECTIONS = 6, COFF_OPT_LEN = 20, COFF_LEN = 24, SECTION_LEN = 40, SECTION_RAW_LEN = 16, SECTION_RAW_OFF = 20 };

/*
 * Bytes the file should have by its PE sections, 0 when it has no PE header.  The Image header's own size
 * includes memory zeroed at run time and so tells nothing about truncation.
 */
static uint64_t pe_file_len(const uint8_t *p, size_t len)
{
	uint64_t pe = get_le32(p + HDR_PE), end = 0;

	if (p[0] != 'M' || p[1] != 'Z' || pe + COFF_LEN > len || memcmp(p + pe, "PE\0", 4) != 0)
		return 0;
	unsigned n = get_le16(p + pe + COFF_NSECTIONS);
	uint64_t off = pe + COFF_LEN + get_le16(p + pe + COFF_OPT_LEN);
	for (unsigned i = 0; i < n && off + SECTION_LEN <= len; i++, off += SECTION_LEN)
		end = MAX(end, (uint64_t)get_le32(p + off + SECTION_RAW_OFF) + get_le32(p + off + SECTION_RAW_LEN));
	return end;
}

static bool is_zboot(const uint8_t *p, size_t len)
{
	return len >= HDR_LEN && p[0] == 'M' && p[1] == 'Z' && memcmp(p + ZBOOT_MAGIC, "zimg", 4) == 0;
}

/* Replaces a zboot file by its payload. */
static int unwrap_zboot(struct image *img)
{
	uint64_t off = get_le32(img->data + ZBOOT_OFFSET), size = get_le32(img->data + ZBOOT_SIZE);
	const char *comp = (const char *)img->data + ZBOOT_COMP;
	uint8_t *out;
	size_t out_len;

	if (strncmp(comp, "gzip", ZBOOT_COMP_LEN) != 0)
		return err_msg(-ENOTSUP, "kernel '%s' is an EFI image compressed with '%.*s', and only gzip can be unpacked: "
			       "give the uncompressed Image", img->path, ZBOOT_COMP_LEN, comp);
	if (off + size > img->len)
		return err_msg(-EINVAL,
			       "kernel '%s' is truncated: its payload ends at byte %" PRIu64 " of %zu; fetch the file again",
			       img->path, off + size, img->len);
	int err = gunzip(img->path, img->data + off, size, &out, &out_len);
	if (!err)
		image_replace(img, out, out_len);
	return err;
}

static bool has_magic(const struct image *img)
{
	return img->len >= HDR_LEN && get_le32(img->data + HDR_MAGIC) == IMAGE_MAGIC;
}

static int read_header(struct image *img)
{
	uint64_t expected = pe_file_len(img->data, img->len);

	img->text_offset = get_le64(img->data + HDR_TEXT_OFFSET);
	img->image_size = get_le64(img->data + HDR_IMAGE_SIZE);
	if (img->image_size == 0)
		img->text_offset = LEGACY_TEXT_OFFSET;
	if (img->text_offset % 4)
		return err_msg(-EINVAL, "kernel '%s': text offset 0x%" PRIx64 " in its header is no address of an instruction: "
			       "the file is damaged", img->path, img->text_offset);
	if (expected > img->len)
		return err_msg(-EINVAL, "kernel '%s' is truncated: %zu of %" PRIu64 " bytes; fetch the file again", img->path,
			       img->len, expected);
	return 0;
}

int arm64_image_probe(struct image *img)
{
	int err = 0;

	if (!has_magic(img)) {
		if (!is_zboot(img->data, img->len))
			return 0;
		err = unwrap_zboot(img);
		if (!err && !has_magic(img))
			err = err_msg(-EINVAL, "kernel '%s': its compressed payload is no arm64 Image", img->path);
	}
	if (!err)
		err = read_header(img);
	if (err)
		return err;
	img->kind = IMAGE_ARM64;
	img->entry = 0;
	img->seg[0] = (struct image_seg){ .gpa = 0, .data = img->data, .len = img->len, .mem_len = img->len };
	img->nseg = 1;
	return 1;
}
