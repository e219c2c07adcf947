/* ELF files with and without a PVH note, good and spoilt. */
#include <errno.h>

#include "tests/unit/loaders/x86image.h"
#include "tests/unit/unit.h"

static int probe(const void *file, size_t len, struct image *im)
{
	uint8_t *copy = malloc(len ? len : 1);

	memcpy(copy, file, len);
	memset(im, 0, sizeof(*im));
	im->path = "test";
	im->data = copy;
	im->len = len;
	int r = pvh_probe(im);

	free(copy);
	return r;
}

static int probe_file(const struct elf_file *f)
{
	struct image im;

	return probe(f, sizeof(*f), &im);
}

START_TEST(good)
{
	struct elf_file f;
	struct image im;

	elf_make(&f);
	ck_assert_int_eq(probe(&f, sizeof(f), &im), 1);
	ck_assert_int_eq(im.kind, IMAGE_PVH);
	ck_assert_uint_eq(im.entry, ELF_LOAD + 0x10);
	ck_assert_uint_eq(im.nseg, 1);
	ck_assert_uint_eq(im.seg[0].gpa, ELF_LOAD);
	ck_assert_uint_eq(im.seg[0].len, 0x100);
	ck_assert_uint_eq(im.seg[0].mem_len, 0x200);
	ck_assert_int_eq(im.seg[0].data - im.data, offsetof(struct elf_file, text));
	f.note.h.n_descsz = 4;          /* FreeBSD's and small guests' notes hold 32 bits */
	f.note.value |= 0xffffffff00000000;
	ck_assert_int_eq(probe(&f, sizeof(f), &im), 1);
	ck_assert_uint_eq(im.entry, ELF_LOAD + 0x10);
}
END_TEST

START_TEST(not_mine)
{
	struct image im;

	ck_assert_int_eq(probe("", 0, &im), 0);
	ck_assert_int_eq(probe("\x7f" "ELF", 4, &im), 0);
	ck_assert_int_eq(probe("\x7f" "ELF\2\1\1\0\0\0\0\0\0\0\0\0", 16, &im), -ENOEXEC);
	ck_assert_int_eq(probe("#!/bin/sh\nexit 0 # more text", 28, &im), 0);
}
END_TEST

START_TEST(refused)
{
	struct elf_file f;

	elf_make(&f);
	f.eh.e_machine = EM_AARCH64;
	ck_assert_int_eq(probe_file(&f), 0);
	f.eh.e_machine = EM_PPC64;
	ck_assert_int_eq(probe_file(&f), 0);
	elf_make(&f);
	f.eh.e_ident[EI_DATA] = ELFDATA2MSB;
	ck_assert_int_le(probe_file(&f), 0);
	elf_make(&f);
	f.note.h.n_type = 17;           /* no PVH note */
	ck_assert_int_eq(probe_file(&f), 0);
	elf_make(&f);
	f.eh.e_phnum = 0;
	ck_assert_int_eq(probe_file(&f), -ENOEXEC);
	f.eh.e_phnum = 0xfffe;
	ck_assert_int_eq(probe_file(&f), -ENOEXEC);
	elf_make(&f);
	f.note.value = ELF_LOAD + 0x1000;
	ck_assert_int_eq(probe_file(&f), -ENOEXEC);
}
END_TEST

START_TEST(bad_segments)
{
	struct elf_file f;

	elf_make(&f);
	f.ph[0].p_offset = sizeof(f);
	ck_assert_int_eq(probe_file(&f), -ENOEXEC);
	elf_make(&f);
	f.ph[0].p_offset = UINT64_MAX;
	ck_assert_int_eq(probe_file(&f), -ENOEXEC);
	elf_make(&f);
	f.ph[0].p_memsz = 1;
	ck_assert_int_eq(probe_file(&f), -ENOEXEC);
	elf_make(&f);
	f.ph[0].p_memsz = UINT64_MAX;
	ck_assert_int_eq(probe_file(&f), -ENOEXEC);
	elf_make(&f);
	f.ph[0].p_paddr = GIB(4);
	ck_assert_int_eq(probe_file(&f), -ENOEXEC);
	elf_make(&f);
	f.ph[1].p_filesz = UINT64_MAX;
	ck_assert_int_eq(probe_file(&f), -ENOEXEC);
	elf_make(&f);
	f.note.h.n_namesz = f.note.h.n_descsz = UINT32_MAX;
	ck_assert_int_eq(probe_file(&f), 0);
}
END_TEST

/* Whatever the bytes, an answer and no overrun. */
START_TEST(mutations)
{
	struct elf_file f;
	struct image im;
	uint32_t x = 7;

	elf_make(&f);
	for (size_t len = 0; len < sizeof(f); len++)
		ck_assert_int_le(probe(&f, len, &im), 0);
	for (unsigned round = 0; round < 500; round++) {
		elf_make(&f);
		for (unsigned i = 0; i < 3; i++) {
			x = x * 1664525 + 1013904223;
			((uint8_t *)&f)[(x >> 8) % offsetof(struct elf_file, text)] = (uint8_t)(x >> 24);
		}
		int r = probe(&f, sizeof(f), &im);

		ck_assert(r == 1 || r == 0 || r == -ENOEXEC);
	}
}
END_TEST

UNIT_MAIN("loaders/pvh", good, not_mine, refused, bad_segments, mutations)
