/*
 * A port of the AHCI controller: its registers [AHCI-1.3.1 3.3], the command list [AHCI-1.3.1 4.2, 5.3] and the FISes that go
 * back [SATA-3 "FIS types"].
 *
 * A command that is not queued keeps BSY until it is done, so the next one waits; queued ones run side by side.  What the guest
 * aborts (ST to 0, COMRESET, software reset, HBA reset) may still be moving data: CR, the link or HR say "not yet" until the last
 * request has come back, and only then is the guest's memory its own again.
 */
#include <errno.h>
#include <stdlib.h>

#include "common/iov.h"
#include "common/vm.h"
#include "devices/ahci/ahci.h"

#define HEADER_LEN 32
#define PRDT_OFF 0x80
#define PRD_LEN 16

/* The received FIS area [AHCI-1.3.1 4.2.1] */
enum { RFIS_DMA = 0x00, RFIS_PIO = 0x20, RFIS_D2H = 0x40, RFIS_SDB = 0x58 };
enum { FIS_H2D = 0x27, FIS_D2H = 0x34, FIS_DMA = 0x41, FIS_PIO = 0x5f, FIS_SDB = 0xa1 };
#define FIS_I 0x40
#define FIS_D 0x20
#define FIS_C 0x80
#define CTL_SRST 0x04

#define SSTS_UP 0x133u                  /* device there, 6 Gbit/s, active */
#define DET(x) ((x) & 15u)
#define SCTL_WRITABLE 0xfffu
#define SPEED_MAX 3u

const struct snap_field ahci_port_fields[] = {
	SNAP_U32(struct ahci_port, clb, 1), SNAP_U32(struct ahci_port, clbu, 1),
	SNAP_U32(struct ahci_port, fb, 1), SNAP_U32(struct ahci_port, fbu, 1),
	SNAP_U32(struct ahci_port, is, 1), SNAP_U32(struct ahci_port, ie, 1),
	SNAP_U32(struct ahci_port, cmd, 1), SNAP_U32(struct ahci_port, tfd, 1),
	SNAP_U32(struct ahci_port, sig, 1), SNAP_U32(struct ahci_port, ssts, 1),
	SNAP_U32(struct ahci_port, sctl, 1), SNAP_U32(struct ahci_port, serr, 1),
	SNAP_U32(struct ahci_port, sact, 1), SNAP_U32(struct ahci_port, ci, 1),
	SNAP_BOOL(struct ahci_port, srst, 1), SNAP_BOOL(struct ahci_port, sig_due, 1),
	SNAP_BOOL(struct ahci_port, halted, 1),
	SNAP_BOOL(struct ahci_port, write_cache, 1), SNAP_BOOL(struct ahci_port, look_ahead, 1),
	SNAP_U8(struct ahci_port, multiple, 1), SNAP_U8(struct ahci_port, xfer, 1), SNAP_U8(struct ahci_port, power, 1),
	SNAP_BYTES(struct ahci_port, ncq_error, 1),
	SNAP_U32(struct ahci_port, outstanding, 1),
	SNAP_U8(struct ahci_port, saved_type, 1), SNAP_U64(struct ahci_port, saved_size, 1),
	SNAP_BOOL(struct ahci_port, link_due, 1), SNAP_BOOL(struct ahci_port, soft_due, 1),
	SNAP_STRUCT(struct ahci_port, lun, scsi_lun_fields, 1),
	SNAP_END
};

static struct guest_mem *mem_of(const struct ahci_port *p)
{
	return &p->a->pci.dev.vm->mem;
}

/* --- FISes to the guest --- */

static void fis_post(struct ahci_port *p, unsigned at, const void *fis, size_t len)
{
	const uint64_t fb = (uint64_t)p->fbu << 32 | p->fb;

	if (!(p->cmd & CMD_FRE) || !pci_bus_master(&p->a->pci))
		return;
	/* Whoever polls the FIS finds the data behind it. */
	__atomic_thread_fence(__ATOMIC_RELEASE);
	if (!mem_write(mem_of(p), fb + at, fis, len))
		dev_warn(&p->a->pci.dev, "port %u: PxFB %#llx is no memory", p->n, (unsigned long long)fb);
}

