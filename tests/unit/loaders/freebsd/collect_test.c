/* What a FreeBSD kernel starts with: which file says what, who wins, which kernel -h DIR alone means. */
#include <errno.h>

#include "common/arch.h"
#include "common/image.h"
#include "loaders/freebsd/freebsd.h"
#include "tests/unit/capture.h"
#include "tests/unit/loaders/freebsd/hostfiles.h"

static struct capture err;
static struct fbsd_set *set;
static struct kld_file kernel;

static void start(const char *arch)
{
	const struct kld_rec recs[] = { { 3, "kernel", { 1500001, 0, 0 } } };
	bool arm = !strcmp(arch, "arm64");

	host_start();
	conf_set(host_conf, "arch", arch, "test");
	kld_make(&kernel, arm ? EM_AARCH64 : EM_X86_64, arm ? ET_DYN : ET_EXEC, 0, recs, 1);
}

static int collect_path(const char *path)
{
	struct image im = { .kind = kernel.eh->e_machine == EM_AARCH64 ? IMAGE_FREEBSD_ARM64 : IMAGE_FREEBSD_AMD64, .path = path,
			    .data = kernel.data, .len = kernel.len };
	int e;

	set = NULL;
	capture_start(&err, 2);
	e = fbsd_collect(host_conf, path ? &im : NULL, &set);
	capture_stop(&err);
	return e;
}

static void collect(void)
{
	int e = collect_path("host0:/boot/kernel/kernel");

	ck_assert_msg(!e, "%d: %s", e, err.text);
}

static void is(const char *name, const char *want)
{
	const char *got = set ? fbsd_getenv(set, name) : NULL;

	ck_assert_msg(got && want ? !strcmp(got, want) : got == want, "%s: '%s', not '%s'", name, got ? got : "(unset)",
		want ? want : "(unset)");
}

static void drop(void)
{
	fbsd_free(set);
	set = NULL;
}

static void stop(void)
{
	drop();
	free(kernel.data);
	host_stop();
}

START_TEST(test_nothing_said)
{
	start("x86");
	collect();
	ck_assert_str_eq(err.text, "");
	is("kernelname", "/boot/kernel/kernel");
	is("kernel_path", "/boot/kernel");
	is("module_path", "/boot/kernel;/boot/modules;/boot/dtb;/boot/dtb/overlays");
	is("loaddev", "host0:");
	is("currdev", "host0:");
	is("boot_serial", "YES");
	is("console", "comconsole");
	is("hw.uart.console", "io:0x3f8,br:115200");
	is("vfs.root.mountfrom", NULL);
	is("hint.uart.0.port", "0x3F8");
	is("hint.attimer.0.at", "isa");
	ck_assert_uint_eq(set->howto, FBSD_RB_SERIAL);
	ck_assert_uint_eq(set->nfiles, 1);
	ck_assert(set->file[0].borrowed && set->file[0].data == kernel.data);
	ck_assert_ptr_null(set->nextboot);
	stop();
}
END_TEST

START_TEST(test_without_hostdir)
{
	start("x86");
	host_text("dir/boot/loader.conf", "a=1\n");
	conf_free(host_conf);
	host_conf = conf_new();
	conf_set(host_conf, "arch", "x86", "test");
	conf_set(host_conf, "loader.env.0", "b=2", "-e");
	ck_assert_int_eq(collect_path("/some/where/kernel-15"), 0);
	is("a", NULL);
	is("b", "2");
	is("kernelname", "/boot/kernel/kernel");
	is("currdev", NULL);
	ck_assert_str_eq(set->file[0].host, "/some/where/kernel-15");
	stop();
}
END_TEST

START_TEST(test_arm64_console)
{
	start("arm64");
	collect();
	is("console", "comconsole");
	is("boot_serial", "YES");
	is("hw.uart.console", NULL);    /* the device tree says it, and the variable could only name a 16550 */
	ck_assert_uint_eq(set->machine, EM_AARCH64);
	stop();
}
END_TEST

/* device.hints has the last word on the devices it names. */
START_TEST(test_hints_said)
{
	start("x86");
	host_text("dir/boot/device.hints", "hint.uart.0.at=\"acpi\"\nhint.uart.0.irq=\"5\"\n");
	collect();
	is("hint.uart.0.at", "acpi");
	is("hint.uart.0.irq", "5");
	is("hint.uart.0.port", NULL);
	is("hint.atrtc.0.port", "0x70");
	stop();
	start("arm64");
	collect();
	is("hint.uart.0.at", NULL);
	is("hint.atrtc.0.at", NULL);
	stop();
}
END_TEST

