/* virtio-scsi: requests in any framing, targets and units, task management, events, media, snapshots with requests that wait. */
#include "tests/unit/unit.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "devices/block/block.h"
#include "devices/classes.h"
#include "devices/virtio/virtio_scsi.h"
#include "tests/unit/capture.h"
#include "tests/unit/devices/virtio/driver.h"

#define RINGS (VIRTIO_F_INDIRECT_DESC | VIRTIO_F_EVENT_IDX)
#define QUEUES 4                                /* control, events, two for requests */
#define SENSE 96u
enum { CTRL, EVENT, REQ, REQ2 };

static char path[3][64];

static void image(unsigned i, uint64_t size)
{
	snprintf(path[i], sizeof(path[i]), "/tmp/skep-vscsi-XXXXXX");
	const int fd = mkstemp(path[i]);
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(ftruncate(fd, (off_t)size), 0);
	close(fd);
}

static void file(unsigned i, uint64_t off, void *buf, size_t len, bool write)
{
	const int fd = open(path[i], O_RDWR);
	ck_assert_int_eq(write ? pwrite(fd, buf, len, (off_t)off) : pread(fd, buf, len, (off_t)off), (ssize_t)len);
	close(fd);
}

/* Targets 0 (a disk) and 5 (a CD), and another disk at 200. */
static struct drv *host(const char *key, const char *val)
{
	struct vm *vm = drv_vm_new();
	image(0, 1 << 20);
	image(1, 100 * 2048);
	image(2, 1 << 16);
	drv_conf(vm, "pci.0.3.0.target.0.path", path[0]);
	drv_conf(vm, "pci.0.3.0.target.0.serial", "FIRST");
	drv_conf(vm, "pci.0.3.0.target.5.type", "cd");
	drv_conf(vm, "pci.0.3.0.target.5.path", path[1]);
	drv_conf(vm, "pci.0.3.0.target.200.path", path[2]);
	if (key)
		drv_conf(vm, key, val);
	struct drv *d = drv_open(vm, &virtio_scsi_class, "pci.0.3.0");
	ck_assert_ptr_nonnull(d);
	return d;
}

static void host_end(struct drv *d)
{
	struct vm *vm = d->vm;
	drv_close(d);
	drv_vm_free(vm);
	for (unsigned i = 0; i < NELEM(path); i++)
		unlink(path[i]);
}

struct cmd {
	unsigned q;
	uint8_t lun[8];
	uint64_t tag;
	uint8_t cdb[32];
	uint32_t in, out;                       /* bytes */
	uint64_t data;                          /* guest memory */
	uint32_t cdb_size, sense_size;          /* 0: the defaults */
	unsigned cut;                           /* bytes of a first piece of request and of response; 0: in one piece with no data */
	bool indirect;
	/* Answer. */
	uint64_t resp;
	uint32_t used, sense_len, residual;
	uint8_t status, response, sense[18];
};

static unsigned cmd_add(struct drv *d, struct cmd *c)
{
	const uint32_t cdb_size = c->cdb_size ? c->cdb_size : 32, sense_size = c->sense_size ? c->sense_size : SENSE;
	const uint32_t hdr = 19 + cdb_size, len = 12 + sense_size;
	const uint64_t req = drv_alloc(d, hdr + c->out), resp = drv_alloc(d, len + c->in);
	uint8_t *p = drv_ptr(d, req, hdr);
	struct drv_buf b[6];
	unsigned n = 0;

	memcpy(p, c->lun, 8);
	put_le64(p + 8, c->tag);
	memcpy(p + 19, c->cdb, MIN(cdb_size, 32));
	memset(drv_ptr(d, resp, len), 0xee, len);
	c->resp = resp;
	if (c->cut) {
		/* Everything in a row, cut where it does not belong. */
		if (c->out)
			memcpy(drv_ptr(d, req + hdr, c->out), drv_ptr(d, c->data, c->out), c->out);
		b[n++] = (struct drv_buf){ req, c->cut, false };
		b[n++] = (struct drv_buf){ req + c->cut, hdr + c->out - c->cut, false };
		b[n++] = (struct drv_buf){ resp, c->cut, true };
		b[n++] = (struct drv_buf){ resp + c->cut, len + c->in - c->cut, true };
		if (c->in)
			c->data = resp + len;
	} else {
		b[n++] = (struct drv_buf){ req, hdr, false };
		if (c->out)
			b[n++] = (struct drv_buf){ c->data, c->out, false };
		b[n++] = (struct drv_buf){ resp, len, true };
		if (c->in)
			b[n++] = (struct drv_buf){ c->data, c->in, true };
	}
	return (unsigned)drv_add(d, c->q ? c->q : REQ, b, n, c->indirect);
}