static void set_tfd(struct ahci_port *p, uint8_t status, uint8_t error)
{
	p->tfd = (uint32_t)error << 8 | status;
}

/* A Register FIS, device to host, whose bytes 4 to 13 are filled. */
static void post_d2h(struct ahci_port *p, uint8_t fis[ATA_FIS_LEN], bool irq)
{
	fis[0] = FIS_D2H;
	fis[1] = irq ? FIS_I : 0;
	fis[2] = (uint8_t)p->tfd;
	fis[3] = (uint8_t)(p->tfd >> 8);
	fis_post(p, RFIS_D2H, fis, ATA_FIS_LEN);
	if (irq)
		p->is |= IS_DHRS;
}

static void post_pio(struct ahci_port *p, const struct ahci_cmd *c, bool irq)
{
	uint8_t fis[ATA_FIS_LEN] = { FIS_PIO, (uint8_t)((irq ? FIS_I : 0) | FIS_D), ATA_GOOD | ATA_DRQ };

	memcpy(fis + 4, c->fis + 4, 10);
	fis[11] = 0;
	fis[15] = (uint8_t)p->tfd;      /* status once the data has been moved */
	put_le16(fis + 16, (uint16_t)MIN(c->moved, 0xfffeu));
	fis_post(p, RFIS_PIO, fis, sizeof(fis));
	if (irq)
		p->is |= IS_PSS;
}

static void post_dma_setup(struct ahci_port *p, const struct ahci_cmd *c)
{
	uint8_t fis[28] = { FIS_DMA, c->scsi.blk.op == BLK_READ ? FIS_D : 0, 0, 0, c->slot };

	put_le32(fis + 20, (uint32_t)c->moved);
	fis_post(p, RFIS_DMA, fis, sizeof(fis));
}

/* Tells which queued commands are done; with an error, that one has failed. */
static void post_sdb(struct ahci_port *p, uint8_t status, uint8_t error)
{
	uint8_t fis[8] = { FIS_SDB, FIS_I, status & 0x77, error };

	put_le32(fis + 4, p->sdb);
	/* BSY, DRQ and what else the FIS does not carry stay. */
	set_tfd(p, (uint8_t)((p->tfd & 0x88) | (status & 0x77)), error);
	fis_post(p, RFIS_SDB, fis, sizeof(fis));
	p->sact &= ~p->sdb;
	p->sdb = 0;
	p->is |= IS_SDBS;
}

static void sdb_flush(struct ahci_port *p)
{
	if (p->sdb)
		post_sdb(p, ATA_DRDY, 0);
}

static void post_signature(struct ahci_port *p)
{
	uint8_t fis[ATA_FIS_LEN] = { 0 };

	ata_signature(p, fis);
	p->sig_due = !(p->cmd & CMD_FRE);
	post_d2h(p, fis, false);
}

/* After a reset of the device: diagnostics passed, [SATA-3 "Device signature"]. */
static void device_up(struct ahci_port *p)
{
	p->srst = false;
	p->power = POWER_ACTIVE;
	p->multiple = 0;
	memset(p->ncq_error, 0, sizeof(p->ncq_error));
	set_tfd(p, p->type == AHCI_CD ? 0 : ATA_GOOD, 1);
	p->sig = p->type == AHCI_CD ? SIG_ATAPI : SIG_ATA;
	if (p->type == AHCI_CD)
		scsi_lun_clear(&p->lun, 2);
	post_signature(p);
}

static uint32_t link_status(const struct ahci_port *p)
{
	const uint32_t limit = p->sctl >> 4 & 15;

	if (DET(p->sctl) == 4)
		return 4;
	return (SSTS_UP & ~0xf0u) | (limit && limit < SPEED_MAX ? limit : SPEED_MAX) << 4;
}

