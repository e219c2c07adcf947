/* A set of files, variables and flags as the kernel finds it: order, places, every record. */
#include "tests/unit/loaders/freebsd/elffile.h"

#include "common/place.h"
#include "loaders/freebsd/metadata.h"
#include "tests/unit/unit.h"

#define OFF (-ELF_KERNBASE)
#define BASE 0x200000u

static struct fake_mem m;
static struct elf_file kernel, module;
static const uint8_t raw[300] = { 1, 2, 3 };

static struct fbsd_set *make_set(void)
{
	static struct fbsd_file file[3];
	static struct fbsd_var var[2];
	static struct fbsd_set set;

	elf_linked(&kernel, EM_X86_64, ELF_KERNEL_AMD64);
	elf_object(&module);
	file[0] = elf_as_file(&kernel, sizeof(kernel), FBSD_TYPE_KERNEL, "/boot/kernel/kernel");
	file[1] = elf_as_file(&module, sizeof(module), FBSD_TYPE_OBJ, "/boot/kernel/a.ko");
	file[1].args = (char *)"one two";
	file[2] = elf_as_file(raw, sizeof(raw), "md_image", "/root.img");
	var[0] = (struct fbsd_var){ (char *)"a.empty", (char *)"" };
	var[1] = (struct fbsd_var){ (char *)"boot_serial", (char *)"YES" };
	set = (struct fbsd_set){ .file = file, .nfiles = 3, .var = var, .nvars = 2, .howto = 0x1800 };
	return &set;
}

static int place(const struct fbsd_set *set, struct fbsd_boot *b)
{
	struct fbsd_mem mem = fake_mem(&m, BASE);

	return fbsd_place(set, &mem, b);
}

static const uint8_t *at(uint64_t addr)
{
	ck_assert(addr >= BASE && addr - BASE < sizeof(m.mem));
	return m.mem + (addr - BASE);
}

/* Record `type` of file n; dies when it is not there. */
static const uint8_t *record(const struct fbsd_boot *b, unsigned n, uint32_t type, uint32_t *len)
{
	const uint8_t *md = at(b->modulep), *end = at(b->kernend - 1) + 1;

	for (unsigned i = 0; md < end; md += 8 + ALIGN_UP((size_t)get_le32(md + 4), (size_t)8)) {
		if (get_le32(md) == MODINFO_NAME && i++ == n)
			break;
	}
	return md < end ? md_find(md, (size_t)(end - md), type, len) : NULL;
}

static uint64_t u64(const struct fbsd_boot *b, unsigned n, uint32_t type)
{
	uint32_t len = 0;
	const uint8_t *v = record(b, n, type, &len);

	ck_assert_msg(v && len == 8, "record 0x%x of file %u", type, n);
	return get_le64(v);
}

static void is_text(const struct fbsd_boot *b, unsigned n, uint32_t type, const char *want)
{
	uint32_t len = 0;
	const uint8_t *v = record(b, n, type, &len);

	ck_assert_msg(v && len == strlen(want) + 1, "record 0x%x of file %u", type, n);
	ck_assert_str_eq((const char *)v, want);
}

