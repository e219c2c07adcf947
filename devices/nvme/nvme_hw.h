/*
 * What the NVMe specification fixes: registers, commands, status codes, log pages, features [NVME-1.4 3 to 6].
 * Names are the specification's, without its underscores where it has none.
 */
#ifndef DEVICES_NVME_NVME_HW_H
#define DEVICES_NVME_NVME_HW_H

/* Controller registers [NVME-1.4 3.1] */
enum {
	NVME_CAP = 0x00, NVME_VS = 0x08, NVME_INTMS = 0x0c, NVME_INTMC = 0x10, NVME_CC = 0x14, NVME_CSTS = 0x1c,
	NVME_AQA = 0x24, NVME_ASQ = 0x28, NVME_ACQ = 0x30, NVME_DOORBELLS = 0x1000,
};
#define NVME_VERSION 0x00010400u

#define CAP_CQR BIT64(16)
#define CAP_TO(units) ((uint64_t)(units) << 24)         /* of 500 ms */
#define CAP_CSS_NVM BIT64(37)
#define CAP_MPSMAX(n) ((uint64_t)(n) << 52)

#define CC_EN 0x1u
#define CC_CSS(cc) ((cc) >> 4 & 7)
#define CC_MPS(cc) ((cc) >> 7 & 15)
#define CC_AMS(cc) ((cc) >> 11 & 7)
#define CC_SHN(cc) ((cc) >> 14 & 3)
#define CC_IOSQES(cc) ((cc) >> 16 & 15)
#define CC_IOCQES(cc) ((cc) >> 20 & 15)
#define CC_DISABLED_ONLY 0x3ff0u                        /* CSS, MPS, AMS: change only while disabled */
#define CC_ALWAYS 0xffc001u                             /* EN, SHN, IOSQES, IOCQES */

#define CSTS_RDY 0x1u
#define CSTS_CFS 0x2u
#define CSTS_SHST 0xcu
#define CSTS_SHST_BUSY 0x4u
#define CSTS_SHST_DONE 0x8u

#define NVME_SQE_LEN 64u
#define NVME_CQE_LEN 16u

/* Status codes: type in bits 10:8, code in 7:0, as in a completion shifted right by one [NVME-1.4 4.6.1] */
enum {
	NVME_SUCCESS = 0x000, NVME_INVALID_OPCODE = 0x001, NVME_INVALID_FIELD = 0x002, NVME_TRANSFER_ERROR = 0x004,
	NVME_INTERNAL_ERROR = 0x006, NVME_ABORT_REQUESTED = 0x007, NVME_INVALID_NAMESPACE = 0x00b, NVME_SEQUENCE_ERROR = 0x00c,
	NVME_SGL_LAST_SEGMENT = 0x00d, NVME_SGL_COUNT = 0x00e, NVME_SGL_LENGTH = 0x00f, NVME_SGL_TYPE = 0x011,
	NVME_PRP_OFFSET = 0x013, NVME_WRITE_PROTECTED = 0x020, NVME_LBA_RANGE = 0x080, NVME_CAPACITY = 0x081,
	NVME_CQ_INVALID = 0x100, NVME_QID_INVALID = 0x101, NVME_QSIZE_INVALID = 0x102, NVME_ABORT_LIMIT = 0x103,
	NVME_AER_LIMIT = 0x105, NVME_VECTOR_INVALID = 0x108, NVME_LOG_INVALID = 0x109, NVME_QUEUE_DELETION = 0x10c,
	NVME_NOT_SAVEABLE = 0x10d, NVME_NOT_CHANGEABLE = 0x10e, NVME_NOT_NAMESPACE = 0x10f,
	NVME_WRITE_FAULT = 0x280, NVME_READ_ERROR = 0x281, NVME_COMPARE_FAILURE = 0x285,
	NVME_MORE = 0x2000,                             /* the error log has an entry */
	NVME_DNR = 0x4000,                              /* trying again does not help */
};

/* Admin commands [NVME-1.4 5] */
enum {
	ADM_DELETE_SQ = 0x00, ADM_CREATE_SQ = 0x01, ADM_LOG_PAGE = 0x02, ADM_DELETE_CQ = 0x04, ADM_CREATE_CQ = 0x05,
	ADM_IDENTIFY = 0x06, ADM_ABORT = 0x08, ADM_SET_FEATURES = 0x09, ADM_GET_FEATURES = 0x0a, ADM_AER = 0x0c,
	ADM_DOORBELL_BUFFER = 0x7c,
};

/* I/O commands [NVME-1.4 6] */
enum {
	IO_FLUSH = 0x00, IO_WRITE = 0x01, IO_READ = 0x02, IO_COMPARE = 0x05, IO_WRITE_ZEROES = 0x08, IO_DSM = 0x09,
	IO_VERIFY = 0x0c,
};

/* Features [NVME-1.4 5.21.1] */
enum {
	FEAT_ARBITRATION = 0x01, FEAT_POWER = 0x02, FEAT_TEMPERATURE = 0x04, FEAT_ERROR_RECOVERY = 0x05, FEAT_WRITE_CACHE = 0x06,
	FEAT_QUEUES = 0x07, FEAT_COALESCING = 0x08, FEAT_VECTOR = 0x09, FEAT_ATOMICITY = 0x0a, FEAT_ASYNC_EVENT = 0x0b,
};

/* Log pages [NVME-1.4 5.14.1] */
enum { LOG_ERROR_INFO = 0x01, LOG_SMART = 0x02, LOG_FIRMWARE = 0x03, LOG_CHANGED_NS = 0x04, LOG_EFFECTS = 0x05 };

/* Asynchronous events [NVME-1.4 5.2]: types, and the information of an error */
enum { EVENT_ERROR = 0, EVENT_SMART = 1, NVME_EVENTS };
enum { EVENT_BAD_DOORBELL = 0, EVENT_BAD_DOORBELL_VALUE = 1, EVENT_TEMPERATURE = 1 };

#define NVME_NSID_ALL 0xffffffffu

#endif
