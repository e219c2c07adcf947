/* Multiboot kernels: headers, address fields, ELF; good and spoilt. */
#include <errno.h>

#include "loaders/multiboot.h"
#include "tests/unit/capture.h"
#include "tests/unit/loaders/x86image.h"
#include "tests/unit/unit.h"

static struct capture err;

static int probe(const void *file, size_t len, struct image *im)
{
	uint8_t *copy = malloc(len ? len : 1);

	memcpy(copy, file, len);
	*im = (struct image){ .path = "test", .data = copy, .len = len };
	capture_start(&err, 2);
	int r = multiboot_probe(im);
	capture_stop(&err);
	free(copy);
	return r;
}

#define FLAT_LEN 1000
#define FLAT_AT 0x200000u
/* A flat file with its header at offset `off`, loaded at FLAT_AT from its first byte on. */
static void flat_make(uint8_t f[FLAT_LEN], size_t off, uint32_t flags)
{
	memset(f, 0xf4, FLAT_LEN);
	put_le32(f + off, MB_HEADER_MAGIC);
	put_le32(f + off + 4, flags);
	put_le32(f + off + 8, -(MB_HEADER_MAGIC + flags));
	put_le32(f + off + 12, FLAT_AT + (uint32_t)off);
	put_le32(f + off + 16, FLAT_AT);
	put_le32(f + off + 20, FLAT_AT + FLAT_LEN);
	put_le32(f + off + 24, FLAT_AT + 0x2000);
	put_le32(f + off + 28, FLAT_AT + 100);
}

START_TEST(flat)
{
	uint8_t f[FLAT_LEN];
	struct image im;

	flat_make(f, 40, 0x10003);
	ck_assert_int_eq(probe(f, sizeof(f), &im), 1);
	ck_assert_str_eq(err.text, "");
	ck_assert_int_eq(im.kind, IMAGE_MULTIBOOT);
	ck_assert_uint_eq(im.mb_flags, 0x10003);
	ck_assert_uint_eq(im.nseg, 1);
	ck_assert_uint_eq(im.seg[0].gpa, FLAT_AT);
	ck_assert_uint_eq(im.seg[0].len, FLAT_LEN);
	ck_assert_uint_eq(im.seg[0].mem_len, 0x2000);
	ck_assert_ptr_eq(im.seg[0].data, im.data);
	ck_assert_uint_eq(im.entry, FLAT_AT + 100);
	put_le32(f + 40 + 20, 0);               /* the whole file */
	put_le32(f + 40 + 24, 0);               /* no cleared memory */
	put_le32(f + 40 + 16, FLAT_AT + 8);     /* without its first bytes */
	ck_assert_int_eq(probe(f, sizeof(f), &im), 1);
	ck_assert_uint_eq(im.seg[0].gpa, FLAT_AT + 8);
	ck_assert_uint_eq(im.seg[0].len, FLAT_LEN - 8);
	ck_assert_uint_eq(im.seg[0].mem_len, FLAT_LEN - 8);
	ck_assert_ptr_eq(im.seg[0].data, im.data + 8);
}
END_TEST

START_TEST(where_the_header_is)
{
	static uint8_t f[9000];
	uint8_t h[FLAT_LEN];
	struct image im;
	static const struct { size_t off; int r; } rows[] = { { 0, 1 }, { 8192 - 32, 1 }, { 8192 - 12, 1 }, { 8192 - 8, 0 },
		{ 8192, 0 }, { 2, 0 } };

	for (size_t i = 0; i < NELEM(rows); i++) {
		memset(f, 0, sizeof(f));
		flat_make(h, 0, 0x10000);
		put_le32(h + 16, FLAT_AT);
		put_le32(h + 20, 0);
		put_le32(h + 24, 0);
		put_le32(h + 28, FLAT_AT);
		memcpy(f + rows[i].off, h, 32);
		ck_assert_int_eq(probe(f, sizeof(f), &im), rows[i].r);
	}
	flat_make(h, 0, 0x10000);
	h[8]++;                                 /* checksum */
	ck_assert_int_eq(probe(h, sizeof(h), &im), 0);
	ck_assert_int_eq(probe("", 0, &im), 0);
	ck_assert_int_eq(probe("\x02\xb0\xad\x1b", 4, &im), 0);
}
END_TEST