START_TEST(everything)
{
	static const char env[] = "a.empty=\0boot_serial=YES\0kernelname=/boot/kernel/kernel\0extra=1\0";
	const struct fbsd_var extra[] = { { (char *)"extra", (char *)"1" }, { (char *)"boot_serial", (char *)"NO" } };
	struct fbsd_boot b = { .off = OFF, .machine = EM_X86_64, .var = extra, .nvars = 2 };
	struct fbsd_set *set = make_set();
	uint64_t addr[3], size[3];
	uint32_t len = 0;

	blob_add(&b.smap, raw, 40);
	ck_assert_int_eq(place(set, &b), 0);
	for (unsigned i = 0; i < 3; i++) {
		is_text(&b, i, MODINFO_NAME, set->file[i].name);
		is_text(&b, i, MODINFO_TYPE, set->file[i].type);
		addr[i] = u64(&b, i, MODINFO_ADDR);
		size[i] = u64(&b, i, MODINFO_SIZE);
		if (i)
			ck_assert_uint_eq(addr[i], ALIGN_UP(addr[i - 1] + size[i - 1], (uint64_t)4096));
	}
	ck_assert_uint_eq(addr[0], BASE);
	ck_assert_uint_eq(size[2], sizeof(raw));
	ck_assert_mem_eq(at(addr[2]), raw, sizeof(raw));
	is_text(&b, 1, MODINFO_ARGS, "one two");
	ck_assert(!record(&b, 0, MODINFO_ARGS, &len) && !record(&b, 2, MODINFO_ARGS, &len));
	ck_assert(record(&b, 1, MODINFO_METADATA | MODINFOMD_SHDR, &len) != NULL);
	ck_assert(!record(&b, 2, MODINFO_METADATA | MODINFOMD_SHDR, &len));
	ck_assert_uint_eq(get_le32(record(&b, 0, MODINFO_METADATA | MODINFOMD_HOWTO, &len)), 0x1800);
	ck_assert_uint_eq(len, 4);
	uint64_t envp = u64(&b, 0, MODINFO_METADATA | MODINFOMD_ENVP);

	ck_assert_uint_eq(envp, ALIGN_UP(addr[2] + size[2], (uint64_t)4096));
	ck_assert_mem_eq(at(envp), env, sizeof(env));
	ck_assert_uint_eq(b.modulep, ALIGN_UP(envp + sizeof(env), (uint64_t)4096));
	ck_assert_uint_eq(u64(&b, 0, MODINFO_METADATA | MODINFOMD_AMD64_MODULEP), b.modulep);
	ck_assert_uint_eq(u64(&b, 0, MODINFO_METADATA | MODINFOMD_KERNEND), b.kernend);
	ck_assert(b.kernend % 4096 == 0 && b.kernend > b.modulep);
	ck_assert_mem_eq(record(&b, 0, MODINFO_METADATA | MODINFOMD_AMD64_SMAP, &len), raw, 40);
	ck_assert_uint_eq(len, 40);
	ck_assert(!record(&b, 0, MODINFO_METADATA | MODINFOMD_ARM64_DTBP, &len));
	blob_free(&b.smap);
}
END_TEST

START_TEST(ends)
{
	struct fbsd_boot b = { .off = OFF, .machine = EM_X86_64 };
	const uint8_t *md;
	unsigned names = 0;

	ck_assert_int_eq(place(make_set(), &b), 0);
	for (md = at(b.modulep); get_le64(md) != 0; md += 8 + ALIGN_UP((size_t)get_le32(md + 4), (size_t)8))
		names += get_le32(md) == MODINFO_NAME;
	ck_assert_uint_eq(names, 3);
	ck_assert(md + 8 <= at(b.kernend - 1) + 1);
	ck_assert_uint_eq(*at(b.modulep - 1), 0xee);            /* nothing between the parts */
	ck_assert_uint_eq(md[8], 0xee);
}
END_TEST

static int nothing(void *arg, uint64_t addr, const void *data, uint64_t len)
{
	uint64_t *end = arg;

	(void)data;
	*end = MAX(*end, addr + len);
	return 0;
}

START_TEST(measured)
{
	struct fbsd_boot a = { .off = OFF, .machine = EM_X86_64 }, b = a;
	struct fbsd_set *set = make_set();
	uint64_t end = 0;
	struct fbsd_mem mem = { .put = nothing, .arg = &end };

	ck_assert_int_eq(fbsd_place(set, &mem, &a), 0);
	ck_assert_int_eq(place(set, &b), 0);
	ck_assert_uint_eq(a.kernend, b.kernend);
	ck_assert_uint_eq(a.modulep, b.modulep);
	ck_assert(end <= a.kernend && end > a.kernend - 4096);
}
END_TEST