static void cmd_answer(struct drv *d, struct cmd *c)
{
	const uint8_t *p = drv_ptr(d, c->resp, 12 + SENSE);

	c->sense_len = get_le32(p);
	c->residual = get_le32(p + 4);
	c->status = p[10];
	c->response = p[11];
	memcpy(c->sense, p + 12, sizeof(c->sense));
}

static void run(struct drv *d, struct cmd *c)
{
	const unsigned id = cmd_add(d, c);

	drv_kick(d, c->q ? c->q : REQ);
	ck_assert_int_eq(drv_wait(d, c->q ? c->q : REQ, &c->used), (int)id);
	cmd_answer(d, c);
}

static struct cmd to(uint8_t target, uint8_t op)
{
	return (struct cmd){ .lun = { 1, target, 0x40, 0 }, .cdb = { op } };
}

static void good(struct drv *d, struct cmd *c)
{
	run(d, c);
	ck_assert_uint_eq(c->response, 0);
	ck_assert_uint_eq(c->status, 0);
	ck_assert_uint_eq(c->sense_len, 0);
}

static void fails(struct drv *d, struct cmd *c, uint32_t sense)
{
	run(d, c);
	ck_assert_uint_eq(c->response, 0);
	ck_assert_uint_eq(c->status, 2);
	ck_assert_uint_eq(c->sense_len, 18);
	ck_assert_uint_eq((uint32_t)(c->sense[2] << 16 | c->sense[12] << 8 | c->sense[13]), sense);
}

/* Takes the unit attentions. */
static void start(struct drv *d, uint64_t features, unsigned size)
{
	static const uint8_t targets[] = { 0, 5, 200 };

	drv_start(d, features, QUEUES, size);
	for (unsigned i = 0; i < NELEM(targets); i++) {
		struct cmd c = to(targets[i], 0x00);

		fails(d, &c, 0x062900);
		good(d, &c);
	}
}

static struct cmd rw(uint8_t target, bool write, uint32_t lba, uint16_t n, uint64_t data, uint32_t block)
{
	struct cmd c = to(target, write ? 0x2a : 0x28);

	put_be32(c.cdb + 2, lba);
	put_be16(c.cdb + 7, n);
	c.data = data;
	*(write ? &c.out : &c.in) = n * block;
	return c;
}

static void pattern(uint8_t *p, size_t n, unsigned seed)
{
	for (size_t i = 0; i < n; i++)
		p[i] = (uint8_t)((i * 31 + seed) ^ (i >> 8));
}

static void integrity(uint64_t features, bool indirect, const char *aio)
{
	struct drv *d = host("pci.0.3.0.target.0.aio", aio);
	uint8_t disk[16384];

	start(d, features, 16);
	const uint64_t buf = drv_alloc(d, sizeof(disk)), mark = d->brk;
	for (unsigned i = 0; i < 60; i++) {
		const uint16_t n = (uint16_t)(1 + i % 32);
		const uint32_t len = n * 512u;

		d->brk = mark;
		pattern(drv_ptr(d, buf, len), len, i);
		struct cmd w = rw(0, true, i * 4, n, buf, 512), r = rw(0, false, i * 4, n, buf, 512);
		w.indirect = r.indirect = indirect;
		w.cut = r.cut = i % 3 ? 0 : 1 + i % 50;
		w.q = r.q = REQ + i % 2;
		good(d, &w);
		ck_assert(drv_irq(d, w.q + 1));
		ck_assert_uint_eq(w.used, 12);
		ck_assert_uint_eq(w.residual, 0);
		file(0, i * 4 * 512, disk, len, false);
		ck_assert_mem_eq(disk, drv_ptr(d, buf, len), len);
		memset(drv_ptr(d, buf, len), 0, len);
		good(d, &r);
		ck_assert_uint_eq(r.used, 12 + SENSE + len);
		ck_assert_mem_eq(disk, drv_ptr(d, r.data, len), len);
	}
	ck_assert_uint_eq(drv_read(d, 0x14, 1) & VIRTIO_S_NEEDS_RESET, 0);
	host_end(d);
}
START_TEST(split) { integrity(0, false, "auto"); integrity(RINGS, true, "threads"); }
END_TEST
START_TEST(packed) { integrity(VIRTIO_F_RING_PACKED, false, "threads"); integrity(VIRTIO_F_RING_PACKED | RINGS, true, "auto"); }
END_TEST

