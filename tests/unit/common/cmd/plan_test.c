/*
 * `skep plan` against tests/golden/ (UPDATE_GOLDEN=1 rewrites the files), and the tables it writes.
 */
#include <libfdt.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/unit/common/cmd/line.h"
#include "tests/unit/unit.h"

static char dir[64];

/* A command line of words behind "skep plan". */
static int run(const char *line)
{
	return run_line("skep plan", line);
}

static size_t slurp(const char *path, void *buf, size_t cap)
{
	FILE *f = fopen(path, "r");
	size_t n;

	ck_assert_msg(f != NULL, "%s is missing", path);
	n = fread(buf, 1, cap, f);
	fclose(f);
	ck_assert_msg(n < cap, "%s is larger than this test expects", path);
	return n;
}

static void golden(const char *path, const char *text)
{
	static char want[sizeof(out.text)];
	FILE *f;

	if (getenv("UPDATE_GOLDEN")) {
		f = fopen(path, "w");
		ck_assert_msg(f && fputs(text, f) >= 0 && !fclose(f), "%s: cannot be written", path);
		return;
	}
	want[slurp(path, want, sizeof(want))] = 0;
	ck_assert_msg(!strcmp(want, text), "%s differs; when that is meant, run with UPDATE_GOLDEN=1.  Now:\n%s", path, text);
}

#define RICH "-c 4 -m 3G --disk a.img --disk b.img,ro,ser=B1 --net tap=skep0,mac=52:54:00:00:00:01 -l com1,stdio -l com2,pty " \
	"-s 9,virtio-console,org.skep.0=null -s 10:2,virtio-rnd --append console=tty rich"

/* Left there: the plan names it, so its name cannot vary. */
#define FIRMWARE "/tmp/skep-plan-test-firmware.fd"

static const struct { const char *line, *file; } plans[] = {
	{ "--arch x86", "tests/golden/plan-x86.txt" },
	{ "--arch arm64", "tests/golden/plan-arm64.txt" },
	{ "--arch x86 " RICH, "tests/golden/plan-x86-rich.txt" },
	{ "--arch arm64 " RICH, "tests/golden/plan-arm64-rich.txt" },
	{ "--arch arm64 -c 2 -l bootrom," FIRMWARE, "tests/golden/plan-arm64-firmware.txt" },
};

START_TEST(test_golden)
{
	static const char branch[16] = "\0\4\0\x14";            /* enough to pass as arm64 firmware */
	FILE *f = fopen(FIRMWARE, "w");

	ck_assert(f && fwrite(branch, 1, sizeof(branch), f) == sizeof(branch) && !fclose(f));
	for (size_t i = 0; i < NELEM(plans); i++) {
		ck_assert_int_eq(run(plans[i].line), 0);
		ck_assert_str_eq(err.text, "");
		ck_assert_uint_lt(strlen(out.text), sizeof(out.text) - 1);
		golden(plans[i].file, out.text);
	}
}
END_TEST

START_TEST(test_no_blanks_at_line_ends)
{
	for (size_t i = 0; i < NELEM(plans); i++) {
		run(plans[i].line);
		ck_assert_ptr_null(strstr(out.text, " \n"));
		ck_assert_ptr_null(strstr(out.text, "\t\n"));
		ck_assert_ptr_null(strchr(out.text, '\r'));
	}
}
END_TEST

/* Neither the directory, the time zone, the language, the environment nor the terminal has a say. */
START_TEST(test_host_has_no_say)
{
	static const char *const vars[] = { "TZ", "LC_ALL", "LANG", "XDG_RUNTIME_DIR", "HOME", "COLUMNS", "TERM" };
	char *old[NELEM(vars)], cwd[4096], *first;

	ck_assert_ptr_nonnull(getcwd(cwd, sizeof(cwd)));
	for (size_t i = 0; i < NELEM(plans); i++) {
		run(plans[i].line);
		first = strdup(out.text);
		for (size_t v = 0; v < NELEM(vars); v++) {
			old[v] = getenv(vars[v]) ? strdup(getenv(vars[v])) : NULL;
			setenv(vars[v], "/nowhere", 1);
		}
		ck_assert_int_eq(chdir("/"), 0);
		run(plans[i].line);
		ck_assert_int_eq(chdir(cwd), 0);
		for (size_t v = 0; v < NELEM(vars); v++) {
			if (old[v])
				setenv(vars[v], old[v], 1);
			else
				unsetenv(vars[v]);
			free(old[v]);
		}
		ck_assert_str_eq(out.text, first);
		free(first);
	}
}
END_TEST

/* --- tables as files --- */

