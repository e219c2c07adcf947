/* Modules into the set: where they are found, what they bring along, what is refused and in which words. */
#include <errno.h>

#include "loaders/freebsd/freebsd.h"
#include "tests/unit/capture.h"
#include "tests/unit/loaders/freebsd/hostfiles.h"

static struct capture err;
static struct fbsd_set *set;

#define VERSION(n, v) { 3, n, { v, 0, 0 } }
#define DEPEND(n, lo, hi) { 1, n, { lo, lo, hi } }
#define KLD(path, machine, type, ...) host_kld(path, machine, type, (const struct kld_rec[]){ __VA_ARGS__, { 0, NULL, { 0 } } })
#define MODULE(path, ...) KLD(path, EM_X86_64, ET_REL, __VA_ARGS__)

static void start(void)
{
	host_start();
	KLD("dir/boot/kernel/kernel", EM_X86_64, ET_EXEC, VERSION("kernel", 1500001), VERSION("pci", 1));
	set = calloc(1, sizeof(*set));
	set->machine = EM_X86_64;
	fbsd_setenv(set, "module_path", "/boot/modules;/boot/more/");
	ck_assert_int_eq(fbsd_load_kernel(set, host_conf, "host0:/boot/kernel/kernel", "-s"), 0);
}

static void stop(void)
{
	fbsd_free(set);
	host_stop();
}

static int load(const char *path, const char *type)
{
	int e;

	capture_start(&err, 2);
	e = fbsd_load_module(set, host_conf, path, type, "");
	capture_stop(&err);
	return e;
}

/* Names of the files behind the kernel. */
static const char *loaded(void)
{
	static char text[1024];

	text[0] = 0;
	for (unsigned i = 1; i < set->nfiles; i++) {
		strcat(text, i > 1 ? " " : "");
		strcat(text, set->file[i].name);
	}
	return text;
}

static void refused(const char *path, const char *type, int want, const char *sentence)
{
	unsigned files = set->nfiles, modules = set->nmodules;
	int e = load(path, type);
	char text[900];

	snprintf(text, sizeof(text), "skep: %s\n", sentence);
	ck_assert_str_eq(err.text, text);
	ck_assert_int_eq(e, want);
	ck_assert_msg(set->nfiles == files && set->nmodules == modules, "%s left something behind", path);
}

START_TEST(test_kernel)
{
	start();
	ck_assert_uint_eq(set->nfiles, 1);
	ck_assert_str_eq(set->file[0].name, "/boot/kernel/kernel");
	ck_assert_str_eq(set->file[0].type, FBSD_TYPE_KERNEL);
	ck_assert_str_eq(set->file[0].args, "-s");
	ck_assert_str_eq(fbsd_getenv(set, "kernelname"), "/boot/kernel/kernel");
	ck_assert_str_eq(fbsd_getenv(set, "kernel_path"), "/boot/kernel");
	ck_assert_str_eq(fbsd_getenv(set, "module_path"), "/boot/kernel;/boot/modules;/boot/more/");
	ck_assert_uint_eq(set->nmodules, 2);
	ck_assert_str_eq(set->module[0].name, "kernel");
	ck_assert_int_eq(set->module[0].version, 1500001);
	/* another one: the directory of the last no longer counts */
	fbsd_unload(set);
	KLD("dir/boot/kernel.test/kernel", EM_X86_64, ET_EXEC, VERSION("kernel", 1500002));
	ck_assert_int_eq(fbsd_load_kernel(set, host_conf, "host0:/boot/kernel.test/kernel", ""), 0);
	ck_assert_str_eq(fbsd_getenv(set, "module_path"), "/boot/kernel.test;/boot/modules;/boot/more/");
	stop();
}
END_TEST

START_TEST(test_kernel_of_the_host)
{
	char path[512];

	start();
	fbsd_unload(set);
	KLD("outside", EM_X86_64, ET_EXEC, VERSION("kernel", 1500002));
	snprintf(path, sizeof(path), "%s", host_path("outside"));
	ck_assert_int_eq(fbsd_load_kernel(set, host_conf, path, ""), 0);
	ck_assert_str_eq(set->file[0].name, "/boot/kernel/kernel");
	ck_assert_str_eq(set->file[0].host, path);
	stop();
}
END_TEST