static void link_up(struct ahci_port *p)
{
	p->ssts = link_status(p);
	if (DET(p->ssts) != 3)
		return;
	p->serr |= SERR_DIAG_X | SERR_DIAG_N;
	device_up(p);
}

void port_power_on(struct ahci_port *p, bool keep)
{
	if (!keep)
		p->clb = p->clbu = p->fb = p->fbu = 0;
	p->is = p->ie = p->sctl = p->serr = p->sact = p->ci = 0;
	p->outstanding = p->redo = p->sdb = 0;
	p->halted = p->link_due = p->soft_due = p->dropping = false;
	p->cmd = CMD_SUD | CMD_POD;
	p->ssts = link_status(p);
	if (!keep) {
		p->write_cache = p->look_ahead = true;
		p->xfer = 0x46;         /* Ultra DMA 6 */
		p->saved_type = 0;
		p->saved_size = 0;
	}
	device_up(p);
	if (!keep && p->type == AHCI_CD)
		scsi_lun_reset(&p->lun);
}

/* --- Aborting --- */

bool port_abort(struct ahci_port *p)
{
	p->ci = p->sact = p->redo = p->sdb = 0;
	p->halted = false;
	p->cmd &= ~CMD_CCS;
	if (!p->busy)
		return true;
	p->dropping = true;
	for (unsigned s = 0; s < AHCI_SLOTS; s++) {
		if (p->busy & BIT(s))
			p->cmds[s].scsi.aborted = true;
	}
	if (p->blk)
		blk_cancel(p->blk);
	return !p->busy;
}

void port_settle(struct ahci_port *p)
{
	if (p->busy)
		return;
	if (p->dropping) {
		p->dropping = false;
		if (DET(p->ssts) == 3)
			p->tfd &= ~(uint32_t)(ATA_BSY | ATA_DRQ);
	}
	if (p->cmd & CMD_ST)
		p->cmd |= CMD_CR;
	else
		p->cmd &= ~CMD_CR;
	if (p->soft_due) {
		p->soft_due = false;
		device_up(p);
	}
	if (p->link_due) {
		p->link_due = false;
		link_up(p);
	}
	ahci_port_idle(p);
}

/* --- The end of a command --- */

void cmd_start(struct ahci_cmd *c)
{
	c->port->busy |= BIT(c->slot);
}

static void cmd_free(struct ahci_cmd *c)
{
	free(c->buf);
	c->buf = NULL;
}

bool cmd_landed(struct ahci_cmd *c)
{
	struct ahci_port *p = c->port;

	p->busy &= ~BIT(c->slot);
	/* The first error of queued commands ends them all [SATA-3 "Native Command Queuing"]. */
	if (!p->dropping && !p->halted)
		return true;
	cmd_free(c);
	if (!p->busy)
		port_settle(p);
	return false;
}

static void put_count(struct ahci_cmd *c)
{
	uint8_t le[4];

	put_le32(le, (uint32_t)c->moved);
	mem_write(mem_of(c->port), c->header + 4, le, sizeof(le));
}

/* The FIS of a command's end, but for what post_d2h() fills in. */
static void fis_tail(const struct ahci_cmd *c, uint8_t fis[ATA_FIS_LEN])
{
	memset(fis, 0, ATA_FIS_LEN);
	memcpy(fis + 4, c->fis + 4, 10);
	fis[11] = 0;                    /* FEATURES in the other direction */
}

void cmd_queued(struct ahci_cmd *c)
{
	struct ahci_port *p = c->port;
	uint8_t fis[ATA_FIS_LEN];

	p->ci &= ~BIT(c->slot);
	set_tfd(p, ATA_DRDY, 0);
	fis_tail(c, fis);
	post_d2h(p, fis, false);
}

