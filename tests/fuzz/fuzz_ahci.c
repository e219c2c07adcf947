/*
 * A hostile AHCI driver: command headers, tables, FISes and PRDs in guest memory, register writes in any order.  Byte 0: kind of
 * controller; byte 1: bits of what is set up before the steps.  Then steps of a code and its bytes:
 *	0-3 write a port's register: offset in 4s, 4 bytes	4 write HBA register: offset in 4s, 4 bytes
 *	5 put bytes into memory: offset in 16s (2 bytes), length, bytes	6 issue slots: mask of 4 bytes, SACT too
 *	7 let the loop run					8 exchange the medium
 *	9 a command: slot, opcode, feature, count, LBA, flags, length in 256s: built as a driver would
 * Whatever happens, the controller can be reset and used again.
 */
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/check.h"

#include <check.h>
#include <stdarg.h>
#include <sys/mman.h>
#include <unistd.h>

#include "common/loop.h"
#include "tests/unit/devices/ahci/hba.h"

#define DISK_LEN (256u << 10)

static const char *disk(void)
{
	static char path[32];

	if (!path[0]) {
		int fd = memfd_create("disk", 0);

		MUST(fd >= 0 && ftruncate(fd, DISK_LEN) == 0);
		snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	}
	return path;
}

struct input {
	const uint8_t *p;
	size_t len;
};

static uint64_t take(struct input *in, unsigned n)
{
	uint64_t v = 0;

	n = (unsigned)MIN((size_t)n, in->len);
	memcpy(&v, in->p, n);
	in->p += n;
	in->len -= n;
	return v;
}

static void run_loop(struct hba *h)
{
	for (int i = 0; i < 4; i++)
		loop_step(h->vm->loop, 0);
}

static void build(struct hba *h, unsigned port, struct input *in)
{
	const unsigned slot = take(in, 1) & 31;
	struct hba_cmd c = { .op = (uint8_t)take(in, 1), .feature = (uint8_t)take(in, 1) };

	c.count = (uint16_t)take(in, 2);
	c.lba = take(in, 6);
	const unsigned flags = (unsigned)take(in, 1);
	uint8_t cdb[12] = { 0 };

	c.len = (uint32_t)take(in, 1) * 256;
	c.data = HBA_DATA + (flags & 0xf0) * 64;
	c.write = flags & 1;
	c.ncq = flags & 2;
	c.pieces = flags & 4 && c.len ? 7 : 0;
	c.ioc = flags & 8;
	if (c.op == 0xa0) {
		for (unsigned i = 0; i < sizeof(cdb); i++)
			cdb[i] = (uint8_t)take(in, 1);
		c.cdb = cdb;
	}
	hba_build(h, port, slot, &c);
	if (c.ncq)
		port_wr(h, port, P_SACT, BIT(slot));
	port_wr(h, port, P_CI, BIT(slot));
}

static void put(struct hba *h, struct input *in)
{
	const uint64_t at = DRV_RAM_BASE + take(in, 2) * 16;
	size_t n = (size_t)take(in, 1);

	n = MIN(n, in->len);
	if (n)
		memcpy(hba_ptr(h, at, n), in->p, n);
	in->p += n;
	in->len -= n;
}

static void step(struct hba *h, unsigned port, unsigned ports, struct input *in)
{
	const unsigned code = (unsigned)take(in, 1);
	uint64_t v;

	switch (code % 10) {
	case 0: case 1: case 2: case 3:
		v = take(in, 1);
		port_wr(h, code % ports, (v & 31) * 4, (uint32_t)take(in, 4));
		break;
	case 4:
		v = take(in, 1);
		hba_wr(h, (v & 15) * 4, (uint32_t)take(in, 4));
		break;
	case 5: put(h, in); break;
	case 6:
		v = take(in, 4);
		port_wr(h, port, P_SACT, (uint32_t)v);
		port_wr(h, port, P_CI, (uint32_t)v);
		break;
	case 7: run_loop(h); break;
	case 8:
		h->vm->dry = false;
		ahci_medium(&h->a->pci.dev, port, code & 0x10 ? disk() : NULL);
		h->vm->dry = true;
		break;
	case 9: build(h, port, in); break;
	}
}

static void open_controller(struct hba *h, unsigned kind)
{
	hba_vm(h);
	drv_conf(h->vm, HBA_ID ".port.0.path", disk());
	drv_conf(h->vm, HBA_ID ".port.0.aio", "threads");
	drv_conf(h->vm, HBA_ID ".port.0.format", "raw");
	drv_conf(h->vm, HBA_ID ".port.1.type", "cd");
	drv_conf(h->vm, HBA_ID ".port.1.format", "raw");
	drv_conf(h->vm, HBA_ID ".port.1.aio", "threads");
	if (kind & 1)
		drv_conf(h->vm, HBA_ID ".port.0.sectorsize", "4096");
	if (kind & 2)
		drv_conf(h->vm, HBA_ID ".port.0.ro", "true");
	MUST(hba_open(h, &ahci_class));
}

/* After whatever came before, a driver that begins with a reset finds a disk. */
static void usable(struct hba *h)
{
	hba_settle(h);
	device_reset(&h->a->pci.dev);
	MUST(pci_assign(h->vm) == 0);
	hba_cfg_wr(h, PCI_COMMAND, 2, PCI_COMMAND_MEM | PCI_COMMAND_MASTER);
	hba_start(h, 0);
	MUST(hba_do(h, 0, &(struct hba_cmd){ .op = 0xec, .data = HBA_DATA, .len = 512 }) == 0x50);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct hba h = { 0 };
	struct input in = { data + 2, len - 2 };

	if (len < 3)
		return 0;
	open_controller(&h, data[0]);
	for (unsigned port = 0; port < 2; port++) {
		if (data[1] & BIT(port))
			hba_start(&h, port);
	}
	for (unsigned n = 0; in.len && n < 200; n++)
		step(&h, data[1] >> 2 & 1, 2, &in);
	h.a->paused = data[1] & 8;
	json_t *rec = device_save(&h.a->pci.dev);
	MUST(rec);
	h.a->paused = false;
	json_decref(rec);
	usable(&h);
	drv_vm_free(h.vm);
	return 0;
}