START_TEST(names_what_it_takes)
{
	struct fbsd_boot b = { .off = OFF, .machine = EM_X86_64 };

	blob_add(&b.fdt, raw, sizeof(raw));
	ck_assert_int_eq(place(make_set(), &b), 0);
	ck_assert_uint_eq(m.takes, 6);
	ck_assert_ptr_nonnull(strstr(m.took[0], " kernel '/boot/kernel/kernel'"));
	ck_assert_ptr_nonnull(strstr(m.took[1], " module '/boot/kernel/a.ko'"));
	ck_assert_ptr_nonnull(strstr(m.took[2], "+12c module '/root.img'"));
	ck_assert_ptr_nonnull(strstr(m.took[4], "+12c " PLACE_FDT));
	blob_free(&b.fdt);
}
END_TEST

START_TEST(arm64)
{
	struct fbsd_boot b = { .machine = EM_AARCH64 };
	struct fbsd_set *set = make_set();
	struct fbsd_mem mem = fake_mem(&m, ELF_KERNEL_ARM64);
	uint32_t len = 0;

	elf_linked(&kernel, EM_AARCH64, ELF_KERNEL_ARM64);
	elf_linked(&module, EM_AARCH64, 0);
	set->file[1].type = FBSD_TYPE_MODULE;
	blob_add(&b.fdt, raw, sizeof(raw));
	ck_assert_int_eq(fbsd_place(set, &mem, &b), 0);
	m.base = BASE;                  /* so that at() works on the low half */
	b.modulep += BASE - ELF_KERNEL_ARM64;
	b.kernend += BASE - ELF_KERNEL_ARM64;
	uint64_t dtbp = u64(&b, 0, MODINFO_METADATA | MODINFOMD_ARM64_DTBP);

	ck_assert(dtbp % 4096 == 0 && dtbp > ELF_KERNEL_ARM64 && dtbp < b.modulep - BASE + ELF_KERNEL_ARM64);
	ck_assert_mem_eq(at(dtbp - ELF_KERNEL_ARM64 + BASE), raw, sizeof(raw));
	ck_assert_uint_eq(u64(&b, 0, MODINFO_ADDR), ELF_KERNEL_ARM64);
	ck_assert_uint_eq(u64(&b, 0, MODINFO_METADATA | MODINFOMD_KERNEND), b.kernend - BASE + ELF_KERNEL_ARM64);
	ck_assert(!record(&b, 0, MODINFO_METADATA | MODINFOMD_AMD64_MODULEP, &len));
	blob_free(&b.fdt);
}
END_TEST

START_TEST(refused)
{
	struct fbsd_boot b = { .off = OFF, .machine = EM_X86_64 };
	struct fbsd_set *set = make_set();

	module.eh.e_machine = EM_AARCH64;
	ck_assert_int_eq(place(set, &b), -ENOEXEC);
	module.eh.e_machine = EM_PPC64;
	ck_assert_int_eq(place(set, &b), -ENOEXEC);
	module.eh.e_machine = EM_X86_64;
	ck_assert_int_eq(place(set, &b), 0);
	set->file[2].len = 1 << 20;     /* no room: put() says so before it reads */
	ck_assert_int_eq(place(set, &b), -ENOSPC);
	set->file[2].len = 300;
	set->file[1].data = (uint8_t *)raw;
	set->file[1].len = sizeof(raw);
	ck_assert_int_eq(place(set, &b), -ENOEXEC);
}
END_TEST

START_TEST(uuid)
{
	const uint8_t bytes[16] = { 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 255 };
	char text[FBSD_UUID_LEN];

	ck_assert_str_eq(fbsd_uuid(bytes, text), "00010203-0405-0607-0809-0a0b0c0d0eff");
}
END_TEST

UNIT_MAIN("loaders/freebsd/metadata", everything, ends, measured, names_what_it_takes, arm64, refused, uuid)
