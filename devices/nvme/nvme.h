/*
 * The NVMe controller's state and what its files offer each other [NVME-1.4].
 *
 * Thread: everything under dev.lock.  Registers and doorbells are written on vCPU threads, which only note what they
 * say and wake the loop; commands are fetched, run and completed on the loop's thread.
 *
 * A command takes a place in its completion queue when it is fetched, so a completion always finds room; while
 * a completion queue has none left, nothing is fetched that would end there.
 */
#ifndef DEVICES_NVME_NVME_H
#define DEVICES_NVME_NVME_H

#include "common/iov.h"
#include "common/loop.h"
#include "devices/block/block.h"
#include "devices/nvme/nvme_hw.h"
#include "devices/pci/pci.h"

#define NVME_IO_QUEUES_MAX (PCI_MSIX_MAX - 1)   /* with one vector each and one for the admin queue */
#define NVME_QUEUES (NVME_IO_QUEUES_MAX + 1)   /* 64: one bit each in masks */
_Static_assert(NVME_QUEUES == 64, "a mask of queues is a uint64_t");
#define NVME_PAGE_SHIFT 12                      /* CAP.MPSMIN is 0 */
#define NVME_MPS_MAX 4                          /* 64 KiB */
#define NVME_MDTS 8                             /* 1 MiB */
#define NVME_TRANSFER_MAX (1u << (NVME_PAGE_SHIFT + NVME_MDTS))
#define NVME_IOV_MAX 1024                       /* pieces of host memory of a command */
#define NVME_AERS 4
#define NVME_ABORTS 4
#define NVME_ERRORS 16                          /* entries of the error log */
#define NVME_ERROR_LEN 64
#define NVME_SERIAL_LEN 20
#define NVME_KELVIN 300                         /* a temperature no threshold of a driver minds */
#define NVME_HELD_LEN (2 + NVME_SQE_LEN)        /* queue number, command */

struct nvme;

struct nvme_sq {
	bool live, deleting;
	uint16_t cqid, delete_cid;      /* of the command that deletes it */
	uint32_t size, head, tail;      /* entries */
	uint64_t base;
	const uint8_t *mem;
	uint32_t inflight;
};

struct nvme_cq {
	bool live, ien, phase;
	uint16_t iv;
	uint32_t size, head, tail;
	uint64_t base;
	uint8_t *mem;
	uint32_t reserved;              /* places for commands in flight */
	unsigned nsq;                   /* submission queues that use it */
};

/* A command is to be aborted when it is fetched: it waits at `index` of its queue. */
struct nvme_abort {
	bool used;
	uint16_t sqid, cid;
	uint32_t index;
};

struct nvme_req {
	struct blk_req blk;             /* first */
	struct nvme *c;
	struct nvme_req *next;          /* of the free ones */
	bool busy;
	uint16_t sqid;
	uint8_t cmd[NVME_SQE_LEN];      /* copied from the guest */
	/* Commands that go piece by piece. */
	uint8_t *buf;                   /* compare, verify: what was read; dataset management: the ranges */
	uint64_t at, end;               /* bytes of the disk, or ranges */
	uint32_t len;                   /* of the iovecs */
	unsigned niov;
	struct iovec iov[NVME_IOV_MAX], one;
};

struct nvme_features {
	uint32_t arbitration, power, temp_over, temp_under, error_recovery, write_cache, coalescing, atomicity, async_event;
	uint32_t vector[NVME_QUEUES];
};

struct nvme_counters {
	uint64_t reads, writes;         /* commands */
	uint64_t sectors_read, sectors_written;         /* of 512 bytes */
	uint64_t busy_ns, media_errors, errors;
};

struct nvme {
	struct pci_dev pci;             /* first */
	struct blk *blk;                /* NULL in a dry VM */
	bool read_only, dsm, nodelete;
	unsigned maxq, ioslots;
	uint32_t qsz;
	unsigned lbads;                 /* log2 of the bytes of a block */
	uint64_t blocks;
	char serial[NVME_SERIAL_LEN];   /* padded with blanks */
	uint8_t eui64[8], nguid[16], uuid[16];
	char ram_path[32];              /* of a RAM disk */
	uint64_t start_ns;