START_TEST(targets)
{
	struct drv *d = host(NULL, NULL);

	start(d, 0, 16);
	ck_assert_uint_eq(drv_cfg(d, 0, 4), 2);
	ck_assert_uint_eq(drv_cfg(d, 4, 4), 254);
	ck_assert_uint_eq(drv_cfg(d, 20, 4), 96);
	ck_assert_uint_eq(drv_cfg(d, 24, 4), 32);
	ck_assert_uint_eq(drv_cfg(d, 30, 2), 200);
	const uint64_t buf = drv_alloc(d, 4096);
	uint8_t *p = drv_ptr(d, buf, 4096);
	struct cmd c = to(0, 0x12);
	c.cdb[1] = 1, c.cdb[2] = 0x80, c.cdb[4] = 255, c.in = 255, c.data = buf;
	good(d, &c);
	ck_assert_mem_eq(p + 4, "FIRST               ", 20);
	ck_assert_uint_eq(c.residual, 255 - 24);
	ck_assert_uint_eq(c.used, 12 + SENSE + 24);
	c = to(5, 0x25);
	c.in = 8, c.data = buf;
	good(d, &c);
	ck_assert_uint_eq(get_be32(p), 99);
	ck_assert_uint_eq(get_be32(p + 4), 2048);
	c = to(200, 0x25);
	c.in = 8, c.data = buf, c.lun[2] = 0;                           /* peripheral addressing */
	good(d, &c);
	ck_assert_uint_eq(get_be32(p), 127);
	c = to(1, 0x00);
	run(d, &c);
	ck_assert_uint_eq(c.response, VSCSI_BAD_TARGET);
	c.lun[0] = 2;
	run(d, &c);
	ck_assert_uint_eq(c.response, VSCSI_BAD_TARGET);
	c = to(0, 0x28);                                                /* no such unit */
	c.lun[3] = 1, c.in = 512, c.data = buf;
	fails(d, &c, 0x052500);
	ck_assert_uint_eq(c.residual, 512);
	c.cdb[0] = 0x12, c.cdb[4] = 36;
	good(d, &c);
	ck_assert_uint_eq(p[0], 0x7f);
	c = to(0, 0x12);
	c.cdb[4] = 36, c.in = 36, c.data = buf, c.lun[5] = 1;           /* nor one of a second level */
	good(d, &c);
	ck_assert_uint_eq(p[0], 0x7f);
	c = (struct cmd){ .lun = { 0xc1, 1 }, .cdb = { 0xa0, 0, 0, 0, 0, 0, 0, 0, 4, 0 }, .in = 1024, .data = buf };
	good(d, &c);
	ck_assert_uint_eq(get_be32(p), 24);
	ck_assert_mem_eq(p + 16, ((const uint8_t[]){ 1, 5, 0x40, 0, 0, 0, 0, 0, 1, 200, 0x40 }), 11);
	host_end(d);
}
END_TEST

START_TEST(residuals)
{
	struct drv *d = host(NULL, NULL);

	start(d, 0, 16);
	const uint64_t buf = drv_alloc(d, 8192);
	struct cmd c = rw(0, false, 0, 2, buf, 512);
	c.in = 4096;
	good(d, &c);
	ck_assert_uint_eq(c.residual, 3072);
	ck_assert_uint_eq(c.used, 12 + SENSE + 1024);
	c = rw(0, false, 0, 2, buf, 512);
	c.in = 1023;
	run(d, &c);
	ck_assert_uint_eq(c.response, VSCSI_OVERRUN);
	ck_assert_uint_eq(c.residual, 1023);
	c = rw(0, true, 0, 2, buf, 512);
	c.out = 1023;
	run(d, &c);
	ck_assert_uint_eq(c.response, VSCSI_OVERRUN);
	c = rw(0, true, 0, 2, buf, 512);
	c.in = 512;                                                     /* both directions */
	run(d, &c);
	ck_assert_uint_eq(c.response, VSCSI_FAILURE);
	c = to(0, 0x04);
	fails(d, &c, 0x052000);
	ck_assert_uint_eq(c.used, 12 + 18);
	c = rw(0, false, 2048, 1, buf, 512);
	fails(d, &c, 0x052100);
	ck_assert_uint_eq(c.residual, 512);
	host_end(d);
}
END_TEST

