/*
 * SCSI commands for a disk, a CD, an empty drive and units that are not there, through virtio-scsi.  Byte 0: the disk is
 * read-only (1), commands are kicked together (2).  Then commands: 1 byte whom (bits 0 to 2) and LUN (3), or the control queue (7);
 * 1 byte length of the command block, the block; 2 bytes of room for data in, 2 of data out, 1 of how much of that follows.
 * Whatever happens: every request is answered, with no more bytes than there is room, and the disk can be read afterwards.
 */
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/check.h"

#include <check.h>
#include <stdarg.h>
#include <sys/mman.h>
#include <unistd.h>

#include "devices/classes.h"
#include "devices/virtio/virtio_scsi.h"
#include "tests/unit/devices/virtio/driver.h"

#define COMMANDS_MAX 24
#define WAIT_S 20                               /* a busy machine answers late */
#define HDR (VSCSI_HDR_LEN + 32)
#define RESP (VSCSI_RESP_LEN + 96)

static const char *image(unsigned i)
{
	static char path[2][32];

	if (!path[i][0]) {
		int fd = memfd_create("image", 0);

		MUST(fd >= 0 && ftruncate(fd, i ? 300000 : 65536 + 100) == 0);
		snprintf(path[i], sizeof(path[i]), "/proc/self/fd/%d", fd);
	}
	return path[i];
}

static struct drv *open_device(struct vm *vm, bool ro)
{
	drv_conf(vm, "pci.0.3.0.target.0.path", image(0));
	drv_conf(vm, "pci.0.3.0.target.0.format", "raw");
	drv_conf(vm, "pci.0.3.0.target.0.aio", "threads");
	drv_conf(vm, "pci.0.3.0.target.0.ro", ro ? "true" : "false");
	drv_conf(vm, "pci.0.3.0.target.1.type", "cd");
	drv_conf(vm, "pci.0.3.0.target.1.path", image(1));
	drv_conf(vm, "pci.0.3.0.target.1.format", "raw");
	drv_conf(vm, "pci.0.3.0.target.1.aio", "threads");
	drv_conf(vm, "pci.0.3.0.target.2.type", "cd");
	return drv_open(vm, &virtio_scsi_class, "pci.0.3.0");
}

struct sent {
	uint64_t resp;
	uint32_t in, out;
	int id;
};

/* One command from the input; the bytes taken, 0: it has no more. */
static size_t command(struct drv *d, const uint8_t *p, size_t len, struct sent *c)
{
	const size_t cdb = len >= 2 ? MIN((size_t)p[1], MIN((size_t)32, len - 2)) : 0;
	const uint8_t *q = p + 2 + cdb;

	if (len < 2 + cdb + 5)
		return 0;
	const uint16_t in = get_le16(q), out = get_le16(q + 2);
	const size_t given = MIN((size_t)q[4], MIN((size_t)out, len - 2 - cdb - 5));
	const uint64_t req = drv_alloc(d, HDR), data = drv_alloc(d, (uint64_t)in + out + 1);
	uint8_t *h = drv_ptr(d, req, HDR);
	struct drv_buf b[4] = { { req, HDR, false } };
	unsigned n = 1;

	if ((p[0] & 7) == 7)
		memcpy(h, "\xc1\x01", 2);
	else
		memcpy(h, ((const uint8_t[]){ 1, p[0] & 3, 0x40, p[0] >> 3 & 1 }), 4);
	memcpy(h + VSCSI_HDR_LEN, p + 2, cdb);
	memcpy(drv_ptr(d, data, out + 1u), q + 5, given);
	*c = (struct sent){ drv_alloc(d, RESP), in, out, 0 };
	memset(drv_ptr(d, c->resp, RESP), 0xee, RESP);
	if (out)
		b[n++] = (struct drv_buf){ data, out, false };
	b[n++] = (struct drv_buf){ c->resp, RESP, true };
	if (in)
		b[n++] = (struct drv_buf){ data + out, in, true };
	c->id = drv_add(d, VSCSI_Q_REQUEST, b, n, false);
	return 2 + cdb + 5 + given;
}

static void control(struct drv *d, const uint8_t *p, size_t len)
{
	const uint64_t req = drv_alloc(d, 64);
	const struct drv_buf b[2] = { { req, 24, false }, { req + 32, 8, true } };

	memcpy(drv_ptr(d, req, 24), p, MIN(len, (size_t)24));
	drv_add(d, VSCSI_Q_CTRL, b, 2, false);
	drv_kick(d, VSCSI_Q_CTRL);
	if (drv_read(d, 0x14, 1) & VIRTIO_S_NEEDS_RESET)
		return;
	drv_wait(d, VSCSI_Q_CTRL, NULL);
}

static void answers(struct drv *d, const struct sent *all, unsigned n)
{
	uint32_t used;

	drv_kick(d, VSCSI_Q_REQUEST);
	for (unsigned i = 0; i < n; i++) {
		const struct sent *c = NULL;
		int id = -1;

		for (unsigned k = 0; id < 0 && k < WAIT_S; k++)
			id = drv_wait(d, VSCSI_Q_REQUEST, &used);

		for (unsigned k = 0; k < n; k++)
			c = all[k].id == id ? &all[k] : c;
		MUST(c);
		const uint8_t *r = drv_ptr(d, c->resp, RESP);

		MUST(get_le32(r) <= 18 && used <= RESP + c->in && used >= VSCSI_RESP_LEN && get_le32(r + 4) <= c->in + c->out);
		MUST(r[11] == VSCSI_OK ? r[10] == 0 || (r[10] == 2 && get_le32(r) == 18) : r[10] == 0);
	}
}

static void commands(struct drv *d, const uint8_t *p, size_t len, bool together)
{
	struct sent c[COMMANDS_MAX];
	unsigned n = 0;
	size_t used;

	for (unsigned total = 0; len && total < COMMANDS_MAX; total++, p += used, len -= used) {
		if (p[0] & 0x80) {
			used = MIN(len, (size_t)25);
			control(d, p + 1, used - 1);
			if (drv_read(d, 0x14, 1) & VIRTIO_S_NEEDS_RESET)
				break;
			continue;
		}
		used = command(d, p, len, &c[n]);
		if (!used)
			break;
		n++;
		if (together)
			continue;
		answers(d, c, n);
		n = 0;
	}
	answers(d, c, n);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	static const uint8_t ready[7] = { 0 }, read10[] = { 0, 10, 0x28, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 2, 0, 0, 0 };
	struct vm *vm = drv_vm_new();
	struct sent c;

	if (len < 1) {
		drv_vm_free(vm);
		return 0;
	}
	struct drv *d = open_device(vm, data[0] & 1);
	MUST(d);
	drv_start(d, 0, 3, 256);
	commands(d, data + 1, len - 1, data[0] & 2);
	drv_negotiate(d, 0);
	for (unsigned q = 0; q < 3; q++)
		drv_queue_setup(d, q, 64);
	drv_ok(d);
	MUST(command(d, ready, sizeof(ready), &c));
	answers(d, &c, 1);
	MUST(((uint8_t *)drv_ptr(d, c.resp, RESP))[10] == 2);
	MUST(command(d, read10, sizeof(read10), &c));
	answers(d, &c, 1);
	MUST(((uint8_t *)drv_ptr(d, c.resp, RESP))[10] == 0);
	drv_close(d);
	drv_vm_free(vm);
	return 0;
}
