/*
 * An AHCI controller with up to 32 disks and CD drives [AHCI-1.3.1]: the PCI function, the registers of the whole, interrupts.
 * port.c has the ports, ata.c and atapi.c what is behind them.
 *
 * Modelled: 32 slots, 64-bit addresses, native command queuing, INTx and MSI with one message.  Not modelled: port multipliers,
 * command completion coalescing, enclosure management, power states of the link, hot plug of whole disks.
 *
 * DEVIATION: a write narrower than a register changes the rest of it to zeroes; drivers write whole ones.
 */
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/vm.h"
#include "devices/ahci/ahci.h"
#include "devices/classes.h"

/* CAP: 64-bit addresses, NCQ, CLO, 6 Gbit/s, AHCI only, several DRQ blocks, 32 slots. */
#define CAP_FIXED (BIT(31) | BIT(30) | BIT(24) | 3u << 20 | BIT(18) | BIT(15) | 31u << 8)
#define VS_1_3_1 0x00010301u
#define ABAR 5
#define FOR_PORTS(p, a) \
	for (struct ahci_port *p = (a)->port; p < (a)->port + AHCI_PORTS_MAX; p++) \
		if ((a)->pi >> (p - (a)->port) & 1)

/* --- Interrupts [AHCI-1.3.1 10.7] --- */

static void irq_drive(struct ahci *a, uint32_t before)
{
	const bool level = a->ghc & GHC_IE && a->is;

	if (!pci_msi_enabled(&a->pci)) {
		pci_intx_set(&a->pci, level);
		a->acked = false;
		return;
	}
	pci_intx_set(&a->pci, false);
	/* A message for each port that has something new, and for what an acknowledgement leaves. */
	if (level && (a->acked || a->is & ~before))
		pci_msi_fire(&a->pci);
	a->acked = false;
}

void ahci_irq_update(struct ahci *a)
{
	const uint32_t before = a->is;

	FOR_PORTS(p, a) {
		if (port_irq(p))
			a->is |= BIT(p->n);
	}
	irq_drive(a, before);
}

/* --- Registers of the whole --- */

static uint64_t rd_cap(void *dev, const struct reg *r)
{
	const struct ahci *a = dev;

	return CAP_FIXED | (a->pi ? 31 - (unsigned)__builtin_clz(a->pi) : 0);
}

static uint64_t rd_const(void *dev, const struct reg *r)
{
	return r->arg;
}

static uint64_t rd_ghc(void *dev, const struct reg *r)
{
	return ((const struct ahci *)dev)->ghc | GHC_AE;
}

static bool all_idle(struct ahci *a)
{
	FOR_PORTS(p, a) {
		if (p->busy)
			return false;
	}
	return true;
}

/* HR ends when nothing moves data any more. */
static void reset_finish(struct ahci *a)
{
	a->ghc = a->is = 0;
	FOR_PORTS(p, a)
		port_power_on(p, true);
	ahci_irq_update(a);
}

void ahci_port_idle(struct ahci_port *p)
{
	if (p->a->ghc & GHC_HR && all_idle(p->a))
		reset_finish(p->a);
}

static void wr_ghc(void *dev, const struct reg *r, uint64_t v)
{
	struct ahci *a = dev;

	if (a->ghc & GHC_HR)
		return;
	a->ghc = (uint32_t)v & (GHC_IE | GHC_HR);
	if (a->ghc & GHC_HR) {
		FOR_PORTS(p, a)
			port_abort(p);
		if (a->ghc & GHC_HR && all_idle(a))
			reset_finish(a);
	}
	a->acked = true;
	ahci_irq_update(a);
}

static uint64_t rd_is(void *dev, const struct reg *r)
{
	return ((const struct ahci *)dev)->is;
}

static void wr_is(void *dev, const struct reg *r, uint64_t v)
{
	struct ahci *a = dev;

	a->is &= ~(uint32_t)v;
	a->acked = true;
	ahci_irq_update(a);
}

static uint64_t rd_pi(void *dev, const struct reg *r)
{
	return ((const struct ahci *)dev)->pi;
}

static const struct reg hba_regs[] = {
	{ 0x00, 4, "CAP", rd_cap, NULL, 0 },
	{ 0x04, 4, "GHC", rd_ghc, wr_ghc, 0 },
	{ 0x08, 4, "IS", rd_is, wr_is, 0 },
	{ 0x0c, 4, "PI", rd_pi, NULL, 0 },
	{ 0x10, 4, "VS", rd_const, NULL, VS_1_3_1 },
};

