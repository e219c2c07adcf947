/* VHD: the input is the image, see image.h; sums are made right where the first byte of the size is even. */
#include "tests/fuzz/image.h"

static void fix(uint8_t *b, size_t len, size_t at)
{
	uint32_t sum = 0;
	put_be32(b + at, 0);
	for (size_t i = 0; i < len; i++)
		sum += b[i];
	put_be32(b + at, ~sum);
}

static void fix_footer(uint8_t *b, size_t len)
{
	fix(b, len, 64);
}

static void fix_header(uint8_t *b, size_t len)
{
	fix(b, len, 36);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	uint64_t size;
	const int fd = fuzz_file(data, len, &size);
	uint8_t at[8] = { 0 };

	if (size >= 1536 && !(size & 1)) {
		fuzz_patch(fd, 0, 512, fix_footer);
		fuzz_patch(fd, size - 512, 512, fix_footer);
		if (pread(fd, at, sizeof(at), 16) == sizeof(at) && get_be64(at) <= size)
			fuzz_patch(fd, get_be64(at), 1024, fix_header);
	}
	fuzz_image_file(fd, &img_vpc);
	close(fd);
	return 0;
}
