/*
 * Disks: opening, locking, the odd tail and ranges of raw images through both engines; holding back, exchanging the image,
 * failures and what the operator makes of them, limits.
 */
#include "tests/unit/unit.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/unit/capture.h"
#include "tests/unit/devices/block/fake_disk.h"

#define G FAKE_GRANULE

static struct vm vm;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static char path[64];
static uint8_t buf[8192];
static struct disk d;
static struct job job[600];
static struct capture cap;

static void on_batch(void *arg) { }
static const struct blk_owner owner = { &lock, on_batch, NULL };

static void on_done(struct blk_req *r)
{
	r->unmap = true;                                /* seen */
}

static void image(uint64_t size)
{
	snprintf(path, sizeof(path), "/tmp/skep-block-XXXXXX");
	const int fd = mkstemp(path);
	ck_assert_int_eq(ftruncate(fd, (off_t)size), 0);
	close(fd);
	vm.loop = loop_new();
}

static void image_end(struct blk *b)
{
	blk_close(b);
	loop_free(vm.loop);
	unlink(path);
}

static struct blk *open_as(struct blk_conf c, int *err)
{
	c.path = path;
	return blk_open(&vm, "test", &c, &owner, err);
}

static int io(struct blk *b, enum blk_op op, uint64_t off, uint64_t len)
{
	struct iovec v[2] = { { buf, len / 2 }, { buf + len / 2, len - len / 2 } };
	struct blk_req r = { .op = op, .off = off, .len = len, .iov = v, .niov = 2, .done = on_done };
	blk_submit(b, &r);
	blk_kick(b);
	blk_drain(b);
	ck_assert(r.unmap);
	return r.ret;
}

static void tail(enum blk_aio aio, const char *format)
{
	int err;
	image(4096 + 10);
	struct blk *b = open_as((struct blk_conf){ .aio = aio, .format = format }, &err);
	ck_assert_ptr_nonnull(b);
	ck_assert_uint_eq(blk_size(b), 4106);
	memset(buf, 0xee, sizeof(buf));
	ck_assert_int_eq(io(b, BLK_READ, 4096, 512), 0);
	ck_assert_uint_eq(buf[10], 0);                          /* beyond the end */
	ck_assert_uint_eq(buf[511], 0);
	memset(buf, 0x55, sizeof(buf));
	ck_assert_int_eq(io(b, BLK_WRITE, 4096, 512), 0);
	memset(buf, 0xee, sizeof(buf));
	ck_assert_int_eq(io(b, BLK_READ, 4096, 512), 0);
	ck_assert_uint_eq(buf[9], 0x55);
	ck_assert_uint_eq(buf[511], 0x55);                      /* the sector is whole now */
	ck_assert_int_eq(io(b, BLK_WRITE_ZEROES, 4096, 512), 0);
	ck_assert_int_eq(io(b, BLK_READ, 4096, 512), 0);
	ck_assert_uint_eq(buf[9], 0);
	ck_assert_uint_eq(buf[511], 0);
	ck_assert_int_eq(io(b, BLK_DISCARD, 0, 4096), 0);
	ck_assert_int_eq(io(b, BLK_FLUSH, 0, 0), 0);
	const int fd = open(path, O_RDONLY);
	ck_assert_int_eq(lseek(fd, 0, SEEK_END), 4096 + 512);
	close(fd);
	image_end(b);
}
START_TEST(odd_tail)
{
	tail(BLK_AIO_URING, NULL);
	tail(BLK_AIO_THREADS, NULL);
	tail(BLK_AIO_URING, "raw");
	tail(BLK_AIO_THREADS, "raw");
}
END_TEST

START_TEST(nodelete)
{
	int err;
	image(4096);
	struct blk *b = open_as((struct blk_conf){ .nodelete = true, .sync = true }, &err);
	memset(buf, 0x55, sizeof(buf));
	ck_assert_int_eq(io(b, BLK_WRITE, 0, 4096), 0);
	ck_assert_int_eq(io(b, BLK_DISCARD, 0, 4096), 0);
	memset(buf, 0, sizeof(buf));
	ck_assert_int_eq(io(b, BLK_READ, 0, 4096), 0);
	ck_assert_uint_eq(buf[4095], 0x55);
	ck_assert_int_eq(io(b, BLK_READ, 4096, 0), 0);          /* nothing is a request, too */
	image_end(b);
}
END_TEST

