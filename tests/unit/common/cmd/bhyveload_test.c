/* skep as `bhyveload`: bhyveload's options, a look at what would be loaded, and what is left for the run. */
#include <errno.h>

#include "common/arch.h"
#include "common/pending.h"
#include "tests/unit/common/cmd/line.h"
#include "tests/unit/loaders/freebsd/elffile.h"
#include "tests/unit/loaders/freebsd/hostfiles.h"

static int run(const char *line)
{
	return run_line("/usr/sbin/bhyveload", line);
}

static int run_in(const char *fmt)
{
	char line[600];

	snprintf(line, sizeof(line), fmt, host_path("dir"));
	return run(line);
}

static struct conf *left(void)
{
	struct conf *c;

	ck_assert_int_eq(pending_read("vm1", PENDING_LOAD, &c), 0);
	return c;
}

static void start(void)
{
	host_start();
	setenv("XDG_STATE_HOME", host_path("state"), 1);
}

START_TEST(test_refusals)
{
	static const struct { const char *line, *text; } rows[] = {
		{ "vm1", "there is nothing to load from: give -h DIR, the directory with the guest's /boot" },
		{ "-d disk.img vm1", "-d 'disk.img': skep does not load from disks: give -h DIR with the guest's /boot, "
			"or leave bhyveload out and run "
				     "with --firmware uefi" },
		{ "-h /nowhere vm1", "-h: '/nowhere': No such file or directory" },
		{ "-h /tmp", "the VM has no name" },
		{ "-m 12parsecs -h /tmp vm1", "-m: 12parsecs: " },
		{ "-c /nowhere vm1", "-c: '/nowhere': No such file or directory" },
		{ "-c /etc/passwd vm1", "-c: '/etc/passwd' is neither stdio nor a terminal" },
		{ "-e novalue -h /tmp vm1", "not NAME=VALUE" },
		{ "-s 3,virtio-blk vm1", "unknown option '-s'" },
		{ "-e", "-e: needs a value" },
	};
	struct conf *c;

	start();
	for (size_t i = 0; i < NELEM(rows); i++) {
		ck_assert_msg(run(rows[i].line) == 1, "%s: %s", rows[i].line, err.text);
		ck_assert_msg(strstr(err.text, rows[i].text), "%s: %s", rows[i].line, err.text);
	}
	ck_assert_int_eq(run_in("-h %s vm1"), 1);
	ck_assert_ptr_nonnull(strstr(err.text, "there is no kernel in it (/boot/kernel/kernel)"));
	host_text("dir/boot/kernel/kernel", "not a kernel");
	ck_assert_int_eq(run_in("-h %s vm1"), 1);
	c = left();
	ck_assert_ptr_null(c);
	ck_assert_int_eq(run("--help"), 0);
	ck_assert_ptr_nonnull(strstr(out.text, "usage: bhyveload [options] NAME"));
	host_stop();
}
END_TEST

#define WORDS "-C -S -m 512M -c stdio -l /boot/userboot_lua.so -e a=b -h %s -e c=d "
START_TEST(test_leaves)
{
	bool arm = arch_native == &arch_arm64;
	struct elf_file kernel;
	struct conf *c;
	char *dir;

	start();
	elf_linked(&kernel, arm ? EM_AARCH64 : EM_X86_64, arm ? ELF_KERNEL_ARM64 : ELF_KERNEL_AMD64);
	kernel.eh.e_shnum = 0;          /* no symbols, no metadata */
	host_bytes("dir/boot/kernel/kernel", &kernel, sizeof(kernel));
	ck_assert_msg(!run_in(WORDS "vm1"), "%s", err.text);
	ck_assert_str_eq(err.text, "");
	c = left();
	dir = realpath(host_path("dir"), NULL);
	ck_assert_str_eq(conf_raw(c, "loader.hostdir"), dir);
	ck_assert_str_eq(conf_raw(c, "loader.env.0"), "a=b");
	ck_assert_str_eq(conf_raw(c, "loader.env.1"), "c=d");
	ck_assert_ptr_null(conf_raw(c, "name"));
	ck_assert_ptr_null(conf_raw(c, "memory.size"));
	conf_free(c);
	free(dir);
	ck_assert_int_eq(run_in("-d disk.img -h %s vm1"), 0);
	ck_assert_ptr_nonnull(strstr(err.text, "-d 'disk.img': the disk is not read, -h has the guest's /boot"));
	host_text("dir/boot/loader.conf", "broken\n");
	ck_assert_int_eq(run_in("-h %s vm1"), 1);
	ck_assert_ptr_nonnull(strstr(err.text, "host0:/boot/loader.conf:1: "));
	host_stop();
}
END_TEST

UNIT_MAIN("common/cmd/bhyveload", test_refusals, test_leaves)
