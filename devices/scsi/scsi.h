/*
 * SCSI logical units, for every transport: decodes command blocks and answers them from a disk of devices/block/
 * [SPC-4] [SBC-3] [MMC-6].  virtio-scsi and ATAPI are transports.
 *
 * Locking: as for the disk: the device's lock is held in every call; done() comes on the loop thread or from within
 * scsi_submit(), after which the request is the transport's again.
 */
#ifndef DEVICES_SCSI_SCSI_H
#define DEVICES_SCSI_SCSI_H

#include "common/snap.h"
#include "devices/block/block.h"

#define SCSI_CDB_MAX 32
#define SCSI_SENSE_LEN 18               /* fixed format */
#define SCSI_BUF_MAX 131072u            /* bytes a command may take of the host's memory */
#define SCSI_BUF_SMALL 4096u            /* this is not counted */
#define SCSI_BUFS_MAX 32u

enum scsi_type { SCSI_DISK = 0x00, SCSI_CD = 0x05 };
enum scsi_status { SCSI_GOOD = 0x00, SCSI_CHECK_CONDITION = 0x02, SCSI_BUSY = 0x08, SCSI_TASK_ABORTED = 0x40 };

struct scsi_lun {
	enum scsi_type type;
	struct blk *blk;                /* NULL: no medium, or a dry VM */
	struct device *dev;             /* for warnings */
	char vendor[8], product[16], revision[4];       /* padded with blanks */
	char serial[20];              /* padded with blanks */
	uint32_t block;                 /* bytes of a logical block: 2048 for a CD */
	bool removable, nodelete;
	bool atapi;                     /* no sense comes with the status: REQUEST SENSE gives what the last command left */
	unsigned bufs;                  /* commands that hold much of the host's memory: SCSI_BUFS_MAX at most, others are BUSY */
	/* State, in scsi_lun_fields. */
	bool tray_open, locked;         /* CD: PREVENT ALLOW MEDIUM REMOVAL */
	bool write_cache;               /* caching page, WCE */
	uint8_t ua_asc, ua_ascq;        /* pending unit attention; 0/0: none */
	uint8_t event;                  /* pending GET EVENT STATUS NOTIFICATION media event */
	uint8_t kept_sense[SCSI_SENSE_LEN];             /* ATAPI: of the last command; all zero: none */
	/* The guest opened or closed the tray; the transport's owner may exchange the medium.  NULL ok. */
	void (*tray_moved)(struct scsi_lun *);
};
extern const struct snap_field scsi_lun_fields[];

struct scsi_req {
	struct blk_req blk;             /* first; the unit's while the command runs */
	struct scsi_lun *lun;
	uint8_t cdb[SCSI_CDB_MAX];      /* copied from the guest */
	bool resumed;                   /* it had begun once, before a snapshot: no unit attention keeps it back */
	/* The transport's memory, checked; in: what the guest reads. */
	struct iovec *in, *out;         /* changed while the command runs; arrays the transport keeps until done() */
	unsigned nin, nout;
	uint64_t in_len, out_len;       /* bytes */
	/* Filled before done(): */
	enum scsi_status status;
	uint8_t sense[SCSI_SENSE_LEN];
	unsigned sense_len;             /* 0 unless CHECK CONDITION */
	uint64_t moved;                 /* bytes of in or out that were transferred */
	uint64_t wanted;                /* bytes the command block asked for: residual, overrun */
	void (*done)(struct scsi_req *);
	/* The transport may set it while the command runs: it ends as soon as it can, with TASK_ABORTED. */
	bool aborted;
	/* The unit's. */
	uint8_t *buf;                   /* from malloc(), at most SCSI_BUF_MAX */
	bool counted;                   /* in lun->bufs */
	struct iovec biov;
	uint64_t pos, end, piece;
	void (*next)(struct scsi_req *);        /* submits the next piece, or ends the command */
};

/* Names, logical block and kind of a unit over blk (NULL ok), which disk_open() opened.  The rest stays zero. */
void scsi_lun_init(struct scsi_lun *, enum scsi_type, struct device *, struct blk *);
/* Power-on state: a unit attention is pending. */
void scsi_lun_reset(struct scsi_lun *);
/* What a reset by the guest changes [SAM-5 "Reset events"]: ascq tells the cause; the tray stays as it is. */
void scsi_lun_clear(struct scsi_lun *, uint8_t ascq);
/* After a load: -EINVAL when the fields cannot be this unit's (not reported). */
int scsi_lun_loaded(struct scsi_lun *);
/*
 * Runs a command; the transport then calls blk_kick(lun->blk) after its batch.  wanted above the transport's room
 * (in_len, out_len) for what has to be whole, such as READ and WRITE: nothing is executed, CHECK CONDITION.  Replies
 * are cut at the allocation length first and then at in_len; `wanted` counts what the allocation length leaves.
 */
void scsi_submit(struct scsi_req *);
/* The same for a unit the target does not have; lun is any of its own. */
void scsi_submit_absent(struct scsi_req *);
/*
 * The same for the unit that lists all others [SPC-4 "REPORT LUNS well known logical unit"]: 8 bytes each, as the
 * transport addresses them.
 */
void scsi_submit_report_luns(struct scsi_req *, const uint8_t *luns, unsigned n);
#define SCSI_REPORT_LUNS_MAX 256
/* Builds sense data for what the transport itself refuses. */
void scsi_sense(uint8_t out[SCSI_SENSE_LEN], uint8_t key, uint8_t asc, uint8_t ascq);
/* Somebody wants the medium that the guest has locked: it hears of it when it asks for events. */
void scsi_eject_request(struct scsi_lun *);
/* Another medium, or none (blk NULL): tray closed, unit attention and event pending.  Nothing in flight. */
void scsi_medium(struct scsi_lun *, struct blk *);

#endif
