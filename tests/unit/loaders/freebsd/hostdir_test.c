/* host0: paths stay beneath their directory; what is no regular file, or not there, is refused in one sentence. */
#include <errno.h>
#include <zlib.h>

#include "loaders/freebsd/freebsd.h"
#include "tests/unit/capture.h"
#include "tests/unit/loaders/freebsd/hostfiles.h"

static struct capture err;

/* What a path reads as; NULL and the error in *e. */
static const char *reads(const char *path, int *e)
{
	static char text[64];
	uint8_t *data;
	size_t len, map_len;

	capture_start(&err, 2);
	*e = hostdir_read(host_conf, "module", path, &data, &len, &map_len);
	capture_stop(&err);
	if (*e)
		return NULL;
	snprintf(text, sizeof(text), "%.*s", (int)len, (const char *)data);
	hostdir_drop(data, map_len);
	return text;
}

static void reads_as(const char *path, const char *want)
{
	int e;
	const char *got = reads(path, &e);

	ck_assert_msg(got && !strcmp(got, want), "%s: %s, not %s: %s", path, got ? got : "refused", want, err.text);
	ck_assert_str_eq(err.text, "");
}

static void refused(const char *path, int want, const char *part)
{
	int e;

	ck_assert_ptr_null(reads(path, &e));
	ck_assert_msg(e == want && strstr(err.text, part), "%s: %d, '%s'", path, e, err.text);
	ck_assert_ptr_eq(strchr(err.text, '\n'), err.text + strlen(err.text) - 1);
}

START_TEST(test_plain)
{
	host_start();
	host_text("dir/boot/a", "inside");
	host_text("outside", "outside");
	host_text("dir/empty", "");
	reads_as("host0:/boot/a", "inside");
	reads_as("host0:boot//a", "inside");
	reads_as("host0:/./boot/./a", "inside");
	reads_as("host:/boot/a", "inside");
	reads_as("host0:/empty", "");
	reads_as(host_path("outside"), "outside");      /* without host0: it is the host's */
	ck_assert(hostdir_has(host_conf, "host0:/boot/a") && !hostdir_has(host_conf, "host0:/boot") &&
		!hostdir_has(host_conf, "host0:/b"));
	host_stop();
}
END_TEST

START_TEST(test_relative_dir)
{
	char cwd[512];

	host_start();
	host_text("dir/boot/a", "inside");
	ck_assert_ptr_nonnull(getcwd(cwd, sizeof(cwd)));
	ck_assert_int_eq(chdir(host_top), 0);
	conf_set(host_conf, "loader.hostdir", "dir", "-h");
	reads_as("host0:/boot/a", "inside");
	conf_set(host_conf, "loader.hostdir", "./dir/../dir", "-h");
	reads_as("host0:/boot/a", "inside");
	ck_assert_int_eq(chdir(cwd), 0);
	host_stop();
}
END_TEST

static void make_links(void)
{
	char abs[600];

	host_text("dir/boot/kernel/a", "inside");
	host_text("outside", "outside");
	snprintf(abs, sizeof(abs), "%s/outside", host_top);
	ck_assert_int_eq(symlink("/boot/kernel", host_path("dir/boot/absolute")), 0);
	ck_assert_int_eq(symlink("kernel/a", host_path("dir/boot/relative")), 0);
	ck_assert_int_eq(symlink("../../../../../boot/kernel/a", host_path("dir/boot/above")), 0);
	ck_assert_int_eq(symlink(abs, host_path("dir/escape-absolute")), 0);
	ck_assert_int_eq(symlink("../outside", host_path("dir/escape-relative")), 0);
	ck_assert_int_eq(symlink("/proc/self/root", host_path("dir/magic")), 0);
	ck_assert_int_eq(symlink("loop", host_path("dir/loop")), 0);
}

START_TEST(test_links)
{
	static const struct { const char *path, *text; } rows[] = {
		{ "host0:/boot/absolute/a", "inside" }, { "host0:/boot/relative", "inside" }, { "host0:/boot/above", "inside" },
	};

	host_start();
	make_links();
	for (size_t i = 0; i < NELEM(rows); i++) {
		if (host_follows)
			reads_as(rows[i].path, rows[i].text);
		else
			refused(rows[i].path, -EXDEV, "Linux 5.6 can");
	}
	host_stop();
}
END_TEST

/* With openat2 the target is looked for inside and is not there; without, the link is not followed. */
START_TEST(test_escapes)
{
	static const char *const paths[] = {
		"host0:/../outside", "host0:../outside", "host0:/boot/../../outside", "host0:/escape-absolute", "host0:/escape-relative",
		"host0:/magic/etc/passwd", "host0:/magic/proc/version",
	};

	host_start();
	make_links();
	for (size_t i = 0; i < NELEM(paths); i++)
		refused(paths[i], host_follows ? -ENOENT : -EXDEV, paths[i]);
	refused("host0:/loop", host_follows ? -ELOOP : -EXDEV, "host0:/loop");
	host_stop();
}
END_TEST

/* Links of /proc lead anywhere when they are followed; they are refused even where they lead inside. */
START_TEST(test_magic_links)
{
	char path[64];
	int e, fd;

	host_start();
	conf_set(host_conf, "loader.hostdir", "/proc/self", "-h");
	host_text("outside", "outside");
	fd = open(host_path("outside"), O_RDONLY);
	ck_assert_int_ge(fd, 0);
	snprintf(path, sizeof(path), "host0:/fd/%d", fd);
	ck_assert_ptr_null(reads(path, &e));
	ck_assert_int_eq(e, host_follows ? -ELOOP : -EXDEV);
	ck_assert_ptr_null(reads("host0:/root/etc/passwd", &e));
	ck_assert_int_eq(e, host_follows ? -ELOOP : -EXDEV);
	close(fd);
	host_stop();
}
END_TEST

