/* VMDK: the input is the image, see image.h; a descriptor when its first byte is no signature's. */
#include "tests/fuzz/image.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	uint64_t size;
	const int fd = fuzz_file(data, len, &size);

	fuzz_image_file(fd, &img_vmdk);
	close(fd);
	return 0;
}