/* The driver chooses other sizes; a reset restores the defaults. */
START_TEST(sizes)
{
	struct drv *d = host(NULL, NULL);

	start(d, 0, 16);
	drv_write(d, VIRTIO_BAR_DEVICE + 20, 4, 8);
	drv_write(d, VIRTIO_BAR_DEVICE + 24, 4, 16);
	struct cmd c = to(0, 0x04);
	c.sense_size = 8, c.cdb_size = 16;
	run(d, &c);
	ck_assert_uint_eq(c.status, 2);
	ck_assert_uint_eq(c.sense_len, 8);
	ck_assert_uint_eq(c.sense[2], 5);
	ck_assert_uint_eq(c.sense[8], 0);
	drv_write(d, VIRTIO_BAR_DEVICE + 20, 4, 0xffffffff);
	drv_write(d, VIRTIO_BAR_DEVICE + 24, 4, 0xffffffff);
	ck_assert_uint_eq(drv_cfg(d, 20, 4), 252);
	ck_assert_uint_eq(drv_cfg(d, 24, 4), 260);
	c = to(0, 0x00);
	c.sense_size = 252, c.cdb_size = 260;
	good(d, &c);
	drv_write(d, VIRTIO_BAR_DEVICE, 4, 77);
	ck_assert_uint_eq(drv_cfg(d, 0, 4), 2);
	drv_write(d, 0x14, 1, 0);
	ck_assert_uint_eq(drv_cfg(d, 20, 4), 96);
	ck_assert_uint_eq(drv_cfg(d, 24, 4), 32);
	host_end(d);
}
END_TEST

START_TEST(short_requests)
{
	for (unsigned i = 0; i < 3; i++) {
		struct drv *d = host(NULL, NULL);
		struct capture cap;

		start(d, 0, 16);
		const uint64_t a = drv_alloc(d, 256);
		const struct drv_buf b[2] = { { a, i == 0 ? 50 : 51, false }, { a + 64, i == 1 ? 107 : 108, true } };
		capture_start(&cap, STDERR_FILENO);
		drv_add(d, REQ, b, i == 2 ? 1 : 2, false);
		drv_kick(d, REQ);
		drv_settle(d);
		capture_stop(&cap);
		ck_assert(drv_read(d, 0x14, 1) & VIRTIO_S_NEEDS_RESET);
		host_end(d);
	}
}
END_TEST

static int64_t control(struct drv *d, const uint8_t *req, uint32_t len, uint8_t *resp, uint32_t rlen)
{
	const uint64_t a = drv_alloc(d, 64), r = drv_alloc(d, 64);
	struct drv_buf b[3] = { { a, 7, false }, { a + 7, len - 7, false }, { r, rlen, true } };

	memcpy(drv_ptr(d, a, len), req, len);
	memset(drv_ptr(d, r, rlen), 0xee, rlen);
	const int64_t used = drv_do(d, CTRL, b, 3, false);
	memcpy(resp, drv_ptr(d, r, rlen), rlen);
	return used;
}

static uint8_t tmf(struct drv *d, uint32_t subtype, uint8_t target, uint8_t lun, uint64_t tag)
{
	uint8_t req[24] = { 0 }, resp = 0;

	put_le32(req + 4, subtype);
	memcpy(req + 8, ((const uint8_t[]){ 1, target, 0x40, lun }), 4);
	put_le64(req + 16, tag);
	ck_assert_int_eq(control(d, req, 24, &resp, 1), 1);
	return resp;
}

START_TEST(idle_tasks)
{
	struct drv *d = host(NULL, NULL);

	start(d, 0, 16);
	ck_assert_uint_eq(tmf(d, 0, 0, 0, 7), 0);
	ck_assert_uint_eq(tmf(d, 1, 0, 0, 0), 0);
	ck_assert_uint_eq(tmf(d, 2, 0, 0, 0), VSCSI_FUNCTION_REJECTED);
	ck_assert_uint_eq(tmf(d, 6, 0, 0, 7), 0);
	ck_assert_uint_eq(tmf(d, 7, 0, 0, 0), 0);
	ck_assert_uint_eq(tmf(d, 99, 0, 0, 0), VSCSI_FUNCTION_REJECTED);
	ck_assert_uint_eq(tmf(d, 0, 1, 0, 0), VSCSI_BAD_TARGET);
	ck_assert_uint_eq(tmf(d, 5, 0, 1, 0), VSCSI_INCORRECT_LUN);
	ck_assert_uint_eq(tmf(d, 5, 0, 0, 0), 0);                       /* reset of the unit */
	struct cmd c = to(0, 0x00);
	fails(d, &c, 0x062903);
	ck_assert_uint_eq(tmf(d, 4, 0, 1, 0), 0);                       /* of the nexus */
	fails(d, &c, 0x062907);
	c = to(5, 0x00);
	good(d, &c);
	host_end(d);
}
END_TEST

