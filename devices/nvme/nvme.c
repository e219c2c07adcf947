/*
 * An NVMe controller with one namespace, a disk of devices/block/ [NVME-1.4]: registers and life.
 *
 * Modelled: the NVM command set, several I/O queues with round-robin arbitration, PRPs and SGLs, asynchronous events, log
 * pages, abort, shadow doorbells.  Not modelled: firmware update, formatting, namespace management, security,
 * reservations, sanitize, telemetry, weighted arbitration, the controller and host memory buffers, subsystem reset.
 * Bus-master enable is not looked at, as in virtio.
 *
 * Resets are asynchronous: CSTS.RDY falls when the last command in flight has come back, so the driver's memory is its own
 * again and no vCPU thread waits for a disk.
 */
#include "devices/nvme/nvme.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include "common/vm.h"
#include "devices/block/disk.h"
#include "devices/classes.h"
#include "devices/nvme/nvme_boot.h"

/* bhyve's, which drivers know by the class code only. */
#define VENDOR 0xfb5d
#define DEVICE 0x0a0a
#define BAR_REGS 0                      /* 64-bit: takes BAR 0 and 1 */
#define BAR_MSIX 4                      /* older FreeBSD looks for the table there or in BAR 0 */
#define BAR_LEN 0x4000u
#define TIMEOUT_UNITS 120               /* 60 seconds for RDY to follow EN */
#define AQA_MASK 0x0fff0fffu
#define PAGE_MASK (~0xfffull)
#define RAM_MAX (1ull << 44)            /* bytes */

/* --- Controller state [NVME-1.4 3.1.5, 3.1.6, 7.3, 7.6] --- */

void nvme_fatal(struct nvme *c, const char *why)
{
	dev_warn(&c->pci.dev, "%s; the controller needs a reset", why);
	c->csts |= CSTS_CFS;
}

static void enable(struct nvme *c)
{
	const uint32_t asqs = (c->aqa & 0xfff) + 1, acqs = (c->aqa >> 16 & 0xfff) + 1;

	c->csts = 0;
	c->shut_stale = true;
	if (CC_CSS(c->cc) || CC_AMS(c->cc) || CC_MPS(c->cc) > NVME_MPS_MAX || asqs < 2 || acqs < 2) {
		nvme_fatal(c, "enabled with a command set, page size, arbitration or admin queue size that is not there");
		return;
	}
	c->sq[0] = (struct nvme_sq){ .live = true, .size = asqs, .base = c->asq };
	c->cq[0] = (struct nvme_cq){ .live = true, .ien = true, .phase = true, .size = acqs, .base = c->acq, .nsq = 1 };
	c->sq[0].mem = nvme_queue_mem(c, c->asq, asqs, NVME_SQE_LEN);
	c->cq[0].mem = nvme_queue_mem(c, c->acq, acqs, NVME_CQE_LEN);
	if (!c->sq[0].mem || !c->cq[0].mem) {
		c->sq[0].live = c->cq[0].live = false;
		nvme_fatal(c, "enabled with an admin queue that is not in RAM");
		return;
	}
	c->sqs = 1;
	c->csts = CSTS_RDY;
	nvme_health_check(c);
}

void nvme_clear(struct nvme *c)
{
	memset(c->sq, 0, sizeof(c->sq));
	memset(c->cq, 0, sizeof(c->cq));
	memset(c->abort, 0, sizeof(c->abort));
	memset(c->event_pending, 0, sizeof(c->event_pending));
	memset(c->event_reported, 0, sizeof(c->event_reported));
	memset(c->aer_cid, 0, sizeof(c->aer_cid));
	c->sqs = c->post_mask = c->corked = 0;
	c->naer = c->critical = 0;
	c->intm = 0;
	c->rr = 0;
	c->starved = false;
	free(c->held);
	c->held = NULL;
	c->held_len = 0;
	nvme_shadow_set(c, 0, 0, false);
	nvme_features_reset(c);
	pci_intx_set(&c->pci, false);
}

