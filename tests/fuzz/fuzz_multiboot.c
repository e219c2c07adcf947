/* Multiboot kernels, ELF and flat: the input is the file. */
#include "tests/fuzz/fuzz.h"

#include "loaders/loaders.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	static struct vm *vm;
	struct image im = { .path = "input", .data = fuzz_copy(data, len), .len = len };

	if (!vm)
		vm = fuzz_vm(&arch_x86);
	fuzz_image(&im, multiboot_probe(&im), vm);
	return 0;
}