/* Requests that the disk holds back until it is released. */
static void idle(void *arg) { *(bool *)arg = true; }

static struct blk *hold(struct drv *d)
{
	struct blk *b = blk_find(d->vm, "target.0");
	bool is_idle = false;

	ck_assert_ptr_nonnull(b);
	dev_lock(&d->v->pci.dev);
	blk_hold(b, idle, &is_idle);
	dev_unlock(&d->v->pci.dev);
	ck_assert(is_idle);
	return b;
}

static void release(struct drv *d, struct blk *b)
{
	dev_lock(&d->v->pci.dev);
	blk_release(b);
	dev_unlock(&d->v->pci.dev);
}

START_TEST(busy_tasks)
{
	struct drv *d = host(NULL, NULL);
	struct cmd c[3];

	start(d, 0, 16);
	const uint64_t buf = drv_alloc(d, 4096), reqs = drv_alloc(d, 64), resp = drv_alloc(d, 1);
	struct blk *b = hold(d);
	for (unsigned i = 0; i < 3; i++) {
		c[i] = rw(0, false, i, 1, buf + 512 * i, 512);
		c[i].tag = 10 + i;
		cmd_add(d, &c[i]);
	}
	drv_kick(d, REQ);
	drv_settle(d);
	ck_assert_uint_eq(tmf(d, 6, 0, 0, 11), VSCSI_FUNCTION_SUCCEEDED);
	ck_assert_uint_eq(tmf(d, 6, 0, 0, 13), 0);
	ck_assert_uint_eq(tmf(d, 6, 200, 0, 11), 0);
	ck_assert_uint_eq(tmf(d, 7, 0, 0, 0), VSCSI_FUNCTION_SUCCEEDED);
	/* ABORT TASK of one; its answer comes after the task's. */
	uint8_t *p = drv_ptr(d, reqs, 24);
	memset(p, 0, 24);
	memcpy(p + 8, ((const uint8_t[]){ 1, 0, 0x40 }), 3);
	put_le64(p + 16, 11);
	const struct drv_buf t[2] = { { reqs, 24, false }, { resp, 1, true } };
	*(uint8_t *)drv_ptr(d, resp, 1) = 0xee;
	drv_add(d, CTRL, t, 2, false);
	drv_kick(d, CTRL);
	drv_settle(d);
	ck_assert_int_eq(drv_poll(d, CTRL, NULL), -1);
	release(d, b);
	for (unsigned i = 0; i < 3; i++)
		ck_assert_int_ge(drv_wait(d, REQ, NULL), 0);
	ck_assert_int_ge(drv_wait(d, CTRL, NULL), 0);
	ck_assert_uint_eq(*(uint8_t *)drv_ptr(d, resp, 1), 0);
	for (unsigned i = 0; i < 3; i++) {
		cmd_answer(d, &c[i]);
		ck_assert_uint_eq(c[i].response, i == 1 ? VSCSI_ABORTED : 0);
	}
	/* The reset of a unit takes all, and the next function waits behind it. */
	b = hold(d);
	for (unsigned i = 0; i < 2; i++)
		cmd_add(d, &c[i]);
	drv_kick(d, REQ);
	drv_settle(d);
	put_le32(p + 4, 5);
	drv_add(d, CTRL, t, 2, false);
	drv_add(d, CTRL, t, 2, false);
	drv_kick(d, CTRL);
	drv_settle(d);
	ck_assert_int_eq(drv_poll(d, CTRL, NULL), -1);
	release(d, b);
	ck_assert_int_ge(drv_wait(d, REQ, NULL), 0);
	ck_assert_int_ge(drv_wait(d, REQ, NULL), 0);
	ck_assert_int_ge(drv_wait(d, CTRL, NULL), 0);
	ck_assert_int_ge(drv_wait(d, CTRL, NULL), 0);
	for (unsigned i = 0; i < 2; i++) {
		cmd_answer(d, &c[i]);
		ck_assert_uint_eq(c[i].response, VSCSI_RESET);
	}
	host_end(d);
}
END_TEST