START_TEST(locks)
{
	int err = 0;
	image(4096);
	struct blk *a = open_as((struct blk_conf){ .read_only = true }, &err);
	struct blk *b = open_as((struct blk_conf){ .read_only = true }, &err);
	ck_assert(a && b && blk_read_only(a));
	ck_assert_ptr_null(open_as((struct blk_conf){ .path = path }, &err));
	ck_assert_int_eq(err, -EBUSY);
	ck_assert_int_eq(io(a, BLK_WRITE, 0, 512), -EROFS);
	ck_assert_int_eq(io(a, BLK_FLUSH, 0, 0), 0);
	blk_close(a);
	blk_close(b);
	a = open_as((struct blk_conf){ .path = path }, &err);
	ck_assert_ptr_nonnull(a);
	ck_assert_ptr_null(open_as((struct blk_conf){ .read_only = true }, &err));
	image_end(a);
}
END_TEST

START_TEST(refusals)
{
	int err = 0;
	image(4096);
	ck_assert_ptr_null(open_as((struct blk_conf){ .format = "floppy" }, &err));
	ck_assert_int_eq(err, -EINVAL);
	ck_assert_ptr_null(open_as((struct blk_conf){ .logical = 1000 }, &err));
	ck_assert_ptr_null(open_as((struct blk_conf){ .logical = 512, .physical = 1u << 20 }, &err));
	unlink(path);
	ck_assert_ptr_null(open_as((struct blk_conf){ .path = path }, &err));
	ck_assert_int_eq(err, -ENOENT);
	snprintf(path, sizeof(path), "/dev/null");
	ck_assert_ptr_null(open_as((struct blk_conf){ .read_only = true }, &err));
	ck_assert_int_eq(err, -EINVAL);
	ck_assert_ptr_null(blk_first(&vm));
	loop_free(vm.loop);
}
END_TEST

START_TEST(names)
{
	const struct blk_conf c = { .path = path, .read_only = true };
	struct blk *b[4];
	int err;
	static const char *const who[] = { "pci.0.3.0", "pci.0.4.0.port.0", "pci.0.4.0.port.1", "pci.0.5.0.port.1" };
	image(4096);
	for (unsigned i = 0; i < 4; i++)
		b[i] = blk_open(&vm, who[i], &c, &owner, &err);
	ck_assert_ptr_eq(blk_first(&vm), b[0]);
	ck_assert_ptr_eq(blk_next(b[2]), b[3]);
	ck_assert_ptr_null(blk_next(b[3]));
	ck_assert_ptr_eq(blk_find(&vm, "pci.0.3.0"), b[0]);
	ck_assert_ptr_eq(blk_find(&vm, "0.3.0"), b[0]);
	ck_assert_ptr_eq(blk_find(&vm, "port.0"), b[1]);
	ck_assert_ptr_null(blk_find(&vm, "port.1"));            /* which one? */
	ck_assert_ptr_eq(blk_find(&vm, "5.0.port.1"), b[3]);
	ck_assert_ptr_null(blk_find(&vm, "ort.0"));
	ck_assert_ptr_null(blk_find(&vm, ""));
	ck_assert_str_eq(blk_who(b[1]), who[1]);
	blk_close(b[1]);
	ck_assert_ptr_eq(blk_next(b[0]), b[2]);
	blk_close(b[0]);
	blk_close(b[3]);
	image_end(b[2]);
}
END_TEST

