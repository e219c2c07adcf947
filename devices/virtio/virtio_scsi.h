/*
 * virtio-scsi: a SCSI host with disks and CD drives [VIRTIO-1.2 5.6] over devices/scsi/.
 *
 * For the owner of the machine: virtio_scsi_medium().  The rest is shared by virtio_scsi.c (requests, life),
 * virtio_scsi_ctrl.c (task management, events, media) and virtio_scsi_snap.c (requests that wait, in snapshots).
 */
#ifndef DEVICES_VIRTIO_VIRTIO_SCSI_H
#define DEVICES_VIRTIO_VIRTIO_SCSI_H

#include "devices/scsi/scsi.h"
#include "devices/virtio/virtio_pci.h"

/*
 * Puts another medium into the CD drive of a target, or takes it out (path NULL); `path` may go afterwards.  The
 * exchange takes place once the drive's requests are done.  0 or -errno (reported): no such drive, the guest has locked
 * it (it is told that somebody wants the medium), an exchange under way, an image that cannot be opened.  Loop thread.
 */
int virtio_scsi_medium(struct device *, unsigned target, const char *path);

#define VSCSI_TARGETS_MAX 256
#define VSCSI_QUEUES_MAX 16
#define VSCSI_QUEUE_SIZE 256
#define VSCSI_HDR_LEN 19u                       /* of a request, before the command block */
#define VSCSI_RESP_LEN 12u                      /* of a response, before the sense data */
/* DEVIATION: [VIRTIO-1.2 5.6.4] sets no limits; what the driver writes above these becomes these. */
#define VSCSI_CDB_SIZE_MAX 260u
#define VSCSI_SENSE_SIZE_MAX 252u
enum { VSCSI_Q_CTRL = 0, VSCSI_Q_EVENT = 1, VSCSI_Q_REQUEST = 2 };
/* Responses [VIRTIO-1.2 5.6.6.1, 5.6.6.2] */
enum {
	VSCSI_OK = 0, VSCSI_OVERRUN = 1, VSCSI_ABORTED = 2, VSCSI_BAD_TARGET = 3, VSCSI_RESET = 4, VSCSI_FAILURE = 9,
	VSCSI_FUNCTION_SUCCEEDED = 10, VSCSI_FUNCTION_REJECTED = 11, VSCSI_INCORRECT_LUN = 12,
};

struct vscsi;
struct vscsi_target {
	struct scsi_lun lun;                    /* first */
	struct vscsi *d;
	unsigned n;
	bool present;
	char who[48];                           /* "pci.0.4.0.target.1" */
	struct blk_owner owner;
	unsigned running;                       /* its requests */
	uint32_t subscribed;                    /* asynchronous events the driver wants to hear of */
	uint32_t owed;                          /* those it has not been told of yet */
	bool changing;                          /* once nothing runs: next becomes the medium */
	struct blk *next;
	char *path, *next_path;                 /* of media that replaced the option's */
};

struct vscsi_req {
	struct scsi_req scsi;                   /* first */
	struct vscsi *d;
	struct vscsi_target *target;            /* NULL: the REPORT LUNS unit */
	struct vscsi_req *next;                 /* of the free ones */
	struct vq_chain chain;
	unsigned q;                             /* ring */
	bool busy;
	bool held;                              /* came with a snapshot: starts with the machine */
	uint8_t abort;                          /* response in place of the command's own; 0: not aborted */
	uint8_t lun[8];
	uint64_t tag;
	uint32_t hdr_len, sense_size;           /* bytes before data out; of sense data the driver has room for */
	struct iovec iov[VQ_CHAIN_MAX];         /* as the driver gave it */
	struct iovec work[VQ_CHAIN_MAX];        /* what of it is data */
};

/* As in virtio-blk: the last freed is used first; entries from `fresh` on were never touched. */
struct vscsi_queue {
	struct vscsi_req *reqs, *free;
	unsigned fresh;
	bool pushed;
};

/* Task management that waits for the requests it has aborted: one at a time, the ring holds the others. */
struct vscsi_tmf {
	bool active;
	uint32_t subtype;
	struct vscsi_target *target;
	struct vq_chain chain;
	struct iovec iov[VQ_CHAIN_MAX];
};

struct vscsi {
	struct virtio_dev v;                    /* first */
	struct vscsi_queue queue[VSCSI_QUEUES_MAX];     /* of ring VSCSI_Q_REQUEST + i */
	struct vscsi_tmf tmf;
	struct vscsi_target target[VSCSI_TARGETS_MAX];
	struct scsi_lun report_luns;            /* of requests to the well-known unit */
	struct ev *swap;                        /* media to exchange; a timer */
	uint8_t *waiting;                       /* snapshot only: requests that wait for the operator or the throttle */
	uint32_t waiting_len;
};

/* The target a LUN field names [VIRTIO-1.2 5.6.6.1], NULL: none; *lun: its unit, 0 is there. */
struct vscsi_target *vscsi_target_of(struct vscsi *, const uint8_t lun[8], unsigned *unit);
/* The queue may give requests again.  NULL: all are in use, or no memory. */
struct vscsi_req *vscsi_req_get(struct vscsi *, unsigned q);
void vscsi_req_put(struct vscsi_req *);
/* Runs a request whose chain, header and sizes are set. */
void vscsi_req_run(struct vscsi_req *);
void vscsi_kick_disks(struct vscsi *);
/* virtio_scsi_ctrl.c */
bool vscsi_ctrl_kick(struct vscsi *);
bool vscsi_event_kick(struct vscsi *);
/* A request is done: perhaps somebody waited for that. */
void vscsi_ctrl_done(struct vscsi *, struct vscsi_target *, bool aborted);
void vscsi_ctrl_stop(struct vscsi *, unsigned q);
void vscsi_ctrl_chain(struct vscsi *);          /* carries out the chain in d->tmf */
void vscsi_swap(void *vscsi, uint32_t events);
/* virtio_scsi_snap.c */
void vscsi_saving(struct device *);
int vscsi_waiting_load(struct vscsi *);         /* lock held; -EINVAL (reported) */
void vscsi_waiting_run(struct vscsi *);         /* lock held */

#endif