/* The device is reset while a function waits for its requests. */
START_TEST(reset_in_task)
{
	struct drv *d = host(NULL, NULL);

	for (unsigned i = 0; i < 2; i++) {
		d->brk = DRV_RAM_BASE;
		start(d, i ? VIRTIO_F_RING_PACKED : 0, 16);
		const uint64_t buf = drv_alloc(d, 512), reqs = drv_alloc(d, 64);
		struct blk *b = hold(d);
		struct cmd c = rw(0, false, 0, 1, buf, 512);
		const struct drv_buf t[2] = { { reqs, 24, false }, { reqs + 32, 1, true } };

		cmd_add(d, &c);
		drv_kick(d, REQ);
		drv_settle(d);
		memcpy(drv_ptr(d, reqs + 8, 3), ((const uint8_t[]){ 1, 0, 0x40 }), 3);
		put_le32(drv_ptr(d, reqs + 4, 4), 5);
		drv_add(d, CTRL, t, 2, false);
		drv_kick(d, CTRL);
		drv_settle(d);
		drv_write(d, 0x14, 1, 0);
		ck_assert_uint_ne(drv_read(d, 0x14, 1), 0);
		release(d, b);
		drv_settle(d);
		for (unsigned k = 0; k < 100 && drv_read(d, 0x14, 1); k++)
			loop_step(d->vm->loop, 10);
		ck_assert_uint_eq(drv_read(d, 0x14, 1), 0);
	}
	d->brk = DRV_RAM_BASE;
	start(d, 0, 16);
	host_end(d);
}
END_TEST

static uint8_t notify(struct drv *d, uint32_t type, uint8_t target, uint32_t events, uint32_t *actual)
{
	uint8_t req[16] = { 0 }, resp[5];

	put_le32(req, type);
	memcpy(req + 4, ((const uint8_t[]){ 1, target, 0x40 }), 3);
	put_le32(req + 12, events);
	ck_assert_int_eq(control(d, req, 16, resp, 5), 5);
	*actual = get_le32(resp);
	return resp[4];
}

static struct device *dev_of(struct drv *d) { return &d->v->pci.dev; }

START_TEST(media)
{
	struct drv *d = host(NULL, NULL);
	struct capture cap;
	uint32_t actual;
	char other[64];

	d->vm->dry = false;
	start(d, 0, 16);
	ck_assert_uint_eq(notify(d, 1, 5, 0xffffffff, &actual), 0);
	ck_assert_uint_eq(actual, 0x10);
	ck_assert_uint_eq(notify(d, 1, 0, 0xffffffff, &actual), 0);
	ck_assert_uint_eq(actual, 0);
	ck_assert_uint_eq(notify(d, 2, 1, 0x10, &actual), VSCSI_BAD_TARGET);
	ck_assert_int_eq(virtio_scsi_medium(dev_of(d), 5, NULL), 0);    /* nobody wants to hear of it */
	struct cmd c = to(5, 0x00);
	fails(d, &c, 0x023a01);
	ck_assert_uint_eq(notify(d, 2, 5, 0xffffffff, &actual), 0);
	snprintf(other, sizeof(other), "%s", path[1]);
	ck_assert_int_eq(virtio_scsi_medium(dev_of(d), 5, other), 0);
	memset(other, 'x', sizeof(other) - 1);
	ck_assert_int_eq(drv_poll(d, EVENT, NULL), -1);                 /* there is no buffer yet: it is kept */
	const struct drv_buf ev = { drv_alloc(d, 16), 16, true };
	uint32_t len;
	drv_add(d, EVENT, &ev, 1, false);
	drv_kick(d, EVENT);
	ck_assert_int_ge(drv_wait(d, EVENT, &len), 0);
	ck_assert_uint_eq(len, 16);
	ck_assert_mem_eq(drv_ptr(d, ev.gpa, 16), ((const uint8_t[]){ 2, 0, 0, 0, 1, 5, 0x40, 0, 0, 0, 0, 0, 0x10, 0, 0, 0 }), 16);
	fails(d, &c, 0x062800);
	good(d, &c);
	drv_add(d, EVENT, &ev, 1, false);
	drv_kick_always(d, EVENT);
	drv_settle(d);
	ck_assert_int_eq(drv_poll(d, EVENT, NULL), -1);
	ck_assert_int_eq(virtio_scsi_medium(dev_of(d), 5, path[2]), -EBUSY);    /* in use by target 200 for writing */
	good(d, &c);
	c.cdb[0] = 0x1e, c.cdb[4] = 1;
	good(d, &c);
	capture_start(&cap, STDERR_FILENO);
	ck_assert_int_eq(virtio_scsi_medium(dev_of(d), 5, NULL), -EBUSY);
	ck_assert_int_eq(virtio_scsi_medium(dev_of(d), 0, NULL), -EINVAL);
	ck_assert_int_eq(virtio_scsi_medium(dev_of(d), 1000, NULL), -EINVAL);
	capture_stop(&cap);
	c.cdb[4] = 0;
	good(d, &c);
	ck_assert_int_eq(virtio_scsi_medium(dev_of(d), 5, NULL), 0);
	ck_assert_int_ge(drv_wait(d, EVENT, &len), 0);
	host_end(d);
}
END_TEST