/* The overlay has what was written, the file nothing of it. */
START_TEST(snapshot)
{
	uint8_t *was = malloc(1 << 20), *is = malloc(1 << 20);
	int err;
	image(1 << 20);
	int fd = open(path, O_RDWR);
	for (unsigned i = 0; i < 1 << 20; i++)
		was[i] = (uint8_t)(i / 512 + i);
	ck_assert_int_eq(write(fd, was, 1 << 20), 1 << 20);
	close(fd);
	ck_assert_int_eq(chmod(path, 0400), 0);
	struct blk *b = open_as((struct blk_conf){ .snapshot = true, .sync = true }, &err);
	ck_assert_ptr_nonnull(b);
	ck_assert(!blk_read_only(b));
	ck_assert_int_eq(io(b, BLK_READ, 70000 / 512 * 512, 4096), 0);
	ck_assert_mem_eq(buf, was + 70000 / 512 * 512, 4096);
	memset(buf, 0x77, sizeof(buf));
	ck_assert_int_eq(io(b, BLK_WRITE, 65536 - 512, 4096), 0);
	ck_assert_int_eq(io(b, BLK_WRITE_ZEROES, 512, 512), 0);
	ck_assert_int_eq(io(b, BLK_DISCARD, 1 << 19, 1 << 18), 0);
	ck_assert_int_eq(io(b, BLK_FLUSH, 0, 0), 0);
	memset(buf, 0, sizeof(buf));
	ck_assert_int_eq(io(b, BLK_READ, 65536 - 1024, 8192), 0);
	ck_assert_mem_eq(buf, was + 65536 - 1024, 512);
	ck_assert_uint_eq(buf[512], 0x77);
	ck_assert_uint_eq(buf[512 + 4095], 0x77);
	ck_assert_mem_eq(buf + 512 + 4096, was + 65536 - 512 + 4096, 8192 - 512 - 4096);
	/* A second one beside it: readers share. */
	struct blk *c = open_as((struct blk_conf){ .snapshot = true }, &err);
	ck_assert_ptr_nonnull(c);
	ck_assert_int_eq(io(c, BLK_READ, 65536, 512), 0);
	ck_assert_mem_eq(buf, was + 65536, 512);
	blk_close(c);
	fd = open(path, O_RDONLY);
	ck_assert_int_eq(read(fd, is, 1 << 20), 1 << 20);
	ck_assert_mem_eq(is, was, 1 << 20);
	close(fd);
	free(was);
	free(is);
	image_end(b);
}
END_TEST

/* --- Failures --- */

static void end(void)
{
	disk_end(&d);
	for (unsigned i = 0; i < NELEM(job); i++)
		job_free(&job[i]);
}

static void data(struct job *j, uint64_t len, int byte)
{
	j->buf = j->buf ? j->buf : malloc(len);
	memset(j->buf, byte, len);
}

static void go_on(void)
{
	vm_continue(&d.vm);
}

START_TEST(stops_when_full)
{
	disk_new(&d, (struct blk_conf){ .werror = BLK_ENOSPC_STOP }, 64 * G, FAKE_MISSING);
	atomic_store(&d.f->fail, -ENOSPC);
	for (unsigned i = 0; i < 3; i++)
		data(&job[i], G, 'a' + (int)i);
	capture_start(&cap, STDERR_FILENO);
	for (unsigned i = 0; i < 3; i++)
		job_go(&d, &job[i], BLK_WRITE, i * G, G, 3);
	const uint64_t limit = now_ns() + 10000000000u;
	while (!(d.vm.holds & HOLD_STOP) && now_ns() < limit)
		loop_step(d.vm.loop, 100);
	disk_spin(&d, 20);
	capture_stop(&cap);
	ck_assert((d.vm.holds & HOLD_STOP));
	ck_assert_uint_eq(d.done, 0);
	/* One sentence: which disk, what, the remedy. */
	const char *s = strstr(cap.text, d.path);
	ck_assert_ptr_nonnull(s);
	ck_assert_ptr_null(strstr(s + 1, d.path));
	ck_assert_ptr_nonnull(strstr(cap.text, "pci.0.3.0"));
	ck_assert_ptr_nonnull(strstr(cap.text, "No space left on device"));
	ck_assert_ptr_nonnull(strstr(cap.text, "free space"));
	ck_assert_ptr_nonnull(strstr(cap.text, "kill -CONT"));
	/* Waiting is not being in flight. */
	pthread_mutex_lock(&d.lock);
	blk_drain(d.b);
	pthread_mutex_unlock(&d.lock);
	go_on();                                                /* still full */
	while (!(d.vm.holds & HOLD_STOP) && now_ns() < limit)
		loop_step(d.vm.loop, 100);
	ck_assert((d.vm.holds & HOLD_STOP));
	disk_spin(&d, 20);
	ck_assert_uint_eq(d.done, 0);
	atomic_store(&d.f->fail, 0);
	go_on();
	for (unsigned i = 0; i < 3; i++) {
		job_wait(&d, &job[i]);
		ck_assert_int_eq(job[i].r.ret, 0);
		job_go(&d, &job[3], BLK_READ, i * G, G, 1);
		job_wait(&d, &job[3]);
		ck_assert_mem_eq(job[3].buf, job[i].buf, G);
	}
	ck_assert(!(d.vm.holds & HOLD_STOP));
	end();
}
END_TEST