START_TEST(test_kernel_refused)
{
	start();
	fbsd_unload(set);
	KLD("dir/arm", EM_AARCH64, ET_EXEC, VERSION("kernel", 1500002));
	host_text("dir/empty", "");
	host_text("dir/text", "no kernel");
	capture_start(&err, 2);
	ck_assert_int_eq(fbsd_load_kernel(set, host_conf, "host0:/arm", ""), -ENOEXEC);
	ck_assert_int_eq(fbsd_load_kernel(set, host_conf, "host0:/empty", ""), -EINVAL);
	ck_assert_int_lt(fbsd_load_kernel(set, host_conf, "host0:/text", ""), 0);
	ck_assert_int_eq(fbsd_load_kernel(set, host_conf, "host0:/gone", ""), -ENOENT);
	capture_stop(&err);
	ck_assert_ptr_nonnull(strstr(err.text, "kernel 'host0:/arm' is for arm64, this machine is amd64: give a kernel for amd64\n"));
	ck_assert_ptr_nonnull(strstr(err.text, "kernel 'host0:/empty': the file is empty"));
	ck_assert_ptr_nonnull(strstr(err.text, "kernel 'host0:/gone': No such file or directory"));
	ck_assert_uint_eq(set->nfiles, 0);
	stop();
}
END_TEST

START_TEST(test_by_path_and_name)
{
	char path[512];

	start();
	MODULE("dir/boot/kernel/a.ko", VERSION("a", 1));
	MODULE("dir/boot/modules/b.ko", VERSION("b", 1));
	MODULE("dir/boot/more/c.ko", VERSION("c", 1));
	MODULE("outside/d.ko", VERSION("d", 1));
	ck_assert_int_eq(load("host0:/boot/kernel/a.ko", NULL), 0);
	ck_assert_int_eq(load("b", NULL), 0);
	ck_assert_int_eq(load("c.ko", NULL), 0);
	snprintf(path, sizeof(path), "%s", host_path("outside/d.ko"));
	ck_assert_int_eq(load(path, NULL), 0);
	ck_assert_str_eq(loaded(), "/boot/kernel/a.ko /boot/modules/b.ko /boot/more/c.ko /boot/kernel/d.ko");
	ck_assert_str_eq(set->file[1].type, FBSD_TYPE_OBJ);
	ck_assert_str_eq(set->file[1].host, "host0:/boot/kernel/a.ko");
	ck_assert_int_eq(load("a", NULL), -EEXIST);
	ck_assert_int_eq(load("host0:boot/kernel/a.ko", NULL), -EEXIST);
	ck_assert_str_eq(err.text, "");
	refused("nothere", NULL, -ENOENT, "module 'nothere' is not in module_path "
		"(/boot/kernel;/boot/modules;/boot/more/) beneath host0:; give its "
		"path, such as host0:/boot/kernel/nothere.ko");
	refused("gone.ko", NULL, -ENOENT, "module 'gone.ko' is not in module_path (/boot/kernel;/boot/modules;/boot/more/) beneath "
		"host0:; give its path, such as host0:/boot/kernel/gone.ko");
	stop();
}
END_TEST

START_TEST(test_dependencies)
{
	start();
	MODULE("dir/boot/kernel/top.ko", VERSION("top", 1), DEPEND("left", 1, 1), DEPEND("right", 1, 9), DEPEND("pci", 1, 1),
	       DEPEND("kernel", 1500000, 1599999));
	MODULE("dir/boot/kernel/left.ko", VERSION("left", 1), DEPEND("base", 2, 3));
	MODULE("dir/boot/modules/right.ko", VERSION("right", 4), DEPEND("base", 1, 2), DEPEND("right_bus", 1, 1), VERSION("right_bus", 1));
	MODULE("dir/boot/more/base.ko", VERSION("base", 2));
	ck_assert_msg(!load("top", NULL), "%s", err.text);
	ck_assert_str_eq(loaded(), "/boot/more/base.ko /boot/kernel/left.ko /boot/modules/right.ko /boot/kernel/top.ko");
	ck_assert_uint_eq(set->nmodules, 2 + 5);
	ck_assert_uint_eq(set->module[2].file, 1);
	stop();
}
END_TEST

