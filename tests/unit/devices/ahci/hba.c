#include "tests/unit/devices/ahci/hba.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "common/loop.h"

void hba_image(struct hba *h, uint64_t size)
{
	snprintf(h->path, sizeof(h->path), "/tmp/skep-ahci-XXXXXX");
	const int fd = mkstemp(h->path);

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(ftruncate(fd, (off_t)size), 0);
	for (uint64_t i = 0; i < size / 512; i++) {
		uint8_t le[8];

		put_le64(le, i);
		ck_assert_int_eq(pwrite(fd, le, sizeof(le), (off_t)(i * 512)), sizeof(le));
	}
	close(fd);
}

void hba_vm(struct hba *h)
{
	h->vm = drv_vm_new();
}

bool hba_open(struct hba *h, const struct device_class *cls)
{
	struct vm *vm = h->vm;

	if (!vm)
		hba_vm(h);
	vm = h->vm;
	if (h->path[0] && cls != &ahci_class)
		drv_conf(vm, HBA_ID ".path", h->path);
	vm->dry = false;                /* init opens the host's side only in a machine that will run */
	h->a = (struct ahci *)device_new(vm, cls, HBA_ID, NULL);
	vm->dry = true;
	if (!h->a)
		return false;
	ck_assert_int_eq(pci_assign(vm), 0);
	hba_cfg_wr(h, PCI_COMMAND, 2, PCI_COMMAND_MEM | PCI_COMMAND_MASTER);
	ck_assert(h->a->pci.bar[5].range.mapped);
	return true;
}

void hba_end(struct hba *h)
{
	drv_vm_free(h->vm);
	if (h->path[0])
		unlink(h->path);
	*h = (struct hba){ 0 };
}

static uint64_t bar(const struct hba *h)
{
	return h->a->pci.bar[5].range.base;
}

uint32_t hba_rd(struct hba *h, unsigned off)
{
	uint64_t v;

	bus_read(&h->vm->mmio, bar(h) + off, 4, &v);
	return (uint32_t)v;
}

void hba_wr(struct hba *h, unsigned off, uint32_t v)
{
	bus_write(&h->vm->mmio, bar(h) + off, 4, v);
}

uint32_t port_rd(struct hba *h, unsigned port, unsigned off)
{
	return hba_rd(h, AHCI_PORT_BASE + port * AHCI_PORT_STEP + off);
}

void port_wr(struct hba *h, unsigned port, unsigned off, uint32_t v)
{
	hba_wr(h, AHCI_PORT_BASE + port * AHCI_PORT_STEP + off, v);
}

void *hba_ptr(struct hba *h, uint64_t gpa, uint64_t len)
{
	void *p = mem_at(&h->vm->mem, gpa, len);

	ck_assert_ptr_nonnull(p);
	return p;
}

void hba_cfg_wr(struct hba *h, unsigned off, unsigned size, uint64_t v)
{
	bus_write(&h->vm->mmio, h->vm->map.ecam_base + ((uint64_t)pci_bdf(&h->a->pci) << 12) + off, size, v);
}

void hba_start(struct hba *h, unsigned port)
{
	hba_wr(h, 0x04, GHC_AE | GHC_IE);
	port_wr(h, port, P_CLB, (uint32_t)HBA_CLB(port));
	port_wr(h, port, P_FB, (uint32_t)HBA_FB(port));
	port_wr(h, port, P_SERR, ~0u);
	port_wr(h, port, P_IS, ~0u);
	port_wr(h, port, P_IE, ~0u);
	port_wr(h, port, P_CMD, CMD_FRE | CMD_SUD);
	port_wr(h, port, P_CMD, CMD_FRE | CMD_SUD | CMD_ST);
}

