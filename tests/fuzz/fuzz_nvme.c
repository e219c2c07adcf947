/*
 * An NVMe controller and a hostile driver.  Byte 0: number of I/O queues; 1: entries of each; 2: memory page size; 3: flags.
 * Then steps, a byte that says what and:
 *	0  register: 2 bytes of offset in 4s, 4 of value
 *	1  doorbell: 1 byte of register (queue and kind), 2 of value
 *	2  memory: 2 bytes of offset in 8s from the start, 1 of length, that many bytes
 *	3  command: 1 byte of queue, 64 bytes, put into the queue and rung
 *	4  runs the loop
 *	5  pauses, saves, loads what was saved, goes on
 * Whatever happens, the controller can be reset and does what it is told then.
 */
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/check.h"

#include <check.h>
#include <stdarg.h>

#include "tests/unit/devices/nvme/nvdrv.h"

#define STEPS_MAX 64
#define SAVES_MAX 2

struct input {
	const uint8_t *p;
	size_t len;
};

/* The next n bytes, zeroes behind the end. */
static void take(struct input *in, void *out, size_t n)
{
	const size_t have = MIN(n, in->len);

	memset(out, 0, n);
	if (have)
		memcpy(out, in->p, have);
	in->p += have;
	in->len -= have;
}

static void save_load(struct nv *n)
{
	struct device *dev = &n->c->pci.dev;

	dev->cls->pause(dev);
	json_t *a = device_save(dev);
	MUST(a && device_load(dev, a) == 0);
	json_decref(a);
	dev->cls->resume(dev);
}

static void command(struct nv *n, unsigned q, const uint8_t *cmd)
{
	struct nv_queue *nq = &n->q[q];

	if (!nq->size)
		return;
	memcpy(nv_ptr(n, nq->sq + nq->tail * NVME_SQE_LEN, NVME_SQE_LEN), cmd, NVME_SQE_LEN);
	nq->tail = (nq->tail + 1) % nq->size;
	nv_ring(n, q);
}

static void step(struct nv *n, struct input *in, unsigned *saves)
{
	uint8_t what, b[NVME_SQE_LEN], data[256];

	take(in, &what, 1);
	switch (what % 6) {
	case 0:
		take(in, b, 6);
		nv_wr(n, get_le16(b) % 0x500 * 4u, get_le32(b + 2));
		nv_rd(n, get_le16(b) % 0x500 * 4u);
		break;
	case 1:
		take(in, b, 3);
		nv_wr(n, NVME_DOORBELLS + b[0] * 4u, get_le16(b + 1));
		break;
	case 2:
		take(in, b, 3);
		take(in, data, b[2]);
		memcpy(nv_ptr(n, DRV_RAM_BASE + get_le16(b) * 8u, sizeof(data)), data, b[2]);
		break;
	case 3:
		take(in, data, 1);
		take(in, b, NVME_SQE_LEN);
		command(n, data[0] % NV_QUEUES, b);
		break;
	case 4:
		drv_settle(n->d);
		break;
	default:
		if ((*saves)++ < SAVES_MAX)
			save_load(n);
	}
}

static void again(struct nv *n)
{
	uint8_t cmd[NVME_SQE_LEN];

	nv_wr(n, NVME_CC, 0);
	n->d->brk = DRV_RAM_BASE;
	n->mps = 0;
	drv_pci_write(n->d, PCI_COMMAND, 2, PCI_COMMAND_MEM | PCI_COMMAND_MASTER);
	nv_start(n, 16, 1, 8);
	nv_cmd(cmd, IO_FLUSH);
	MUST(nv_do(n, 1, cmd) == NVME_SUCCESS);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct input in = { data, len };
	struct vm *vm = drv_vm_new();
	unsigned saves = 0;
	uint8_t h[4];

	take(&in, h, sizeof(h));
	drv_conf(vm, NV_ID ".ram", "1M");
	drv_conf(vm, NV_ID ".aio", "threads");
	drv_conf(vm, NV_ID ".ioslots", h[3] & 1 ? "1" : "8");
	drv_conf(vm, NV_ID ".sectorsize", h[3] & 2 ? "4096" : "512");
	if (h[3] & 4)
		drv_conf(vm, NV_ID ".ro", "true");
	struct nv *n = nv_open_on(vm, NV_ID);
	MUST(n);
	n->mps = h[2] % (NVME_MPS_MAX + 1u);
	nv_start(n, 16, h[0] % NV_QUEUES, 2 + h[1] % 31);
	for (unsigned i = 0; in.len && i < STEPS_MAX; i++)
		step(n, &in, &saves);
	drv_settle(n->d);
	again(n);
	nv_close(n);
	return 0;
}
