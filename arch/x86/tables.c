/*
 * Puts the machine's tables where a directly booted guest looks for them, and writes them as files.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "arch/x86/acpi.h"
#include "arch/x86/layout.h"
#include "arch/x86/x86.h"
#include "common/conf.h"
#include "common/log.h"
#include "common/smbios.h"
#include "common/vm.h"

static bool wanted(const struct vm *vm, const char *key)
{
	return !vm->conf || conf_bool(vm->conf, key);
}

/* Every table of a machine, built. */
struct tables {
	bool has_acpi, has_mptable;
	struct acpi_set acpi;
	struct blob mptable, smbios;
	uint64_t smbios_base;
	uint8_t mpfp[MPFP_LEN], sm3[SM3_LEN];
};

static void tables_build(const struct vm *vm, struct tables *t)
{
	memset(t, 0, sizeof(*t));
	t->has_acpi = wanted(vm, "acpi_tables");
	t->has_mptable = !vm->firmware && wanted(vm, "x86.mptable");
	if (t->has_acpi)
		acpi_build(vm, vm->firmware ? 0 : X86_ACPI, &t->acpi);   /* firmware places them by the loader script */
	if (t->has_mptable)
		x86_mptable(vm, X86_MPTABLE, &t->mptable, t->mpfp);
	t->smbios_base = ALIGN_UP(X86_MPTABLE + t->mptable.len, (uint64_t)16);
	smbios_build(vm, t->smbios_base, &t->smbios, t->sm3);
}

static void tables_free(struct tables *t)
{
	acpi_free(&t->acpi);
	blob_free(&t->mptable);
	blob_free(&t->smbios);
}

static int tables_fit(const struct tables *t)
{
	if (t->acpi.blob.len > X86_ACPI_MAX)
		return err_msg(-E2BIG, "ACPI tables: %zu bytes do not fit their %u; give fewer vCPUs", t->acpi.blob.len,
			       X86_ACPI_MAX);
	if (t->smbios_base + t->smbios.len > X86_LOW_TABLES_END)
		return err_msg(-E2BIG, "SMBIOS: %zu bytes do not fit below 1 MiB; give shorter strings or fewer sockets",
			       t->smbios.len);
	return 0;
}

static bool put(struct vm *vm, uint64_t gpa, const void *data, size_t len)
{
	return mem_write(&vm->mem, gpa, data, len);
}

int x86_place_tables(struct vm *vm)
{
	struct tables t;

	tables_build(vm, &t);
	int err = tables_fit(&t);
	bool ok = true;

	if (!err && t.has_acpi)
		ok = put(vm, X86_ACPI, t.acpi.blob.data, t.acpi.blob.len) && put(vm, X86_RSDP, t.acpi.rsdp, RSDP_LEN);
	if (!err && ok && t.has_mptable)
		ok = put(vm, X86_MPTABLE, t.mptable.data, t.mptable.len) && put(vm, X86_MPFP, t.mpfp, MPFP_LEN);
	if (!err && ok)
		ok = put(vm, t.smbios_base, t.smbios.data, t.smbios.len) && put(vm, X86_SM3, t.sm3, SM3_LEN);
	tables_free(&t);
	if (!err && !ok)
		err = err_msg(-EFAULT, "tables: no guest memory below 1 MiB");
	return err;
}

static void print_e820(const struct memmap *m, bool firmware, FILE *f)
{
	struct e820_entry e[X86_E820_MAX];
	unsigned n = firmware ? x86_e820_firmware(m, e) : x86_e820(m, e);

	fprintf(f, "e820 memory map\n");
	for (unsigned i = 0; i < n; i++)
		fprintf(f, "  0x%012llx-0x%012llx %s\n", (unsigned long long)e[i].addr,
			(unsigned long long)(e[i].addr + e[i].len - 1), e[i].type == E820_RAM ? "usable" : "reserved");
}

int x86_print_tables(struct vm *vm, FILE *f)
{
	struct tables t;

	tables_build(vm, &t);
	int err = tables_fit(&t);

	if (!err && vm->firmware)
		x86_print_firmware(vm, f);
	if (!err) {
		print_e820(&vm->map, vm->firmware, f);
		if (t.has_acpi)
			acpi_print(&t.acpi, f);
		if (t.has_mptable)
			mptable_print(&t.mptable, f);
		smbios_print(&t.smbios, f);
	}
	tables_free(&t);
	return err;
}

static int write_file(int dirfd, const char *dir, const char *name, const void *data, size_t len)
{
	int fd = openat(dirfd, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

	if (fd < 0)
		return err_sys("%s/%s: open", dir, name);
	ssize_t n = write(fd, data, len);
	int err = n < 0 ? err_sys("%s/%s: write", dir, name) : 0;

	if (close(fd) < 0 && !err)
		err = err_sys("%s/%s: write", dir, name);
	if (!err && (size_t)n != len)
		err = err_msg(-ENOSPC, "%s/%s: only %zd of %zu bytes written; the disk is full", dir, name, n, len);
	return err;
}

static int write_acpi(int dirfd, const char *dir, const struct acpi_set *s)
{
	int err = write_file(dirfd, dir, "rsdp.dat", s->rsdp, RSDP_LEN);

	for (unsigned i = 0; i < s->n && !err; i++) {
		char name[ACPI_FILE_NAME_MAX];

		acpi_file_name(&s->t[i], name);
		err = write_file(dirfd, dir, name, s->blob.data + s->t[i].off, s->t[i].len);
	}
	return err;
}

int x86_write_tables(struct vm *vm, const char *dir)
{
	struct tables t;
	int dirfd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (dirfd < 0)
		return err_sys("tables directory '%s'", dir);
	tables_build(vm, &t);
	int err = tables_fit(&t);

	if (!err && t.has_acpi)
		err = write_acpi(dirfd, dir, &t.acpi);
	if (!err && t.has_mptable)
		err = write_file(dirfd, dir, "mptable.bin", t.mptable.data, t.mptable.len);
	if (!err)
		err = write_file(dirfd, dir, "smbios.bin", t.smbios.data, t.smbios.len);
	tables_free(&t);
	close(dirfd);
	return err;
}