void cmd_good_status(struct ahci_cmd *c, uint8_t status, uint8_t error)
{
	struct ahci_port *p = c->port;
	uint8_t fis[ATA_FIS_LEN];

	cmd_free(c);
	if (c->ioc)
		p->is |= IS_DPS;
	if (c->proto == PROTO_NCQ) {
		post_dma_setup(p, c);
		p->sdb |= BIT(c->slot);
		return;
	}
	put_count(c);
	p->ci &= ~BIT(c->slot);
	set_tfd(p, status, error);
	if (c->proto == PROTO_PIO_IN) {
		post_pio(p, c, true);
		return;
	}
	fis_tail(c, fis);
	post_d2h(p, fis, true);
}

void cmd_good(struct ahci_cmd *c)
{
	cmd_good_status(c, ATA_GOOD, 0);
}

void cmd_fail(struct ahci_cmd *c, uint8_t status, uint8_t error)
{
	struct ahci_port *p = c->port;
	uint8_t fis[ATA_FIS_LEN];

	cmd_free(c);
	fis_tail(c, fis);
	p->halted = true;
	if (c->proto == PROTO_NCQ) {
		sdb_flush(p);
		/* [ACS-3 "NCQ Command Error log"]: tag, status, error, then as in the FIS. */
		memcpy(p->ncq_error, fis, sizeof(fis));
		p->ncq_error[0] = c->slot;
		p->ncq_error[1] = 1;
		p->ncq_error[2] = status;
		p->ncq_error[3] = error;
		post_sdb(p, status, error);
	} else {
		put_count(c);
		set_tfd(p, status, error);
		post_d2h(p, fis, true);
	}
	p->is |= IS_TFES;
}

void cmd_fatal(struct ahci_cmd *c, uint32_t is, const char *why)
{
	struct ahci_port *p = c->port;

	dev_warn(&p->a->pci.dev, "port %u slot %u: %s", p->n, c->slot, why);
	cmd_free(c);
	p->halted = true;
	p->is |= is;
	if (is & IS_IFS)
		p->serr |= SERR_ERR_P;
	p->tfd &= ~(uint32_t)(ATA_BSY | ATA_DRQ);
}

/* --- The guest's memory --- */

static bool iov_room(struct ahci_cmd *c, unsigned n)
{
	struct iovec *grown;

	if (n < c->iov_cap)
		return true;
	const unsigned cap = c->iov_cap ? c->iov_cap * 2 : 32;

	grown = realloc(c->iov, cap * sizeof(*grown));
	if (!grown)
		return false;
	c->iov = grown;
	c->iov_cap = cap;
	return true;
}

/* One run of memory at the end of the list.  False: no room for it. */
static bool iov_append(struct ahci_cmd *c, unsigned *n, void *hva, uint64_t len)
{
	if (*n && (uint8_t *)c->iov[*n - 1].iov_base + c->iov[*n - 1].iov_len == (uint8_t *)hva) {
		c->iov[*n - 1].iov_len += len;
		return true;
	}
	if (*n == AHCI_IOV_MAX || !iov_room(c, *n))
		return false;
	c->iov[(*n)++] = (struct iovec){ hva, len };
	return true;
}

struct prd {
	uint64_t base;
	uint32_t len;
	bool irq;
};

/* [AHCI-1.3.1 4.2.3.3]: even addresses and lengths. */
static bool prd_read(const struct ahci_cmd *c, uint32_t n, struct prd *out)
{
	uint8_t e[PRD_LEN];

	if (!mem_read(mem_of(c->port), c->table + PRDT_OFF + (uint64_t)n * PRD_LEN, e, sizeof(e)))
		return false;
	const uint32_t dbc = get_le32(e + 12);

	*out = (struct prd){ get_le64(e) & ~1ull, ((dbc & 0x3fffff) | 1) + 1, dbc >> 31 };
	return true;
}