START_TEST(demands)
{
	uint8_t f[FLAT_LEN];
	struct image im;

	for (unsigned bit = 0; bit < 32; bit++) {
		flat_make(f, 0, 0x10000 | 1u << bit);
		ck_assert_int_eq(probe(f, sizeof(f), &im), bit > 1 && bit < 16 ? -ENOEXEC : 1);
	}
	flat_make(f, 0, 0x10004);
	ck_assert_int_eq(probe(f, sizeof(f), &im), -ENOEXEC);
	ck_assert_str_eq(err.text, "skep: kernel 'test' demands a video mode (Multiboot flag 2), and this machine has no display: "
		"build it "
			 "without that flag\n");
	flat_make(f, 0, 0x10000 | 1u << 11);
	ck_assert_int_eq(probe(f, sizeof(f), &im), -ENOEXEC);
	ck_assert_str_eq(err.text, "skep: kernel 'test' demands what its Multiboot flag 11 stands for, and version 0.6.96 has no "
		"such flag: "
			 "build it without\n");
	flat_make(f, 0, 3);
	ck_assert_int_eq(probe(f, sizeof(f), &im), -ENOEXEC);
	ck_assert_str_eq(err.text, "skep: kernel 'test' has a Multiboot header without address fields (flag 16) and is no ELF "
		"file: link it "
			 "as 32-bit ELF\n");
}
END_TEST

START_TEST(bad_addresses)
{
	static const struct { unsigned field; uint32_t value; } rows[] = {
		{ MB_LOAD_ADDR, FLAT_AT + 41 },                 /* behind the header */
		{ MB_LOAD_ADDR, FLAT_AT - 1 },                  /* before the file */
		{ MB_LOAD_ADDR, 0 },
		{ MB_HEADER_ADDR, UINT32_MAX },
		{ MB_LOAD_END_ADDR, FLAT_AT },
		{ MB_LOAD_END_ADDR, FLAT_AT - 5 },
		{ MB_LOAD_END_ADDR, FLAT_AT + FLAT_LEN + 1 },
		{ MB_LOAD_END_ADDR, UINT32_MAX },
		{ MB_BSS_END_ADDR, FLAT_AT + FLAT_LEN - 1 },
		{ MB_BSS_END_ADDR, 1 },
		{ MB_ENTRY_ADDR, FLAT_AT - 1 },
		{ MB_ENTRY_ADDR, FLAT_AT + FLAT_LEN },
	};
	uint8_t f[FLAT_LEN];
	struct image im;

	for (size_t i = 0; i < NELEM(rows); i++) {
		flat_make(f, 40, 0x10000);
		put_le32(f + 40 + rows[i].field, rows[i].value);
		ck_assert_msg(probe(f, sizeof(f), &im) == -ENOEXEC, "row %zu", i);
		ck_assert_ptr_nonnull(strstr(err.text, "kernel 'test'"));
	}
	flat_make(f, 40, 0x10000);
	ck_assert_int_eq(probe(f, 40 + 20, &im), -ENOEXEC);
	ck_assert_str_eq(err.text, "skep: kernel 'test' is cut off inside its Multiboot header: get a complete copy\n");
	put_le32(f + 40 + 12, 0xfffffff0u + 40);
	put_le32(f + 40 + 16, 0xfffffff0u);     /* FLAT_LEN bytes more than there are addresses */
	put_le32(f + 40 + 20, 0);
	put_le32(f + 40 + 24, 0);
	put_le32(f + 40 + 28, 0xfffffff0u);
	ck_assert_int_eq(probe(f, sizeof(f), &im), -ENOEXEC);
}
END_TEST

struct elf32_file {
	Elf32_Ehdr eh;
	Elf32_Phdr ph[1];
	uint32_t header[3];
	uint8_t text[0x100];
} __attribute__((packed));