START_TEST(test_console_said)
{
	static const struct { const char *conf, *console, *serial, *uart; uint32_t howto; } rows[] = {
		{ "console=\"vidconsole\"", "vidconsole", NULL, NULL, 0 },
		{ "boot_multicons=\"YES\"", NULL, NULL, "io:0x3f8,br:115200", FBSD_RB_MULTIPLE },
		{ "boot_serial=\"NO\"", NULL, "NO", NULL, 0 },
		{ "boot_serial=\"YES\"", NULL, "YES", "io:0x3f8,br:115200", FBSD_RB_SERIAL },
		{ "comconsole_speed=\"9600\"", "comconsole", "YES", "io:0x3f8,br:9600", FBSD_RB_SERIAL },
		{ "comconsole_port=\"0x2f8\"", "comconsole", "YES", "io:0x2f8,br:115200", FBSD_RB_SERIAL },
		{ "hw.uart.console=\"io:0x2f8\"", "comconsole", "YES", "io:0x2f8", FBSD_RB_SERIAL },
	};

	start("x86");
	for (size_t i = 0; i < NELEM(rows); i++) {
		host_text("dir/boot/loader.conf", rows[i].conf);
		collect();
		is("console", rows[i].console);
		is("boot_serial", rows[i].serial);
		is("hw.uart.console", rows[i].uart);
		ck_assert_uint_eq(set->howto, rows[i].howto);
		drop();
	}
	stop();
}
END_TEST

/* Each place overrides the one before. */
START_TEST(test_who_wins)
{
	static const struct { const char *file, *value; } rows[] = {
		{ "dir/boot/defaults/loader.conf", "defaults" }, { "dir/boot/device.hints", "hints" }, { "dir/boot/loader.conf", "conf" },
		{ "dir/boot/loader.conf.local", "local" }, { "dir/boot/loader.conf.d/10.conf", "d10" },
		{ "dir/boot/loader.conf.d/20.conf", "d20" }, { "dir/boot/nextboot.conf", "next" },
	};
	char text[256];

	start("x86");
	host_text("dir/boot/loader.conf.d/30.conf.off", "x=\"off\"\n");
	host_text("dir/boot/loader.conf.d/.40.conf", "x=\"hidden\"\n");
	for (size_t i = 0; i < NELEM(rows); i++) {
		snprintf(text, sizeof(text), "%sx=\"%s\"\nx%zu=\"yes\"\n", i == 6 ? "nextboot_enable=\"YES\"\n" : "", rows[i].value, i);
		host_text(rows[i].file, text);
		collect();
		is("x", rows[i].value);
		for (size_t k = 0; k < NELEM(rows); k++) {
			char name[8];

			snprintf(name, sizeof(name), "x%zu", k);
			is(name, k <= i ? "yes" : NULL);
		}
		drop();
	}
	conf_set(host_conf, "append", "-s x=append", "--append");
	collect();
	is("x", "append");
	drop();
	conf_set(host_conf, "loader.env.0", "x=first", "-e");
	conf_set(host_conf, "loader.env.2", "x=env=2", "-e");
	collect();
	is("x", "env=2");
	is("boot_single", "YES");
	stop();
}
END_TEST

START_TEST(test_more_files)
{
	start("x86");
	host_text("dir/boot/defaults/loader.conf", "exec=\"echo hello\"\nloader_conf_files=\"/boot/a.conf /boot/gone.conf\"\n"
		  "loader_conf_dirs=\"/etc/l.d /gone\"\n");
	host_text("dir/boot/loader.conf", "never=\"read\"\n");
	host_text("dir/boot/a.conf", "a=\"1\"\nloader_conf_files=\"/boot/a.conf /boot/b.conf\"\n");
	host_text("dir/boot/b.conf", "b=\"${a}2\"\nexec=\"beep\"\n");
	host_text("dir/etc/l.d/c.conf", "c=\"3\"\nloader_conf_files=\"${loader_conf_files} /boot/e.conf\"\n");
	host_text("dir/boot/e.conf", "e=\"5\"\n");
	collect();
	is("a", "1");
	is("b", "12");
	is("c", "3");
	is("e", "5");
	is("never", NULL);
	ck_assert_str_eq(err.text, "skep: warning: host0:/boot/b.conf:2: exec: commands are not run; 'beep' is ignored\n");
	stop();
}
END_TEST

