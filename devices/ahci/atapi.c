/*
 * The CD drive behind an AHCI port: the transport of SCSI commands by [ACS-3 PACKET], and the exchange of its
 * medium.  The commands themselves are devices/scsi/'s.
 */
#include <errno.h>
#include <stdlib.h>

#include "common/vm.h"
#include "devices/ahci/ahci.h"

#define ACMD_OFF 0x40
#define ACMD_LEN 16
#define REASON_STATUS 3                 /* interrupt reason: C/D and I/O, the command has ended */

static void on_done(struct scsi_req *r)
{
	struct ahci_cmd *c = (struct ahci_cmd *)r;

	if (!cmd_landed(c))
		return;
	c->moved = r->moved;
	c->fis[12] = REASON_STATUS;
	if (r->status == SCSI_GOOD)
		cmd_good(c);
	else            /* error register: the sense key; REQUEST SENSE has the rest */
		cmd_fail(c, ATA_DRDY | ATA_ERR, (uint8_t)((r->sense_len ? (r->sense[2] & 15) << 4 : 0) | ATA_ABRT));
}

void atapi_packet(struct ahci_cmd *c)
{
	struct ahci_port *p = c->port;
	struct scsi_req *r = &c->scsi;
	unsigned niov;

	memset(r->cdb, 0, sizeof(r->cdb));
	if (!mem_read(&p->a->pci.dev.vm->mem, c->table + ACMD_OFF, r->cdb, ACMD_LEN)) {
		cmd_fatal(c, IS_HBFS, "the command table is not in memory");
		return;
	}
	const uint64_t room = cmd_map(c, UINT64_MAX - 1, &niov);

	if (room == UINT64_MAX)
		return;
	c->ioc = c->ioc && room;
	r->lun = &p->lun;
	r->in = c->write ? NULL : c->iov;
	r->nin = c->write ? 0 : niov;
	r->in_len = c->write ? 0 : room;
	r->out = c->write ? c->iov : NULL;
	r->nout = c->write ? niov : 0;
	r->out_len = c->write ? room : 0;
	r->done = on_done;
	r->aborted = false;
	cmd_start(c);
	scsi_submit(r);
}

/* --- The medium --- */

static void exchange(struct ahci_port *p)
{
	struct blk *old = p->blk;
	char *old_path = p->medium;

	p->medium_due = false;
	p->blk = p->next_blk;
	p->medium = p->next_medium;
	p->next_blk = NULL;
	p->next_medium = NULL;
	scsi_medium(&p->lun, p->blk);
	blk_close(old);
	free(old_path);
}

/* On the loop, where no request of the old medium is on the stack. */
static void on_loop(void *port, uint32_t events UNUSED)
{
	struct ahci_port *p = port;
	struct device *d = &p->a->pci.dev;

	dev_lock(d);
	p->medium_posted = false;
	if (p->medium_due && !p->busy) {
		exchange(p);
		port_kick(p);
	}
	dev_unlock(d);
}

void atapi_idle(struct ahci_port *p)
{
	if (!p->medium_posted)
		p->medium_posted = ev_post(p->a->pci.dev.vm->loop, on_loop, p) == 0;
}

/* Lock held. */
static int medium_set(struct ahci_port *p, const char *path)
{
	struct blk *next = NULL;
	char *copy = path ? strdup(path) : NULL;

	if (p->lun.locked) {
		free(copy);
		return err_msg(-EBUSY, "%s: the guest has locked the drive; eject the medium in the guest first", p->who);
	}
	int err = path && !copy ? -ENOMEM : path ? ahci_port_open(p, copy, &next) : 0;

	if (err) {
		free(copy);
		return err;
	}
	blk_close(p->next_blk);         /* of an exchange that has not taken place yet */
	free(p->next_medium);
	p->next_blk = next;
	p->next_medium = copy;
	p->medium_due = true;
	if (!p->busy) {
		exchange(p);
		port_kick(p);
	}
	return 0;
}

int ahci_medium(struct device *dev, unsigned port, const char *path)
{
	struct ahci *a = (struct ahci *)dev;

	if (port >= AHCI_PORTS_MAX || !(a->pi & BIT(port)) || a->port[port].type != AHCI_CD)
		return err_msg(-EINVAL, "%s: port %u is no CD drive, whose medium could be exchanged", dev->id, port);
	dev_lock(dev);
	int err = medium_set(&a->port[port], path);

	dev_unlock(dev);
	return err;
}
