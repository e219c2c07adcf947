/* Files in memory: pieces and holes, what a file does afterwards, what became of it before. */
#include "common/readfile.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include "common/util.h"
#include "tests/unit/capture.h"
#include "tests/unit/unit.h"

static struct capture err;

static int temp(void)
{
	char path[] = "/tmp/skep-readfile-XXXXXX";
	int fd = mkstemp(path);

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(unlink(path), 0);
	return fd;
}

START_TEST(test_whole)
{
	static const size_t lens[] = { 1, 4095, 4096, 70001 };
	uint8_t text[70001], *data;

	for (size_t i = 0; i < sizeof(text); i++)
		text[i] = (uint8_t)(i * 7 + i / 256);
	for (size_t i = 0; i < NELEM(lens); i++) {
		int fd = temp();

		ck_assert_int_eq(write(fd, text, lens[i]), (ssize_t)lens[i]);
		ck_assert_int_eq(readfile(fd, "kernel", "k", lens[i], &data), 0);
		ck_assert_int_eq(memcmp(data, text, lens[i]), 0);
		munmap(data, lens[i]);
		close(fd);
	}
}
END_TEST

/* Cut short and written anew by somebody else: it is what it was. */
START_TEST(test_keeps)
{
	int fd = temp();
	uint8_t *data;

	ck_assert_int_eq(ftruncate(fd, MIB(1)), 0);
	ck_assert_int_eq(pwrite(fd, "old", 3, MIB(1) - 3), 3);
	ck_assert_int_eq(readfile(fd, "kernel", "k", MIB(1), &data), 0);
	ck_assert_int_eq(pwrite(fd, "new", 3, MIB(1) - 3), 3);
	ck_assert_int_eq(memcmp(data + MIB(1) - 3, "old", 3), 0);
	ck_assert_int_eq(ftruncate(fd, 0), 0);
	ck_assert_int_eq(memcmp(data + MIB(1) - 3, "old", 3), 0);
	ck_assert_uint_eq(data[0], 0);
	munmap(data, MIB(1));
	close(fd);
}
END_TEST

static long resident_kib(void)
{
	struct rusage u;

	getrusage(RUSAGE_SELF, &u);
	return u.ru_maxrss;
}

START_TEST(test_holes)
{
	int fd = temp();
	long before = resident_kib();
	uint8_t *data;

	ck_assert_int_eq(ftruncate(fd, MIB(512)), 0);
	ck_assert_int_eq(pwrite(fd, "one", 3, 0), 3);
	ck_assert_int_eq(pwrite(fd, "two", 3, MIB(256) + 5), 3);
	ck_assert_int_eq(readfile(fd, "kernel", "k", MIB(512), &data), 0);
	ck_assert_int_eq(memcmp(data, "one", 4), 0);
	ck_assert_int_eq(memcmp(data + MIB(256) + 4, "\0two", 5), 0);
	ck_assert_uint_eq(data[MIB(512) - 1], 0);
	ck_assert_int_lt(resident_kib() - before, 64 << 10);
	munmap(data, MIB(512));
	close(fd);
}
END_TEST

START_TEST(test_shorter)
{
	int fd = temp();
	uint8_t *data;

	for (unsigned i = 0; i < 2; i++) {                      /* the end was data, the end was a hole */
		ck_assert_int_eq(i ? ftruncate(fd, 0) : (int)write(fd, "text", 4), i ? 0 : 4);
		capture_start(&err, 2);
		ck_assert_int_eq(readfile(fd, "kernel", "/boot/k", 10000, &data), -EIO);
		capture_stop(&err);
		ck_assert_str_eq(err.text, "skep: kernel '/boot/k': it has become shorter while it was read; try again when it is complete\n");
		ck_assert_ptr_null(data);
	}
	close(fd);
}
END_TEST

START_TEST(test_errors)
{
	int fd = open("/", O_RDONLY);
	uint8_t *data;

	capture_start(&err, 2);
	ck_assert_int_eq(readfile(fd, "initrd", "/", 10, &data), -EISDIR);
	ck_assert_int_eq(readfile(fd, "initrd", "/", (size_t)1 << 60, &data), -ENOMEM);
	capture_stop(&err);
	ck_assert_ptr_nonnull(strstr(err.text, "skep: initrd '/': read: Is a directory\n"));
	ck_assert_ptr_nonnull(strstr(err.text, "KiB of memory for it: Cannot allocate memory\n"));
	close(fd);
}
END_TEST

UNIT_MAIN("common/readfile", test_whole, test_keeps, test_holes, test_shorter, test_errors)
