/* Module metadata of files of every kind, good and spoilt; linker.hints. */
#include <errno.h>

#include "loaders/freebsd/freebsd.h"
#include "tests/unit/capture.h"
#include "tests/unit/loaders/freebsd/kldfile.h"
#include "tests/unit/unit.h"

static const struct kld_rec recs[] = {
	{ 1, "kernel", { 1500000, 1500068, 1599999 } }, { 2, "pci/if_vtnet", { 0 } }, { 3, "if_vtnet", { 7 } },
	{ 1, "virtio", { 1, 1, 1 } }, { 4, "virtio_pci", { 0 } }, { 3, "vtnet_alias", { 2 } },
};

static struct capture cap;

/* Reads a copy of exactly its size; what was said is in cap.text. */
static int read_file(const struct kld_file *f, struct kld_info *info)
{
	uint8_t *copy = malloc(f->len);

	memcpy(copy, f->data, f->len);
	capture_start(&cap, STDERR_FILENO);
	int err = kld_read("/boot/kernel/test.ko", copy, f->len, info);

	capture_stop(&cap);
	free(copy);
	return err;
}

static void refused(struct kld_file *f, const char *text)
{
	struct kld_info info;

	ck_assert_int_eq(read_file(f, &info), -ENOEXEC);
	ck_assert_msg(strstr(cap.text, text), "'%s' lacks '%s'", cap.text, text);
	ck_assert_ptr_nonnull(strstr(cap.text, "/boot/kernel/test.ko"));
	ck_assert_ptr_null(info.provides);
	free(f->data);
}

static void check_all(uint16_t machine, uint16_t type, unsigned flags)
{
	struct kld_file f;
	struct kld_info info;

	kld_make(&f, machine, type, flags, recs, NELEM(recs));
	ck_assert_int_eq(read_file(&f, &info), 0);
	ck_assert_uint_eq(info.machine, machine);
	ck_assert_uint_eq(info.elf_type, type);
	ck_assert_uint_eq(info.nprovides, 2);
	ck_assert_str_eq(info.provides[0].name, "if_vtnet");
	ck_assert_int_eq(info.provides[0].version, 7);
	ck_assert_str_eq(info.provides[1].name, "vtnet_alias");
	ck_assert_int_eq(info.provides[1].version, 2);
	ck_assert_uint_eq(info.nneeds, 2);
	ck_assert_str_eq(info.needs[0].name, "kernel");
	ck_assert_int_eq(info.needs[0].min, 1500000);
	ck_assert_int_eq(info.needs[0].preferred, 1500068);
	ck_assert_int_eq(info.needs[0].max, 1599999);
	ck_assert_str_eq(info.needs[1].name, "virtio");
	kld_free(&info);
	ck_assert_ptr_null(info.provides);
	free(f.data);
}

START_TEST(every_kind)
{
	static const uint16_t machines[] = { EM_X86_64, EM_AARCH64 };

	for (size_t i = 0; i < NELEM(machines); i++) {
		check_all(machines[i], ET_REL, 0);
		check_all(machines[i], ET_DYN, KLD_RELA);
		check_all(machines[i], ET_DYN, 0);
		check_all(machines[i], ET_DYN, KLD_RELA | KLD_SYMBOLS);
		check_all(machines[i], ET_EXEC, 0);
		check_all(machines[i], ET_EXEC, KLD_SYMBOLS);
	}
}
END_TEST

/* GENERIC kernels have several hundred modules. */
START_TEST(many)
{
	enum { N = 1500 };
	static char names[N][16];
	static struct kld_rec many[N];
	struct kld_file f;
	struct kld_info info;

	for (unsigned i = 0; i < N; i++) {
		snprintf(names[i], sizeof(names[i]), "mod%u", i);
		many[i] = (struct kld_rec){ i % 2 ? 1 : 3, names[i], { (int)i, (int)i, (int)i } };
	}
	kld_make(&f, EM_X86_64, ET_EXEC, 0, many, N);
	ck_assert_int_eq(read_file(&f, &info), 0);
	ck_assert_uint_eq(info.nprovides, N / 2);
	ck_assert_uint_eq(info.nneeds, N / 2);
	ck_assert_int_eq(kld_provides(&info, "mod1498", NULL), 1498);
	ck_assert_str_eq(info.needs[N / 2 - 1].name, "mod1499");
	kld_free(&info);
	free(f.data);
}
END_TEST