static void elf32_make(struct elf32_file *f)
{
	memset(f, 0, sizeof(*f));
	memcpy(f->eh.e_ident, ELFMAG, SELFMAG);
	f->eh.e_ident[EI_CLASS] = ELFCLASS32;
	f->eh.e_ident[EI_DATA] = ELFDATA2LSB;
	f->eh.e_ident[EI_VERSION] = EV_CURRENT;
	f->eh.e_type = ET_EXEC;
	f->eh.e_machine = EM_386;
	f->eh.e_version = EV_CURRENT;
	f->eh.e_phoff = offsetof(struct elf32_file, ph);
	f->eh.e_ehsize = sizeof(f->eh);
	f->eh.e_phentsize = sizeof(f->ph[0]);
	f->eh.e_phnum = 1;
	f->eh.e_entry = 0xc0100010;
	f->ph[0] = (Elf32_Phdr){ .p_type = PT_LOAD, .p_offset = offsetof(struct elf32_file, text), .p_vaddr = 0xc0100000,
		.p_paddr = 0x100000,
				 .p_filesz = sizeof(f->text), .p_memsz = 0x200, .p_align = 1 };
	f->header[0] = MB_HEADER_MAGIC;
	f->header[1] = 3;
	f->header[2] = -(MB_HEADER_MAGIC + 3);
}

START_TEST(elf)
{
	struct elf32_file f;
	struct elf_file wide;
	struct image im;

	elf32_make(&f);
	ck_assert_int_eq(probe(&f, sizeof(f), &im), 1);
	ck_assert_uint_eq(im.entry, 0x100010);          /* virtual in the file */
	ck_assert_uint_eq(im.nseg, 1);
	ck_assert_uint_eq(im.seg[0].mem_len, 0x200);
	f.eh.e_entry = 0x100020;                        /* physical in the file */
	ck_assert_int_eq(probe(&f, sizeof(f), &im), 1);
	ck_assert_uint_eq(im.entry, 0x100020);
	f.eh.e_entry = 0xc0100100;
	ck_assert_int_eq(probe(&f, sizeof(f), &im), -ENOEXEC);
	elf32_make(&f);
	ck_assert_int_eq(probe(&f, sizeof(f) - 1, &im), -ENOEXEC);
	f.eh.e_machine = EM_ARM;
	ck_assert_int_eq(probe(&f, sizeof(f), &im), -ENOEXEC);
	elf32_make(&f);
	f.ph[0].p_type = PT_NULL;
	ck_assert_int_eq(probe(&f, sizeof(f), &im), -ENOEXEC);
	elf_make(&wide);
	memcpy(wide.text, f.header, sizeof(f.header));
	ck_assert_int_eq(probe(&wide, sizeof(wide), &im), -ENOEXEC);
	ck_assert_str_eq(err.text, "skep: kernel 'test' is a 64-bit ELF file with a Multiboot header, and Multiboot is for 32-bit "
		"ones: "
			 "convert it with 'objcopy -O elf32-i386'\n");
}
END_TEST

/* Whatever the bytes, an answer, and segments inside the file. */
START_TEST(mutations)
{
	uint8_t f[FLAT_LEN];
	struct image im;
	uint32_t x = 7;

	for (unsigned round = 0; round < 300; round++) {
		flat_make(f, 40, 0x10003);
		for (unsigned i = 0; i < 3; i++) {
			x = x * 1664525 + 1013904223;
			f[52 + (x >> 8) % 20] = (uint8_t)(x >> 24);
		}
		if (probe(f, sizeof(f), &im) == 1) {
			ck_assert_uint_le(im.seg[0].len, sizeof(f));
			ck_assert_uint_le((size_t)(im.seg[0].data - im.data), sizeof(f) - im.seg[0].len);
			ck_assert_uint_le(im.seg[0].gpa + im.seg[0].mem_len, GIB(4));
		}
	}
}
END_TEST

UNIT_MAIN("loaders/multiboot", flat, where_the_header_is, demands, bad_addresses, elf, mutations)