void hba_recover(struct hba *h, unsigned port)
{
	port_wr(h, port, P_CMD, CMD_FRE);
	for (int i = 0; i < 100 && port_rd(h, port, P_CMD) & CMD_CR; i++)
		loop_step(h->vm->loop, 10);
	ck_assert(!(port_rd(h, port, P_CMD) & CMD_CR));
	port_wr(h, port, P_IS, ~0u);
	hba_wr(h, 0x08, ~0u);
	port_wr(h, port, P_CMD, CMD_FRE | CMD_ST);
}

static unsigned prdt(struct hba *h, uint64_t table, const struct hba_cmd *c)
{
	uint32_t piece = c->pieces ? c->len / c->pieces & ~1u : MIN(c->len, 4u << 20), done = 0;
	unsigned n = 0;

	for (; done < c->len; done += piece) {
		uint8_t *e = hba_ptr(h, table + 0x80 + 16 * n++, 16);

		if (c->pieces && n == c->pieces)
			piece = c->len - done;
		piece = MIN(piece, c->len - done);
		put_le64(e, c->data + done);
		put_le32(e + 8, 0);
		put_le32(e + 12, (piece - 1) | (c->ioc && done + piece == c->len ? 1u << 31 : 0));
	}
	return n;
}

void hba_build(struct hba *h, unsigned port, unsigned slot, const struct hba_cmd *c)
{
	const uint64_t table = HBA_TABLE(port, slot);
	uint8_t *head = hba_ptr(h, HBA_CLB(port) + slot * 32, 32), *f = hba_ptr(h, table, 0x80);
	const uint16_t count = c->ncq ? (uint16_t)(slot << 3) : c->count, feature = c->ncq ? c->count : c->feature;

	memset(f, 0, 0x80);
	f[0] = 0x27;
	f[1] = 0x80;
	f[2] = c->op;
	f[3] = (uint8_t)feature;
	f[11] = (uint8_t)(feature >> 8);
	for (unsigned i = 0; i < 3; i++) {
		f[4 + i] = (uint8_t)(c->lba >> 8 * i);
		f[8 + i] = (uint8_t)(c->lba >> (24 + 8 * i));
	}
	f[7] = c->device ? c->device : 0x40;
	put_le16(f + 12, count);
	if (c->cdb)
		memcpy(f + 0x40, c->cdb, 12);
	memset(head, 0, 32);
	head[0] = (uint8_t)(5 | (c->write ? 0x40 : 0) | (c->cdb ? 0x20 : 0));
	put_le16(head + 2, (uint16_t)prdt(h, table, c));
	put_le64(head + 8, table);
}

void hba_wait(struct hba *h, unsigned port, uint32_t slots)
{
	for (int i = 0; i < 200; i++) {
		if (!((port_rd(h, port, P_CI) | port_rd(h, port, P_SACT)) & slots) || port_rd(h, port, P_IS) & (IS_TFES | IS_HBFS | IS_IFS))
			return;
		loop_step(h->vm->loop, 10);
	}
	ck_abort_msg("port %u: slots %#x are still under way: CI %#x, SACT %#x, TFD %#x", port, slots, port_rd(h, port, P_CI),
		     port_rd(h, port, P_SACT), port_rd(h, port, P_TFD));
}

uint32_t hba_do(struct hba *h, unsigned port, const struct hba_cmd *c)
{
	hba_build(h, port, 0, c);
	if (c->ncq)
		port_wr(h, port, P_SACT, 1);
	port_wr(h, port, P_CI, 1);
	hba_wait(h, port, 1);
	return port_rd(h, port, P_TFD);
}

static bool busy(const struct hba *h)
{
	for (unsigned n = 0; n < AHCI_PORTS_MAX; n++) {
		if (h->a->port[n].busy)
			return true;
	}
	return false;
}

void hba_settle(struct hba *h)
{
	for (int i = 0; i < 500 && busy(h); i++)
		loop_step(h->vm->loop, 10);
	for (int i = 0; i < 5; i++)
		loop_step(h->vm->loop, 0);
}

uint32_t hba_count(struct hba *h, unsigned port, unsigned slot)
{
	return get_le32(hba_ptr(h, HBA_CLB(port) + slot * 32 + 4, 4));
}