void nvme_reset_check(struct nvme *c)
{
	if (!c->resetting || c->inflight)
		return;
	c->resetting = false;
	c->csts = 0;
}

static void reset_start(struct nvme *c)
{
	nvme_clear(c);
	c->csts &= ~CSTS_SHST;
	c->shut_stale = true;
	c->resetting = true;
	nvme_reset_check(c);
	if (c->resetting)
		nvme_kick(c);
}

static void shut_start(struct nvme *c);

static void shut_done(struct blk_req *b)
{
	struct nvme *c = container_of(b, struct nvme, shut);

	c->shut_busy = false;
	if (c->dropping || (c->csts & CSTS_SHST) != CSTS_SHST_BUSY)
		return;
	if (c->shut_stale)
		shut_start(c);
	else
		c->csts = (c->csts & ~CSTS_SHST) | CSTS_SHST_DONE;
}

/* Loop thread.  What the disk caches is flushed before the shutdown is complete.  No reset waits for it. */
static void shut_start(struct nvme *c)
{
	c->shut = (struct blk_req){ .op = BLK_FLUSH, .done = shut_done };
	c->shut_busy = true;
	c->shut_stale = false;
	blk_submit(c->blk, &c->shut);
}

static void shutdown(struct nvme *c)
{
	c->csts = (c->csts & ~CSTS_SHST) | (c->blk ? CSTS_SHST_BUSY : CSTS_SHST_DONE);
	nvme_kick(c);
}

/* Loop thread: a doorbell was rung, or something is to go on. */
static void on_kick(void *arg, uint32_t events)
{
	struct nvme *c = arg;
	uint64_t n;

	(void)events;
	if (read(c->efd, &n, sizeof(n)) != sizeof(n))
		return;
	dev_lock(&c->pci.dev);
	c->kicked = false;
	if (c->resetting && !c->paused)
		blk_cancel(c->blk);     /* the throttle may hold some for long */
	nvme_process(c);
	if ((c->csts & CSTS_SHST) == CSTS_SHST_BUSY && !c->shut_busy && !c->paused) {
		shut_start(c);
		blk_kick(c->blk);
	}
	dev_unlock(&c->pci.dev);
}

/* --- Registers [NVME-1.4 3.1] --- */

static uint64_t rd_cap(void *dev, const struct reg *r UNUSED)
{
	const struct nvme *c = dev;

	return (c->qsz - 1) | CAP_CQR | CAP_TO(TIMEOUT_UNITS) | CAP_CSS_NVM | CAP_MPSMAX(NVME_MPS_MAX);
}

static uint64_t rd_vs(void *dev UNUSED, const struct reg *r UNUSED) { return NVME_VERSION; }
static uint64_t rd_intm(void *dev, const struct reg *r UNUSED) { return ((struct nvme *)dev)->intm; }
static uint64_t rd_cc(void *dev, const struct reg *r UNUSED) { return ((struct nvme *)dev)->cc; }
static uint64_t rd_csts(void *dev, const struct reg *r UNUSED) { return ((struct nvme *)dev)->csts; }
static uint64_t rd_aqa(void *dev, const struct reg *r UNUSED) { return ((struct nvme *)dev)->aqa; }

static void wr_intm(void *dev, const struct reg *r, uint64_t val)
{
	struct nvme *c = dev;

	c->intm = r->arg ? c->intm & ~(uint32_t)val : c->intm | (uint32_t)val;
	nvme_intx_update(c);
}

