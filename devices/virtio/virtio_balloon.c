/*
 * virtio-balloon: memory the guest gives back [VIRTIO-1.2 5.5].  Asked for by the control socket's `balloon`; pages that the
 * guest reports as free are given back without being asked for.
 */
#include "devices/virtio/virtio_balloon.h"

#include <errno.h>
#include <sys/mman.h>
#include <unistd.h>

#include "common/ctl.h"
#include "common/vm.h"
#include "devices/classes.h"
#include "devices/virtio/virtio_pci.h"

enum { Q_INFLATE, Q_DEFLATE, Q_STATS, Q_REPORTING, QUEUES };
#define F_STATS_VQ BIT64(1)
#define F_DEFLATE_ON_OOM BIT64(2)
#define F_REPORTING BIT64(5)
#define QUEUE_SIZE 128
#define BUDGET 16                               /* requests before other devices get their turn */
#define PFNS_MAX 4096                           /* of a request that are looked at: drivers give 256, and each may cost a system call */
#define PAGE KIB(4)                             /* of the interface, whatever guest and host have */

/* struct virtio_balloon_config [VIRTIO-1.2 5.5.4] */
#define CFG_NUM_PAGES 0
#define CFG_ACTUAL 4
#define CFG_LEN 8

/* [VIRTIO-1.2 5.5.6.4]: a 16-bit tag and a 64-bit value each */
#define STAT_LEN 10
static const char *const stats[] = {
	"swap-in", "swap-out", "major-faults", "minor-faults", "free", "total", "available", "disk-caches", "hugetlb-allocations",
	"hugetlb-failures",
};

struct balloon {
	struct virtio_dev v;                    /* first */
	uint64_t stat[NELEM(stats)];
	uint32_t have_stats;                    /* by tag */
	bool held;                              /* the driver's buffer for statistics, below */
	struct vq_chain buffer;
};

/* --- Giving memory back --- */

/* Whole pages of the host only.  The guest may use the memory again at any time: it finds zeroes. */
static void discard(struct vm *vm, uint64_t gpa, uint64_t len)
{
	const uint64_t host = (uint64_t)sysconf(_SC_PAGESIZE), from = ALIGN_UP(gpa, host), to = ALIGN_DOWN(gpa + len, host);
	void *hva = from < to ? mem_at(&vm->mem, from, to - from) : NULL;

	for (unsigned i = 0; hva && i < vm->mem.n; i++) {
		const struct mem_region *r = &vm->mem.r[i];

		/* Memory that is locked stays: the operator wanted it so. */
		if (from - r->gpa < r->len_bytes)
			madvise(hva, to - from, r->fd >= 0 ? MADV_REMOVE : MADV_DONTNEED);
	}
}

static void inflate(struct balloon *b, const struct vq_chain *c)
{
	uint8_t le[256 * 4];
	uint64_t run = 0, len = 0;

	for (size_t at = 0, n; at < PFNS_MAX * 4 && (n = iov_read(c->iov, c->nr, at, le, sizeof(le)) / 4); at += n * 4)
		for (size_t i = 0; i < n; i++) {
			const uint64_t gpa = get_le32(le + i * 4) * PAGE;

			if (len && gpa == run + len) {
				len += PAGE;
				continue;
			}
			discard(b->v.pci.dev.vm, run, len);
			run = gpa;
			len = PAGE;
		}
	discard(b->v.pci.dev.vm, run, len);
}

static void reported(struct balloon *b, const struct vq_chain *c)
{
	struct vm *vm = b->v.pci.dev.vm;
	uint64_t gpa;

	for (unsigned i = c->nr; i < (unsigned)c->nr + c->nw; i++)
		if (mem_gpa_of(&vm->mem, c->iov[i].iov_base, &gpa))
			discard(vm, gpa, c->iov[i].iov_len);
}

/* --- Statistics: the driver's buffer is kept until they are wanted anew --- */

static void take_stats(struct balloon *b, const struct vq_chain *c)
{
	uint8_t s[STAT_LEN];

	b->have_stats = 0;
	for (size_t at = 0; at < STAT_LEN * NELEM(stats) * 2 && iov_read(c->iov, c->nr, at, s, STAT_LEN) == STAT_LEN; at += STAT_LEN) {
		const unsigned tag = get_le16(s);

		if (tag < NELEM(stats)) {
			b->stat[tag] = get_le64(s + 2);
			b->have_stats |= BIT(tag);
		}
	}
	b->buffer = *c;
	b->buffer.iov = NULL;
	b->held = true;
}

static void ask_stats(struct balloon *b)
{
	if (!b->held)
		return;
	b->held = false;
	virtio_push(&b->v, Q_STATS, &b->buffer, 0);
	virtio_signal(&b->v, Q_STATS);
}

/* --- Queues --- */

static void serve(struct balloon *b, unsigned q, const struct vq_chain *c)
{
	if (q == Q_STATS) {
		/* One buffer is all there is; a second one means that the driver has the first. */
		if (b->held)
			virtio_push(&b->v, q, &b->buffer, 0);
		take_stats(b, c);
		return;
	}
	if (q == Q_INFLATE)
		inflate(b, c);
	else if (q == Q_REPORTING)
		reported(b, c);
	virtio_push(&b->v, q, c, 0);
}