static void until_stopped(void)
{
	const uint64_t limit = now_ns() + 10000000000u;
	while (!(d.vm.holds & HOLD_STOP) && !job[0].seq && now_ns() < limit)
		loop_step(d.vm.loop, 100);
	ck_assert((d.vm.holds & HOLD_STOP));
	ck_assert_uint_eq(job[0].seq, 0);
}

/* No file may grow beyond that, nor be written there; 0: as before. */
static void file_limit(uint64_t bytes)
{
	static struct rlimit was;
	struct rlimit low;
	if (bytes)
		ck_assert_int_eq(getrlimit(RLIMIT_FSIZE, &was), 0);
	signal(SIGXFSZ, bytes ? SIG_IGN : SIG_DFL);
	low = was;
	if (bytes)
		low.rlim_cur = bytes;
	ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &low), 0);
}

/* The host takes half of a write and refuses the rest: the rest alone is tried again, also with FUA. */
static void half(enum blk_aio aio)
{
	disk_new_raw(&d, (struct blk_conf){ .werror = BLK_STOP, .aio = aio }, 8192);
	file_limit(6000);
	data(&job[0], 4096, 0);
	for (unsigned i = 0; i < 4096; i++)
		job[0].buf[i] = (uint8_t)(i * 7 + i / 256);
	capture_start(&cap, STDERR_FILENO);
	job_go_fua(&d, &job[0], 4096, 4096);
	until_stopped();
	capture_stop(&cap);
	ck_assert_ptr_nonnull(strstr(cap.text, "a write at byte 6000 failed"));
	file_limit(0);
	go_on();
	job_wait(&d, &job[0]);
	ck_assert_int_eq(job[0].r.ret, 0);
	ck_assert_uint_eq(job[0].r.off, 4096);
	job_go(&d, &job[1], BLK_READ, 4096, 4096, 1);
	job_wait(&d, &job[1]);
	for (unsigned i = 0; i < 4096; i++)
		ck_assert_uint_eq(job[1].buf[i], (uint8_t)(i * 7 + i / 256));
	end();
}
/* One of several parts fails: the whole is tried again.  So is the flush behind a write. */
static void parts(enum blk_aio aio)
{
	disk_new(&d, (struct blk_conf){ .werror = BLK_STOP, .aio = aio }, 64 * G, FAKE_DATA);
	for (unsigned i = 0; i < 64; i++)
		d.f->place[i] = 63 - i;
	file_limit(60 * G);
	data(&job[0], 8 * G, 'p');
	capture_start(&cap, STDERR_FILENO);
	job_go(&d, &job[0], BLK_WRITE, 0, 8 * G, 5);
	until_stopped();
	capture_stop(&cap);
	file_limit(0);
	go_on();
	job_wait(&d, &job[0]);
	ck_assert_int_eq(job[0].r.ret, 0);
	job_go(&d, &job[1], BLK_READ, 0, 8 * G, 1);
	job_wait(&d, &job[1]);
	ck_assert_mem_eq(job[1].buf, job[0].buf, 8 * G);

	atomic_store(&d.f->is_dirty, true);
	atomic_store(&d.f->fail, -ENOSPC);
	capture_start(&cap, STDERR_FILENO);
	job_go_fua(&d, &job[0], 0, G);
	until_stopped();
	capture_stop(&cap);
	ck_assert_uint_eq(atomic_load(&d.f->flushes), 1);
	atomic_store(&d.f->is_dirty, true);
	atomic_store(&d.f->fail, 0);
	go_on();
	job_wait(&d, &job[0]);
	ck_assert_uint_eq(atomic_load(&d.f->flushes), 2);
	ck_assert_uint_eq(atomic_load(&d.f->writes), 0);
	end();
}
START_TEST(parts_fail) { parts(BLK_AIO_THREADS); parts(BLK_AIO_URING); }
END_TEST
START_TEST(half_written) { half(BLK_AIO_THREADS); half(BLK_AIO_URING); }
END_TEST