static void wr_cc(void *dev, const struct reg *r UNUSED, uint64_t val)
{
	struct nvme *c = dev;
	const uint32_t old = c->cc, keep = old & CC_EN ? old & CC_DISABLED_ONLY : (uint32_t)val & CC_DISABLED_ONLY;

	if (c->resetting)
		return;                 /* RDY still says that the reset goes on */
	c->cc = keep | ((uint32_t)val & CC_ALWAYS);
	if (old & CC_EN && !(c->cc & CC_EN)) {
		reset_start(c);
		return;
	}
	if (!(old & CC_EN) && c->cc & CC_EN)
		enable(c);
	if (CC_SHN(c->cc) && !CC_SHN(old))
		shutdown(c);
}

static void wr_aqa(void *dev, const struct reg *r UNUSED, uint64_t val)
{
	((struct nvme *)dev)->aqa = (uint32_t)val & AQA_MASK;
}

/* ASQ and ACQ by halves: firmware writes them so. */
static uint64_t *queue_base(struct nvme *c, const struct reg *r)
{
	return r->off < NVME_ACQ ? &c->asq : &c->acq;
}

static uint64_t rd_base(void *dev, const struct reg *r)
{
	return *queue_base(dev, r) >> (r->arg * 8) & 0xffffffff;
}

static void wr_base(void *dev, const struct reg *r, uint64_t val)
{
	uint64_t *base = queue_base(dev, r);

	*base = ((*base & ~(0xffffffffull << (r->arg * 8))) | val << (r->arg * 8)) & PAGE_MASK;
}

static const struct reg nvme_regs[] = {
	{ NVME_CAP, 8, "CAP", rd_cap, NULL, 0 },
	{ NVME_VS, 4, "VS", rd_vs, NULL, 0 },
	{ NVME_INTMS, 4, "INTMS", rd_intm, wr_intm, 0 },
	{ NVME_INTMC, 4, "INTMC", rd_intm, wr_intm, 1 },
	{ NVME_CC, 4, "CC", rd_cc, wr_cc, 0 },
	{ NVME_CSTS, 4, "CSTS", rd_csts, NULL, 0 },
	{ NVME_AQA, 4, "AQA", rd_aqa, wr_aqa, 0 },
	{ NVME_ASQ, 4, "ASQ", rd_base, wr_base, 0 },
	{ NVME_ASQ + 4, 4, "ASQ high", rd_base, wr_base, 4 },
	{ NVME_ACQ, 4, "ACQ", rd_base, wr_base, 0 },
	{ NVME_ACQ + 4, 4, "ACQ high", rd_base, wr_base, 4 },
};

static uint64_t bar_read(void *dev, uint64_t off, unsigned size)
{
	return off < NVME_DOORBELLS ? regs_read(nvme_regs, NELEM(nvme_regs), dev, off, size) : 0;
}

/* Registers are written by dwords or, where they are wider, as a whole [NVME-1.4 3.1]. */
static void bar_write(void *dev, uint64_t off, unsigned size, uint64_t val)
{
	if (size < 4 || off % size)
		return;
	if (off < NVME_DOORBELLS)
		regs_write(nvme_regs, NELEM(nvme_regs), dev, off, size, val);
	else if (size == 4)
		nvme_doorbell(dev, off - NVME_DOORBELLS, (uint32_t)val);
}

static const struct io_ops bar_ops = { bar_read, bar_write };

static void bar_moved(struct pci_dev *p, unsigned bar)
{
	if (bar == BAR_REGS)
		nvme_shadow_follow((struct nvme *)p);
}

/* The pin is quiet while there is MSI-X. */
static void cfg_written(struct pci_dev *p, unsigned off UNUSED, unsigned size UNUSED)
{
	if (pci_msix_enabled(p))
		pci_intx_set(p, false);
	else
		nvme_intx_update((struct nvme *)p);
}

static const struct pci_ops nvme_pci_ops = { .cfg_written = cfg_written, .bar_moved = bar_moved };

/* --- Life --- */

