#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/arch.h"
#include "common/conf.h"
#include "common/firmware.h"
#include "tests/unit/capture.h"
#include "tests/unit/unit.h"

static struct capture cap;
static char top[64], state[96];
static struct firmware fw;
static struct conf *conf;

static void run(const char *fmt, const char *arg)
{
	char cmd[512];

	snprintf(cmd, sizeof(cmd), fmt, top, arg);
	ck_assert_int_eq(system(cmd), 0);
}

static const char *at(const char *file)
{
	static char path[4][200];
	static unsigned n;
	char *p = path[n++ % 4];

	snprintf(p, sizeof(path[0]), "%s%s", top, file);
	return p;
}

/* A file below top of so many bytes, which it repeats its name in. */
static void make_file(const char *file, long len)
{
	char dir[200];

	snprintf(dir, sizeof(dir), "%s", file);
	*strrchr(dir, '/') = 0;
	run("mkdir -p %s%s", dir);
	FILE *f = fopen(at(file), "w");
	ck_assert_ptr_nonnull(f);
	fputs(file, f);
	fclose(f);
	ck_assert_int_eq(truncate(at(file), len), 0);
}

static void begin(void)
{
	strcpy(top, "/tmp/skep-fw-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(top));
	snprintf(state, sizeof(state), "%s/state", top);
	setenv("XDG_STATE_HOME", state, 1);
	fw.root = top;
}

static void end(void)
{
	conf_free(conf);
	conf = NULL;
	run("rm -rf %s%s", "");
}

static void ovmf(void)
{
	make_file("/usr/share/OVMF/OVMF_CODE_4M.fd", 3653632);
	make_file("/usr/share/OVMF/OVMF_VARS_4M.fd", 540672);
}

/* key, value, key, value ... NULL; standard error is in cap.text. */
static int resolve(const char *arch, bool dry, const char *const *kv)
{
	conf_free(conf);
	conf = conf_new();
	ck_assert_int_eq(conf_set(conf, "name", "vm1", "test"), 0);
	for (; *kv; kv += 2)
		ck_assert_int_eq(conf_set(conf, kv[0], kv[1], "test"), 0);
	capture_start(&cap, 2);
	int err = firmware_resolve(&fw, conf, arch_find(arch), dry);
	capture_stop(&cap);
	return err;
}
#define KV(...) ((const char *const[]){ __VA_ARGS__, NULL })

static void one_line(const char *want)
{
	ck_assert_msg(strstr(cap.text, want), "'%s' is not in '%s'", want, cap.text);
	ck_assert_ptr_eq(strchr(cap.text, '\n'), strrchr(cap.text, '\n'));
}

START_TEST(test_table)
{
	for (const struct firmware_row *r = firmware_table; r->arch; r++) {
		ck_assert_ptr_nonnull(arch_find(r->arch));
		ck_assert(!strcmp(r->kind, "uefi") || !strcmp(r->kind, "u-boot"));
		ck_assert_int_eq(r->code[0], '/');
		ck_assert(!r->vars || (r->vars[0] == '/' && !r->erased));
		for (const struct firmware_row *q = firmware_table; q < r; q++)
			ck_assert_str_ne(q->code, r->code);
	}
}

START_TEST(test_none)
{
	begin();
	ck_assert_int_eq(resolve("x86", false, KV("kernel", "x")), 0);
	ck_assert_str_eq(fw.code, "");
	ck_assert_ptr_null(conf_str(conf, "lpc.bootrom"));
	ck_assert_int_eq(firmware_make_vars(&fw, conf), 0);
	ck_assert_int_ne(access(state, F_OK), 0);
	ck_assert_int_eq(resolve("x86", false, KV("kernel", "x", "install.iso", "y")), 0);
	ck_assert_str_eq(fw.code, "");
	end();
}

START_TEST(test_uefi)
{
	struct stat st;
	char copy[200];

	begin();
	make_file("/usr/share/OVMF/OVMF_CODE.fd", 1966080);
	make_file("/usr/share/OVMF/OVMF_VARS.fd", 131072);
	ovmf();
	ck_assert_int_eq(resolve("x86", false, KV("firmware", "uefi")), 0);
	ck_assert_str_eq(conf_str(conf, "lpc.bootrom"), at("/usr/share/OVMF/OVMF_CODE_4M.fd"));
	snprintf(copy, sizeof(copy), "%s/skep/vm1/OVMF_VARS_4M.fd", state);
	ck_assert_str_eq(conf_str(conf, "lpc.bootvars"), copy);
	ck_assert_int_ne(access(state, F_OK), 0);
	ck_assert_int_eq(firmware_make_vars(&fw, conf), 0);
	run("cmp %s/state/skep/vm1/OVMF_VARS_4M.fd %s", at("/usr/share/OVMF/OVMF_VARS_4M.fd"));
	ck_assert_int_eq(stat(copy, &st), 0);
	ck_assert_uint_eq(st.st_mode & 07777, 0600);

	/* What is in the copy stays there. */
	FILE *f = fopen(copy, "r+");
	fputs("mine", f);
	fclose(f);
	ck_assert_int_eq(resolve("x86", false, KV("install.iso", "x.iso")), 0);
	ck_assert_str_eq(conf_str(conf, "lpc.bootvars"), copy);
	ck_assert_int_eq(firmware_make_vars(&fw, conf), 0);
	run("grep -q mine %s/state/skep/vm1/OVMF_VARS_4M.fd%s", "");

	/* A copy of another size belongs to other firmware. */
	ck_assert_int_eq(truncate(copy, 4096), 0);
	ck_assert_int_eq(resolve("x86", false, KV("firmware", "uefi")), -EINVAL);
	one_line("4096 bytes, but this firmware's have 540672");
	end();
}

START_TEST(test_dry)
{
	begin();
	ovmf();
	ck_assert_int_eq(resolve("x86", true, KV("firmware", "uefi")), 0);
	ck_assert_str_eq(conf_str(conf, "lpc.bootvars"), at("/usr/share/OVMF/OVMF_VARS_4M.fd"));
	make_file("/usr/lib/u-boot/qemu_arm64/u-boot.bin", 1000);
	ck_assert_int_eq(resolve("arm64", true, KV("firmware", "u-boot")), 0);
	ck_assert_ptr_null(conf_str(conf, "lpc.bootvars"));
	ck_assert_int_ne(access(state, F_OK), 0);
	end();
}

/* Firmware without a template formats erased flash itself. */
START_TEST(test_erased)
{
	static unsigned char got[0x40001];

	begin();
	make_file("/usr/lib/u-boot/qemu_arm64/u-boot.bin", 1000);
	ck_assert_int_eq(resolve("arm64", false, KV("firmware", "u-boot")), 0);
	ck_assert_int_eq(firmware_make_vars(&fw, conf), 0);
	FILE *f = fopen(conf_str(conf, "lpc.bootvars"), "r");
	ck_assert_ptr_nonnull(f);
	ck_assert_uint_eq(fread(got, 1, sizeof(got), f), 0x40000);
	fclose(f);
	for (unsigned i = 0; i < 0x40000; i++)
		ck_assert_uint_eq(got[i], 0xff);
	ck_assert_int_eq(resolve("arm64", false, KV("firmware", "u-boot")), 0);
	ck_assert_uint_eq(fw.erased, 0);
	end();
}

START_TEST(test_named)
{
	begin();
	ovmf();
	make_file("/my/code.fd", 8192);
	make_file("/my/vars.fd", 4096);
	make_file("/my/100%(x).fd", 540672);
	/* Unknown firmware: as it is, with or without variables. */
	ck_assert_int_eq(resolve("x86", false, KV("firmware", at("/my/code.fd"))), 0);
	ck_assert_ptr_null(conf_str(conf, "lpc.bootvars"));
	ck_assert_int_eq(resolve("x86", false, KV("lpc.bootrom", at("/my/code.fd"), "lpc.bootvars", at("/my/vars.fd"))), 0);
	ck_assert_str_eq(conf_str(conf, "lpc.bootvars"), at("/my/vars.fd"));
	ck_assert_str_eq(fw.template, "");
	/* Not in the table, but beside a template. */
	make_file("/CODE/MY_CODE.fd", 8192);
	make_file("/CODE/MY_VARS.fd", 4096);
	ck_assert_int_eq(resolve("x86", false, KV("firmware", at("/CODE/MY_CODE.fd"))), 0);
	ck_assert_str_eq(fw.template, at("/CODE/MY_VARS.fd"));
	ck_assert_int_eq(strncmp(conf_str(conf, "lpc.bootvars"), state, strlen(state)), 0);
	/* Packaged firmware by its path: as if by its kind. */
	ck_assert_int_eq(resolve("x86", false, KV("firmware", at("/usr/share/OVMF/OVMF_CODE_4M.fd"))), 0);
	ck_assert_str_eq(fw.template, at("/usr/share/OVMF/OVMF_VARS_4M.fd"));
	/* The package's own variables are a template, an operator's are written. */
	ck_assert_int_eq(resolve("x86", false, KV("lpc.bootrom", at("/usr/share/OVMF/OVMF_CODE_4M.fd"), "lpc.bootvars",
						  at("/usr/share/OVMF/OVMF_VARS_4M.fd"))), 0);
	ck_assert_str_eq(fw.template, at("/usr/share/OVMF/OVMF_VARS_4M.fd"));
	ck_assert_int_eq(strncmp(conf_str(conf, "lpc.bootvars"), state, strlen(state)), 0);
	ck_assert_int_eq(resolve("x86", false, KV("lpc.bootrom", at("/usr/share/OVMF/OVMF_CODE_4M.fd"), "lpc.bootvars",
						  at("/my/100%%(x).fd"))), 0);
	ck_assert_str_eq(conf_str(conf, "lpc.bootvars"), at("/my/100%(x).fd"));
	ck_assert_str_eq(fw.template, "");
	end();
}

START_TEST(test_refusals)
{
	begin();
	ck_assert_int_eq(resolve("x86", false, KV("firmware", "uefi")), -ENOENT);
	one_line("install the package ovmf (Debian)");
	ck_assert_int_eq(resolve("arm64", false, KV("firmware", "uefi")), -ENOENT);
	one_line("install the package qemu-efi-aarch64");
	ck_assert_int_eq(resolve("arm64", false, KV("firmware", "u-boot")), -ENOENT);
	one_line("u-boot-qemu");
	ovmf();
	ck_assert_int_eq(resolve("x86", false, KV("firmware", "uefi", "lpc.bootrom", "x")), -EINVAL);
	one_line("both choose firmware");
	ck_assert_int_eq(resolve("x86", false, KV("lpc.bootvars", "x")), -EINVAL);
	one_line("without firmware");
	ck_assert_int_eq(resolve("x86", false, KV("firmware", "/nonexistent/x.fd")), -ENOENT);
	one_line("'/nonexistent/x.fd': no such file");
	ck_assert_int_eq(resolve("x86", false, KV("firmware", top)), -EISDIR);
	one_line("a directory");
	make_file("/my/empty.fd", 0);
	ck_assert_int_eq(resolve("x86", false, KV("firmware", at("/my/empty.fd"))), -EINVAL);
	one_line("0 bytes: firmware has 1 byte to 64 MiB");
	make_file("/my/big.fd", 64 << 20 | 1);
	ck_assert_int_eq(resolve("arm64", false, KV("lpc.bootrom", at("/my/big.fd"))), -EINVAL);
	one_line("67108865 bytes");
	ck_assert_int_eq(resolve("arm64", false, KV("firmware", at("/usr/share/OVMF/OVMF_CODE_4M.fd"))), -EINVAL);
	one_line("is for x86 machines, and this one is arm64");
	ck_assert_int_eq(resolve("x86", false, KV("lpc.bootrom", at("/usr/share/OVMF/OVMF_CODE_4M.fd"), "lpc.bootvars", "/nonexistent")), -ENOENT);
	one_line("leave it out for a private copy");
	make_file("/my/vars.fd", 131072);
	ck_assert_int_eq(resolve("x86", false, KV("lpc.bootrom", at("/usr/share/OVMF/OVMF_CODE_4M.fd"), "lpc.bootvars", at("/my/vars.fd"))),
			 -EINVAL);
	one_line("131072 bytes, but this firmware's have 540672");
	FILE *f = fopen(at("/my/empty.fd"), "w");
	fputs("QFI\xfb and so on", f);
	fclose(f);
	ck_assert_int_eq(resolve("x86", false, KV("firmware", at("/my/empty.fd"))), -EINVAL);
	one_line("qemu-img convert");
	static const char *const unused[] = { "load.0", "entry", "module.0", "loader.hostdir", "loader.env.0" };
	for (size_t i = 0; i < NELEM(unused); i++) {
		ck_assert_int_eq(resolve("x86", false, KV("firmware", "uefi", unused[i], "4096")), -EINVAL);
		one_line("with firmware, which takes --kernel, --initrd and --append and loads all else itself: leave one of the two out");
	}
	end();
}

START_TEST(test_smm)
{
	begin();
	make_file("/usr/share/OVMF/OVMF_CODE_4M.secboot.fd", 3653632);
	ck_assert_int_eq(symlink("OVMF_CODE_4M.secboot.fd", at("/usr/share/OVMF/OVMF_CODE_4M.ms.fd")), 0);
	ck_assert_int_eq(symlink("OVMF_CODE_4M.secboot.fd", at("/usr/share/OVMF/plain.fd")), 0);
	ck_assert_int_eq(resolve("x86", false, KV("lpc.bootrom", at("/usr/share/OVMF/OVMF_CODE_4M.secboot.fd"))), -EINVAL);
	one_line("System Management Mode");
	ck_assert_int_eq(resolve("x86", false, KV("lpc.bootrom", at("/usr/share/OVMF/OVMF_CODE_4M.ms.fd"))), -EINVAL);
	ck_assert_int_eq(resolve("x86", false, KV("lpc.bootrom", at("/usr/share/OVMF/plain.fd"))), -EINVAL);
	make_file("/usr/share/AAVMF/AAVMF_CODE.ms.fd", 4096);
	ck_assert_int_eq(resolve("arm64", false, KV("lpc.bootrom", at("/usr/share/AAVMF/AAVMF_CODE.ms.fd"))), 0);
	end();
}

/* Nothing is left behind when the copy cannot be made. */
START_TEST(test_no_copy)
{
	begin();
	ovmf();
	ck_assert_int_eq(resolve("x86", false, KV("firmware", "uefi")), 0);
	run("mkdir -p %s/state%s", "");
	run("touch %s/state/skep%s", "");       /* where the directory has to be */
	capture_start(&cap, 2);
	int err = firmware_make_vars(&fw, conf);
	capture_stop(&cap);
	ck_assert_int_eq(err, -ENOTDIR);
	run("rm %s/state/skep%s", "");
	ck_assert_int_eq(unlink(fw.template), 0);
	capture_start(&cap, 2);
	err = firmware_make_vars(&fw, conf);
	capture_stop(&cap);
	ck_assert_int_eq(err, -ENOENT);
	one_line("OVMF_VARS_4M.fd': open: No such file");
	ck_assert_int_ne(access(at("/state/skep/vm1"), F_OK), 0);
	end();
}

/* A template of no use is refused when it is to be copied, and a fifo is not waited for. */
START_TEST(test_template_is_no_file)
{
	begin();
	make_file("/my/OVMF_CODE.fd", 4096);
	for (unsigned i = 0; i < 3; i++) {
		unlink(at("/my/OVMF_VARS.fd"));
		if (i == 0)
			ck_assert_int_eq(mkfifo(at("/my/OVMF_VARS.fd"), 0600), 0);
		else
			make_file("/my/OVMF_VARS.fd", i == 1 ? 0 : 64 << 20 | 1);
		ck_assert_int_eq(resolve("x86", false, KV("firmware", at("/my/OVMF_CODE.fd"))), 0);
		capture_start(&cap, 2);
		int err = firmware_make_vars(&fw, conf);
		capture_stop(&cap);
		ck_assert_int_eq(err, -EINVAL);
		one_line("OVMF_VARS.fd': a template is a file of 1 byte to 64 MiB");
	}
	end();
}
END_TEST

UNIT_MAIN("common/firmware", test_table, test_none, test_uefi, test_dry, test_erased, test_named, test_refusals, test_smm, test_no_copy,
	  test_template_is_no_file)