START_TEST(other_policies)
{
	disk_new(&d, (struct blk_conf){ .werror = BLK_ENOSPC_STOP, .rerror = BLK_IGNORE }, 64 * G, FAKE_OPAQUE);
	atomic_store(&d.f->fail, -EIO);
	data(&job[0], G, 1);
	capture_start(&cap, STDERR_FILENO);
	job_go(&d, &job[0], BLK_WRITE, 0, G, 1);
	job_wait(&d, &job[0]);
	job_go(&d, &job[1], BLK_READ, 5 * G, G, 1);
	job_wait(&d, &job[1]);
	capture_stop(&cap);
	ck_assert_int_eq(job[0].r.ret, -EIO);
	ck_assert_int_eq(job[1].r.ret, 0);
	ck_assert_uint_eq(job[1].buf[0], 0);                    /* nobody's memory */
	ck_assert_ptr_nonnull(strstr(cap.text, "a write at byte 0 failed: Input/output error; the guest sees an error"));
	ck_assert_ptr_nonnull(strstr(cap.text, "a read at byte 20480 failed"));
	ck_assert(!(d.vm.holds & HOLD_STOP) && !d.vm.stop_posted);
	end();

	disk_new(&d, (struct blk_conf){ .werror = BLK_STOP, .rerror = BLK_STOP }, 64 * G, FAKE_OPAQUE);
	atomic_store(&d.f->fail, -ENXIO);
	capture_start(&cap, STDERR_FILENO);
	job_go(&d, &job[1], BLK_READ, 5 * G, G, 1);
	disk_spin(&d, 20);
	capture_stop(&cap);
	ck_assert((d.vm.holds & HOLD_STOP));
	atomic_store(&d.f->fail, 0);
	go_on();
	job_wait(&d, &job[1]);
	ck_assert_uint_eq(job[1].buf[0], 5);
	end();

	disk_new(&d, (struct blk_conf){ .werror = BLK_REPORT }, 64 * G, FAKE_MISSING);
	atomic_store(&d.f->fail, -ENOSPC);
	data(&job[0], G, 1);
	capture_start(&cap, STDERR_FILENO);
	job_go(&d, &job[0], BLK_WRITE, 0, G, 1);
	job_wait(&d, &job[0]);
	capture_stop(&cap);
	ck_assert_int_eq(job[0].r.ret, -ENOSPC);
	end();
}
END_TEST

/* What waits is answered before a reset: the failed, and the throttled. */
START_TEST(cancelled)
{
	disk_new(&d, (struct blk_conf){ .werror = BLK_STOP, .iops = { 100, 0 }, .burst_s = 1 }, 64 * G, FAKE_MISSING);
	atomic_store(&d.f->fail, -ENOSPC);
	capture_start(&cap, STDERR_FILENO);
	for (unsigned i = 0; i < 20; i++) {
		data(&job[i], G, 1);
		job_go(&d, &job[i], BLK_WRITE, i * G, G, 1);
	}
	disk_spin(&d, 5);
	capture_stop(&cap);
	pthread_mutex_lock(&d.lock);
	blk_drain(d.b);
	ck_assert_uint_eq(d.done, 0);
	blk_cancel(d.b);
	pthread_mutex_unlock(&d.lock);
	ck_assert_uint_eq(d.done, 20);
	for (unsigned i = 0; i < 20; i++)
		ck_assert_int_eq(job[i].r.ret, -ECANCELED);
	ck_assert_uint_gt(d.batches, 0);
	end();
}
END_TEST

/* --- Holding and replacing --- */

static unsigned idles;
static void on_idle(void *arg)
{
	idles++;
	ck_assert_ptr_eq(arg, &d);
}