/* A file in memory that nothing else has a name for.  bhyve's plain numbers are MiB. */
static int ram_open(struct nvme *c, int *fd)
{
	const struct device *dev = &c->pci.dev;
	uint64_t size = dev_opt_u64(dev, "ram");

	if (size < MIB(1))
		size *= MIB(1);
	snprintf(c->ram_path, sizeof(c->ram_path), "ram");
	if (dev->vm->dry)
		return 0;
	*fd = memfd_create("nvme-ram", MFD_CLOEXEC);
	if (*fd < 0 || ftruncate(*fd, (off_t)size) < 0)
		return err_sys("%s: a RAM disk of %llu bytes", dev->id, (unsigned long long)size);
	snprintf(c->ram_path, sizeof(c->ram_path), "/proc/self/fd/%d", *fd);
	return 0;
}

static int open_disk(struct nvme *c)
{
	struct device *dev = &c->pci.dev;
	const struct blk_owner owner = { &dev->lock, nvme_batch_done, c };
	const bool ram = dev_opt_u64(dev, "ram") != 0;
	const char *path = dev_opt_str(dev, "path");
	int fd = -1, err = 0;

	if (ram && path)
		return err_msg(-EINVAL, "%s: a RAM disk has no image: leave out either ram or '%s'", dev->id, path);
	if (ram)
		err = ram_open(c, &fd);
	if (!err)
		err = disk_open_at(dev, "", dev->id, c->read_only, &owner, ram ? c->ram_path : path, &c->blk);
	if (fd >= 0)
		close(fd);
	return err;
}

static int kick_init(struct nvme *c)
{
	struct loop *loop = c->pci.dev.vm->loop;

	c->efd = -1;
	if (!loop)
		return 0;
	c->efd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (c->efd < 0)
		return err_sys("%s: eventfd", c->pci.dev.id);
	c->ev = ev_fd(loop, c->efd, EPOLLIN, on_kick, c);
	return c->ev ? 0 : -ENOMEM;
}

static void identity(struct nvme *c)
{
	const struct device *dev = &c->pci.dev;
	const char *dsm = dev_opt_str(dev, "dsm");
	char id[sizeof(dev->id) + 1];

	disk_serial(dev, "", ' ', c->serial);
	if (dev_opt_u64(dev, "ram") && !dev_opt_str(dev, "serial") && !dev_opt_str(dev, "ser")) {
		snprintf(id, sizeof(id), "%-*.*s", NVME_SERIAL_LEN, NVME_SERIAL_LEN, dev->id);  /* no path: from its place */
		memcpy(c->serial, id, NVME_SERIAL_LEN);
	}
	nvme_names(c, dev_opt_u64(dev, "eui64"));
	c->nodelete = dev_opt_bool(dev, "nodelete");
	c->dsm = strcmp(dsm, "enable") == 0 || (strcmp(dsm, "auto") == 0 && !c->nodelete && !c->read_only);
}

static void host_free(struct nvme *c)
{
	nvme_shadow_set(c, 0, 0, false);
	ev_del(c->ev);
	if (c->efd >= 0)
		close(c->efd);
	c->efd = -1;
	blk_close(c->blk);
	free(c->reqs);
	free(c->held);
	free(c->saved);
	free(c->bucket);
}

static int nvme_init(struct device *dev)
{
	struct nvme *c = (struct nvme *)dev;
	struct pci_dev *p = &c->pci;
	int err;

	c->maxq = (unsigned)dev_opt_u64(dev, "maxq");
	c->qsz = (uint32_t)dev_opt_u64(dev, "qsz");
	c->ioslots = (unsigned)dev_opt_u64(dev, "ioslots");
	c->read_only = dev_opt_bool(dev, "ro");
	err = kick_init(c);
	if (!err)
		err = open_disk(c);
	if (err) {
		host_free(c);
		return err;
	}
	c->lbads = 9;
	if (c->blk) {
		c->read_only = blk_read_only(c->blk);
		c->lbads = (unsigned)__builtin_ctz(blk_logical(c->blk));
		c->blocks = ALIGN_UP(blk_size(c->blk), blk_logical(c->blk)) >> c->lbads;
	}
	identity(c);
	c->start_ns = now_ns();
	p->ops = &nvme_pci_ops;
	pci_ids(p, VENDOR, DEVICE, 0x010802, 1);
	pci_bar_init(p, BAR_REGS, PCI_BAR_MEM64, BAR_LEN, &bar_ops, c);
	p->bar[BAR_REGS].range.regs = nvme_regs;
	p->bar[BAR_REGS].range.nregs = NELEM(nvme_regs);
	pci_intx_init(p);
	pci_msix_init(p, BAR_MSIX, c->maxq + 1);
	return 0;
}