	uint32_t cc, csts, aqa, intm;
	uint64_t asq, acq;
	struct nvme_sq sq[NVME_QUEUES];
	struct nvme_cq cq[NVME_QUEUES];
	uint16_t nsqa, ncqa;            /* I/O queues the driver may create */
	struct nvme_features feat;
	struct nvme_abort abort[NVME_ABORTS];
	uint16_t aer_cid[NVME_AERS];
	uint8_t naer;
	uint8_t event_pending[NVME_EVENTS];             /* 0: none; else information + 1 */
	uint8_t event_reported[NVME_EVENTS];            /* masked until its log page was read */
	uint8_t critical;               /* critical warning as it was reported last */
	struct nvme_counters count;
	uint8_t errors[NVME_ERRORS * NVME_ERROR_LEN];   /* the newest first */
	uint64_t dbs, eis;              /* shadow doorbells and event indexes; 0: none */

	/* Commands of a snapshot that are still to be run. */
	uint8_t *held;
	uint32_t held_len;
	uint8_t *saved;                 /* in the snapshot: those, and what is in flight */
	uint32_t saved_len;
	uint8_t saved_lbads;

	/* Computed. */
	struct nvme_req *reqs, *free_reqs;
	unsigned fresh;                 /* reqs[fresh] and above were never used */
	unsigned inflight;              /* requests */
	uint64_t busy_since;
	bool resetting;                 /* CC.EN was cleared, requests are still in flight */
	bool dropping;                  /* what comes back now is of a state that is gone */
	bool paused, kicked, starved;   /* starved: something waits for a free request */
	uint64_t sqs;                   /* submission queues that are live */
	uint64_t corked;                /* completion queues whose next free place is waited for */
	uint64_t post_mask;             /* completion queues with new entries */
	unsigned rr;                    /* submission queue whose turn is next */
	struct blk_req shut;
	bool shut_busy, shut_stale;     /* a reset has come since the flush began */
	int efd;                        /* -1 in a machine that never runs */
	struct ev *ev;
	uint8_t *dbs_mem, *eis_mem;
	uint64_t by_kvm;                /* queues whose doorbells are ioeventfds */
	uint64_t kvm_base;              /* of the doorbells then */
	uint8_t *bucket;                /* where bits of bit buckets go */
	struct iovec admin_iov[NVME_IOV_MAX];
};

static inline uint32_t nvme_dw(const uint8_t *cmd, unsigned n) { return get_le32(cmd + 4 * n); }
static inline uint16_t nvme_cid(const uint8_t *cmd) { return get_le16(cmd + 2); }
static inline uint32_t nvme_nsid(const uint8_t *cmd) { return get_le32(cmd + 4); }
static inline uint32_t nvme_page(const struct nvme *c) { return 1u << (NVME_PAGE_SHIFT + CC_MPS(c->cc)); }
/* Free places of a completion queue. */
static inline uint32_t nvme_cq_room(const struct nvme_cq *cq)
{
	return cq->size - 1 - (cq->tail + cq->size - cq->head) % cq->size - cq->reserved;
}

/* --- nvme.c --- */
void nvme_fatal(struct nvme *, const char *why);        /* CSTS.CFS; nothing is fetched any more */
void nvme_reset_check(struct nvme *);                   /* a request came back while resetting */
/* Everything but what outlives a controller level reset: the admin queue's registers, counters, the error log. */
void nvme_clear(struct nvme *);
void nvme_drop_all(struct nvme *);                      /* what is under way comes back and is forgotten; main thread */

/* --- nvme_snap.c --- */
extern const struct snap_field nvme_fields[];
void nvme_saving(struct device *);
int nvme_loaded(struct device *);