/* Files without MDT_VERSION, without any metadata, without sections. */
START_TEST(own_name)
{
	struct kld_file f;
	struct kld_info info;

	kld_make(&f, EM_X86_64, ET_REL, 0, recs, 1);
	ck_assert_int_eq(read_file(&f, &info), 0);
	ck_assert_uint_eq(info.nprovides, 1);
	ck_assert_str_eq(info.provides[0].name, "test");
	ck_assert_int_eq(info.provides[0].version, 1);
	ck_assert_uint_eq(info.nneeds, 1);
	kld_free(&info);
	f.sh[KLD_S_SET].sh_name = KLD_STR_OTHER;
	ck_assert_int_eq(read_file(&f, &info), 0);
	ck_assert_uint_eq(info.nneeds, 0);
	ck_assert_str_eq(info.provides[0].name, "test");
	kld_free(&info);
	f.eh->e_shoff = 0;
	ck_assert_int_eq(read_file(&f, &info), 0);
	ck_assert_str_eq(info.provides[0].name, "test");
	kld_free(&info);
	free(f.data);
}
END_TEST

START_TEST(refused_header)
{
	struct kld_file f;

	kld_make(&f, EM_X86_64, ET_REL, 0, recs, NELEM(recs));
	f.len = 63;
	refused(&f, "is no ELF file");
	kld_make(&f, EM_PPC64, ET_REL, 0, recs, NELEM(recs));
	refused(&f, "another architecture");
	kld_make(&f, EM_X86_64, ET_REL, 0, recs, NELEM(recs));
	f.eh->e_ident[EI_CLASS] = ELFCLASS32;
	refused(&f, "another architecture");
	kld_make(&f, EM_X86_64, ET_CORE, 0, recs, NELEM(recs));
	refused(&f, "neither a kernel nor a module");
	kld_make(&f, EM_X86_64, ET_EXEC, 0, recs, NELEM(recs));
	f.eh->e_phoff = f.len - 55;
	refused(&f, "is cut off: its program headers");
	kld_make(&f, EM_X86_64, ET_EXEC, 0, recs, NELEM(recs));
	f.eh->e_phnum = 129;
	f.eh->e_phoff = 0;
	refused(&f, "more program headers");
	kld_make(&f, EM_X86_64, ET_REL, 0, recs, NELEM(recs));
	f.eh->e_shoff = UINT64_MAX;
	refused(&f, "is cut off: its section table");
	kld_make(&f, EM_X86_64, ET_REL, 0, recs, NELEM(recs));
	f.eh->e_shnum = 0;
	f.sh[0].sh_size = UINT64_MAX / 64;
	refused(&f, "broken section table");
}
END_TEST

START_TEST(section_count_in_first)
{
	struct kld_file f;
	struct kld_info info;

	kld_make(&f, EM_X86_64, ET_REL, 0, recs, NELEM(recs));
	f.eh->e_shnum = 0;
	f.sh[0].sh_size = KLD_SECTIONS;
	ck_assert_int_eq(read_file(&f, &info), 0);
	ck_assert_uint_eq(info.nprovides, 2);
	kld_free(&info);
	free(f.data);
}
END_TEST

