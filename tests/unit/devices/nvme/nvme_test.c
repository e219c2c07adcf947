#include "tests/unit/unit.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "devices/classes.h"
#include "tests/unit/capture.h"
#include "tests/unit/devices/nvme/nvdrv.h"

static char path[64];

static void image_make(uint64_t size)
{
	snprintf(path, sizeof(path), "/tmp/skep-nvme-XXXXXX");
	const int fd = mkstemp(path);
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(ftruncate(fd, (off_t)size), 0);
	close(fd);
}

static struct nv *disk(uint64_t size, const char *key, const char *val)
{
	image_make(size);
	struct nv *n = nv_open(path, key, val);
	ck_assert_ptr_nonnull(n);
	return n;
}

static void disk_end(struct nv *n)
{
	nv_close(n);
	unlink(path);
}

START_TEST(registers)
{
	struct nv *n = disk(1 << 20, "qsz", "64");
	ck_assert_uint_eq(drv_read(n->d, NVME_CAP, 8), 63 | 1ull << 16 | 120ull << 24 | 1ull << 37 | 4ull << 52);
	ck_assert_uint_eq(nv_rd(n, NVME_CAP + 4), 1 << 5 | 4 << 20);
	ck_assert_uint_eq(nv_rd(n, NVME_VS), 0x10400);
	ck_assert_uint_eq(nv_rd(n, NVME_CSTS), 0);
	nv_wr(n, NVME_ASQ, 0x12345fff);
	nv_wr(n, NVME_ASQ + 4, 0x9);
	ck_assert_uint_eq(drv_read(n->d, NVME_ASQ, 8), 0x912345000);
	drv_write(n->d, NVME_ACQ, 8, 0xa00007123);
	ck_assert_uint_eq(drv_read(n->d, NVME_ACQ, 8), 0xa00007000);
	nv_wr(n, NVME_INTMS, 5);
	ck_assert_uint_eq(nv_rd(n, NVME_INTMC), 5);
	nv_wr(n, NVME_INTMC, 4);
	ck_assert_uint_eq(nv_rd(n, NVME_INTMS), 1);
	/* Writes that are no dwords are dropped; doorbells read as zero and do nothing while disabled. */
	drv_write(n->d, NVME_CC, 1, 1);
	ck_assert_uint_eq(nv_rd(n, NVME_CC), 0);
	nv_wr(n, NVME_DOORBELLS, 1);
	ck_assert_uint_eq(nv_rd(n, NVME_DOORBELLS), 0);
	ck_assert_uint_eq(drv_pci_read(n->d, PCI_PROG_IF, 1), 2);
	ck_assert_uint_eq(drv_pci_read(n->d, PCI_SUBCLASS, 2), 0x0108);
	disk_end(n);
}
END_TEST

START_TEST(enabling)
{
	struct nv *n = disk(1 << 20, NULL, NULL);
	nv_enable(n, 8);
	/* Page size and arbitration cannot change now, entry sizes can. */
	nv_wr(n, NVME_CC, CC_EN | 1 << 7 | 1 << 11 | 5u << 16);
	ck_assert_uint_eq(nv_rd(n, NVME_CC), CC_EN | 5u << 16);
	nv_disable(n);
	static const struct { uint32_t aqa, cc; uint64_t asq, acq; } bad[] = {
		{ 0x70007, CC_EN, 0, DRV_RAM_BASE },                                    /* not RAM */
		{ 0x70007, CC_EN, DRV_RAM_BASE, UINT64_MAX & ~0xfffull },
		{ 0xfff0fff, CC_EN, DRV_RAM_BASE + DRV_RAM_LEN - 4096, DRV_RAM_BASE },  /* its end is not */
		{ 0x70007, CC_EN | 5 << 7, DRV_RAM_BASE, DRV_RAM_BASE },                /* page size */
		{ 0x70007, CC_EN | 1 << 7, DRV_RAM_BASE + 4096, DRV_RAM_BASE },         /* alignment to it */
		{ 0x70007, CC_EN | 1 << 11, DRV_RAM_BASE, DRV_RAM_BASE },               /* arbitration */
		{ 0x70007, CC_EN | 1 << 4, DRV_RAM_BASE, DRV_RAM_BASE },                /* command set */
		{ 0x70000, CC_EN, DRV_RAM_BASE, DRV_RAM_BASE },                         /* a queue of one entry */
	};
	for (size_t i = 0; i < NELEM(bad); i++) {
		nv_wr(n, NVME_AQA, bad[i].aqa);
		drv_write(n->d, NVME_ASQ, 8, bad[i].asq);
		drv_write(n->d, NVME_ACQ, 8, bad[i].acq);
		nv_wr(n, NVME_CC, bad[i].cc);
		ck_assert_msg(nv_rd(n, NVME_CSTS) == CSTS_CFS, "case %zu: CSTS %#x", i, nv_rd(n, NVME_CSTS));
		nv_wr(n, NVME_DOORBELLS, 1);
		drv_settle(n->d);
		nv_disable(n);
	}
	nv_start(n, 8, 1, 8);           /* and it still works */
	disk_end(n);
}
END_TEST

START_TEST(shutdown_flushes)
{
	struct nv *n = disk(1 << 20, NULL, NULL);
	nv_start(n, 8, 1, 8);
	nv_wr(n, NVME_CC, nv_rd(n, NVME_CC) | 1 << 14);
	for (int i = 0; (nv_rd(n, NVME_CSTS) & CSTS_SHST) != CSTS_SHST_DONE && i < 1000; i++)
		loop_step(n->d->vm->loop, 1);
	ck_assert_uint_eq(nv_rd(n, NVME_CSTS), CSTS_RDY | CSTS_SHST_DONE);
	nv_disable(n);
	nv_wr(n, NVME_CC, 2 << 14);     /* also while disabled */
	for (int i = 0; nv_rd(n, NVME_CSTS) != CSTS_SHST_DONE && i < 1000; i++)
		loop_step(n->d->vm->loop, 1);
	ck_assert_uint_eq(nv_rd(n, NVME_CSTS), CSTS_SHST_DONE);
	nv_wr(n, NVME_CC, 0);
	nv_wr(n, NVME_CC, CC_EN);
	nv_disable(n);
	nv_start(n, 8, 1, 8);
	disk_end(n);
}
END_TEST

