/* arm64 Images, plain, gzip'd or wrapped for EFI: the input is the file. */
#include "tests/fuzz/fuzz.h"

#include "loaders/loaders.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	static struct vm *vm;
	struct image im = { .path = "input", .data = fuzz_copy(data, len), .len = len };

	if (!vm)
		vm = fuzz_vm(&arch_arm64);
	if (len >= 2 && data[0] == 0x1f && data[1] == 0x8b && image_gunzip(&im)) {
		image_release(&im);
		return 0;
	}
	fuzz_image(&im, arm64_image_probe(&im), vm);
	return 0;
}