START_TEST(refused_metadata)
{
	struct kld_file f;

	kld_make(&f, EM_X86_64, ET_REL, 0, recs, NELEM(recs));
	f.sh[KLD_S_SET].sh_offset = f.len - 8;
	refused(&f, "is cut off: it ends before its last section");
	kld_make(&f, EM_X86_64, ET_REL, 0, recs, NELEM(recs));
	f.rela_set[2].r_addend = 1 << 20;
	refused(&f, "outside the file");
	kld_make(&f, EM_X86_64, ET_REL, 0, recs, NELEM(recs));
	f.sh[KLD_S_RELA_SET].sh_type = SHT_PROGBITS;            /* an object's pointers are nothing without them */
	refused(&f, "outside the file");
	kld_make(&f, EM_X86_64, ET_REL, 0, recs, NELEM(recs));
	f.sh[KLD_S_RELA_SET].sh_size = f.len;                   /* twice as many as have room */
	f.sh[KLD_S_RELA_SET].sh_offset = 0;
	refused(&f, "overlap");
	kld_make(&f, EM_X86_64, ET_EXEC, 0, recs, NELEM(recs));
	f.ph->p_filesz++;
	refused(&f, "is cut off: it ends before its last section");
	kld_make(&f, EM_X86_64, ET_EXEC, 0, recs, NELEM(recs));
	f.set[0] = KLD_VA + f.len - 23;                         /* a record that sticks out by a byte */
	refused(&f, "outside the file");
	kld_make(&f, EM_X86_64, ET_EXEC, 0, recs, NELEM(recs));
	put_le64(f.md + 8, KLD_VA - 1);
	refused(&f, "outside the file");
	kld_make(&f, EM_X86_64, ET_EXEC, 0, recs, NELEM(recs));
	memset(f.names, 'a', KLD_NAME_ROOM);
	refused(&f, "without a proper name");
	kld_make(&f, EM_X86_64, ET_EXEC, 0, recs, NELEM(recs));
	f.names[0] = 0x1b;
	refused(&f, "without a proper name");
	kld_make(&f, EM_X86_64, ET_EXEC, KLD_SYMBOLS, recs, NELEM(recs));
	f.sym[3].st_value = KLD_VA;
	refused(&f, "ends before it begins");
	kld_make(&f, EM_X86_64, ET_EXEC, KLD_SYMBOLS, recs, NELEM(recs));
	f.sym[3].st_value = UINT64_MAX;                         /* stops at the first pointer that is none */
	refused(&f, "outside the file");
}
END_TEST

/* Every cut and every flipped byte: refused or read, never more (the sanitizers look). */
START_TEST(spoilt)
{
	static const struct { uint16_t machine, type; unsigned flags; } kinds[] = {
		{ EM_X86_64, ET_REL, 0 }, { EM_AARCH64, ET_DYN, KLD_RELA | KLD_SYMBOLS },
	};
	unsigned good = 0, bad = 0;

	for (size_t k = 0; k < NELEM(kinds); k++) {
		struct kld_file f;
		struct kld_info info;

		kld_make(&f, kinds[k].machine, kinds[k].type, kinds[k].flags, recs, NELEM(recs));
		for (size_t full = f.len, i = 0; i < full; i++) {
			f.len = i;
			ck_assert_int_eq(read_file(&f, &info), -ENOEXEC);
			f.len = full;
			f.data[i] ^= 0xff;
			int err = read_file(&f, &info);

			err ? bad++ : good++;
			if (!err)
				kld_free(&info);
			f.data[i] ^= 0xff;
		}
		free(f.data);
	}
	ck_assert_uint_gt(good, 100);
	ck_assert_uint_gt(bad, 100);
}
END_TEST

START_TEST(versions)
{
	struct kld_module m[] = { { "a", 1 }, { "a", 3 }, { "b", 9 }, { "a", 2 }, { "a", 5 } };
	struct kld_info info = { .provides = m, .nprovides = NELEM(m) };

	ck_assert_int_eq(kld_provides(&info, "a", NULL), 1);
	ck_assert_int_eq(kld_provides(&info, "c", NULL), -1);
	ck_assert_int_eq(kld_provides(&info, "a", &(struct kld_need){ "a", 1, 2, 9 }), 2);
	ck_assert_int_eq(kld_provides(&info, "a", &(struct kld_need){ "a", 1, 4, 4 }), 3);
	ck_assert_int_eq(kld_provides(&info, "a", &(struct kld_need){ "a", 6, 6, 9 }), -1);
	ck_assert_int_eq(kld_provides(&info, "a", &(struct kld_need){ "a", 4, 7, 9 }), 5);
}
END_TEST

/* --- linker.hints --- */

struct hints {
	uint8_t data[1024];
	size_t len;
};

static void hint_u32(struct hints *h, uint32_t v)
{
	h->len = ALIGN_UP(h->len, 4);
	put_le32(h->data + h->len, v);
	h->len += 4;
}

static void hint_str(struct hints *h, const char *s)
{
	h->data[h->len++] = (uint8_t)strlen(s);
	memcpy(h->data + h->len, s, strlen(s));
	h->len += strlen(s);
}

