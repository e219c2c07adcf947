/*
 * FreeBSD kernels and modules: the first byte of the input says what the rest is, a kernel of either architecture, or a module
 * beside a good kernel: 0 kernel, 1 amd64's module, 2 arm64's, 3 both are the input.
 */
#include "tests/fuzz/fuzz.h"

#include <stdio.h>

#include "loaders/freebsd/freebsd.h"
#include "loaders/loaders.h"
#include "tests/unit/loaders/freebsd/elffile.h"

static void load(struct vm *vm, enum image_kind kind, struct fbsd_file file[], unsigned n)
{
	struct fbsd_set set = { .file = file, .nfiles = n };
	struct image im = { .kind = kind, .path = "input", .fbsd = &set };
	struct entry entry = { 0 };

	if (vm->arch->load(vm, &im, &entry) == 0)
		MUST(entry.mode != ENTRY_NONE && entry.pc);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	static struct vm *x86, *arm64;
	struct elf_file good;
	unsigned what = len ? data[0] % 4 : 0;
	size_t n = len ? len - 1 : 0;
	uint8_t *copy = fuzz_copy(data + (len ? 1 : 0), n);
	struct image im = { .path = "input", .data = copy, .len = n };
	bool kernel = what == 0 || what == 3, amd64 = what == 1;

	if (!x86) {
		x86 = fuzz_vm(&arch_x86);
		arm64 = fuzz_vm(&arch_arm64);
	}
	if (kernel && fbsd_probe(&im) == 1)
		amd64 = im.kind == IMAGE_FREEBSD_AMD64;
	else if (kernel)
		what = 4;               /* not a kernel: nothing more to do */
	elf_linked(&good, amd64 ? EM_X86_64 : EM_AARCH64, amd64 ? ELF_KERNEL_AMD64 : ELF_KERNEL_ARM64);
	struct fbsd_file file[2] = {
		kernel ? elf_as_file(copy, n, FBSD_TYPE_KERNEL, "input") : elf_as_file(&good, sizeof(good), FBSD_TYPE_KERNEL, "good"),
		elf_as_file(copy, n, amd64 ? FBSD_TYPE_OBJ : FBSD_TYPE_MODULE, "input"),
	};

	if (what < 4)
		load(amd64 ? x86 : arm64, amd64 ? IMAGE_FREEBSD_AMD64 : IMAGE_FREEBSD_ARM64, file, what == 0 ? 1 : 2);
	free(copy);
	return 0;
}