uint64_t cmd_map(struct ahci_cmd *c, uint64_t max, unsigned *niov)
{
	const struct guest_mem *m = mem_of(c->port);
	uint64_t got = 0;
	struct prd e;

	for (*niov = 0; got < max && c->prd < c->nprd; ) {
		if (!prd_read(c, c->prd, &e)) {
			cmd_fatal(c, IS_HBFS, "the command table is not in memory");
			return UINT64_MAX;
		}
		const uint64_t gpa = e.base + c->prd_off, run = c->prd_off < e.len ? mem_run(m, gpa) : 0;
		const uint64_t len = MIN(MIN(run, (uint64_t)e.len - c->prd_off), max - got);

		if (run == 0) {         /* or the guest has changed the entry */
			cmd_fatal(c, IS_HBFS, "a data buffer is not in memory");
			return UINT64_MAX;
		}
		if (!iov_append(c, niov, mem_at(m, gpa, len), len))
			break;
		got += len;
		c->prd_off += (uint32_t)len;
		if (c->prd_off == e.len) {
			c->prd_off = 0;
			c->prd++;
			c->ioc |= e.irq;
		}
	}
	return got;
}

uint64_t cmd_put(struct ahci_cmd *c, const void *data, uint64_t len)
{
	uint64_t done = 0, n;
	unsigned niov;

	for (; done < len; done += n) {
		n = cmd_map(c, len - done, &niov);
		if (n == UINT64_MAX)
			return n;
		if (n == 0)
			break;
		iov_write(c->iov, niov, 0, (const uint8_t *)data + done, n);
	}
	c->moved += done;
	return done;
}

uint64_t cmd_get(struct ahci_cmd *c, void *data, uint64_t len)
{
	uint64_t done = 0, n;
	unsigned niov;

	for (; done < len; done += n) {
		n = cmd_map(c, len - done, &niov);
		if (n == UINT64_MAX)
			return n;
		if (n == 0)
			break;
		iov_read(c->iov, niov, 0, (uint8_t *)data + done, n);
	}
	c->moved += done;
	return done;
}

/* --- Issuing --- */

/* A FIS without C: the device control register [SATA-3 "Software reset protocol"]. */
static void control(struct ahci_port *p, const struct ahci_cmd *c)
{
	const bool srst = c->fis[15] & CTL_SRST, ends = p->srst && !srst;

	p->ci &= ~BIT(c->slot);
	if (srst) {
		const uint32_t rest = p->ci;

		p->srst = true;
		port_abort(p);
		p->ci = rest;
	}
	if (ends) {
		p->soft_due = true;
		port_settle(p);
	}
}

static void issue(struct ahci_port *p, unsigned slot)
{
	struct ahci_cmd *c = &p->cmds[slot];
	uint8_t h[HEADER_LEN];

	p->redo &= ~BIT(slot);
	p->cmd = (p->cmd & ~CMD_CCS) | slot << CMD_CCS_SHIFT;
	c->proto = PROTO_PLAIN;
	c->prd = c->prd_off = 0;
	c->ioc = c->scsi.aborted = false;
	c->moved = 0;
	c->header = ((uint64_t)p->clbu << 32 | p->clb) + slot * HEADER_LEN;
	if (!mem_read(mem_of(p), c->header, h, sizeof(h))) {
		cmd_fatal(c, IS_HBFS, "the command list is not in memory");
		return;
	}
	c->table = get_le64(h + 8) & ~127ull;
	c->nprd = get_le16(h + 2);
	c->write = h[0] & 0x40;
	if (!mem_read(mem_of(p), c->table, c->fis, sizeof(c->fis))) {
		cmd_fatal(c, IS_HBFS, "the command table is not in memory");
		return;
	}
	if ((h[0] & 31) < ATA_FIS_LEN / 4 || c->fis[0] != FIS_H2D) {
		cmd_fatal(c, IS_IFS, "the command FIS is no register FIS to the device");
		return;
	}
	if (!(c->fis[1] & FIS_C))
		control(p, c);
	else if (p->srst)
		p->ci &= ~BIT(slot);    /* a device in reset takes no command */
	else
		ata_command(c);
}

