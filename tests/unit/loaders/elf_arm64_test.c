/* arm64 ELF kernels, good and spoilt. */
#include <errno.h>

#include "tests/unit/capture.h"
#include "tests/unit/loaders/x86image.h"
#include "tests/unit/unit.h"

static struct capture err;

static int probe(const struct elf_file *f, size_t len, struct image *im)
{
	uint8_t *copy = malloc(len);

	memcpy(copy, f, len);
	*im = (struct image){ .path = "test", .data = copy, .len = len };
	capture_start(&err, 2);
	int r = elf_arm64_probe(im);
	capture_stop(&err);
	free(copy);
	return r;
}

static void make(struct elf_file *f)
{
	elf_make(f);
	f->eh.e_machine = EM_AARCH64;
	f->ph[0].p_paddr = 0x40200000;
	f->ph[0].p_vaddr = 0xffff000000200000;
	f->eh.e_entry = 0xffff000000200040;
}

START_TEST(good)
{
	struct elf_file f;
	struct image im;

	make(&f);
	ck_assert_int_eq(probe(&f, sizeof(f), &im), 1);
	ck_assert_int_eq(im.kind, IMAGE_ELF_ARM64);
	ck_assert_uint_eq(im.entry, 0x40200040);
	ck_assert_uint_eq(im.seg[0].gpa, 0x40200000);
	f.eh.e_entry = 0x40200080;                      /* a physical one */
	f.eh.e_type = ET_DYN;
	ck_assert_int_eq(probe(&f, sizeof(f), &im), 1);
	ck_assert_uint_eq(im.entry, 0x40200080);
}
END_TEST

START_TEST(not_mine)
{
	struct elf_file f;
	struct image im;

	elf_make(&f);
	ck_assert_int_eq(probe(&f, sizeof(f), &im), 0);
	make(&f);
	memset(&f, 0, 4);
	ck_assert_int_eq(probe(&f, sizeof(f), &im), 0);
}
END_TEST

START_TEST(refused)
{
	struct elf_file f;
	struct image im;

	make(&f);
	f.eh.e_type = ET_REL;
	ck_assert_int_eq(probe(&f, sizeof(f), &im), -ENOEXEC);
	ck_assert_str_eq(err.text, "skep: kernel 'test' is an arm64 object file: link it first\n");
	make(&f);
	f.eh.e_entry = 0;
	ck_assert_int_eq(probe(&f, sizeof(f), &im), -ENOEXEC);
	ck_assert_str_eq(err.text, "skep: kernel 'test' has an entry point outside its segments: link it with one (ENTRY in its "
		"linker "
			 "script)\n");
	f.eh.e_entry = 0x40200042;
	ck_assert_int_eq(probe(&f, sizeof(f), &im), -ENOEXEC);
	make(&f);
	f.ph[0].p_paddr = BIT64(48) - 1;
	ck_assert_int_eq(probe(&f, sizeof(f), &im), -ENOEXEC);
	ck_assert_str_eq(err.text, "skep: kernel 'test' has a segment at an address no machine has, as Linux's vmlinux for arm64: give its "
			 "Image, or link it with physical addresses\n");
	make(&f);
	f.ph[0].p_filesz = f.ph[0].p_memsz = 0;
	ck_assert_int_eq(probe(&f, sizeof(f), &im), -ENOEXEC);
	ck_assert_str_eq(err.text, "skep: kernel 'test' has no loadable segments: give a linked kernel\n");
	make(&f);
	ck_assert_int_eq(probe(&f, sizeof(f) - 1, &im), -ENOEXEC);
	ck_assert_int_eq(probe(&f, 20, &im), -ENOEXEC);
	f.ph[1] = f.ph[0];
	f.ph[1].p_paddr += 0x1ff;
	ck_assert_int_eq(probe(&f, sizeof(f), &im), -ENOEXEC);
	ck_assert_str_eq(err.text, "skep: kernel 'test' has segments that overlap in memory: the file is damaged, get another "
		"copy\n");
}
END_TEST

UNIT_MAIN("loaders/elf_arm64", good, not_mine, refused)
