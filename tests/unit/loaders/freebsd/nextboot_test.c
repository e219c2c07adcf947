/* nextboot.conf: when it counts, and that it counts once. */
#include <errno.h>

#include "loaders/freebsd/freebsd.h"
#include "tests/unit/capture.h"
#include "tests/unit/loaders/freebsd/hostfiles.h"

static struct capture err;

START_TEST(test_enabled)
{
	static const struct { const char *text; long at; } rows[] = {
		{ "nextboot_enable=\"YES\"\nkernel=\"k\"\n", 17 },
		{ "nextboot_enable=YES", 16 },
		{ "nextboot_enable=\"yes\"", 17 },
		{ "  nextboot_enable = \"YES\"", 21 },
		{ "# x\nnextboot_enable=\"YES\"", 21 },
		{ "nextboot_enable=\"NO\"\nnextboot_enable=\"YES\"", 38 },
		{ "nextboot_enable=\"YES\"\nnextboot_enable=\"NO\" ", -1 },
		{ "nextboot_enable=\"NO\" \nkernel=\"k\"\n", -1 },
		{ "kernel=\"k\"\n", -1 },
		{ "", -1 },
		{ "nextboot_enable", -1 },
		{ "nextboot_enable=", -1 },
		{ "nextboot_enable=\"", -1 },
		{ "nextboot_enable=\"YE", -1 },
		{ "nextboot_enable=\"YESSIR\"", -1 },
		{ "xnextboot_enable=\"YES\"", -1 },
		{ "nextboot_enablex=\"YES\"", -1 },
	};

	for (size_t i = 0; i < NELEM(rows); i++)
		ck_assert_msg(fbsd_nextboot_enabled(rows[i].text, strlen(rows[i].text)) == rows[i].at, "'%s'", rows[i].text);
}
END_TEST

static const char *content(void)
{
	static char text[256];
	int fd = open(host_path("dir/boot/nextboot.conf"), O_RDONLY);
	ssize_t n = read(fd, text, sizeof(text) - 1);

	close(fd);
	text[n > 0 ? n : 0] = 0;
	return text;
}

static void use(long at)
{
	struct fbsd_set s = { .nextboot = (char *)FBSD_NEXTBOOT_CONF, .nextboot_at = (size_t)at };

	capture_start(&err, 2);
	fbsd_nextboot_used(host_conf, &s);
	capture_stop(&err);
}

START_TEST(test_used)
{
	static const struct { const char *text, *after; } rows[] = {
		{ "nextboot_enable=\"YES\"\nkernel=\"k\"\n", "nextboot_enable=\"NO\" \nkernel=\"k\"\n" },
		{ "nextboot_enable=yes\nkernel=\"k\"\n", "nextboot_enable=NO \nkernel=\"k\"\n" },
		{ "nextboot_enable=YES", "nextboot_enable=NO " },
	};
	struct stat before, after;

	host_start();
	for (size_t i = 0; i < NELEM(rows); i++) {
		host_text("dir/boot/nextboot.conf", rows[i].text);
		stat(host_path("dir/boot/nextboot.conf"), &before);
		use(fbsd_nextboot_enabled(rows[i].text, strlen(rows[i].text)));
		ck_assert_str_eq(content(), rows[i].after);
		ck_assert_str_eq(err.text, "");
		stat(host_path("dir/boot/nextboot.conf"), &after);
		ck_assert(before.st_ino == after.st_ino && before.st_size == after.st_size);
		ck_assert_int_eq(fbsd_nextboot_enabled(content(), strlen(content())), -1);
	}
	host_stop();
}
END_TEST

/* Another nextboot in between is for the next start. */
START_TEST(test_rewritten)
{
	host_start();
	host_text("dir/boot/nextboot.conf", "# new\nnextboot_enable=\"YES\"\n");
	use(17);
	ck_assert_str_eq(content(), "# new\nnextboot_enable=\"YES\"\n");
	host_text("dir/boot/nextboot.conf", "");
	use(17);
	ck_assert_str_eq(content(), "");
	host_stop();
}
END_TEST

START_TEST(test_not_markable)
{
	struct fbsd_set none = { .nextboot = NULL };

	host_start();
	use(17);                        /* the file is gone */
	ck_assert_ptr_nonnull(strstr(err.text, "host0:/boot/nextboot.conf: its settings were for one start, but it "
		"cannot be marked as used "
					       "(No such file or directory): the next start uses them again"));
	capture_start(&err, 2);
	fbsd_nextboot_used(host_conf, &none);
	fbsd_nextboot_used(host_conf, NULL);
	capture_stop(&err);
	ck_assert_str_eq(err.text, "");
	host_stop();
}
END_TEST

UNIT_MAIN("loaders/freebsd/nextboot", test_enabled, test_used, test_rewritten, test_not_markable)