/* The next slot in turn; -1: none, or not now. */
static int next_slot(const struct ahci_port *p)
{
	const uint32_t todo = p->redo ? p->redo & ~p->busy : p->ci & ~p->busy;
	const unsigned after = (p->cmd & CMD_CCS) >> CMD_CCS_SHIFT;

	if (!todo || p->halted || p->dropping || p->medium_due || p->a->paused || p->a->ghc & GHC_HR || !pci_bus_master(&p->a->pci))
		return -1;
	if (!(p->cmd & CMD_ST) || DET(p->ssts) != 3 || (!p->redo && p->tfd & (ATA_BSY | ATA_DRQ)))
		return -1;
	for (unsigned i = 1; i <= AHCI_SLOTS; i++) {
		if (todo & BIT((after + i) % AHCI_SLOTS))
			return (int)((after + i) % AHCI_SLOTS);
	}
	return -1;
}

void port_kick(struct ahci_port *p)
{
	int slot;

	if (p->running) {
		p->again = true;
		return;
	}
	p->running = true;
	do {
		p->again = false;
		while ((slot = next_slot(p)) >= 0)
			issue(p, (unsigned)slot);
		sdb_flush(p);
		if (p->blk && !p->a->paused)
			blk_kick(p->blk);
	} while (p->again);
	p->running = false;
	if (p->medium_due && !p->busy)
		atapi_idle(p);
	ahci_irq_update(p->a);
}

/* --- Registers --- */

static uint64_t rd_plain(void *port, const struct reg *r)
{
	return *(const uint32_t *)((const char *)port + r->arg);
}

static void wr_clb(void *port, const struct reg *r, uint64_t v)
{
	((struct ahci_port *)port)->clb = (uint32_t)v & ~0x3ffu;
}

static void wr_fb(void *port, const struct reg *r, uint64_t v)
{
	((struct ahci_port *)port)->fb = (uint32_t)v & ~0xffu;
}

static void wr_plain(void *port, const struct reg *r, uint64_t v)
{
	*(uint32_t *)((char *)port + r->arg) = (uint32_t)v;
}

/* PCS and PRCS mirror PxSERR and are cleared there. */
static uint64_t rd_is(void *port, const struct reg *r)
{
	const struct ahci_port *p = port;

	return p->is | (p->serr & SERR_DIAG_X ? IS_PCS : 0) | (p->serr & SERR_DIAG_N ? IS_PRCS : 0);
}

bool port_irq(const struct ahci_port *p)
{
	return rd_is((void *)(uintptr_t)p, NULL) & p->ie;
}

static void wr_is(void *port, const struct reg *r, uint64_t v)
{
	struct ahci_port *p = port;

	p->is &= ~(uint32_t)v;
	ahci_irq_update(p->a);
}

static void wr_ie(void *port, const struct reg *r, uint64_t v)
{
	struct ahci_port *p = port;

	p->ie = (uint32_t)v & IE_WRITABLE;
	ahci_irq_update(p->a);
}

static void wr_cmd(void *port, const struct reg *r, uint64_t v)
{
	struct ahci_port *p = port;
	const uint32_t old = p->cmd;

	p->cmd = (old & ~CMD_WRITABLE) | ((uint32_t)v & CMD_WRITABLE);
	p->cmd = p->cmd & CMD_FRE ? p->cmd | CMD_FR : p->cmd & ~CMD_FR;
	if (v & CMD_CLO)
		p->tfd &= ~(uint32_t)(ATA_BSY | ATA_DRQ);
	if (p->cmd & CMD_FRE && p->sig_due)
		post_signature(p);
	if ((old ^ p->cmd) & CMD_ST) {
		if (old & CMD_ST)
			port_abort(p);
		port_settle(p);
	}
	port_kick(p);
}

