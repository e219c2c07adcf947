/* Block tables: writers and flushers on several threads, errors of the file, tables that are too large, map's answers. */
#include "tests/unit/unit.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>

#include "tests/unit/capture.h"
#include "tests/unit/devices/block/oracle.h"
#include "tests/unit/devices/block/powercut.h"

#define THREADS 4u
#define PART MIB(4)

/* --- Threads: each has a part of the disk that ends between blocks of no format --- */

struct worker {
	struct img *img;
	struct oracle o;                /* no files: its part of the disk */
	uint64_t base;
	unsigned flushes;
};

static void *work(void *arg)
{
	struct worker *w = arg;
	uint8_t got[9000];
	for (unsigned i = 0; i < 120; i++) {
		const size_t off = oracle_rand(&w->o) % (PART - 9000), n = 1 + oracle_rand(&w->o) % 9000;
		for (size_t k = 0; k < n; k++)
			w->o.disk[off + k] = (uint8_t)(w->base / PART + i + k);
		if (i % 10 == 5)
			memset(w->o.disk + off, 0, n);
		const int err = i % 10 == 5 ? img_zero(w->img, w->base + off, n, IMG_UNMAP) : img_write_buf(w->img, w->base + off, w->o.disk + off, n);
		if (err || img_read_buf(w->img, w->base + off, got, n) || memcmp(got, w->o.disk + off, n))
			return arg;
		if (i % 16 == 0 && (img_flush(w->img) || ++w->flushes == 0))
			return arg;
	}
	return NULL;
}

static void threads_on(const char *format, const char *subformat)
{
	static struct worker w[THREADS];
	struct oracle all;
	pthread_t t[THREADS];
	void *failed;
	oracle_init(&all, THREADS * PART, 5);
	const struct img_create c = { .path = oracle_path(&all, "x"), .format = format, .size = all.len, .subformat = subformat,
				      .cluster_size = strcmp(format, "vhdx") ? 0 : 1 << 20 };
	ck_assert_int_eq(img_create(&c), 0);
	struct img *img = oracle_open(&all, "x", NULL, true);
	for (unsigned i = 0; i < THREADS; i++) {
		w[i] = (struct worker){ .img = img, .base = i * PART, .o = { .disk = all.disk + i * PART, .rng = i } };
		ck_assert_int_eq(pthread_create(&t[i], NULL, work, &w[i]), 0);
	}
	for (unsigned i = 0; i < THREADS; i++) {
		ck_assert_int_eq(pthread_join(t[i], &failed), 0);
		ck_assert_msg(!failed, "%s: thread %u", format, i);
	}
	oracle_verify(&all, img);
	ck_assert_int_eq(img_close(img), 0);
	img = oracle_open(&all, "x", NULL, false);
	oracle_verify(&all, img);
	struct img_check found = { 0 };
	ck_assert_int_eq(img->drv->check(img, 0, &found), 0);
	ck_assert(!found.corruptions && !found.leaks && found.allocated > 0);
	img_close(img);
	oracle_raw(&all);
	oracle_must(&all, "qemu-img compare -f raw -F %s raw x", format);
	oracle_fini(&all);
}

START_TEST(threads)
{
	threads_on("vdi", NULL);
	threads_on("vpc", NULL);
	threads_on("vhdx", NULL);
	threads_on("vmdk", NULL);
	threads_on("vmdk", "streamOptimized");
}
END_TEST

/* --- Errors: each call of the file fails once; the write fails, what was there stays, and the image goes on --- */

static void error_at(const char *format, struct powercut *pc, unsigned kind, uint64_t nth, bool *came)
{
	static uint8_t a[70000], b[70000];
	const struct img_driver *drv = img_driver_find(format);
	struct powercut *one = powercut_after(pc, 0, 0);
	struct img_check found = { 0 };
	int err;
	struct img *img = img_open_file(powercut_open(one, "disk", true), drv, &err);
	ck_assert_ptr_nonnull(img);
	memset(a, 1, sizeof(a));
	memset(b, 2, sizeof(b));
	ck_assert_int_eq(img_write_buf(img, 1000, a, sizeof(a)), 0);
	ck_assert_int_eq(img_flush(img), 0);
	powercut_fail(one, kind, nth, -ENOSPC, false);
	const int wrote = img_write_buf(img, MIB(3) + 5, b, sizeof(b)), flushed = img_flush(img);
	*came = powercut_failed(one);
	ck_assert(*came == (wrote || flushed));
	ck_assert(!wrote || wrote == -ENOSPC);
	powercut_fail(one, 0, 0, 0, false);
	/* Again, now it works; both are there, also for those who open it next. */
	ck_assert_int_eq(img_write_buf(img, MIB(3) + 5, b, sizeof(b)), 0);
	ck_assert_int_eq(img_flush(img), 0);
	ck_assert(!img_dirty(img));
	ck_assert_int_eq(img_close(img), 0);
	img = img_open_file(powercut_open(one, "disk", true), drv, &err);
	ck_assert_ptr_nonnull(img);
	memset(a, 0, sizeof(a));
	ck_assert_int_eq(img_read_buf(img, MIB(3) + 5, a, sizeof(a)), 0);
	ck_assert_mem_eq(a, b, sizeof(a));
	memset(b, 1, sizeof(b));
	ck_assert_int_eq(img_read_buf(img, 1000, a, sizeof(a)), 0);
	ck_assert_mem_eq(a, b, sizeof(a));
	ck_assert_int_eq(drv->check(img, 0, &found), 0);
	ck_assert(!found.corruptions && !found.leaks);
	ck_assert_int_eq(img_close(img), 0);
	powercut_free(one);
}