START_TEST(test_broken_files)
{
	start("x86");
	host_text("dir/boot/loader.conf", "# good\na=\"1\"\nb=\"2\n");
	ck_assert_int_eq(collect_path("host0:/boot/kernel/kernel"), -EINVAL);
	ck_assert_str_eq(err.text, "skep: host0:/boot/loader.conf:3: the closing quote is missing; a line is "
		"NAME=\"VALUE\" or a comment after '#'\n");
	unlink(host_path("dir/boot/loader.conf"));
	ck_assert_int_eq(mkdir(host_path("dir/boot/loader.conf"), 0700), 0);
	ck_assert_int_eq(collect_path("host0:/boot/kernel/kernel"), -EINVAL);
	ck_assert_str_eq(err.text, "skep: host0:/boot/loader.conf: this is no regular file\n");
	rmdir(host_path("dir/boot/loader.conf"));
	host_text("dir/boot/nextboot.conf", "nextboot_enable=\"YES\"\nkernel\n");
	ck_assert_int_eq(collect_path("host0:/boot/kernel/kernel"), -EINVAL);
	ck_assert_ptr_nonnull(strstr(err.text, "host0:/boot/nextboot.conf:2: "));
	stop();
}
END_TEST

START_TEST(test_operator_wrong)
{
	start("x86");
	conf_set(host_conf, "append", "quiet", "--append");
	ck_assert_int_eq(collect_path("host0:/boot/kernel/kernel"), -EINVAL);
	ck_assert_ptr_nonnull(strstr(err.text, "--append: 'quiet' is neither a boot flag"));
	conf_set(host_conf, "append", "-v", "--append");
	conf_set(host_conf, "loader.env.0", "novalue", "-e");
	ck_assert_int_eq(collect_path("host0:/boot/kernel/kernel"), -EINVAL);
	ck_assert_str_eq(err.text, "skep: -e: 'novalue' is not NAME=VALUE\n");
	conf_set(host_conf, "loader.env.0", "a=b", "-e");
	conf_set(host_conf, "module.0", "host0:/boot/x,colour=red", "--module");
	ck_assert_int_eq(collect_path("host0:/boot/kernel/kernel"), -EINVAL);
	ck_assert_str_eq(err.text, "skep: --module: 'host0:/boot/x,colour=red' is not FILE[,type=TYPE][,args=TEXT]\n");
	stop();
}
END_TEST

START_TEST(test_nextboot)
{
	const char *text = "nextboot_enable=\"YES\"\nkernel=\"kernel.test\"\nkernel_options=\"-s\"\n";

	start("x86");
	host_text("dir/boot/nextboot.conf", text);
	conf_set(host_conf, "append", "-v", "--append");
	collect();
	is("kernel", "kernel.test");
	ck_assert_str_eq(set->nextboot, "/boot/nextboot.conf");
	ck_assert_uint_eq(set->nextboot_at, 17);
	ck_assert_uint_eq(set->howto, FBSD_RB_SERIAL | FBSD_RB_SINGLE | FBSD_RB_VERBOSE);
	ck_assert_str_eq(set->file[0].args, "-s -v");
	fbsd_nextboot_used(host_conf, set);
	drop();
	collect();                      /* once */
	ck_assert_ptr_null(set->nextboot);
	is("kernel", "kernel");
	stop();
}
END_TEST

START_TEST(test_fstab)
{
	start("x86");
	host_text("dir/etc/fstab", "# Device Mountpoint\n/dev/ada0p1 /boot/efi msdosfs rw 2 2\n/dev/gpt/root\t/\tufs\trw,noatime\t1 1\n");
	collect();
	is("vfs.root.mountfrom", "ufs:/dev/gpt/root");
	is("vfs.root.mountfrom.options", "rw,noatime");
	drop();
	host_text("dir/boot/loader.conf", "vfs.root.mountfrom=\"zfs:zroot\"\n");
	collect();
	is("vfs.root.mountfrom", "zfs:zroot");
	is("vfs.root.mountfrom.options", NULL);
	drop();
	host_text("dir/boot/loader.conf", "");
	host_text("dir/etc/fstab", "x\n/ / /\n");
	collect();
	is("vfs.root.mountfrom", "/:/");
	stop();
}
END_TEST