START_TEST(test_not_regular)
{
	host_start();
	ck_assert_int_eq(mkdir(host_path("dir/boot"), 0700), 0);
	ck_assert_int_eq(mkfifo(host_path("dir/fifo"), 0600), 0);
	refused("host0:/fifo", -EINVAL, "module 'host0:/fifo': this is no regular file");
	refused("host0:/boot", -EINVAL, "module 'host0:/boot': this is no regular file");
	refused(host_path("dir/fifo"), -EINVAL, "this is no regular file");
	refused("/dev/zero", -EINVAL, "this is no regular file");
	conf_set(host_conf, "loader.hostdir", "/dev", "-h");
	refused("host0:/zero", -EINVAL, "this is no regular file");
	host_stop();
}
END_TEST

START_TEST(test_directory_wrong)
{
	host_start();
	host_text("file", "");
	refused("host0:/boot/kernel/kernel", -ENOENT, "module 'host0:/boot/kernel/kernel': No such file or directory");
	conf_set(host_conf, "loader.hostdir", host_path("gone"), "-h");
	refused("host0:/a", -ENOENT, "gone': No such file or directory");
	conf_set(host_conf, "loader.hostdir", host_path("file"), "-h");
	refused("host0:/a", -ENOTDIR, "is not a directory; give the top directory");
	conf_free(host_conf);
	host_conf = conf_new();
	refused("host0:/a", -EINVAL, "module 'host0:/a': host0: is the directory of -h, and there is none: add -h DIR");
	ck_assert_int_eq(hostdir_openat(host_conf, "/a", O_RDONLY), -ENOENT);
	host_stop();
}
END_TEST

static void write_gz(const char *file, const char *text)
{
	gzFile f;

	host_bytes(file, "", 0);
	f = gzopen(host_path(file), "wb");
	ck_assert_ptr_nonnull(f);
	gzputs(f, text);
	gzclose(f);
}

START_TEST(test_gz)
{
	host_start();
	write_gz("dir/boot/a.ko.gz", "inflated");
	write_gz("dir/data", "raw");
	reads_as("host0:/boot/a.ko", "inflated");       /* as FreeBSD's loader finds it */
	reads_as("host0:/boot/a.ko.gz", "inflated");
	ck_assert(hostdir_has(host_conf, "host0:/boot/a.ko"));
	int e;
	const char *raw = reads("host0:/data", &e);     /* not called .gz: as it is */

	ck_assert(raw && (uint8_t)raw[0] == 0x1f);
	host_text("dir/bad.gz", "no gzip");
	refused("host0:/bad", -EINVAL, "host0:/bad");
	host_text("dir/empty.gz", "");
	refused("host0:/empty", -EINVAL, "is empty");
	host_stop();
}
END_TEST

START_TEST(test_text)
{
	char *text, *big = calloc(1, MIB(1) + 2);
	size_t len;

	host_start();
	host_text("dir/boot/loader.conf", "a=1\n");
	ck_assert_int_eq(hostdir_text(host_conf, "/boot/loader.conf", &text, &len), 0);
	ck_assert(len == 4 && !strcmp(text, "a=1\n"));
	free(text);
	ck_assert_int_eq(hostdir_text(host_conf, "/boot/gone", &text, &len), -ENOENT);
	memset(big, 'a', MIB(1) + 1);
	host_text("dir/big", big);
	free(big);
	ck_assert_int_eq(mkfifo(host_path("dir/fifo"), 0600), 0);
	capture_start(&err, 2);
	ck_assert_int_eq(hostdir_text(host_conf, "/big", &text, &len), -EFBIG);
	ck_assert_int_eq(hostdir_text(host_conf, "/fifo", &text, &len), -EINVAL);
	conf_set(host_conf, "loader.hostdir", host_path("gone"), "-h");
	ck_assert_int_eq(hostdir_text(host_conf, "/a", &text, &len), -ENOENT);
	capture_stop(&err);
	ck_assert_ptr_nonnull(strstr(err.text, "larger than 1024 KiB"));
	ck_assert_ptr_nonnull(strstr(err.text, "gone': No such"));
	host_stop();
}
END_TEST

/* Cut short by somebody while the prompt waits. */
START_TEST(test_changes)
{
	uint8_t *data;
	size_t len, map_len;

	host_start();
	host_text("dir/a.ko", "module");
	ck_assert_int_eq(hostdir_read(host_conf, "module", "host0:/a.ko", &data, &len, &map_len), 0);
	host_text("dir/a.ko", "");
	ck_assert_uint_eq(len, 6);
	ck_assert_mem_eq(data, "module", 6);
	hostdir_drop(data, map_len);
	ck_assert_int_eq(truncate(host_path("dir/a.ko"), (off_t)FBSD_BYTES_MAX + 1), 0);
	refused("host0:/a.ko", -EFBIG, "module 'host0:/a.ko' has 1024 MiB, and a FreeBSD kernel takes 1024 MiB of files");
	host_stop();
}
END_TEST

UNIT_MAIN("loaders/freebsd/hostdir", test_plain, test_relative_dir, test_links, test_escapes, test_magic_links, test_not_regular,
	  test_directory_wrong, test_gz, test_text, test_changes)
