#include "tests/unit/devices/block/fake_disk.h"

#include <check.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static void on_batch(void *arg)
{
	((struct disk *)arg)->batches++;
}

static void on_done(struct blk_req *r)
{
	struct job *j = (struct job *)r;

	ck_assert_uint_eq(j->seq, 0);
	j->seq = ++j->d->done;
}

void disk_new_raw(struct disk *d, struct blk_conf c, uint64_t size)
{
	const struct blk_owner owner = { &d->lock, on_batch, d };
	int err;

	memset(d, 0, sizeof(*d));
	pthread_mutex_init(&d->lock, NULL);
	pthread_mutex_init(&d->vm.req_lock, NULL);
	pthread_mutex_init(&d->vm.park_lock, NULL);
	pthread_cond_init(&d->vm.resume_cond, NULL);
	d->vm.loop = loop_new();
	d->vm.cause = CAUSE_NONE;
	snprintf(d->path, sizeof(d->path), "/tmp/skep-disk-XXXXXX");
	const int fd = mkstemp(d->path);
	ck_assert_int_eq(ftruncate(fd, (off_t)size), 0);
	close(fd);
	c.path = d->path;
	if (!c.format)
		c.format = "raw";
	d->b = blk_open(&d->vm, "pci.0.3.0", &c, &owner, &err);
	ck_assert_ptr_nonnull(d->b);
}

static void nothing(void *arg) { }

void disk_new(struct disk *d, struct blk_conf c, uint64_t size, enum fake_state state)
{
	struct img *old;

	disk_new_raw(d, c, size);
	d->f = fake_new(size, state);
	pthread_mutex_lock(&d->lock);
	blk_hold(d->b, nothing, NULL);
	ck_assert_int_eq(blk_replace(d->b, &d->f->img, &old), 0);
	blk_release(d->b);
	pthread_mutex_unlock(&d->lock);
	img_close(old);
}

void disk_end(struct disk *d)
{
	pthread_mutex_lock(&d->lock);
	if (d->f)
		d->f->gated = false;
	blk_drain(d->b);
	blk_cancel(d->b);
	pthread_mutex_unlock(&d->lock);
	blk_close(d->b);
	loop_free(d->vm.loop);
	unlink(d->path);
}

static void cut(struct job *j, uint64_t len, unsigned niov)
{
	uint64_t at = 0;

	for (unsigned i = 0; i < niov; i++) {
		const uint64_t n = i + 1 == niov ? len - at : (len / niov) + (i % 2 ? 1 : -1) * (int)(len / niov > 8 ? 7 : 0);

		j->iov[i] = (struct iovec){ j->buf + at, n };
		at += n;
	}
}

static void go(struct disk *d, struct job *j, enum blk_op op, uint64_t off, uint64_t len, unsigned niov, bool fua)
{
	const bool data = op == BLK_READ || op == BLK_WRITE;

	if (data && !j->buf)
		j->buf = malloc(len);
	if (op == BLK_READ)
		memset(j->buf, 0xee, len);
	if (data)
		cut(j, len, niov);
	j->seq = 0;
	j->d = d;
	j->r = (struct blk_req){
		.op = op, .off = off, .len = len, .iov = j->iov, .niov = data ? niov : 0, .fua = fua, .unmap = true, .done = on_done,
	};
	pthread_mutex_lock(&d->lock);
	blk_submit(d->b, &j->r);
	blk_kick(d->b);
	pthread_mutex_unlock(&d->lock);
}

void job_go(struct disk *d, struct job *j, enum blk_op op, uint64_t off, uint64_t len, unsigned niov)
{
	go(d, j, op, off, len, niov, false);
}

void job_go_fua(struct disk *d, struct job *j, uint64_t off, uint64_t len)
{
	go(d, j, BLK_WRITE, off, len, 1, true);
}

void job_wait(struct disk *d, struct job *j)
{
	const uint64_t end = now_ns() + 20000000000u;

	while (!j->seq && now_ns() < end)
		loop_step(d->vm.loop, 100);
	ck_assert_uint_ne(j->seq, 0);
}

void disk_spin(struct disk *d, unsigned ms)
{
	const uint64_t end = now_ns() + ms * 1000000u;

	while (now_ns() < end)
		loop_step(d->vm.loop, 1);
}

void job_free(struct job *j)
{
	free(j->buf);
	j->buf = NULL;
}