/* COMRESET begins with DET 1 and ends with 0; 4 takes the link down [AHCI-1.3.1 10.4.2]. */
static void wr_sctl(void *port, const struct reg *r, uint64_t v)
{
	struct ahci_port *p = port;
	const uint32_t old = p->sctl;

	p->sctl = (uint32_t)v & SCTL_WRITABLE;
	if (DET(p->sctl) == 1 || DET(p->sctl) == 4) {
		p->link_due = p->soft_due = false;
		p->ssts = DET(p->sctl) == 4 ? 4 : 0;
		p->tfd = 0x7f;
		p->sig = SIG_NONE;
		p->sig_due = p->srst = false;
		port_abort(p);
		port_settle(p);
	} else if (DET(old) == 1 || DET(old) == 4) {
		p->link_due = true;
		port_settle(p);
	}
	port_kick(p);
}

static void wr_serr(void *port, const struct reg *r, uint64_t v)
{
	struct ahci_port *p = port;

	p->serr &= ~(uint32_t)v;
	ahci_irq_update(p->a);
}

/* Bits can only be set, and only while commands are taken. */
static void wr_sact(void *port, const struct reg *r, uint64_t v)
{
	struct ahci_port *p = port;

	if (p->cmd & CMD_ST)
		p->sact |= (uint32_t)v;
}

static void wr_ci(void *port, const struct reg *r, uint64_t v)
{
	struct ahci_port *p = port;

	if (!(p->cmd & CMD_ST))
		return;
	p->ci |= (uint32_t)v;
	port_kick(p);
}

#define PLAIN(off, name, field, wr) { off, 4, name, rd_plain, wr, offsetof(struct ahci_port, field) }
static const struct reg port_regs[] = {
	PLAIN(0x00, "PxCLB", clb, wr_clb), PLAIN(0x04, "PxCLBU", clbu, wr_plain),
	PLAIN(0x08, "PxFB", fb, wr_fb), PLAIN(0x0c, "PxFBU", fbu, wr_plain),
	{ 0x10, 4, "PxIS", rd_is, wr_is, 0 },
	PLAIN(0x14, "PxIE", ie, wr_ie), PLAIN(0x18, "PxCMD", cmd, wr_cmd),
	PLAIN(0x20, "PxTFD", tfd, NULL), PLAIN(0x24, "PxSIG", sig, NULL),
	PLAIN(0x28, "PxSSTS", ssts, NULL), PLAIN(0x2c, "PxSCTL", sctl, wr_sctl),
	PLAIN(0x30, "PxSERR", serr, wr_serr), PLAIN(0x34, "PxSACT", sact, wr_sact),
	PLAIN(0x38, "PxCI", ci, wr_ci),
};

uint64_t port_read(struct ahci_port *p, uint64_t off, unsigned size)
{
	return regs_read(port_regs, NELEM(port_regs), p, off, size);
}

void port_write(struct ahci_port *p, uint64_t off, unsigned size, uint64_t val)
{
	regs_write(port_regs, NELEM(port_regs), p, off, size, val);
}

/* --- After a load --- */

int port_loaded(struct ahci_port *p)
{
	if (p->cmd & ~(CMD_WRITABLE | CMD_CCS | CMD_SUD | CMD_POD | CMD_FR | CMD_CR) || p->clb & 0x3ff || p->fb & 0xff)
		return -EINVAL;
	if (p->multiple > 16 || p->multiple & (p->multiple - 1) || p->tfd > 0xffff)
		return -EINVAL;
	if (p->sctl & ~SCTL_WRITABLE || p->ie & ~IE_WRITABLE)
		return -EINVAL;
	p->redo = p->outstanding;
	p->sdb = 0;
	p->dropping = false;
	return p->type == AHCI_CD ? scsi_lun_loaded(&p->lun) : 0;
}
