/*
 * The linker/loader script that goes with ACPI tables in fw_cfg [QEMU-FWCFG "etc/table-loader"].
 *
 * An entry has 128 bytes: a command and its operands, file names in 56 bytes each.  ALLOCATE gives a file memory;
 * ADD_POINTER adds one file's address to a field of another, which holds an offset until then; ADD_CHECKSUM makes the
 * bytes of a range sum up to zero.  Entries are carried out in order, so sums come after pointers; the bytes that
 * will hold them are zero in the files.
 *
 * EDK2 installs every table an ADD_POINTER leads to, aligns an allocation to at most a page, and allocates a file below
 * 4 GiB when a pointer to it has less than 8 bytes.
 */
#include "common/acpi/loader.h"

#include <assert.h>
#include <errno.h>

#include "common/log.h"
#include "common/util.h"
#include "devices/fw_cfg.h"

enum { CMD_ALLOCATE = 1, CMD_ADD_POINTER = 2, CMD_ADD_CHECKSUM = 3 };
enum { ZONE_HIGH = 1, ZONE_FSEG = 2 };
#define FILE_FIELD 56                   /* bytes of a file name with its NUL */

/* Fields that hold addresses or sums. */
enum { HDR_CHECKSUM = 9, RSDP_CHECKSUM = 8, RSDP_V1_LEN = 20, RSDP_XSDT = 24, RSDP_X_CHECKSUM = 32 };
enum { FADT_FACS = 36, FADT_DSDT = 40, FADT_X_FACS = 132, FADT_X_DSDT = 140 };

static void add_file_name(struct blob *b, const char *name)
{
	size_t len = strlen(name);

	assert(len < FILE_FIELD);
	blob_add(b, name, len);
	blob_zero(b, FILE_FIELD - len);
}

static void end_entry(struct blob *b)
{
	blob_align(b, ACPI_SCRIPT_ENTRY);
}

static void allocate(struct blob *b, const char *file, uint32_t align, uint8_t zone)
{
	blob_u32(b, CMD_ALLOCATE);
	add_file_name(b, file);
	blob_u32(b, align);
	blob_u8(b, zone);
	end_entry(b);
}

/* The field of `size` bytes at `off` in file `in` holds an offset in the tables' file. */
static void add_pointer(struct blob *b, const char *in, size_t off, uint8_t size)
{
	blob_u32(b, CMD_ADD_POINTER);
	add_file_name(b, in);
	add_file_name(b, ACPI_FILE_TABLES);
	blob_u32(b, (uint32_t)off);
	blob_u8(b, size);
	end_entry(b);
}

static void add_checksum(struct blob *b, const char *file, size_t at, size_t start, size_t len)
{
	blob_u32(b, CMD_ADD_CHECKSUM);
	add_file_name(b, file);
	blob_u32(b, (uint32_t)at);
	blob_u32(b, (uint32_t)start);
	blob_u32(b, (uint32_t)len);
	end_entry(b);
}

/* A table whose pointers have been added. */
static void sum_table(struct acpi_loader *l, const struct acpi_table *t)
{
	l->tables.data[t->off + HDR_CHECKSUM] = 0;
	add_checksum(&l->script, ACPI_FILE_TABLES, t->off + HDR_CHECKSUM, t->off, t->len);
}

/*
 * An optional field that is zero stays zero.  FIRMWARE_CTRL is the exception: a FACS may be the first of the tables,
 * at offset zero.
 */
static void link_fadt(const struct acpi_set *s, struct acpi_loader *l)
{
	const struct acpi_table *fadt = acpi_find(s, "FACP");
	const uint8_t *data = s->blob.data + fadt->off;

	if (acpi_find(s, "FACS"))
		add_pointer(&l->script, ACPI_FILE_TABLES, fadt->off + FADT_FACS, 4);
	if (get_le32(data + FADT_DSDT))
		add_pointer(&l->script, ACPI_FILE_TABLES, fadt->off + FADT_DSDT, 4);
	if (get_le64(data + FADT_X_FACS))
		add_pointer(&l->script, ACPI_FILE_TABLES, fadt->off + FADT_X_FACS, 8);
	add_pointer(&l->script, ACPI_FILE_TABLES, fadt->off + FADT_X_DSDT, 8);
	sum_table(l, fadt);
}

static void link_xsdt(const struct acpi_set *s, struct acpi_loader *l)
{
	const struct acpi_table *xsdt = acpi_find(s, "XSDT");

	for (size_t off = ACPI_HDR_LEN; off < xsdt->len; off += 8)
		add_pointer(&l->script, ACPI_FILE_TABLES, xsdt->off + off, 8);
	sum_table(l, xsdt);
}

static void link_rsdp(struct acpi_loader *l)
{
	l->rsdp[RSDP_CHECKSUM] = l->rsdp[RSDP_X_CHECKSUM] = 0;
	add_pointer(&l->script, ACPI_FILE_RSDP, RSDP_XSDT, 8);
	add_checksum(&l->script, ACPI_FILE_RSDP, RSDP_CHECKSUM, 0, RSDP_V1_LEN);
	add_checksum(&l->script, ACPI_FILE_RSDP, RSDP_X_CHECKSUM, 0, RSDP_LEN);
}

void acpi_loader_build(const struct acpi_set *s, struct acpi_loader *l)
{
	assert(s->base == 0);
	memset(l, 0, sizeof(*l));
	memcpy(l->rsdp, s->rsdp, RSDP_LEN);
	blob_add(&l->tables, s->blob.data, s->blob.len);
	allocate(&l->script, ACPI_FILE_RSDP, 16, ZONE_FSEG);
	allocate(&l->script, ACPI_FILE_TABLES, ACPI_TABLES_ALIGN, ZONE_HIGH);
	link_fadt(s, l);
	link_xsdt(s, l);
	link_rsdp(l);
}

void acpi_loader_free(struct acpi_loader *l)
{
	blob_free(&l->tables);
	blob_free(&l->script);
}

static int put_file(struct device *fw_cfg, const char *name, const void *data, size_t len, bool replace)
{
	if (!replace)
		return fw_cfg_file(fw_cfg, name, data, len);
	int err = fw_cfg_replace(fw_cfg, name, data, len);

	return err ? err_msg(err, "fw_cfg: '%s' is not there to be replaced", name) : 0;
}

int acpi_loader_put(struct device *fw_cfg, const struct acpi_set *s, bool replace)
{
	struct acpi_loader l;

	acpi_loader_build(s, &l);
	int err = put_file(fw_cfg, ACPI_FILE_RSDP, l.rsdp, RSDP_LEN, replace);

	if (!err)
		err = put_file(fw_cfg, ACPI_FILE_TABLES, l.tables.data, l.tables.len, replace);
	if (!err)
		err = put_file(fw_cfg, ACPI_FILE_SCRIPT, l.script.data, l.script.len, replace);
	acpi_loader_free(&l);
	return err;
}