void nvme_drop_all(struct nvme *c)
{
	c->dropping = true;
	if (c->blk) {
		blk_drain(c->blk);
		blk_cancel(c->blk);
	}
	assert(c->inflight == 0);
	assert(!c->shut_busy);
	c->dropping = c->resetting = false;
}

static void nvme_fini(struct device *dev)
{
	struct nvme *c = (struct nvme *)dev;

	dev_lock(dev);
	nvme_drop_all(c);
	dev_unlock(dev);
	c->pci.ops = NULL;
	host_free(c);
}

static void nvme_reset(struct device *dev)
{
	struct nvme *c = (struct nvme *)dev;

	dev_lock(dev);
	nvme_drop_all(c);
	nvme_clear(c);
	c->cc = c->csts = c->aqa = 0;
	c->asq = c->acq = 0;
	c->paused = false;
	memset(&c->count, 0, sizeof(c->count));
	memset(c->errors, 0, sizeof(c->errors));
	dev_unlock(dev);
}

static void nvme_pause(struct device *dev)
{
	struct nvme *c = (struct nvme *)dev;

	dev_lock(dev);
	c->paused = true;
	if (c->blk)
		blk_drain(c->blk);
	dev_unlock(dev);
}

static void nvme_resume(struct device *dev)
{
	struct nvme *c = (struct nvme *)dev;

	dev_lock(dev);
	c->paused = false;
	if (c->blk)
		blk_kick(c->blk);
	nvme_kick(c);
	dev_unlock(dev);
}

uint64_t nvme_boot_eui64(const struct device *dev)
{
	return get_le64(((const struct nvme *)dev)->eui64);
}

static const char *const dsm_choices[] = { "auto", "enable", "disable", NULL };
static const struct opt nvme_opts[] = {
	DISK_OPTS(""),
	{ "sectsz", OPT_STR, 0, 16, NULL, "bytes", "same as sectorsize", NULL },
	{ "ram", OPT_SIZE, 0, RAM_MAX, "0", "bytes", "a disk in memory of that size instead of an image", NULL },
	{ "maxq", OPT_U64, 1, NVME_IO_QUEUES_MAX, "16", NULL, "I/O queues the guest may have", NULL },
	{ "qsz", OPT_U64, 2, 65536, "2048", NULL, "most entries of a queue", NULL },
	{ "ioslots", OPT_U64, 1, 1024, "128", NULL, "commands that run at the same time", NULL },
	{ "eui64", OPT_U64, 0, 0, "0", NULL, "identifier (EUI-64) of the namespace; 0: from the serial number", NULL },
	{ "dsm", OPT_ENUM, 0, 0, "auto", NULL, "offer Dataset Management, by which guests discard blocks", dsm_choices },
	OPT_LAST
};

const struct device_class nvme_class = {
	.name = "nvme", .help = "NVMe disk", .size = sizeof(struct nvme),
	.opts = nvme_opts, .positional = "path",
	.init = nvme_init, .fini = nvme_fini, .reset = nvme_reset, .pause = nvme_pause, .resume = nvme_resume,
	.snap = nvme_fields, .snap_version = 1, .saving = nvme_saving, .loaded = nvme_loaded, .pci = true,
};
