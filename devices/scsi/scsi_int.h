/*
 * Inside of the SCSI units: command tables, replies, sense codes.
 */
#ifndef DEVICES_SCSI_SCSI_INT_H
#define DEVICES_SCSI_SCSI_INT_H

#include "common/device.h"
#include "common/iov.h"
#include "common/util.h"
#include "devices/scsi/scsi.h"

/* Key, additional code, qualifier [SPC-4 "Sense key and additional sense code definitions"]. */
enum {
	SENSE_NOT_READY_NO_MEDIUM = 0x023a01, SENSE_NOT_READY_TRAY_OPEN = 0x023a02,
	SENSE_MEDIUM_WRITE = 0x030c00, SENSE_MEDIUM_READ = 0x031100,
	SENSE_INTERNAL = 0x044400,
	SENSE_LIST_LENGTH = 0x051a00, SENSE_OPCODE = 0x052000, SENSE_LBA = 0x052100, SENSE_FIELD_CDB = 0x052400,
	SENSE_NO_UNIT = 0x052500, SENSE_FIELD_LIST = 0x052600, SENSE_WRONG_FORMAT = 0x053002, SENSE_SAVING = 0x053900,
	SENSE_PREVENTED = 0x055302, SENSE_WRONG_MODE = 0x056400,
	SENSE_WRITE_PROTECTED = 0x072700, SENSE_NO_SPACE = 0x072707,
	SENSE_DATA_PHASE = 0x0b4b00, SENSE_MISCOMPARE = 0x0e1d00,
};
#define UA_RESET 0x29                   /* additional codes of unit attentions */
#define UA_MEDIUM 0x28
/* Media events [MMC-6 "GET EVENT STATUS NOTIFICATION Command"] */
enum { EVENT_NONE = 0, EVENT_EJECT_REQUEST = 1, EVENT_NEW_MEDIUM = 2, EVENT_REMOVAL = 3 };

enum {
	CMD_NO_UA = 1,                  /* runs although a unit attention is pending, and leaves it so */
	CMD_MEDIUM = 2,                 /* wants a medium */
	CMD_WRITES = 4,                 /* and one that can be written */
};
#define SA_NONE 0xff

struct scsi_cmd {
	uint8_t op, sa;                 /* operation code; service action in bits 4..0 of byte 1, or SA_NONE */
	uint8_t flags;
	void (*run)(struct scsi_req *); /* ends in scsi_good(), scsi_fail(), scsi_reply() or a block request */
	uint8_t use[15];                /* bits looked at, from byte 1 on, for REPORT SUPPORTED OPERATION CODES */
};

#define MODE_PAGE_MAX 32
enum { PC_CURRENT = 0, PC_CHANGEABLE = 1, PC_DEFAULT = 2, PC_SAVED = 3 };

/* What the kinds of unit differ in. */
struct scsi_kind {
	const struct scsi_cmd *cmds;
	unsigned ncmds;
	const uint8_t *vpds;            /* page codes, ends with 0 */
	/* Fills a page from its 4th byte on; the bytes after those four. */
	unsigned (*vpd)(const struct scsi_lun *, uint8_t page, uint8_t *out);
	const uint8_t *modes;           /* page codes, ends with 0 */
	/* A whole page into MODE_PAGE_MAX zeroed bytes; its length. */
	unsigned (*mode)(const struct scsi_lun *, uint8_t page, unsigned pc, uint8_t *out);
	/* A page was selected that differs in changeable bits only.  True: what is cached has to be flushed before GOOD. */
	bool (*select)(struct scsi_lun *, const uint8_t *page);
	uint8_t version;                /* INQUIRY */
};
extern const struct scsi_kind scsi_disk_kind, scsi_cd_kind;

static inline const struct scsi_kind *scsi_kind_of(const struct scsi_lun *l)
{
	return l->type == SCSI_CD ? &scsi_cd_kind : &scsi_disk_kind;
}

static inline unsigned cdb_len(uint8_t op)
{
	static const uint8_t len[8] = { 6, 10, 10, 0, 16, 12, 0, 0 };

	return len[op >> 5];
}

/* Blocks of the medium; 0 without one. */
uint64_t scsi_blocks(const struct scsi_lun *);
void scsi_good(struct scsi_req *);
void scsi_fail(struct scsi_req *, uint32_t sense);      /* SENSE_... */
/* Answers with the first `alloc` bytes of a reply. */
void scsi_reply(struct scsi_req *, const void *data, size_t len, size_t alloc);
/* Copies a parameter list, once.  False: there is less than len; the command has been answered. */
bool scsi_params(struct scsi_req *, void *buf, size_t len);
/* Memory for the command, freed with it.  False: none, or too many have some; the command has been answered. */
bool scsi_alloc(struct scsi_req *, size_t len);
/* Blocks lie on the medium?  False: the command has been answered. */
bool scsi_range_ok(struct scsi_req *, uint64_t lba, uint64_t blocks);
/* A block request of the command; r->next follows it, or scsi_good(). */
void scsi_block(struct scsi_req *, enum blk_op, uint64_t off, uint64_t len);
/* Starts a command in several pieces: next submits one each time, or ends the command. */
void scsi_pieces(struct scsi_req *, void (*next)(struct scsi_req *));
/* READ and WRITE of any length: fields of the command block. */
struct scsi_rw { uint64_t lba; uint32_t blocks; };
struct scsi_rw scsi_rw_fields(const uint8_t *cdb);
void scsi_read(struct scsi_req *, uint64_t lba, uint64_t blocks);
void scsi_flush(struct scsi_req *);

/* scsi_spc.c: commands of both kinds. */
void scsi_test_unit_ready(struct scsi_req *);
void scsi_inquiry(struct scsi_req *);
void scsi_request_sense(struct scsi_req *);
void scsi_report_luns(struct scsi_req *);
void scsi_mode_sense(struct scsi_req *);
void scsi_mode_select(struct scsi_req *);
void scsi_report_opcodes(struct scsi_req *);
void scsi_read_capacity10(struct scsi_req *);

#define SPC_CMDS \
	{ 0x00, SA_NONE, CMD_MEDIUM, scsi_test_unit_ready, { 0 } }, \
	{ 0x03, SA_NONE, CMD_NO_UA, scsi_request_sense, { 1, 0, 0, 0xff } }, \
	{ 0x12, SA_NONE, CMD_NO_UA, scsi_inquiry, { 1, 0xff, 0xff, 0xff } }, \
	{ 0x15, SA_NONE, 0, scsi_mode_select, { 0x11, 0, 0, 0xff } }, \
	{ 0x1a, SA_NONE, 0, scsi_mode_sense, { 0x08, 0xff, 0xff, 0xff } }, \
	{ 0x25, SA_NONE, CMD_MEDIUM, scsi_read_capacity10, { 0 } }, \
	{ 0x55, SA_NONE, 0, scsi_mode_select, { 0x11, 0, 0, 0, 0, 0, 0xff, 0xff } }, \
	{ 0x5a, SA_NONE, 0, scsi_mode_sense, { 0x18, 0xff, 0xff, 0, 0, 0, 0xff, 0xff } }, \
	{ 0xa0, SA_NONE, CMD_NO_UA, scsi_report_luns, { 0, 0xff, 0, 0, 0, 0xff, 0xff, 0xff, 0xff } }, \
	{ 0xa3, 0x0c, 0, scsi_report_opcodes, { 0x1f, 0x87, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff } }

#endif