/* A file of the host finds its neighbours. */
START_TEST(test_neighbours)
{
	char path[512];

	start();
	MODULE("outside/top.ko", VERSION("top", 1), DEPEND("low", 1, 1));
	MODULE("outside/low.ko", VERSION("low", 1));
	MODULE("dir/boot/kernel/low.ko", VERSION("low", 1));
	snprintf(path, sizeof(path), "%s", host_path("outside/top.ko"));
	ck_assert_int_eq(load(path, NULL), 0);
	ck_assert_str_eq(loaded(), "/boot/kernel/low.ko /boot/kernel/top.ko");
	ck_assert_ptr_nonnull(strstr(set->file[1].host, "/outside/low.ko"));
	stop();
}
END_TEST

static size_t hint_str(uint8_t *p, const char *s)
{
	p[0] = (uint8_t)strlen(s);
	memcpy(p + 1, s, strlen(s));
	return 1 + strlen(s);
}

/* linker.hints: version 1, then one MDT_VERSION record [FREEBSD stand/common/module.c]. */
static void write_hints(const char *path, const char *module, uint32_t version, const char *file)
{
	uint8_t data[256] = { 1 }, *p = data + 4;
	size_t n = 8;

	put_le32(p + 4, 3);
	n += hint_str(p + n, module);
	n = ALIGN_UP(n, (size_t)4);
	put_le32(p + n, version);
	n += 4;
	n += hint_str(p + n, file);
	n = ALIGN_UP(n, (size_t)4);
	put_le32(p, (uint32_t)(n - 4));
	host_bytes(path, data, 4 + n);
}

START_TEST(test_hints)
{
	start();
	MODULE("dir/boot/kernel/top.ko", VERSION("top", 1), DEPEND("netgraph_ish", 5, 7));
	MODULE("dir/boot/kernel/ng.ko", VERSION("netgraph_ish", 6));
	write_hints("dir/boot/kernel/linker.hints", "netgraph_ish", 6, "ng.ko");
	ck_assert_msg(!load("top", NULL), "%s", err.text);
	ck_assert_str_eq(loaded(), "/boot/kernel/ng.ko /boot/kernel/top.ko");
	stop();
}
END_TEST

START_TEST(test_hints_wrong)
{
	start();
	MODULE("dir/boot/kernel/top.ko", VERSION("top", 1), DEPEND("want", 1, 1));
	MODULE("dir/boot/kernel/other.ko", VERSION("other", 1));
	write_hints("dir/boot/kernel/linker.hints", "want", 1, "other.ko");
	refused("top", NULL, -ENOEXEC, "module 'host0:/boot/kernel/top.ko' needs module 'want', but "
		"'host0:/boot/kernel/other.ko' does not have it: "
		"linker.hints is out of date, run kldxref on its directory");
	host_text("dir/boot/kernel/linker.hints", "nonsense");
	refused("top", NULL, -ENOENT, "module 'host0:/boot/kernel/top.ko' needs module 'want' (version 1 to 1), which "
		"neither the kernel nor "
		"'/boot/kernel;/boot/modules;/boot/more/' has: put want.ko there or leave the module out");
	write_hints("dir/boot/kernel/linker.hints", "want", 1, "../../../outside.ko");
	refused("top", NULL, -ENOENT, "module 'host0:/boot/kernel/top.ko' needs module 'want' (version 1 to 1), which "
		"neither the kernel nor "
		"'/boot/kernel;/boot/modules;/boot/more/' has: put want.ko there or leave the module out");
	stop();
}
END_TEST