/* The medium goes when its last request is back. */
START_TEST(medium_in_use)
{
	struct drv *d = host(NULL, NULL);
	uint8_t text[2048];

	start(d, 0, 16);
	pattern(text, sizeof(text), 3);
	file(1, 0, text, sizeof(text), true);
	const uint64_t buf = drv_alloc(d, 2048);
	struct blk *b = blk_find(d->vm, "target.5");
	bool is_idle;
	dev_lock(dev_of(d));
	blk_hold(b, idle, &is_idle);
	dev_unlock(dev_of(d));
	struct cmd r = rw(5, false, 0, 1, buf, 2048), t = to(5, 0x00);
	cmd_add(d, &r);
	drv_kick(d, REQ);
	drv_settle(d);
	ck_assert_int_eq(virtio_scsi_medium(dev_of(d), 5, NULL), 0);
	ck_assert_int_eq(virtio_scsi_medium(dev_of(d), 5, NULL), -EBUSY);
	t.q = REQ2;
	fails(d, &t, 0x023a02);
	ck_assert_ptr_eq(blk_find(d->vm, "target.5"), b);
	release(d, b);
	ck_assert_int_ge(drv_wait(d, REQ, NULL), 0);
	cmd_answer(d, &r);
	ck_assert_uint_eq(r.response, 0);
	ck_assert_mem_eq(drv_ptr(d, buf, 2048), text, 2048);
	for (unsigned i = 0; i < 100 && blk_find(d->vm, "target.5"); i++)
		loop_step(d->vm->loop, 10);
	ck_assert_ptr_null(blk_find(d->vm, "target.5"));
	fails(d, &t, 0x023a01);
	host_end(d);
}
END_TEST

/* Saved with requests and a task management function that wait; loaded, they are carried out. */
static void waiting(uint64_t features)
{
	struct drv *d = host(NULL, NULL);
	struct device *dev = dev_of(d);
	struct cmd w, r;
	uint8_t disk[1024];

	start(d, features, 16);
	const uint64_t buf = drv_alloc(d, 4096), reqs = drv_alloc(d, 64);
	struct blk *b = hold(d);
	pattern(drv_ptr(d, buf, 1024), 1024, 4);
	w = rw(0, true, 3, 2, buf, 512);
	w.cut = 40;
	r = rw(0, false, 9, 2, buf + 2048, 512);
	r.q = REQ2, r.tag = 99;
	cmd_add(d, &w);
	cmd_add(d, &r);
	drv_kick(d, REQ);
	drv_kick(d, REQ2);
	drv_settle(d);
	const struct drv_buf t[2] = { { reqs, 24, false }, { reqs + 32, 1, true } };
	memcpy(drv_ptr(d, reqs + 8, 3), ((const uint8_t[]){ 1, 0, 0x40 }), 3);
	put_le64(drv_ptr(d, reqs + 16, 8), 99);
	drv_add(d, CTRL, t, 2, false);
	drv_kick(d, CTRL);
	drv_settle(d);
	dev->cls->pause(dev);
	json_t *rec = device_save(dev);
	ck_assert_ptr_nonnull(rec);
	device_reset(dev);
	ck_assert_int_eq(device_load(dev, rec), 0);
	dev->cls->pause(dev);
	json_t *again = device_save(dev);
	ck_assert(json_equal(rec, again));
	device_reset(dev);                                              /* never started, and forgotten */
	ck_assert_int_eq(device_load(dev, rec), 0);
	json_decref(rec);
	json_decref(again);
	release(d, b);
	drv_settle(d);
	ck_assert_int_eq(drv_poll(d, REQ, NULL), -1);
	dev->cls->resume(dev);
	ck_assert_int_ge(drv_wait(d, REQ, NULL), 0);
	ck_assert_int_ge(drv_wait(d, REQ2, NULL), 0);
	ck_assert_int_ge(drv_wait(d, CTRL, NULL), 0);
	cmd_answer(d, &w);
	cmd_answer(d, &r);
	ck_assert_uint_eq(w.response, 0);
	ck_assert_uint_eq(w.status, 0);
	ck_assert_uint_eq(r.response, VSCSI_ABORTED);
	file(0, 3 * 512, disk, sizeof(disk), false);
	ck_assert_mem_eq(disk, drv_ptr(d, buf, 1024), 1024);
	struct cmd c = to(0, 0x00);
	good(d, &c);
	host_end(d);
}
START_TEST(snapshot_waiting) { waiting(0); waiting(RINGS | VIRTIO_F_RING_PACKED); }
END_TEST