START_TEST(hold_and_replace)
{
	struct img *old;
	struct fake *first;
	disk_new(&d, (struct blk_conf){ 0 }, 64 * G, FAKE_MISSING);
	first = d.f;
	first->gated = true;
	data(&job[0], G, 1);
	data(&job[1], G, 2);
	idles = 0;
	job_go(&d, &job[0], BLK_WRITE, 0, G, 1);
	fake_entered(first, 1);
	pthread_mutex_lock(&d.lock);
	blk_hold(d.b, on_idle, &d);
	blk_hold(d.b, on_idle, &d);
	pthread_mutex_unlock(&d.lock);
	ck_assert_uint_eq(idles, 0);
	job_go(&d, &job[1], BLK_WRITE, 0, G, 1);                /* for the new image */
	fake_let(first, 1);
	job_wait(&d, &job[0]);
	ck_assert_uint_eq(idles, 2);
	disk_spin(&d, 10);
	ck_assert_uint_eq(job[1].seq, 0);
	pthread_mutex_lock(&d.lock);
	struct fake *small = fake_new(63 * G, FAKE_MISSING);
	ck_assert_int_eq(blk_replace(d.b, &small->img, &old), -EINVAL);
	d.f = fake_new(64 * G, FAKE_MISSING);
	ck_assert_int_eq(blk_replace(d.b, &d.f->img, &old), 0);
	ck_assert_ptr_eq(old, first);
	ck_assert_ptr_eq(blk_img(d.b), d.f);
	blk_release(d.b);
	ck_assert_uint_eq(atomic_load(&d.f->writes), 0);
	blk_hold(d.b, on_idle, &d);                             /* idle already: called at once */
	ck_assert_uint_eq(idles, 3);
	blk_release(d.b);
	blk_release(d.b);
	pthread_mutex_unlock(&d.lock);
	job_wait(&d, &job[1]);
	ck_assert_uint_eq(atomic_load(&d.f->writes), 1);
	ck_assert_uint_eq(atomic_load(&first->writes), 1);
	img_close(&small->img);
	first->gated = false;
	img_close(old);
	end();
}
END_TEST

/* What failed before the hold is tried again on the new image, before what came later. */
START_TEST(stopped_and_held)
{
	struct img *old;
	disk_new(&d, (struct blk_conf){ .werror = BLK_STOP }, 64 * G, FAKE_MISSING);
	atomic_store(&d.f->fail, -ENOSPC);
	data(&job[0], G, 1);
	data(&job[1], G, 2);
	idles = 0;
	capture_start(&cap, STDERR_FILENO);
	job_go(&d, &job[0], BLK_WRITE, 0, G, 1);
	disk_spin(&d, 20);
	capture_stop(&cap);
	ck_assert((d.vm.holds & HOLD_STOP));
	pthread_mutex_lock(&d.lock);
	blk_hold(d.b, on_idle, &d);
	ck_assert_uint_eq(idles, 1);
	d.f = fake_new(64 * G, FAKE_MISSING);
	ck_assert_int_eq(blk_replace(d.b, &d.f->img, &old), 0);
	pthread_mutex_unlock(&d.lock);
	img_close(old);
	job_go(&d, &job[1], BLK_WRITE, 0, G, 1);
	go_on();
	disk_spin(&d, 5);
	ck_assert_uint_eq(d.done, 0);
	pthread_mutex_lock(&d.lock);
	blk_release(d.b);
	pthread_mutex_unlock(&d.lock);
	job_wait(&d, &job[0]);
	job_wait(&d, &job[1]);
	ck_assert_uint_lt(job[0].seq, job[1].seq);
	job_go(&d, &job[2], BLK_READ, 0, G, 1);
	job_wait(&d, &job[2]);
	ck_assert_uint_eq(job[2].buf[0], 2);
	end();
}
END_TEST

