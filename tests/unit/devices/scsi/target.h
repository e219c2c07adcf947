/*
 * A SCSI unit in a test: an image, a unit over it, commands that run to their end.
 */
#ifndef TESTS_UNIT_DEVICES_SCSI_TARGET_H
#define TESTS_UNIT_DEVICES_SCSI_TARGET_H

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/iov.h"
#include "devices/block/block.h"
#include "devices/scsi/scsi.h"
#include "tests/unit/capture.h"
#include "tests/unit/devices/virtio/driver.h"
#include "tests/unit/unit.h"

struct target {
	struct vm *vm;
	pthread_mutex_t lock;
	char path[64];
	struct scsi_lun lun;
	struct scsi_req req;
	unsigned done;
	uint8_t in[1 << 17], out[1 << 17];
};

static inline void target_batch(void *arg)
{
	(void)arg;
}

static inline struct blk *target_disk(struct target *t, const char *path, uint32_t logical, uint32_t physical, bool ro)
{
	const struct blk_conf c = { .path = path, .format = "raw", .logical = logical, .physical = physical, .read_only = ro };
	const struct blk_owner owner = { &t->lock, target_batch, t };
	int err;
	struct blk *b = blk_open(t->vm, "test", &c, &owner, &err);

	ck_assert_ptr_nonnull(b);
	return b;
}

static inline void target_image(char path[64], uint64_t size)
{
	snprintf(path, 64, "/tmp/skep-scsi-XXXXXX");
	const int fd = mkstemp(path);

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(ftruncate(fd, (off_t)size), 0);
	close(fd);
}

/* size 0: no medium. */
static inline struct target *target_new(enum scsi_type type, uint64_t size, uint32_t logical, uint32_t physical, bool ro)
{
	struct target *t = calloc(1, sizeof(*t));

	t->vm = drv_vm_new();
	t->vm->dry = false;
	pthread_mutex_init(&t->lock, NULL);
	if (size)
		target_image(t->path, size);
	scsi_lun_init(&t->lun, type, NULL, size ? target_disk(t, t->path, logical, physical, ro) : NULL);
	scsi_lun_reset(&t->lun);
	return t;
}

static inline void target_free(struct target *t)
{
	blk_close(t->lun.blk);
	t->vm->dry = true;
	drv_vm_free(t->vm);
	if (t->path[0])
		unlink(t->path);
	free(t);
}

static inline void target_done(struct scsi_req *r)
{
	container_of(r, struct target, req)->done++;
}

/* Runs a command block of n bytes with room for `in` or `out` bytes, each in three pieces; the status. */
static inline int target_run(struct target *t, uint32_t in, uint32_t out, const uint8_t *cdb, unsigned n)
{
	struct iovec iov[2][3];
	const uint32_t len[2] = { in, out };
	uint8_t *const buf[2] = { t->in, t->out };

	for (unsigned i = 0; i < 2; i++) {
		const uint32_t a = len[i] / 3, b = len[i] / 2;

		iov[i][0] = (struct iovec){ buf[i], a };
		iov[i][1] = (struct iovec){ buf[i] + a, b - a };
		iov[i][2] = (struct iovec){ buf[i] + b, len[i] - b };
	}
	memset(t->req.cdb, 0, sizeof(t->req.cdb));
	memcpy(t->req.cdb, cdb, n);
	t->req.lun = &t->lun;
	t->req.in = iov[0];
	t->req.nin = in ? 3 : 0;
	t->req.in_len = in;
	t->req.out = iov[1];
	t->req.nout = out ? 3 : 0;
	t->req.out_len = out;
	t->req.done = target_done;
	t->done = 0;
	pthread_mutex_lock(&t->lock);
	scsi_submit(&t->req);
	if (t->lun.blk)
		blk_kick(t->lun.blk);
	pthread_mutex_unlock(&t->lock);
	for (unsigned i = 0; !t->done && i < 1000; i++)
		loop_step(t->vm->loop, 10);
	ck_assert_uint_eq(t->done, 1);
	ck_assert_ptr_null(t->req.buf);
	ck_assert(t->req.status == SCSI_CHECK_CONDITION ? t->req.sense_len == SCSI_SENSE_LEN : t->req.sense_len == 0);
	ck_assert(t->req.moved <= MAX(in, out));
	return t->req.status;
}
#define RUN(t, in, out, ...) target_run(t, in, out, (const uint8_t[]){ __VA_ARGS__ }, sizeof((const uint8_t[]){ __VA_ARGS__ }))

/* Key, additional code, qualifier of the last command; 0 when it had no sense data. */
static inline uint32_t target_sense(const struct target *t)
{
	const uint8_t *s = t->req.sense;

	return t->req.sense_len ? (uint32_t)(s[2] << 16 | s[12] << 8 | s[13]) : 0;
}
#define GOOD(t, ...) ck_assert_int_eq(RUN(t, __VA_ARGS__), SCSI_GOOD)
#define FAILS(t, code, ...) do { \
	ck_assert_int_eq(RUN(t, __VA_ARGS__), SCSI_CHECK_CONDITION); \
	ck_assert_uint_eq(target_sense(t), code); \
	ck_assert_uint_eq((t)->req.moved, 0); \
} while (0)

/* Takes the unit attention of the power-on. */
static inline void target_ready(struct target *t)
{
	FAILS(t, 0x062900, 0, 0, 0x00);
}

static inline void target_fill(uint8_t *p, size_t n, unsigned seed)
{
	for (size_t i = 0; i < n; i++)
		p[i] = (uint8_t)((i * 31 + seed) ^ (i >> 8));
}

static inline void target_file(struct target *t, uint64_t off, void *buf, size_t len, bool write)
{
	const int fd = open(t->path, O_RDWR);

	ck_assert_int_eq(write ? pwrite(fd, buf, len, (off_t)off) : pread(fd, buf, len, (off_t)off), (ssize_t)len);
	close(fd);
}

static inline bool target_is(struct target *t, uint64_t off, size_t len, uint8_t val)
{
	uint8_t *p = malloc(len);
	bool same = true;

	target_file(t, off, p, len, false);
	for (size_t i = 0; i < len; i++)
		same &= p[i] == val;
	free(p);
	return same;
}

#endif