/* What a damaged record may say: refused, and the device can be reset and used. */
START_TEST(snapshot_damaged)
{
	struct drv *d = host(NULL, NULL);
	struct vscsi *s = (struct vscsi *)d->v;
	struct device *dev = dev_of(d);
	struct capture cap;
	uint8_t *rec;
	uint32_t len, refused = 0;

	start(d, 0, 16);
	struct cmd w = rw(0, true, 3, 2, drv_alloc(d, 1024), 512);
	hold(d);
	cmd_add(d, &w);
	drv_kick(d, REQ);
	drv_settle(d);
	dev->cls->pause(dev);
	vscsi_saving(dev);
	len = s->waiting_len;
	ck_assert_uint_eq(len, 64 + 3 * 12);
	rec = malloc(len);
	memcpy(rec, s->waiting, len);
	json_t *saved = device_save(dev);
	device_reset(dev);
	for (unsigned i = 0; i < len; i++) {
		for (unsigned bit = 0; bit < 8; bit++) {
			ck_assert_int_eq(device_load(dev, saved), 0);
			memcpy(s->waiting, rec, len);
			s->waiting[i] ^= (uint8_t)(1u << bit);
			/* As when loading: forget what was held, take the record. */
			for (unsigned q = 0; q < d->v->nqueues; q++)
				d->v->vq[q].inuse = 0;
			s->tmf.active = false;
			capture_start(&cap, STDERR_FILENO);
			dev_lock(dev);
			refused += vscsi_waiting_load(s) != 0;
			dev_unlock(dev);
			capture_stop(&cap);
			device_reset(dev);
		}
	}
	ck_assert_uint_gt(refused, 64);
	free(rec);
	json_decref(saved);
	host_end(d);
}
END_TEST

START_TEST(reset_restores)
{
	struct drv *d = host(NULL, NULL);
	struct device *dev = dev_of(d);

	start(d, 0, 16);
	struct vscsi *s = (struct vscsi *)d->v;
	struct cmd c = to(5, 0x1b);
	c.cdb[4] = 2;
	good(d, &c);
	ck_assert(s->target[5].lun.tray_open);
	device_reset(dev);
	ck_assert(!s->target[5].lun.tray_open && s->target[5].lun.ua_asc == 0x29);
	host_end(d);
}
END_TEST

START_TEST(refusals)
{
	struct vm *vm = drv_vm_new();
	struct capture cap;

	capture_start(&cap, STDERR_FILENO);
	ck_assert_ptr_null(drv_open(vm, &virtio_scsi_class, "pci.0.3.0"));      /* no disk at all */
	drv_conf(vm, "pci.0.3.0.target.3.type", "hd");
	ck_assert_ptr_null(drv_open(vm, &virtio_scsi_class, "pci.0.3.0"));
	drv_conf(vm, "pci.0.4.0.target.3.path", "/nowhere/at/all");
	ck_assert_ptr_null(drv_open(vm, &virtio_scsi_class, "pci.0.4.0"));
	drv_conf(vm, "pci.0.5.0.target.3.type", "cd");                  /* an empty drive is a drive */
	struct drv *d = drv_open(vm, &virtio_scsi_class, "pci.0.5.0");
	drv_conf(vm, "pci.0.6.0.target.0.type", "cd");
	drv_conf(vm, "pci.0.6.0.target.256.type", "cd");
	ck_assert_ptr_null(drv_open(vm, &virtio_scsi_class, "pci.0.6.0"));
	capture_stop(&cap);
	ck_assert_ptr_nonnull(d);
	drv_close(d);
	drv_vm_free(vm);
}
END_TEST

UNIT_MAIN("devices/virtio/virtio_scsi", split, packed, targets, residuals, sizes, short_requests, idle_tasks, busy_tasks,
	reset_in_task, media, medium_in_use, snapshot_waiting, snapshot_damaged, reset_restores, refusals)