START_TEST(test_files)
{
	const struct kld_rec a[] = { { 3, "a", { 1, 0, 0 } }, { 0, NULL, { 0 } } }, b[] = { { 3, "b", { 1, 0, 0 } }, { 0, NULL, { 0 } } };
	char module[600];

	start("x86");
	host_kld("dir/boot/kernel/a.ko", EM_X86_64, ET_REL, a);
	host_kld("dir/boot/kernel/b.ko", EM_X86_64, ET_REL, b);
	host_text("dir/boot/defaults/loader.conf", "entropy_cache_load=\"YES\"\nentropy_cache_name=\"/boot/entropy\"\n"
		  "entropy_cache_type=\"boot_entropy_cache\"\n");
	host_text("dir/boot/loader.conf", "a_load=\"YES\"\n");
	host_text("mfs,root", "image");
	snprintf(module, sizeof(module), "%s/mfs,,root,type=md_image,args=x,,y", host_top);
	conf_set(host_conf, "module.0", module, "--module");
	conf_set(host_conf, "module.1", "host0:/boot/kernel/b.ko", "--module");
	conf_set(host_conf, "module.2", "a", "--module");
	collect();
	ck_assert_str_eq(err.text, "");         /* no word about defaults that are not there */
	ck_assert_uint_eq(set->nfiles, 4);
	ck_assert_str_eq(set->file[1].name, "/boot/kernel/a.ko");
	ck_assert_str_eq(set->file[2].name, "/boot/kernel/mfs,root");
	ck_assert_str_eq(set->file[2].type, "md_image");
	ck_assert_str_eq(set->file[2].args, "x,y");
	ck_assert_str_eq(set->file[3].name, "/boot/kernel/b.ko");
	drop();
	conf_set(host_conf, "module.2", "gone", "--module");
	ck_assert_int_eq(collect_path("host0:/boot/kernel/kernel"), -ENOENT);
	ck_assert_ptr_null(set);
	stop();
}
END_TEST

START_TEST(test_for_the_prompt)
{
	start("x86");
	host_text("dir/boot/loader.conf", "a_load=\"YES\"\nx=\"1\"\n");
	ck_assert_int_eq(collect_path(NULL), 0);
	ck_assert_uint_eq(set->nfiles, 0);
	is("x", "1");
	is("kernelname", NULL);
	is("module_path", "/boot/modules;/boot/dtb;/boot/dtb/overlays");
	ck_assert_uint_eq(set->nwanted, 1);
	stop();
}
END_TEST

static void finds(const char *want)
{
	char path[512] = "";
	int e;

	capture_start(&err, 2);
	e = fbsd_find_kernel(host_conf, path, sizeof(path));
	capture_stop(&err);
	ck_assert_msg(want ? !e && !strcmp(path, want) && !err.text[0] : e < 0, "'%s', %d, %s", path, e, err.text);
}

START_TEST(test_find_kernel)
{
	start("x86");
	finds(NULL);
	ck_assert_ptr_nonnull(strstr(err.text, "dir': there is no kernel in it (/boot/kernel/kernel); give --kernel host0:/PATH\n"));
	host_text("dir/boot/kernel/kernel.gz", "k");
	finds("host0:/boot/kernel/kernel");
	host_text("dir/boot/kernel.test/kernel", "k");
	host_text("dir/boot/loader.conf", "kernel=\"kernel.test\"\nexec=\"x\"\n");
	finds("host0:/boot/kernel.test/kernel");
	host_text("dir/boot/loader.conf", "kernel=\"/my\"\nbootfile=\"k15;k14\"\n");
	host_text("dir/my/k14", "k");
	finds("host0:/my/k14");
	host_text("dir/my/kernel", "k");
	finds("host0:/my/k14");
	host_text("dir/boot/loader.conf", "bootfile=\"/my/kernel\"\n");
	finds("host0:/my/kernel");
	host_text("dir/boot/loader.conf", "kernel=\"single\"\n");
	host_text("dir/boot/single", "k");
	finds("host0:/boot/single");
	host_text("dir/boot/loader.conf", "");
	host_text("dir/boot/nextboot.conf", "nextboot_enable=\"YES\"\nkernel=\"kernel.test\"\n");
	finds("host0:/boot/kernel.test/kernel");
	host_text("dir/boot/loader.conf", "broken");
	finds(NULL);
	conf_set(host_conf, "loader.hostdir", host_path("gone"), "-h");
	finds(NULL);
	ck_assert_ptr_nonnull(strstr(err.text, "No such file or directory"));
	stop();
}
END_TEST

UNIT_MAIN("loaders/freebsd/collect", test_nothing_said, test_without_hostdir, test_arm64_console, test_hints_said, test_console_said,
	  test_who_wins,
	  test_more_files, test_broken_files, test_operator_wrong, test_nextboot, test_fstab, test_files,
		test_for_the_prompt, test_find_kernel)