START_TEST(test_versions)
{
	start();
	MODULE("dir/boot/kernel/old.ko", VERSION("old", 1), DEPEND("kernel", 1400000, 1499999));
	refused("old", NULL, -ENOEXEC, "module 'host0:/boot/kernel/old.ko' is for a kernel of version 1400000 to 1499999, but "
		"'host0:/boot/kernel/kernel' has version 1500001: give the modules that were built with this kernel");
	MODULE("dir/boot/kernel/p.ko", VERSION("p", 1), DEPEND("pci", 2, 3));
	refused("p", NULL, -ENOEXEC, "module 'host0:/boot/kernel/p.ko' needs module 'pci' of version 2 to 3, but "
		"'host0:/boot/kernel/kernel' has "
		"version 1: give the modules that were built together");
	/* what was loaded on the way goes again */
	MODULE("dir/boot/kernel/ok.ko", VERSION("ok", 1));
	MODULE("dir/boot/kernel/both.ko", VERSION("both", 1), DEPEND("ok", 1, 1), DEPEND("p", 1, 1));
	refused("both", NULL, -ENOEXEC, "module 'host0:/boot/kernel/p.ko' needs module 'pci' of version 2 to 3, but "
		"'host0:/boot/kernel/kernel' has "
		"version 1: give the modules that were built together");
	MODULE("dir/boot/kernel/v.ko", VERSION("v", 1), DEPEND("ok", 4, 5));
	refused("v", NULL, -ENOEXEC, "module 'host0:/boot/kernel/v.ko' needs module 'ok' of version 4 to 5, but "
		"'host0:/boot/kernel/ok.ko' has "
		"version 1: give the modules that were built together");
	stop();
}
END_TEST

START_TEST(test_circle)
{
	start();
	MODULE("dir/boot/kernel/x.ko", VERSION("x", 1), DEPEND("y", 1, 1));
	MODULE("dir/boot/kernel/y.ko", VERSION("y", 1), DEPEND("x", 1, 1));
	refused("x", NULL, -ELOOP, "modules 'host0:/boot/kernel/x.ko' and 'host0:/boot/kernel/y.ko' need each other; leave both out");
	for (int i = 0; i < 40; i++) {
		char path[64], name[16], next[16];

		snprintf(path, sizeof(path), "dir/boot/kernel/n%d.ko", i);
		snprintf(name, sizeof(name), "n%d", i);
		snprintf(next, sizeof(next), "n%d", i + 1);
		MODULE(path, VERSION(name, 1), DEPEND(next, 1, 1));
	}
	refused("n0", NULL, -ELOOP, "module 'host0:/boot/kernel/n32.ko' is needed by 'host0:/boot/kernel/n0.ko' over more than 32 others");
	stop();
}
END_TEST

START_TEST(test_kinds)
{
	start();
	KLD("dir/boot/kernel/arm.ko", EM_AARCH64, ET_DYN, VERSION("arm", 1));
	refused("arm", NULL, -ENOEXEC, "module 'host0:/boot/kernel/arm.ko' is for arm64, the kernel is for amd64: give "
		"a module built for amd64");
	KLD("dir/boot/kernel/so.ko", EM_X86_64, ET_DYN, VERSION("so", 1));
	refused("so", NULL, -ENOEXEC, "module 'host0:/boot/kernel/so.ko' is no module but a shared object; give a .ko "
		"file of FreeBSD/amd64");
	refused("host0:/boot/kernel/kernel.", NULL, -ENOENT, "module 'host0:/boot/kernel/kernel.': No such file or directory");
	host_text("dir/boot/kernel/text.ko", "hello");
	refused("text", NULL, -ENOEXEC, "module 'host0:/boot/kernel/text.ko' is no ELF file; say what it is with "
		"type=TYPE, such as type=md_image");
	stop();
}
END_TEST

START_TEST(test_arm64)
{
	start();
	fbsd_unload(set);
	set->machine = EM_AARCH64;
	KLD("dir/boot/kernel/kernel", EM_AARCH64, ET_DYN, VERSION("kernel", 1500001));
	ck_assert_int_eq(fbsd_load_kernel(set, host_conf, "host0:/boot/kernel/kernel", ""), 0);
	KLD("dir/boot/kernel/a.ko", EM_AARCH64, ET_DYN, VERSION("a", 1), DEPEND("kernel", 1500000, 1500099));
	ck_assert_int_eq(load("a", NULL), 0);
	ck_assert_str_eq(set->file[1].type, FBSD_TYPE_MODULE);
	KLD("dir/boot/kernel/o.ko", EM_AARCH64, ET_REL, VERSION("o", 1));
	refused("o", NULL, -ENOEXEC, "module 'host0:/boot/kernel/o.ko' is no module but an object file; give a .ko file of FreeBSD/arm64");
	stop();
}
END_TEST