static bool balloon_kick(struct virtio_dev *v, unsigned q)
{
	struct iovec iov[VQ_CHAIN_MAX];
	struct vq_chain c;
	unsigned budget = BUDGET;
	bool more = true;

	while (more && budget) {
		vq_notify_off(&v->vq[q]);
		for (; budget && virtio_pop(v, q, &c, iov); budget--)
			serve((struct balloon *)v, q, &c);
		more = vq_notify_on(&v->vq[q]);
	}
	virtio_signal(v, q);
	return more && virtio_running(v, q);
}

static void balloon_stop(struct virtio_dev *v, unsigned q)
{
	struct balloon *b = (struct balloon *)v;

	if (q == Q_STATS && b->held)
		virtio_drop(v, q, &b->buffer);
	if (q == Q_STATS)
		b->held = false;
}

/* The driver says how much it has given back. */
static void balloon_cfg_written(struct virtio_dev *v, unsigned off UNUSED, unsigned size UNUSED)
{
	ctl_event(v->pci.dev.vm, "balloon", json_pack("{s:s, s:I}", "device", v->pci.dev.id, "given-back",
						      (json_int_t)(get_le32(v->cfg + CFG_ACTUAL) * PAGE)));
}

static void balloon_type_reset(struct virtio_dev *v)
{
	struct balloon *b = (struct balloon *)v;

	b->held = false;
	b->have_stats = 0;
	put_le32(v->cfg + CFG_ACTUAL, 0);
}

static const struct virtio_type balloon_type = {
	.id = 5, .class_code = 0x00ff00, .features = F_STATS_VQ | F_DEFLATE_ON_OOM | F_REPORTING, .kick = balloon_kick, .stop = balloon_stop,
	.reset = balloon_type_reset, .cfg_written = balloon_cfg_written,
};

/* --- The control socket --- */

static void status(struct balloon *b, struct ctl_call *call)
{
	const uint64_t total = mem_total(&call->vm->mem);
	json_t *o = json_object();

	for (unsigned i = 0; i < NELEM(stats); i++)
		if (b->have_stats & BIT(i))
			json_object_set_new(o, stats[i], json_integer((json_int_t)b->stat[i]));
	call->result = json_pack("{s:I, s:I, s:I, s:b, s:o}", "memory", (json_int_t)total, "target",
				 (json_int_t)(total - get_le32(b->v.cfg + CFG_NUM_PAGES) * PAGE), "given-back",
				 (json_int_t)(get_le32(b->v.cfg + CFG_ACTUAL) * PAGE), "driver", (int)(b->v.status & VIRTIO_S_DRIVER_OK) != 0, "guest", o);
}

int balloon_ctl(struct ctl_call *call)
{
	const json_t *mib = json_object_get(call->params, "memory");
	const uint64_t total = mem_total(&call->vm->mem), keep = (uint64_t)json_integer_value(mib) * MIB(1);
	struct balloon *b = NULL;

	for (unsigned i = 0; i < call->vm->ndevs && !b; i++)
		if (call->vm->devs[i]->cls == &virtio_balloon_class)
			b = (struct balloon *)call->vm->devs[i];
	if (!b)
		return err_msg(-ENODEV, "the machine has no balloon: start it with '-s SLOT,virtio-balloon'");
	if (mib && (json_integer_value(mib) <= 0 || keep / MIB(1) != (uint64_t)json_integer_value(mib) || keep > total))
		return err_msg(-EINVAL, "memory: the guest can keep 1 to %llu MiB", (unsigned long long)(total / MIB(1)));
	dev_lock(&b->v.pci.dev);
	if (mib) {
		put_le32(b->v.cfg + CFG_NUM_PAGES, (uint32_t)MIN((total - keep) / PAGE, (uint64_t)UINT32_MAX));
		virtio_config_changed(&b->v);
	}
	status(b, call);
	ask_stats(b);
	dev_unlock(&b->v.pci.dev);
	return 0;
}

/* --- The device --- */

static int balloon_init(struct device *dev)
{
	struct balloon *b = (struct balloon *)dev;

	memset(b->v.cfg_wmask + CFG_ACTUAL, 0xff, 4);
	return virtio_init(&b->v, &balloon_type, 0, QUEUES, QUEUE_SIZE, CFG_LEN);
}

static void balloon_fini(struct device *dev) { virtio_fini((struct virtio_dev *)dev); }
static void balloon_reset(struct device *dev) { virtio_reset((struct virtio_dev *)dev); }

/* The buffer goes back into the ring, where a snapshot has it, and is taken again afterwards. */
static void balloon_pause(struct device *dev)
{
	struct balloon *b = (struct balloon *)dev;

	virtio_pause(&b->v);
	dev_lock(dev);
	if (b->held)
		virtio_unpop(&b->v, Q_STATS, &b->buffer);
	b->held = false;
	dev_unlock(dev);
}

static void balloon_resume(struct device *dev) { virtio_resume((struct virtio_dev *)dev); }
static int balloon_loaded(struct device *dev) { return virtio_loaded((struct virtio_dev *)dev); }

static const struct snap_field balloon_fields[] = {
	SNAP_STRUCT(struct balloon, v, virtio_fields, 1),
	SNAP_END
};

const struct device_class virtio_balloon_class = {
	.name = "virtio-balloon", .help = "memory the guest gives back", .size = sizeof(struct balloon),
	.init = balloon_init, .fini = balloon_fini, .reset = balloon_reset, .pause = balloon_pause, .resume = balloon_resume,
	.snap = balloon_fields, .snap_version = 1, .loaded = balloon_loaded, .pci = true,
};
