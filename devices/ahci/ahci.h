/*
 * Inside of the AHCI controller: ahci.c (PCI function, registers of the whole), port.c (a port's registers and command list),
 * ata.c and identify.c (disks), atapi.c (CD drives).  All with the device's lock held unless said otherwise.
 */
#ifndef DEVICES_AHCI_AHCI_H
#define DEVICES_AHCI_AHCI_H

#include "devices/block/disk.h"
#include "devices/pci/pci.h"
#include "devices/scsi/scsi.h"

#define AHCI_PORTS_MAX 32
#define AHCI_SLOTS 32
#define AHCI_IOV_MAX 1024               /* pieces of guest memory of one block request: what preadv() takes */
#define AHCI_PORT_BASE 0x100
#define AHCI_PORT_STEP 0x80
#define AHCI_BAR_LEN 0x2000             /* 32 ports */

/* Registers of the whole [AHCI-1.3.1 3.1] */
#define GHC_HR 0x1u
#define GHC_IE 0x2u
#define GHC_AE 0x80000000u

/* PxCMD [AHCI-1.3.1 3.3.7] */
enum {
	CMD_ST = BIT(0), CMD_SUD = BIT(1), CMD_POD = BIT(2), CMD_CLO = BIT(3), CMD_FRE = BIT(4), CMD_CCS_SHIFT = 8,
	CMD_FR = BIT(14), CMD_CR = BIT(15), CMD_ATAPI = BIT(24), CMD_DLAE = BIT(25),
};
#define CMD_CCS (31u << CMD_CCS_SHIFT)
#define CMD_WRITABLE (CMD_ST | CMD_FRE | CMD_ATAPI | CMD_DLAE)

/* PxIS and PxIE [AHCI-1.3.1 3.3.5] */
enum {
	IS_DHRS = BIT(0), IS_PSS = BIT(1), IS_DSS = BIT(2), IS_SDBS = BIT(3), IS_DPS = BIT(5), IS_PCS = BIT(6), IS_PRCS = BIT(22),
	IS_OFS = BIT(24), IS_IFS = BIT(27), IS_HBFS = BIT(29), IS_TFES = BIT(30),
};
#define IE_WRITABLE 0xfdc000ffu

/* PxSERR [AHCI-1.3.1 3.3.12] */
#define SERR_ERR_P BIT(10)
#define SERR_DIAG_N BIT(16)
#define SERR_DIAG_X BIT(26)

/* Status and error [ACS-3 "STATUS field", "ERROR field"] */
enum { ATA_BSY = 0x80, ATA_DRDY = 0x40, ATA_DF = 0x20, ATA_SEEK = 0x10, ATA_DRQ = 0x08, ATA_ERR = 0x01 };
enum { ATA_UNC = 0x40, ATA_IDNF = 0x10, ATA_ABRT = 0x04 };
#define ATA_GOOD (ATA_DRDY | ATA_SEEK)

#define SIG_ATA 0x00000101u
#define SIG_ATAPI 0xeb140101u
#define SIG_NONE 0xffffffffu

/* Power modes as [ACS-3 CHECK POWER MODE] gives them; POWER_SLEEP is ours. */
enum { POWER_STANDBY = 0x00, POWER_SLEEP = 0x01, POWER_IDLE = 0x80, POWER_ACTIVE = 0xff };

#define ATA_FIS_LEN 20
#define ATA_MODEL_LEN 40
#define ATA_REV_LEN 8
#define ATA_LOG_LEN 512

enum ahci_type { AHCI_NONE, AHCI_HD, AHCI_CD };

struct ahci;
struct ahci_port;

/* How a command's end is told [SATA-3 "Device command layer protocol"]. */
enum ahci_proto { PROTO_PLAIN, PROTO_PIO_IN, PROTO_NCQ };

struct ata_op;
struct ahci_cmd {
	struct scsi_req scsi;           /* first; its blk, the very first, is the request of an ATA command */
	struct ahci_port *port;
	uint8_t slot;
	enum ahci_proto proto;
	const struct ata_op *op;
	/* Copied from the guest; bytes 4 to 13 go back at the end: 4 LBA low ... 12 count [SATA-3 "Register - Device to Host"]. */
	uint8_t fis[ATA_FIS_LEN];
	uint64_t header, table;         /* in guest memory */
	bool write;                     /* W of the header */
	uint32_t nprd, prd, prd_off;    /* entries; where the next byte goes: entry and offset in it */
	bool ioc;                       /* an entry with I has been used up */
	uint64_t moved;                 /* bytes, for PRDBC */
	uint64_t off, left;             /* bytes of the medium still to come */
	uint32_t npages, range;         /* TRIM: of the list in buf, and the next entry of it */
	uint8_t *buf;                   /* from malloc() */
	struct iovec *iov;              /* from malloc(), kept */
	unsigned iov_cap;
};

struct ahci_port {
	struct ahci *a;
	uint8_t n;
	enum ahci_type type;
	struct blk *blk;                /* NULL in a dry VM, and without a medium */
	struct scsi_lun lun;            /* of a CD drive */
	char prefix[32], who[48];
	char serial[DISK_SERIAL_LEN], model[ATA_MODEL_LEN], rev[ATA_REV_LEN];
	uint16_t nmrr;
	bool trim;
	struct ahci_cmd *cmds;          /* AHCI_SLOTS of them */