START_TEST(test_raw)
{
	start();
	host_text("dir/boot/mfsroot", "image");
	host_text("dir/boot/modules/splash", "bmp");
	host_text("dir/boot/empty", "");
	ck_assert_int_eq(load("host0:/boot/mfsroot", "md_image"), 0);
	ck_assert_int_eq(load("splash", "splash_image_data"), 0);
	ck_assert_str_eq(loaded(), "/boot/mfsroot /boot/modules/splash");
	ck_assert_str_eq(set->file[1].type, "md_image");
	ck_assert(set->file[1].len == 5 && !memcmp(set->file[1].data, "image", 5));
	ck_assert_int_eq(load("host0:/boot/mfsroot", "mfs_root"), -EEXIST);
	refused("host0:/boot/empty", "md_image", -EINVAL, "file 'host0:/boot/empty' (md_image) is empty: give one with something in it");
	stop();
}
END_TEST

START_TEST(test_configured)
{
	start();
	MODULE("dir/boot/kernel/a.ko", VERSION("a", 1));
	MODULE("dir/boot/kernel/real.ko", VERSION("real", 1));
	MODULE("dir/boot/kernel/drm.ko", VERSION("drm", 1));
	host_text("dir/boot/root.img", "image");
	fbsd_setenv(set, "module_blacklist", "foo drm,bar");
	fbsd_setting(set, "drm_load", "YES");
	fbsd_setting(set, "off_load", "NO");
	fbsd_setting(set, "mdroot_load", "YES");
	fbsd_setting(set, "mdroot_name", "/boot/root.img");
	fbsd_setting(set, "mdroot_type", "md_image");
	fbsd_setting(set, "a_load", "YES");
	fbsd_setting(set, "a_flags", "x=1");
	fbsd_setting(set, "a_after", "echo done");
	fbsd_setting(set, "other_load", "YES");
	fbsd_setting(set, "other_name", "real");
	fbsd_setting(set, "lost_load", "YES");
	fbsd_setting(set, "entropy_load", "YES");
	set->wanted[set->nwanted - 1].optional = true;
	fbsd_setting(set, "again_load", "YES");
	fbsd_setting(set, "again_name", "a.ko");
	capture_start(&err, 2);
	ck_assert_int_eq(fbsd_load_configured(set, host_conf), 0);
	capture_stop(&err);
	ck_assert_str_eq(loaded(), "/boot/root.img /boot/kernel/a.ko /boot/kernel/real.ko");
	ck_assert_str_eq(set->file[2].args, "x=1");
	ck_assert_ptr_nonnull(strstr(err.text, "lost_load: there is no 'lost' in module_path beneath host0:; starting without it"));
	ck_assert_ptr_nonnull(strstr(err.text, "a_after: commands around loading are not run; a_load is"));
	ck_assert_ptr_null(strstr(err.text, "entropy"));
	ck_assert_ptr_null(strstr(err.text, "drm"));
	/* one that does not fit is refused */
	MODULE("dir/boot/kernel/old.ko", VERSION("old", 1), DEPEND("kernel", 1, 2));
	fbsd_setting(set, "old_load", "YES");
	capture_start(&err, 2);
	ck_assert_int_eq(fbsd_load_configured(set, host_conf), -ENOEXEC);
	capture_stop(&err);
	stop();
}
END_TEST

UNIT_MAIN("loaders/freebsd/modules", test_kernel, test_kernel_of_the_host, test_kernel_refused, test_by_path_and_name,
	test_dependencies,
	  test_neighbours, test_hints, test_hints_wrong, test_versions, test_circle, test_kinds, test_arm64, test_raw, test_configured)