/* --- nvme_queue.c --- */
/* Memory of a queue; NULL when it is not all RAM or not aligned to a memory page. */
void *nvme_queue_mem(const struct nvme *, uint64_t base, uint32_t entries, uint32_t entry_len);
void nvme_doorbell(struct nvme *, uint64_t off, uint32_t val);
void nvme_kick(struct nvme *);                          /* has nvme_process() called on the loop's thread */
void nvme_process(struct nvme *);                       /* loop thread */
void nvme_batch_done(void *arg);
/* Puts a completion in the place reserved for it. */
void nvme_post(struct nvme *, uint16_t sqid, const uint8_t *cmd, uint16_t status, uint32_t result);
void nvme_intx_update(struct nvme *);
void nvme_finish(struct nvme_req *, uint16_t status);
void nvme_departs(struct nvme *);                       /* the disk has one more request of ours */
void nvme_lands(struct nvme *);
void nvme_run(struct nvme *, uint16_t sqid, const uint8_t *cmd, struct nvme_req *);
void nvme_sq_deleted(struct nvme *, uint16_t sqid);

/* --- nvme_shadow.c --- */
/* A status; 0/0: none any more.  loaded: memory has the values already. */
uint16_t nvme_shadow_set(struct nvme *, uint64_t dbs, uint64_t eis, bool loaded);
void nvme_shadow_clear(struct nvme *, unsigned q, bool cq);     /* a new queue */
void nvme_shadow_follow(struct nvme *);                 /* ioeventfds in line with BAR and queues */
void nvme_shadow_read(struct nvme *, unsigned q);       /* tail and head as the driver has them */
bool nvme_shadow_arm(struct nvme *, unsigned q);        /* wants a doorbell from here on; true: there is news already */
void nvme_shadow_rung(struct nvme *, unsigned q, bool cq, uint32_t val);
/* Notes a doorbell's value after checking it. */
void nvme_tail_set(struct nvme *, unsigned q, uint32_t val);
void nvme_head_set(struct nvme *, unsigned q, uint32_t val);

/* --- nvme_prp.c --- */
/*
 * The memory a command's data pointer names, len bytes up to NVME_TRANSFER_MAX.  to_host: the command writes to
 * that memory.  admin: PRPs only.  A status; *niov pieces in iov (room for NVME_IOV_MAX).
 */
uint16_t nvme_map(struct nvme *, const uint8_t *cmd, uint32_t len, bool to_host, bool admin, struct iovec *iov, unsigned *niov);

/* --- nvme_admin.c --- */
void nvme_admin(struct nvme *, const uint8_t *cmd);
/* Copies to or from the memory of an admin command.  A status. */
uint16_t nvme_admin_write(struct nvme *, const uint8_t *cmd, const void *, uint32_t have, uint32_t len);

/* --- nvme_identify.c --- */
uint16_t nvme_identify(struct nvme *, const uint8_t *cmd);
/* serial (padded) and eui64 (0: from the serial number) to the names of controller and namespace. */
void nvme_names(struct nvme *, uint64_t eui64);
extern const char nvme_firmware[9];
unsigned nvme_oncs(const struct nvme *);

/* --- nvme_feature.c --- */
void nvme_features_reset(struct nvme *);
uint16_t nvme_set_features(struct nvme *, const uint8_t *cmd, uint32_t *result);
uint16_t nvme_get_features(struct nvme *, const uint8_t *cmd, uint32_t *result);

/* --- nvme_log.c --- */
uint16_t nvme_log_page(struct nvme *, const uint8_t *cmd);
/* An entry of the error log.  sqid, cid 0xffff: not of one command. */
void nvme_log_error(struct nvme *, uint16_t sqid, uint16_t cid, uint16_t status, uint64_t lba, uint32_t nsid);
void nvme_event(struct nvme *, unsigned type, uint8_t info);
void nvme_events_send(struct nvme *);
void nvme_health_check(struct nvme *);                  /* a threshold or a mask has changed */

/* --- nvme_io.c --- */
void nvme_io(struct nvme_req *);

#endif
