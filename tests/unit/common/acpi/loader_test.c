/*
 * The loader script, carried out by a small firmware of the test's own: what it makes must be what the builder makes for
 * the same address.
 */
#include "common/acpi/loader.h"

#include "arch/x86/acpi.h"
#include "devices/fw_cfg.h"
#include "tests/unit/arch/x86/testvm.h"
#include "tests/unit/capture.h"

/* A file in the firmware's memory. */
struct placed {
	const char *name;
	uint8_t *data;
	size_t len;
	uint64_t base;
	bool allocated;
	uint32_t align;
	uint8_t zone;
};
struct firmware {
	struct placed file[2];
	unsigned pointers, sums;
};

static struct placed *file_of(struct firmware *fw, const uint8_t *name)
{
	ck_assert_ptr_nonnull(memchr(name, 0, 56));
	for (unsigned i = 0; i < NELEM(fw->file); i++) {
		if (strcmp((const char *)name, fw->file[i].name) == 0)
			return &fw->file[i];
	}
	ck_abort_msg("the script names an unknown file '%s'", name);
	return NULL;
}

static void run_allocate(struct firmware *fw, const uint8_t *e)
{
	struct placed *p = file_of(fw, e + 4);

	ck_assert(!p->allocated);
	p->allocated = true;
	p->align = get_le32(e + 60);
	p->zone = e[64];
	ck_assert_uint_le(p->align, 4096);              /* what EDK2 takes */
	ck_assert_uint_eq(p->base % p->align, 0);
}

static void run_pointer(struct firmware *fw, const uint8_t *e)
{
	struct placed *to = file_of(fw, e + 4), *src = file_of(fw, e + 60);
	uint32_t off = get_le32(e + 116);
	uint8_t size = e[120];
	uint64_t v = 0;

	ck_assert(to->allocated && src->allocated);
	ck_assert(size == 4 || size == 8);
	ck_assert_uint_le(off + size, to->len);
	memcpy(&v, to->data + off, size);
	ck_assert_uint_lt(v, src->len);
	v += src->base;
	memcpy(to->data + off, &v, size);
	fw->pointers++;
}

static void run_sum(struct firmware *fw, const uint8_t *e)
{
	struct placed *p = file_of(fw, e + 4);
	uint32_t at = get_le32(e + 60), start = get_le32(e + 64), len = get_le32(e + 68);

	ck_assert(p->allocated);
	ck_assert_uint_le(start + len, p->len);
	ck_assert(at >= start && at < start + len);
	ck_assert_uint_eq(p->data[at], 0);
	p->data[at] = (uint8_t)-byte_sum(p->data + start, len);
	fw->sums++;
}

static void run_script(struct firmware *fw, const struct acpi_loader *l)
{
	ck_assert_uint_eq(l->script.len % ACPI_SCRIPT_ENTRY, 0);
	for (size_t off = 0; off < l->script.len; off += ACPI_SCRIPT_ENTRY) {
		const uint8_t *e = l->script.data + off;

		switch (get_le32(e)) {
		case 1: run_allocate(fw, e); break;
		case 2: run_pointer(fw, e); break;
		case 3: run_sum(fw, e); break;
		default: ck_abort_msg("unknown command %u", get_le32(e));
		}
	}
}

static void place(struct acpi_loader *l, uint64_t rsdp, uint64_t tables, struct firmware *fw)
{
	*fw = (struct firmware){ .file = {
		{ .name = ACPI_FILE_RSDP, .data = l->rsdp, .len = RSDP_LEN, .base = rsdp },
		{ .name = ACPI_FILE_TABLES, .data = l->tables.data, .len = l->tables.len, .base = tables },
	} };
	run_script(fw, l);
	ck_assert(fw->file[0].allocated && fw->file[1].allocated);
	ck_assert_uint_eq(fw->file[0].zone, 2);         /* where a BIOS looks for the RSDP */
	ck_assert_uint_eq(fw->file[1].align, 64);       /* the FACS is first */
}