static void hint_version(struct hints *h, const char *module, int version, const char *file)
{
	size_t start = ALIGN_UP(h->len, 4);

	hint_u32(h, 0);
	hint_u32(h, 3);
	hint_str(h, module);
	hint_u32(h, (uint32_t)version);
	hint_str(h, file);
	h->len = ALIGN_UP(h->len, 4);
	put_le32(h->data + start, (uint32_t)(h->len - start - 4));
}

static void hint_module(struct hints *h, const char *module, const char *file)
{
	size_t start = ALIGN_UP(h->len, 4);

	hint_u32(h, 0);
	hint_u32(h, 2);
	hint_str(h, module);
	hint_str(h, file);
	h->len = ALIGN_UP(h->len, 4);
	put_le32(h->data + start, (uint32_t)(h->len - start - 4));
}

static void make_hints(struct hints *h, uint32_t version)
{
	memset(h, 0, sizeof(*h));
	hint_u32(h, version);
	hint_version(h, "virtio", 1, "virtio.ko");
	hint_module(h, "pci/if_vtnet", "if_vtnet.ko");
	hint_version(h, "if_vtnet", 7, "if_vtnet.ko");
	hint_version(h, "netgraph", 3, "netgraph3.ko");
	hint_version(h, "netgraph", 12, "netgraph.ko");
	hint_version(h, "evil", 1, "../../etc/passwd");
	hint_version(h, "a", 1, "x.ko");
}

static bool hint(const struct hints *h, const char *module, const struct kld_need *need, const char *want)
{
	uint8_t *copy = malloc(h->len);
	char file[256] = "untouched";

	memcpy(copy, h->data, h->len);
	bool found = kld_hint(copy, h->len, module, need, file);

	free(copy);
	return want ? found && strcmp(file, want) == 0 : !found;
}

START_TEST(hints)
{
	struct hints h;

	for (uint32_t version = 1; version <= 2; version++) {
		make_hints(&h, version);
		ck_assert(hint(&h, "virtio", NULL, "virtio.ko"));
		ck_assert(hint(&h, "if_vtnet", NULL, "if_vtnet.ko"));
		ck_assert(hint(&h, "a", NULL, "x.ko"));
		ck_assert(hint(&h, "pci/if_vtnet", NULL, NULL));
		ck_assert(hint(&h, "nothing", NULL, NULL));
		ck_assert(hint(&h, "evil", NULL, NULL));
		ck_assert(hint(&h, "netgraph", NULL, "netgraph3.ko"));
		ck_assert(hint(&h, "netgraph", &(struct kld_need){ "netgraph", 1, 5, 20 }, "netgraph.ko"));
		ck_assert(hint(&h, "netgraph", &(struct kld_need){ "netgraph", 1, 3, 20 }, "netgraph3.ko"));
		ck_assert(hint(&h, "netgraph", &(struct kld_need){ "netgraph", 4, 5, 6 }, NULL));
	}
	make_hints(&h, 3);
	ck_assert(hint(&h, "virtio", NULL, NULL));
	ck_assert(hint(&(struct hints){ .len = 0 }, "virtio", NULL, NULL));
}
END_TEST

START_TEST(hints_spoilt)
{
	struct hints h;
	unsigned found = 0;

	make_hints(&h, 1);
	put_le32(h.data + 4, 0xfffffff0);       /* a record that goes backwards */
	ck_assert(hint(&h, "virtio", NULL, NULL));
	make_hints(&h, 1);
	put_le32(h.data + 4, 0);                /* one without room for its type */
	ck_assert(hint(&h, "virtio", NULL, NULL));
	make_hints(&h, 1);
	for (size_t full = h.len; h.len > 0; h.len--)
		found += hint(&h, "virtio", NULL, "virtio.ko") && h.len < full;
	ck_assert_uint_gt(found, 50);
	make_hints(&h, 1);
	for (size_t i = 0; i < h.len; i++) {
		h.data[i] ^= 0xff;
		hint(&h, "a", NULL, "x.ko");
		h.data[i] ^= 0xff;
	}
	ck_assert(hint(&h, "a", NULL, "x.ko"));
}
END_TEST

UNIT_MAIN("loaders/freebsd/kld", every_kind, many, own_name, refused_header, section_count_in_first, refused_metadata, spoilt,
	  versions, hints, hints_spoilt)