START_TEST(errors)
{
	static const char *const formats[] = { "vdi", "vpc", "vhdx", "vmdk" };
	static const unsigned kinds[] = { POWERCUT_WRITE, POWERCUT_FLUSH, POWERCUT_TRUNCATE, POWERCUT_ZERO };
	struct oracle o;
	oracle_init(&o, 1, 1);
	for (unsigned i = 0; i < NELEM(formats); i++) {
		const struct img_create c = { .path = oracle_path(&o, formats[i]), .format = formats[i], .size = MIB(6),
					      .cluster_size = i == 2 ? 1 << 20 : 0 };
		unsigned came = 0;
		ck_assert_int_eq(img_create(&c), 0);
		struct powercut *pc = powercut_load(c.path);
		for (unsigned k = 0; k < NELEM(kinds); k++) {
			bool more = true;
			for (unsigned nth = 0; more; nth++) {
				error_at(formats[i], pc, kinds[k], nth, &more);
				came += more;
			}
		}
		ck_assert_uint_ge(came, 4);
		powercut_free(pc);
	}
	oracle_fini(&o);
}
END_TEST

/* --- Sizes and answers --- */

START_TEST(too_large)
{
	struct oracle o;
	oracle_init(&o, 1, 1);
	/* 17 Mi entries of 4 bytes. */
	oracle_must(&o, "qemu-img create -q -f vdi x 17T");
	oracle_refused(&o, "x", NULL, false, "larger than the 64 MiB");
	struct capture cap;
	static const struct { const char *format, *word; } sizes[] = {
		{ "vdi", "at most 16384 GiB" }, { "vpc", "at most 2040 GiB" }, { "vhdx", "at most 65536 GiB" }, { "vmdk", "at most 1024 GiB" },
	};
	for (unsigned i = 0; i < NELEM(sizes); i++) {
		const struct img_create c = { .path = oracle_path(&o, "y"), .format = sizes[i].format, .size = 1ull << 50 };
		capture_start(&cap, 2);
		const int err = img_create(&c);
		const char *text = capture_stop(&cap);
		ck_assert_int_eq(err, -EFBIG);
		ck_assert_msg(strstr(text, sizes[i].word), "%s", text);
		ck_assert_int_ne(oracle_sh(&o, "test -e y"), 0);
	}
	oracle_fini(&o);
}
END_TEST

/* Neighbours in the file are one answer, and answers need no I/O. */
START_TEST(segments)
{
	struct oracle o;
	struct img_seg s;
	static uint8_t b[MIB(1)];
	oracle_init(&o, 1, 1);
	const struct img_create c = { .path = oracle_path(&o, "x"), .format = "vdi", .size = MIB(8) };
	ck_assert_int_eq(img_create(&c), 0);
	struct img *img = oracle_open(&o, "x", NULL, true);
	memset(b, 1, sizeof(b));
	ck_assert_int_eq(img_map(img, 0, MIB(8), IMG_NOWAIT, &s), 0);
	ck_assert(s.kind == IMG_ZERO && s.len == MIB(8) && !img_dirty(img));
	ck_assert_int_eq(img_write_buf(img, MIB(2), b, sizeof(b)), 0);
	ck_assert_int_eq(img_write_buf(img, MIB(3), b, sizeof(b)), 0);
	ck_assert_int_eq(img_write_buf(img, MIB(1), b, 512), 0);
	ck_assert(img_dirty(img));
	ck_assert_int_eq(img_flush(img), 0);
	ck_assert(!img_dirty(img));
	ck_assert_int_eq(img_map(img, MIB(2) + 100, MIB(5), IMG_NOWAIT, &s), 0);
	ck_assert(s.kind == IMG_DATA && s.in_place && s.file_off == MIB(1) + 100 && s.len == MIB(2) - 100);
	ck_assert_int_eq(img_map(img, MIB(1), MIB(5), IMG_NOWAIT, &s), 0);
	ck_assert(s.kind == IMG_DATA && s.file_off == MIB(3) && s.len == MIB(1));
	ck_assert_int_eq(img_map(img, MIB(4), 4096, IMG_NOWAIT, &s), 0);
	ck_assert(s.kind == IMG_ZERO && s.len == 4096);
	img_close(img);
	oracle_fini(&o);
}
END_TEST

UNIT_MAIN("devices/block/blocks", threads, errors, too_large, segments)