START_TEST(makes_what_the_builder_makes)
{
	static const char *const cpus[] = { "1", "4", "300" };
	static const uint64_t bases[] = { 0x7f000, 0x3fe00000, 0xfffc0000 };

	for (size_t i = 0; i < NELEM(cpus); i++) {
		struct vm *vm = TEST_VM("cpus", cpus[i], "lpc.com2.path", "/dev/null");
		struct acpi_set zero, direct;
		struct acpi_loader l;
		struct firmware fw;

		acpi_build(vm, 0, &zero);
		acpi_build(vm, bases[i], &direct);
		acpi_loader_build(&zero, &l);
		place(&l, 0xf0010, bases[i], &fw);
		ck_assert_uint_eq(l.tables.len, direct.blob.len);
		ck_assert_mem_eq(l.tables.data, direct.blob.data, direct.blob.len);
		ck_assert_mem_eq(l.rsdp, direct.rsdp, RSDP_LEN);
		/* FADT, MADT, MCFG and SPCR in the XSDT; FACS and DSDT, the latter twice, in the FADT; the XSDT in the RSDP. */
		ck_assert_uint_eq(fw.pointers, 4 + 3 + 1);
		ck_assert_uint_eq(fw.sums, 4);
		acpi_loader_free(&l);
		acpi_free(&zero);
		acpi_free(&direct);
		test_vm_free(vm);
	}
}
END_TEST

/* A hardware-reduced machine: no FACS, the DSDT is the first table, and the 32-bit pointer to it is not used. */
static void reduced_set(uint64_t base, struct acpi_set *s)
{
	memset(s, 0, sizeof(*s));
	s->base = base;
	acpi_table_end(&s->blob, acpi_table_begin(&s->blob, "DSDT", 2));
	acpi_note(s, "DSDT", 0);
	size_t off = acpi_next(s), start = acpi_table_begin(&s->blob, "FACP", 6);

	blob_zero(&s->blob, 140 - ACPI_HDR_LEN);
	blob_u64(&s->blob, base);
	blob_zero(&s->blob, 276 - 148);
	acpi_table_end(&s->blob, start);
	acpi_note(s, "FACP", off);
	acpi_end(s);
}

START_TEST(without_facs)
{
	struct acpi_set zero, direct;
	struct acpi_loader l;
	struct firmware fw;

	reduced_set(0, &zero);
	reduced_set(0x40000000, &direct);
	acpi_loader_build(&zero, &l);
	place(&l, 0x4fff0000, 0x40000000, &fw);
	ck_assert_mem_eq(l.tables.data, direct.blob.data, direct.blob.len);
	ck_assert_mem_eq(l.rsdp, direct.rsdp, RSDP_LEN);
	ck_assert_uint_eq(fw.pointers, 1 + 1 + 1);
	acpi_loader_free(&l);
	acpi_free(&zero);
	acpi_free(&direct);
}
END_TEST

START_TEST(into_fw_cfg)
{
	struct vm *vm = TEST_VM("fwcfg.0", "opt/x,string=y");
	struct acpi_set s;
	struct capture c;

	fw_cfg_clear(vm->fw_cfg);
	acpi_build(vm, 0, &s);
	capture_start(&c, STDERR_FILENO);
	ck_assert_int_ne(acpi_loader_put(vm->fw_cfg, &s, true), 0);
	ck_assert_ptr_nonnull(strstr(capture_stop(&c), "'etc/acpi/rsdp' is not there to be replaced"));
	ck_assert_int_eq(acpi_loader_put(vm->fw_cfg, &s, false), 0);
	ck_assert_int_eq(acpi_loader_put(vm->fw_cfg, &s, true), 0);
	capture_start(&c, STDERR_FILENO);
	ck_assert_int_ne(acpi_loader_put(vm->fw_cfg, &s, false), 0);
	capture_stop(&c);
	acpi_free(&s);
	test_vm_free(vm);
}
END_TEST

UNIT_MAIN("common/acpi/loader", makes_what_the_builder_makes, without_facs, into_fw_cfg)
