/*
 * Kernel files of any kind, as image_open() recognises them, and with the last byte's choice of a protocol; ELF ones
 * above all.  The input is that byte behind the file.
 */
#include "tests/fuzz/fuzz.h"

#include "loaders/loaders.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	static const char *const protocols[] = { "auto", "auto", "auto", "pvh", "multiboot", "elf", "freebsd", "linux" };
	static struct vm *x86, *arm64;

	if (!x86) {
		x86 = fuzz_vm(&arch_x86);
		arm64 = fuzz_vm(&arch_arm64);
	}
	unsigned choice = len ? data[--len] % 8 : 0;
	struct image im = { .path = "input", .data = fuzz_copy(data, len), .len = len };
	int err = image_recognise(&im, protocols[choice]);

	/* A FreeBSD kernel's segments are its own loader's, which fuzz_kld is for. */
	if (err || im.kind == IMAGE_FREEBSD_AMD64 || im.kind == IMAGE_FREEBSD_ARM64)
		image_release(&im);
	else
		fuzz_image(&im, 1, im.kind == IMAGE_ARM64 || im.kind == IMAGE_ELF_ARM64 ? arm64 : x86);
	return 0;
}
