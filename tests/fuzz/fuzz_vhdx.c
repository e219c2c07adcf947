/* VHDX: the input is the image, see image.h; sums are made right where the size is even. */
#include "tests/fuzz/image.h"

#include "devices/block/vhdx.h"

static void fix(uint8_t *b, size_t len)
{
	put_le32(b + 4, vhdx_crc(b, len, 4));
}

/* Entries of the log, wherever one seems to begin. */
static void fix_log(int fd, uint64_t size)
{
	uint8_t h[12];

	for (uint64_t off = MIB(1); off + 4096 <= MIN(size, MIB(2)); off += 4096)
		if (pread(fd, h, sizeof(h), (off_t)off) == sizeof(h) && !memcmp(h, "loge", 4) && get_le32(h + 8) >= 64 && get_le32(h + 8) <= KIB(64))
			fuzz_patch(fd, off, get_le32(h + 8), fix);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	uint64_t size;
	const int fd = fuzz_file(data, len, &size);

	if (!(size & 1)) {
		for (unsigned i = 0; i < 2; i++) {
			fuzz_patch(fd, VHDX_HEADER_AT(i), VHDX_HEADER, fix);
			fuzz_patch(fd, VHDX_REGIONS_AT(i), VHDX_REGIONS, fix);
		}
		fix_log(fd, size);
	}
	fuzz_image_file(fd, &img_vhdx);
	close(fd);
	return 0;
}