static struct ahci_port *port_at(struct ahci *a, uint64_t off)
{
	const uint64_t n = (off - AHCI_PORT_BASE) / AHCI_PORT_STEP;

	return n < AHCI_PORTS_MAX && a->pi & BIT(n) ? &a->port[n] : NULL;
}

/* An access does not leave the registers of a port, or of the whole: eight bytes at most, and it begins aligned. */
static uint64_t abar_read(void *dev, uint64_t off, unsigned size)
{
	struct ahci *a = dev;

	if (off % size)
		return 0;
	if (off < AHCI_PORT_BASE)
		return regs_read(hba_regs, NELEM(hba_regs), a, off, size);
	struct ahci_port *p = port_at(a, off);

	return p ? port_read(p, (off - AHCI_PORT_BASE) % AHCI_PORT_STEP, size) : 0;
}

static void abar_write(void *dev, uint64_t off, unsigned size, uint64_t val)
{
	struct ahci *a = dev;

	if (off % size)
		return;
	if (off < AHCI_PORT_BASE) {
		regs_write(hba_regs, NELEM(hba_regs), a, off, size, val);
		return;
	}
	struct ahci_port *p = port_at(a, off);

	if (p)
		port_write(p, (off - AHCI_PORT_BASE) % AHCI_PORT_STEP, size, val);
}

static const struct io_ops abar_ops = { abar_read, abar_write };

/* Bus mastering lets what waits go; MSI takes over from INTx, or gives back. */
static void ahci_cfg_written(struct pci_dev *pci, unsigned off, unsigned size)
{
	struct ahci *a = (struct ahci *)pci;

	if (ranges_overlap(off, size, PCI_COMMAND, 2)) {
		FOR_PORTS(p, a)
			port_kick(p);
	}
	a->acked = true;        /* whoever takes over hears of what there is */
	ahci_irq_update(a);
}

static const struct pci_ops ahci_pci_ops = { .cfg_written = ahci_cfg_written };

/* --- Ports come and go --- */

static const char *port_opt(const struct ahci_port *p, const char *name)
{
	char key[48];

	snprintf(key, sizeof(key), "%s%s", p->prefix, name);
	return dev_opt_str(&p->a->pci.dev, key);
}

static void fill(char *out, size_t len, const char *text)
{
	memset(out, ' ', len);
	memcpy(out, text, strnlen(text, len));
}

static void port_names(struct ahci_port *p)
{
	const struct device *d = &p->a->pci.dev;
	const char *model = port_opt(p, "model"), *rev = port_opt(p, "rev");

	disk_serial(d, p->prefix, ' ', p->serial);
	fill(p->model, sizeof(p->model), model ? model : p->type == AHCI_CD ? "SKEP CD-ROM" : "SKEP DISK");
	fill(p->rev, sizeof(p->rev), rev ? rev : "1");
	if (p->type != AHCI_CD)
		return;
	memcpy(p->lun.serial, p->serial, sizeof(p->lun.serial));
	fill(p->lun.revision, sizeof(p->lun.revision), rev ? rev : "1");
	if (model)
		fill(p->lun.product, sizeof(p->lun.product), model);
}

static void on_batch(void *port)
{
	port_kick(port);
}

int ahci_port_open(struct ahci_port *p, const char *path, struct blk **out)
{
	const struct blk_owner owner = { &p->a->pci.dev.lock, on_batch, p };

	return disk_open_at(&p->a->pci.dev, p->prefix, p->who, p->type == AHCI_CD, &owner, path, out);
}