/* CC.EN is cleared while commands are in flight, held back by a throttle: RDY follows, and nothing is written any more. */
START_TEST(reset_in_flight)
{
	struct nv *n = disk(1 << 20, "iops", "2");
	uint8_t cmd[NVME_SQE_LEN];
	nv_start(n, 8, 2, 16);
	const uint64_t buf = nv_page(n, 1), mark = n->d->brk;
	for (unsigned round = 0; round < 10; round++) {
		n->d->brk = mark;
		nv_cmd(cmd, IO_READ);
		nv_prp(cmd, buf, 0);
		for (unsigned i = 0; i < 10; i++)
			nv_put(n, 1 + i % 2, cmd);
		nv_ring(n, 1);
		nv_ring(n, 2);
		for (unsigned i = 0; i < round; i++)
			loop_step(n->d->vm->loop, 0);
		nv_disable(n);
		ck_assert_uint_eq(n->c->inflight, 0);
		nv_start(n, 8, 2, 16);
	}
	disk_end(n);
}
END_TEST

START_TEST(intx)
{
	struct nv *n = disk(1 << 20, NULL, NULL);
	uint8_t cmd[NVME_SQE_LEN];
	nv_start(n, 8, 0, 0);
	drv_msix(n->d, false);
	nv_cmd(cmd, 0xff);
	nv_put(n, 0, cmd);
	nv_ring(n, 0);
	ck_assert(nv_wait(n, 0));
	ck_assert_uint_eq(n->last.status, NVME_INVALID_OPCODE | NVME_DNR);
	ck_assert(n->c->pci.intx);
	nv_wr(n, NVME_INTMS, 1);
	ck_assert(!n->c->pci.intx);
	nv_wr(n, NVME_INTMC, 1);
	ck_assert(n->c->pci.intx);
	nv_ack(n, 0);
	ck_assert(!n->c->pci.intx);
	/* MSI-X takes over. */
	nv_put(n, 0, cmd);
	nv_ring(n, 0);
	ck_assert(nv_wait(n, 0));
	ck_assert(n->c->pci.intx);
	drv_msix(n->d, true);
	ck_assert(!n->c->pci.intx);
	disk_end(n);
}
END_TEST

START_TEST(options)
{
	struct capture cap;
	image_make(1 << 20);
	ck_assert_ptr_null(nv_open(NULL, NULL, NULL));
	ck_assert_ptr_null(nv_open("/nonexistent/disk", NULL, NULL));
	capture_start(&cap, STDERR_FILENO);
	ck_assert_ptr_null(nv_open(path, "ram", "64M"));
	ck_assert_ptr_nonnull(strstr(capture_stop(&cap), "leave out either ram or"));
	struct nv *n = nv_open(path, "sectsz", "4096");
	ck_assert_uint_eq(n->c->lbads, 12);
	ck_assert_uint_eq(n->c->blocks, 256);
	nv_close(n);
	ck_assert_ptr_null(nv_open(path, "sectsz", "1000"));
	n = nv_open(path, "maxq", "1");
	nv_enable(n, 8);
	ck_assert_uint_eq(nv_create(n, 1, 8), NVME_SUCCESS);
	ck_assert_uint_eq(nv_create(n, 2, 8), NVME_QID_INVALID | NVME_DNR);
	disk_end(n);
}
END_TEST

/* A disk without an image: bhyve's plain numbers are MiB; two of them are two disks. */
START_TEST(ram_disk)
{
	struct vm *vm = drv_vm_new();
	drv_conf(vm, NV_ID ".ram", "8");
	drv_conf(vm, "pci.0.6.0.ram", "3M");
	struct nv *n = nv_open_on(vm, NV_ID), *m = nv_open_on(vm, "pci.0.6.0");
	ck_assert_ptr_nonnull(n);
	ck_assert_ptr_nonnull(m);
	ck_assert_uint_eq(n->c->blocks, 16384);
	ck_assert_uint_eq(m->c->blocks, 6144);
	ck_assert(memcmp(n->c->eui64, m->c->eui64, 8) != 0);
	m->d->brk = DRV_RAM_BASE + DRV_RAM_LEN / 2;
	nv_start(n, 8, 1, 8);
	nv_start(m, 8, 1, 8);
	const uint64_t buf = nv_page(n, 4);
	memset(nv_ptr(n, buf, 16384), 0x5a, 16384);
	ck_assert_uint_eq(nv_io(n, 1, IO_WRITE, 100, buf, 16384), NVME_SUCCESS);
	ck_assert_uint_eq(nv_io(m, 1, IO_READ, 100, buf, 4096), NVME_SUCCESS);
	ck_assert_uint_eq(*(uint8_t *)nv_ptr(n, buf, 1), 0);
	ck_assert_uint_eq(nv_io(n, 1, IO_READ, 100, buf, 4096), NVME_SUCCESS);
	ck_assert_uint_eq(*(uint8_t *)nv_ptr(n, buf, 1), 0x5a);
	drv_close(m->d);
	free(m);
	nv_close(n);
}
END_TEST

UNIT_MAIN("devices/nvme/nvme", registers, enabling, shutdown_flushes, reset_in_flight, intx, options, ram_disk)