	/* Registers; ssts and CR in cmd say what is now. */
	uint32_t clb, clbu, fb, fbu, is, ie, cmd, tfd, sig, ssts, sctl, serr, sact, ci;

	/* State of the device. */
	bool srst;                      /* a software reset has begun */
	bool sig_due;                   /* the signature waits for FRE */
	bool halted;                    /* after an error, until ST goes to 0 */
	bool write_cache, look_ahead;
	uint8_t multiple;               /* sectors; 0: off */
	uint8_t xfer;                   /* transfer mode, as SET FEATURES has it */
	uint8_t power;
	uint8_t ncq_error[ATA_FIS_LEN]; /* start of log page 10h; byte 1: it is valid */
	uint32_t outstanding;           /* for the snapshot: slots under way */
	uint8_t saved_type;             /* for the snapshot */
	uint64_t saved_size;

	/* The engine. */
	uint32_t busy;                  /* slots in the block layer */
	uint32_t redo;                  /* slots to issue again after a load */
	uint32_t sdb;                   /* tags done, not told yet */
	bool dropping;                  /* what is under way is aborted: its end is told to nobody */
	bool link_due, soft_due;        /* once nothing is under way: the link comes up; a software reset ends */
	bool running, again;            /* in port_kick() */
	char *medium;                   /* path that has replaced the option's; NULL: none has */
	struct blk *next_blk;           /* the medium to be, once nothing is under way, and its path */
	char *next_medium;
	bool medium_due, medium_posted;
};

struct ahci {
	struct pci_dev pci;             /* first */
	struct ahci_port port[AHCI_PORTS_MAX];
	uint32_t pi;                    /* ports there are */
	uint32_t ghc, is;
	bool paused;
	bool acked;                     /* the guest has written IS: a message for what is left */
};

extern const struct snap_field ahci_port_fields[];

/* --- ahci.c --- */

/* After a port's PxIS or PxIE has changed. */
void ahci_irq_update(struct ahci *);
/* A port has nothing under way any more. */
void ahci_port_idle(struct ahci_port *);
/* Opens an image for the port, which keeps the path.  0 or -errno (reported). */
int ahci_port_open(struct ahci_port *, const char *path, struct blk **out);

/* --- port.c --- */

uint64_t port_read(struct ahci_port *, uint64_t off, unsigned size);
void port_write(struct ahci_port *, uint64_t off, unsigned size, uint64_t val);
/* Aborts what is under way; it may end later.  True: nothing is. */
bool port_abort(struct ahci_port *);
/* Power-on state; nothing under way.  keep: addresses of command list and FISes, as HR does. */
void port_power_on(struct ahci_port *, bool keep);
/* Does the port ask for an interrupt? */
bool port_irq(const struct ahci_port *);
/* Checks what was loaded; -EINVAL (not reported). */
int port_loaded(struct ahci_port *);
/* Does what waited for nothing to be under way. */
void port_settle(struct ahci_port *);
/* Issues what can be issued, tells what is done, until nothing changes. */
void port_kick(struct ahci_port *);

/* A command's end: told to the guest, unless it was aborted. */
void cmd_good(struct ahci_cmd *);
void cmd_good_status(struct ahci_cmd *, uint8_t status, uint8_t error);
void cmd_fail(struct ahci_cmd *, uint8_t status, uint8_t error);
/* Fatal for the port: is is HBFS or IFS. */
void cmd_fatal(struct ahci_cmd *, uint32_t is, const char *why);
/* In flight from here on: its request has been, or is about to be, submitted. */
void cmd_start(struct ahci_cmd *);
/* A queued command is taken: its slot is free again, its tag is not. */
void cmd_queued(struct ahci_cmd *);
/* First in a done(): the command is no longer in flight.  False: it was aborted, and that is all. */
bool cmd_landed(struct ahci_cmd *);
/*
 * Maps the next bytes of the guest's memory, up to max, into c->iov.  *niov 0 and 0: the table ends here.  The cursor
 * moves on.  UINT64_MAX: the command has ended (memory that is none).
 */
uint64_t cmd_map(struct ahci_cmd *, uint64_t max, unsigned *niov);
/* Copies to and from the guest's memory from the cursor on; bytes copied, or UINT64_MAX as above. */
uint64_t cmd_put(struct ahci_cmd *, const void *, uint64_t len);
uint64_t cmd_get(struct ahci_cmd *, void *, uint64_t len);

/* --- ata.c --- */

void ata_command(struct ahci_cmd *);
void ata_signature(const struct ahci_port *, uint8_t fis[ATA_FIS_LEN]);

/* --- identify.c: pure --- */

void ata_identify(const struct ahci_port *, uint8_t out[512]);
void ata_identify_packet(const struct ahci_port *, uint8_t out[512]);
uint64_t ata_sectors(const struct ahci_port *);

/* --- atapi.c --- */

void atapi_packet(struct ahci_cmd *);
/* Nothing is under way: the medium that waits may come. */
void atapi_idle(struct ahci_port *);

/*
 * Another medium for a CD port, or none (path NULL).  Open files are the old medium's until commands under way have
 * ended.  0, -EINVAL: no such CD port, -EBUSY: the guest has locked the tray, or -errno of the image (all reported).
 * Main or loop thread, lock not held.
 */
int ahci_medium(struct device *, unsigned port, const char *path);

#endif