static int port_init(struct ahci *a, unsigned n, enum ahci_type type, const char *prefix)
{
	struct ahci_port *p = &a->port[n];
	char key[48];

	p->a = a;
	p->n = (uint8_t)n;
	p->type = type;
	snprintf(p->prefix, sizeof(p->prefix), "%s", prefix);
	snprintf(p->who, sizeof(p->who), *prefix ? "%s.port.%u" : "%s", a->pci.dev.id, n);
	p->cmds = calloc(AHCI_SLOTS, sizeof(*p->cmds));
	if (!p->cmds)
		return -ENOMEM;
	for (unsigned s = 0; s < AHCI_SLOTS; s++) {
		p->cmds[s].port = p;
		p->cmds[s].slot = (uint8_t)s;
	}
	const char *path = port_opt(p, "path");
	int err = type == AHCI_CD && !path ? 0 : ahci_port_open(p, path, &p->blk);

	if (err) {
		free(p->cmds);
		p->cmds = NULL;
		return err;
	}
	snprintf(key, sizeof(key), "%snodelete", prefix);
	p->trim = type == AHCI_HD && p->blk && !blk_read_only(p->blk) && !dev_opt_bool(&a->pci.dev, key);
	snprintf(key, sizeof(key), "%snmrr", prefix);
	p->nmrr = (uint16_t)dev_opt_u64(&a->pci.dev, key);
	if (type == AHCI_CD) {
		scsi_lun_init(&p->lun, SCSI_CD, &a->pci.dev, p->blk);
		p->lun.atapi = true;
	}
	port_names(p);
	a->pi |= BIT(n);
	return 0;
}

static void port_fini(struct ahci_port *p)
{
	blk_close(p->blk);
	blk_close(p->next_blk);
	free(p->medium);
	free(p->next_medium);
	for (unsigned s = 0; s < AHCI_SLOTS; s++)
		free(p->cmds[s].iov);
	free(p->cmds);
}

struct port_check {
	const char *id;
	int err;
};

/* Port numbers beyond the last one fit the option table's "port.N". */
static void check_key(const char *key, const char *value UNUSED, const char *origin, void *arg)
{
	struct port_check *c = arg;
	const size_t n = strlen(c->id);

	if (c->err || strncmp(key, c->id, n) || strncmp(key + n, ".port.", 6) || strtoul(key + n + 6, NULL, 10) < AHCI_PORTS_MAX)
		return;
	c->err = err_msg(-EINVAL, "%s: %s: AHCI controllers have ports 0 to %u; add another controller", origin, key,
			 AHCI_PORTS_MAX - 1);
}

static int ports_init(struct ahci *a)
{
	const struct device *d = &a->pci.dev;
	struct port_check c = { d->id, 0 };
	struct disk_place place;

	if (d->vm->conf)
		conf_walk(d->vm->conf, check_key, &c);
	for (unsigned i = 0; !c.err && disk_of_device(d, i, &place); i++)
		c.err = port_init(a, place.unit, place.cd ? AHCI_CD : AHCI_HD, place.prefix);
	if (!c.err && !a->pi)
		c.err = err_msg(-EINVAL, "%s: ahci has no drive; name at least one: ahci,hd:PATH or ahci,cd:PATH", d->id);
	return c.err;
}

static int ahci_init(struct device *dev)
{
	struct ahci *a = (struct ahci *)dev;
	int err = ports_init(a);

	if (err) {
		FOR_PORTS(p, a)
			port_fini(p);
		return err;
	}
	/* The ICH9's [ICH9 "SATA Controller Registers (D31:F2)"], which every system's driver knows. */
	a->pci.ops = &ahci_pci_ops;
	pci_ids(&a->pci, 0x8086, 0x2922, 0x010601, 2);
	pci_intx_init(&a->pci);
	pci_msi_init(&a->pci);
	pci_bar_init(&a->pci, ABAR, PCI_BAR_MEM32, AHCI_BAR_LEN, &abar_ops, a);
	return 0;
}

/* Nothing under way afterwards, lock held. */
static void stop_all(struct ahci *a)
{
	FOR_PORTS(p, a) {
		port_abort(p);
		if (p->blk) {
			blk_drain(p->blk);
			blk_cancel(p->blk);
		}
		assert(!p->busy);
		port_settle(p);
	}
}

static void ahci_fini(struct device *dev)
{
	struct ahci *a = (struct ahci *)dev;

	dev_lock(dev);
	stop_all(a);
	dev_unlock(dev);
	FOR_PORTS(p, a)
		port_fini(p);
}

static void ahci_reset(struct device *dev)
{
	struct ahci *a = (struct ahci *)dev;

	dev_lock(dev);
	stop_all(a);
	a->ghc = a->is = 0;
	a->acked = false;
	FOR_PORTS(p, a)
		port_power_on(p, false);
	ahci_irq_update(a);
	dev_unlock(dev);
}

static void ahci_pause(struct device *dev)
{
	struct ahci *a = (struct ahci *)dev;

	dev_lock(dev);
	a->paused = true;
	FOR_PORTS(p, a) {
		if (p->blk)
			blk_drain(p->blk);
	}
	dev_unlock(dev);
}