/* 1000 a second: 100 at once; the other 300 take 0.3 seconds, in order.  A flush waits its turn and costs nothing. */
START_TEST(throttled)
{
	disk_new(&d, (struct blk_conf){ .iops = { 1000, 0 }, .burst_s = 1 }, 64 * G, FAKE_ZERO);
	const uint64_t start = now_ns();
	for (unsigned i = 0; i < 400; i++)
		job_go(&d, &job[i], i % 2 ? BLK_READ : BLK_FLUSH, 0, i % 2 ? 512 : 0, 1);
	for (unsigned i = 400; i < 600; i++)
		job_go(&d, &job[i], BLK_READ, 0, 512, 1);
	disk_spin(&d, 1);
	ck_assert_uint_ge(d.done, 100);
	for (unsigned i = 0; i < 600; i++)
		job_wait(&d, &job[i]);
	ck_assert_uint_ge(now_ns() - start, 290000000);
	for (unsigned i = 2; i < 600; i++)
		ck_assert(i % 2 == 0 || job[i].seq > job[i - 2].seq);
	end();
}
END_TEST

/* Limits come and go while requests wait; what is done is counted with its time. */
START_TEST(limits_and_counters)
{
	const struct blk_rate none = { 0, 0 }, one = { 1, 0 };
	const struct blk_stat *s;
	struct blk_rate iops, bps;
	uint64_t sum = 0;
	uint32_t burst;

	disk_new(&d, (struct blk_conf){ .rerror = BLK_REPORT }, 64 * G, FAKE_ZERO);
	job_go(&d, &job[0], BLK_READ, 0, 512, 1);
	job_wait(&d, &job[0]);
	ck_assert_int_eq(blk_limit(d.b, &one, &none, 1), 0);
	blk_limits(d.b, &iops, &bps, &burst);
	ck_assert_uint_eq(iops.per_s, 1);
	ck_assert_uint_eq(bps.per_s, 0);
	for (unsigned i = 1; i < 200; i++)
		job_go(&d, &job[i], BLK_READ, 0, 512, 1);
	disk_spin(&d, 50);
	ck_assert_uint_lt(d.done, 10);                          /* three minutes' worth */
	ck_assert_int_eq(blk_limit(d.b, &none, &none, 1), 0);
	for (unsigned i = 1; i < 200; i++)
		job_wait(&d, &job[i]);
	atomic_store(&d.f->fail, -EIO);
	capture_start(&cap, STDERR_FILENO);
	job_go(&d, &job[200], BLK_WRITE, 0, G, 1);
	job_wait(&d, &job[200]);
	capture_stop(&cap);
	s = blk_stat(d.b, BLK_READ);
	ck_assert_uint_eq(s->ops, 200);
	ck_assert_uint_eq(s->bytes, 200 * 512);
	ck_assert_uint_eq(s->errors, 0);
	ck_assert_uint_gt(s->ns, 50000000);                     /* they waited */
	for (unsigned i = 0; i < BLK_BUCKETS; i++)
		sum += s->hist[i];
	ck_assert_uint_eq(sum, 200);
	s = blk_stat(d.b, BLK_WRITE);
	ck_assert_uint_eq(s->ops, 1);
	ck_assert_uint_eq(s->bytes, 0);
	ck_assert_uint_eq(s->errors, 1);
	end();
}
END_TEST

/* A pause stops the clock's requests, too; they go on with the next kick. */
START_TEST(parked)
{
	disk_new(&d, (struct blk_conf){ .iops = { 20, 0 }, .burst_s = 1 }, 64 * G, FAKE_ZERO);
	for (unsigned i = 0; i < 14; i++)
		job_go(&d, &job[i], BLK_READ, 0, 512, 1);
	pthread_mutex_lock(&d.lock);
	blk_drain(d.b);
	pthread_mutex_unlock(&d.lock);
	const unsigned n = d.done;
	ck_assert_uint_lt(n, 14);
	disk_spin(&d, 60);
	ck_assert_uint_eq(d.done, n);
	pthread_mutex_lock(&d.lock);
	blk_kick(d.b);
	pthread_mutex_unlock(&d.lock);
	for (unsigned i = 0; i < 14; i++)
		job_wait(&d, &job[i]);
	end();
}
END_TEST

UNIT_MAIN("devices/block/block", odd_tail, nodelete, locks, refusals, names, snapshot, stops_when_full, half_written, parts_fail, other_policies, cancelled,
	  hold_and_replace, stopped_and_held, throttled, limits_and_counters, parked)
