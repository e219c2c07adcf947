/* FreeBSD kernels among other files. */
#include "tests/unit/loaders/freebsd/elffile.h"

#include "common/image.h"
#include "loaders/loaders.h"
#include "tests/unit/unit.h"

static struct image im;

static int probe(const struct elf_file *f, size_t len)
{
	uint8_t *copy = malloc(len ? len : 1);

	memcpy(copy, f, len);
	im = (struct image){ .path = "test", .data = copy, .len = len };
	int r = fbsd_probe(&im);

	free(copy);
	return r;
}

START_TEST(recognised)
{
	struct elf_file f;

	elf_linked(&f, EM_X86_64, ELF_KERNEL_AMD64);
	ck_assert_int_eq(probe(&f, sizeof(f)), 1);
	ck_assert_int_eq(im.kind, IMAGE_FREEBSD_AMD64);
	f.eh.e_ident[EI_OSABI] = ELFOSABI_NONE;         /* the interpreter alone will do */
	ck_assert_int_eq(probe(&f, sizeof(f)), 1);
	elf_linked(&f, EM_AARCH64, ELF_KERNEL_ARM64);
	f.ph[2].p_type = PT_NULL;                       /* as will the brand */
	ck_assert_int_eq(probe(&f, sizeof(f)), 1);
	ck_assert_int_eq(im.kind, IMAGE_FREEBSD_ARM64);
	f.eh.e_type = ET_DYN;                           /* linked as position-independent */
	ck_assert_int_eq(probe(&f, sizeof(f)), 1);
}
END_TEST

START_TEST(not_mine)
{
	struct elf_file f;

	elf_linked(&f, EM_X86_64, ELF_KERNEL_AMD64);
	ck_assert_int_eq(probe(&f, 0), 0);
	ck_assert_int_eq(probe(&f, sizeof(f.eh) - 1), 0);
	f.eh.e_machine = EM_RISCV;
	ck_assert_int_eq(probe(&f, sizeof(f)), 0);
	elf_linked(&f, EM_X86_64, ELF_KERNEL_AMD64);
	f.eh.e_ident[EI_CLASS] = ELFCLASS32;
	ck_assert_int_eq(probe(&f, sizeof(f)), 0);
	elf_linked(&f, EM_X86_64, ELF_KERNEL_AMD64);
	f.eh.e_ident[EI_OSABI] = ELFOSABI_LINUX;
	f.interp[1]++;
	ck_assert_int_eq(probe(&f, sizeof(f)), 0);
	f.ph[2].p_offset = UINT64_MAX;
	ck_assert_int_eq(probe(&f, sizeof(f)), 0);
	f.eh.e_phoff = UINT64_MAX;
	ck_assert_int_eq(probe(&f, sizeof(f)), 0);
	memset(&f, 0x7f, sizeof(f));
	ck_assert_int_eq(probe(&f, sizeof(f)), 0);
}
END_TEST

START_TEST(refused)
{
	struct elf_file f;

	elf_object(&f);
	ck_assert_int_eq(probe(&f, sizeof(f)), -ENOEXEC);
	elf_linked(&f, EM_AARCH64, 0);
	ck_assert_int_eq(probe(&f, sizeof(f)), -ENOEXEC);
	elf_linked(&f, EM_X86_64, 0x400000);            /* a program */
	ck_assert_int_eq(probe(&f, sizeof(f)), -ENOEXEC);
	elf_linked(&f, EM_X86_64, ELF_KERNEL_AMD64);
	f.eh.e_entry = ELF_KERNEL_AMD64 - 1;
	ck_assert_int_eq(probe(&f, sizeof(f)), -ENOEXEC);
	elf_linked(&f, EM_X86_64, ELF_KERNEL_AMD64);
	ck_assert_int_eq(probe(&f, ELF_OFF(sh)), -ENOEXEC);
}
END_TEST

UNIT_MAIN("loaders/freebsd/probe", recognised, not_mine, refused)