static void ahci_resume(struct device *dev)
{
	struct ahci *a = (struct ahci *)dev;

	dev_lock(dev);
	a->paused = false;
	FOR_PORTS(p, a)
		port_kick(p);
	dev_unlock(dev);
}

/* --- Snapshots --- */

static void ahci_saving(struct device *dev)
{
	FOR_PORTS(p, (struct ahci *)dev) {
		p->outstanding = p->busy | p->redo;
		p->saved_type = (uint8_t)p->type;
		p->saved_size = p->blk ? blk_size(p->blk) : 0;
	}
}

static int ahci_loaded(struct device *dev)
{
	struct ahci *a = (struct ahci *)dev;

	for (unsigned n = 0; n < AHCI_PORTS_MAX; n++) {
		struct ahci_port *p = &a->port[n];

		if (p->saved_type != p->type)
			return err_msg(-EINVAL, "snapshot of %s: its port %u had another kind of drive, or none", dev->id, n);
		if (p->type == AHCI_NONE)
			continue;
		if (p->saved_size != (p->blk ? blk_size(p->blk) : 0))
			return err_msg(-EINVAL, "snapshot of %s: its image of port %u had %llu bytes, the one here has %llu",
				       dev->id, n, (unsigned long long)p->saved_size,
				       (unsigned long long)(p->blk ? blk_size(p->blk) : 0));
		if (port_loaded(p))
			return err_msg(-EINVAL, "snapshot of %s: the registers of its port %u cannot be", dev->id, n);
	}
	a->ghc &= GHC_IE;
	a->is &= a->pi;
	dev_lock(dev);
	a->acked = true;
	ahci_irq_update(a);
	dev_unlock(dev);
	return 0;
}

static const struct snap_field ahci_fields[] = {
	SNAP_STRUCT(struct ahci, pci, pci_fields, 1),
	SNAP_U32(struct ahci, ghc, 1), SNAP_U32(struct ahci, is, 1),
	SNAP_STRUCTS(struct ahci, port, ahci_port_fields, 1),
	SNAP_END
};

/* --- Classes --- */

#define NAMES_OPTS(P) \
	{ P "model", OPT_STR, 0, ATA_MODEL_LEN, NULL, NULL, "model name, at most 40 characters", NULL }, \
	{ P "rev", OPT_STR, 0, ATA_REV_LEN, NULL, NULL, "firmware revision, at most 8 characters", NULL }, \
	{ P "nmrr", OPT_U64, 0, 65535, "1", NULL, "nominal rotation rate; 1: does not rotate, 0: not told", NULL }

static const char *const types[] = { "hd", "cd", NULL };
static const struct opt one_opts[] = { DISK_OPTS(""), NAMES_OPTS(""), OPT_LAST };
static const struct opt ahci_opts[] = {
	{ "port.N.type", OPT_ENUM, 0, 0, "hd", NULL, "disk or CD drive", types },
	DISK_OPTS("port.N."), NAMES_OPTS("port.N."),
	OPT_LAST
};

static int ahci_conf_word(struct conf *conf, const char *id, const char *word, const char *origin)
{
	return disk_conf_word(conf, id, "port", AHCI_PORTS_MAX, ahci_opts, word, origin);
}

#define AHCI_CLASS \
	.size = sizeof(struct ahci), .init = ahci_init, .fini = ahci_fini, .reset = ahci_reset, \
	.pause = ahci_pause, .resume = ahci_resume, .snap = ahci_fields, .snap_version = 1, .saving = ahci_saving, .loaded = ahci_loaded, .medium = ahci_medium, .pci = true

const struct device_class ahci_class = {
	.name = "ahci", .help = "SATA controller (AHCI): hd:PATH and cd:PATH for each drive, its options behind it",
	.opts = ahci_opts, .conf_word = ahci_conf_word, AHCI_CLASS,
};
const struct device_class ahci_hd_class = {
	.name = "ahci-hd", .help = "SATA disk (AHCI)", .opts = one_opts, .positional = "path", AHCI_CLASS,
};
const struct device_class ahci_cd_class = {
	.name = "ahci-cd", .help = "SATA CD drive (AHCI), empty without a path", .opts = one_opts, .positional = "path", AHCI_CLASS,
};