static void tables(const char *line)
{
	char text[1024];

	strcpy(dir, "/tmp/skep-plan-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(dir));
	snprintf(text, sizeof(text), "--tables %s %s", dir, line);
	ck_assert_int_eq(run(text), 0);
	ck_assert_str_eq(err.text, "");
}

static size_t table(const char *name, uint8_t *buf, size_t cap)
{
	char path[128];

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	size_t n = slurp(path, buf, cap);
	unlink(path);
	return n;
}

static unsigned sum(const uint8_t *p, size_t len)
{
	unsigned s = 0;

	while (len--)
		s += *p++;
	return s & 0xff;
}

START_TEST(test_fdt)
{
	static uint8_t fdt[1 << 20];
	static const char *const lines[] = { "--arch arm64", "--arch arm64 " RICH };

	for (size_t i = 0; i < NELEM(lines); i++) {
		tables(lines[i]);
		size_t n = table("virt.dtb", fdt, sizeof(fdt));

		ck_assert_int_eq(rmdir(dir), 0);                /* the only file */
		ck_assert_int_eq(fdt_check_full(fdt, n), 0);
		ck_assert_uint_eq(fdt_totalsize(fdt), n);
		ck_assert_int_ge(fdt_path_offset(fdt, "/pl011@9000000"), 0);
		ck_assert_int_ge(fdt_path_offset(fdt, i ? "/cpus/cpu@3" : "/cpus/cpu@0"), 0);
		ck_assert_int_lt(fdt_path_offset(fdt, i ? "/cpus/cpu@4" : "/cpus/cpu@1"), 0);
		int chosen = fdt_path_offset(fdt, "/chosen");
		ck_assert_ptr_null(fdt_getprop(fdt, chosen, "rng-seed", NULL));         /* random: not in a plan */
		ck_assert_ptr_null(fdt_getprop(fdt, chosen, "kaslr-seed", NULL));
	}
}
END_TEST

START_TEST(test_acpi)
{
	static const char *const names[] = { "apic.dat", "dsdt.aml", "facp.dat", "mcfg.dat", "spcr.dat", "xsdt.dat" };
	static const char *const sigs[] = { "APIC", "DSDT", "FACP", "MCFG", "SPCR", "XSDT" };
	static uint8_t t[65536];
	static const char *const lines[] = { "--arch x86", "--arch x86 " RICH };

	for (size_t l = 0; l < NELEM(lines); l++) {
		tables(lines[l]);
		for (size_t i = 0; i < NELEM(names); i++) {
			size_t n = table(names[i], t, sizeof(t));

			ck_assert_msg(n >= 36 && !memcmp(t, sigs[i], 4), "%s: signature", names[i]);
			ck_assert_msg(get_le32(t + 4) == n, "%s: length", names[i]);
			ck_assert_msg(sum(t, n) == 0, "%s: checksum", names[i]);
		}
		ck_assert_uint_eq(table("facs.dat", t, sizeof(t)), 64);
		ck_assert_mem_eq(t, "FACS", 4);
		ck_assert_uint_eq(table("rsdp.dat", t, sizeof(t)), 36);
		ck_assert_mem_eq(t, "RSD PTR ", 8);
		ck_assert_uint_eq(sum(t, 20), 0);
		ck_assert_uint_eq(sum(t, 36), 0);
		ck_assert_uint_ge(table("mptable.bin", t, sizeof(t)), 44);
		ck_assert_mem_eq(t, "PCMP", 4);
		ck_assert_uint_eq(sum(t, get_le16(t + 4)), 0);
		size_t n = table("smbios.bin", t, sizeof(t));
		ck_assert_mem_eq(t + n - 6, "\x7f\x04", 2);             /* ends with type 127 */
		ck_assert_int_eq(rmdir(dir), 0);
	}
}
END_TEST

START_TEST(test_left_out_tables)
{
	static uint8_t t[65536];

	tables("--arch x86 -Y -o acpi_tables=false");
	table("smbios.bin", t, sizeof(t));
	ck_assert_int_eq(rmdir(dir), 0);
	ck_assert_ptr_null(strstr(out.text, "MP table"));
	ck_assert_ptr_null(strstr(out.text, "RSDP"));
}
END_TEST

/* Words of the plan's text, each behind the one before. */
static void says(const char *const *words)
{
	const char *p = out.text;

	for (; *words; words++) {
		const char *found = strstr(p, *words);

		ck_assert_msg(found != NULL, "'%s' is not (or not there) in:\n%s", *words, p);
		p = found + strlen(*words);
	}
}
#define SAYS(...) says((const char *const[]){ __VA_ARGS__, NULL })

static void write_file(const char *path, const void *data, size_t len)
{
	FILE *f = fopen(path, "w");

	ck_assert(f && fwrite(data, 1, len, f) == len && !fclose(f));
}

/* What was recognised, how it is entered, and what is where. */
START_TEST(test_kernels)
{
	static uint8_t flat[4096], image[64];
	char line[512], cwd[4096];

	strcpy(dir, "/tmp/skep-plan-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(dir));
	ck_assert(getcwd(cwd, sizeof(cwd)) && !chdir(dir));
	put_le32(flat, 0x1badb002);
	put_le32(flat + 4, 0x10003);
	put_le32(flat + 8, -(0x1badb002 + 0x10003));
	put_le32(flat + 12, 0x200000);
	put_le32(flat + 16, 0x200000);
	put_le32(flat + 24, 0x210000);
	put_le32(flat + 28, 0x200020);
	write_file("flat", flat, sizeof(flat));
	put_le64(image + 16, MIB(1));
	put_le32(image + 56, 0x644d5241);
	write_file("Image", image, sizeof(image));
	snprintf(line, sizeof(line), "--arch x86 --kernel flat --initrd Image --module Image,args=m --load Image@8M --append x");
	ck_assert_int_eq(run(line), 0);
	ck_assert_str_eq(err.text, "");
	SAYS("boot\n  kernel       flat\n  recognised   x86 Multiboot kernel\n"
	     "  entry        0x200020, 32-bit protected mode, argument 0x2000, second argument 0x2badb002\n"
	     "  initrd       Image, 64 bytes\n  command line x\n\nplaced in memory\n", "Multiboot information\n", "command lines "
	     "of the modules\n",
	     "page tables\n", "command line\n", "ACPI, MP and SMBIOS tables\n", "  0000000000200000-000000000020ffff  kernel "
	     "'flat'\n",
	     "  0000000000210000-000000000021003f  initrd 'Image'\n  0000000000211000-000000000021103f  module 'Image'\n"
	     "  0000000000800000-000000000080003f  load.0 'Image'\n\ne820");
	ck_assert_int_eq(run("--arch arm64 --kernel Image --initrd flat"), 0);
	SAYS("  recognised   arm64 Linux Image\n  entry        0x40000000, EL1, MMU off, argument 0x4fe00000\n",
	     "  0000000040000000-00000000400fffff  kernel 'Image'\n  000000004fdf0000-000000004fdf0fff  initrd 'flat'\n"
	     "  000000004fe00000-000000004fffffff  device tree\n", "linux,initrd-start = <0x0 0x4fdf0000>;");
	ck_assert_int_eq(run("--arch x86 --load flat@0x7c00 --entry 0x7c00 -o entry.mode=real"), 0);
	SAYS("boot\n  kernel       none, files at their addresses\n  entry        0x7c00, real mode\n\nplaced in memory\n"
	     "  0000000000007c00-0000000000008bff  load.0 'flat'\n  00000000000e0000-00000000000fffff  ACPI, MP and SMBIOS "
	     "tables\n\n");
	ck_assert_int_eq(run("--arch x86 --load flat@0xeffff --entry 0xeffff -o entry.mode=real"), 1);
	ck_assert_str_eq(out.text, "");
	unlink("flat");
	unlink("Image");
	ck_assert(!chdir(cwd) && !rmdir(dir));
}
END_TEST

START_TEST(test_refusals)
{
	static const struct { int status; const char *line, *message; } rows[] = {
		{ 1, "--arch x86 --tables /no/such/dir", "skep: tables directory '/no/such/dir': No such file or directory\n" },
		{ 1, "--arch arm64 --tables /no/such/dir", "skep: '/no/such/dir/virt.dtb': create: No such file or directory\n" },
		{ 1, "--kernel /no/such/kernel", "skep: kernel '/no/such/kernel': No such file or directory\n" },
		{ 2, "--tables", "skep: --tables: needs a value: DIR\ntry 'skep plan --help'\n" },
		{ 2, "--tabels x", "skep: unknown option '--tabels': did you mean '--tables'?\ntry 'skep plan --help'\n" },
	};

	for (size_t i = 0; i < NELEM(rows); i++) {
		ck_assert_int_eq(run(rows[i].line), rows[i].status);
		ck_assert_str_eq(err.text, rows[i].message);
	}
	ck_assert_int_eq(run("--arch riscv"), 2);
	ck_assert_int_eq(run("--arch arm64 -s 3,virtio-rnd -s 3,virtio-rnd"), 2);
	ck_assert_str_eq(err.text, "skep: -s: slot 0:3:0 already holds virtio-rnd (-s): choose another\ntry 'skep plan --help'\n");
}
END_TEST

UNIT_MAIN("common/cmd/plan", test_golden, test_no_blanks_at_line_ends, test_host_has_no_say, test_fdt, test_acpi,
	test_left_out_tables,
	  test_kernels, test_refusals)
