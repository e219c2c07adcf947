/*
 * NVMe Get Log Page and asynchronous events [NVME-1.4 5.2, 5.14].
 *
 * SMART counts from the machine's start: the disk behind this controller keeps no record of its past.  Hours count
 * while the process runs.
 */
#include "common/vm.h"
#include "devices/nvme/nvme.h"

#define PAGE_LEN 4096
#define UNIT_SECTORS 1000               /* of 512 bytes: a data unit */
#define NS_PER_MINUTE 60000000000ull
#define WARN_TEMPERATURE 2u             /* critical warning */
#define RAE(cmd) (nvme_dw(cmd, 10) >> 15 & 1)
#define EFFECT_SUPPORTED 1u
#define EFFECT_WRITES 2u

_Static_assert(NVME_ERRORS * NVME_ERROR_LEN <= PAGE_LEN, "the error log fits in what is copied");

/* --- The error log --- */

void nvme_log_error(struct nvme *c, uint16_t sqid, uint16_t cid, uint16_t status, uint64_t lba, uint32_t nsid)
{
	uint8_t *e = c->errors;

	memmove(e + NVME_ERROR_LEN, e, sizeof(c->errors) - NVME_ERROR_LEN);
	memset(e, 0, NVME_ERROR_LEN);
	put_le64(e, ++c->count.errors);
	put_le16(e + 8, sqid);
	put_le16(e + 10, cid);
	put_le16(e + 12, (uint16_t)(status << 1));
	put_le16(e + 14, 0xffff);               /* no byte of the command in particular */
	put_le64(e + 16, lba);
	put_le32(e + 24, nsid);
}

/* --- Events --- */

void nvme_event(struct nvme *c, unsigned type, uint8_t info)
{
	if (!c->event_pending[type])
		c->event_pending[type] = info + 1;
}

void nvme_events_send(struct nvme *c)
{
	static const uint8_t log_of[NVME_EVENTS] = { [EVENT_ERROR] = LOG_ERROR_INFO, [EVENT_SMART] = LOG_SMART };
	uint8_t cmd[NVME_SQE_LEN] = { ADM_AER };

	for (unsigned type = 0; type < NVME_EVENTS; type++) {
		if (!c->event_pending[type] || c->event_reported[type] || !c->naer)
			continue;
		if (!nvme_cq_room(&c->cq[0])) {
			c->corked |= 1;
			return;
		}
		put_le16(cmd + 2, c->aer_cid[0]);
		memmove(&c->aer_cid[0], &c->aer_cid[1], --c->naer * sizeof(c->aer_cid[0]));
		c->cq[0].reserved++;
		nvme_post(c, 0, cmd, NVME_SUCCESS, type | (c->event_pending[type] - 1u) << 8 | (uint32_t)log_of[type] << 16);
		c->event_pending[type] = 0;
		c->event_reported[type] = true;
	}
}

static uint8_t critical(const struct nvme *c)
{
	return NVME_KELVIN >= c->feat.temp_over || NVME_KELVIN <= c->feat.temp_under ? WARN_TEMPERATURE : 0;
}

void nvme_health_check(struct nvme *c)
{
	const uint8_t now = critical(c), news = now & (uint8_t)~c->critical & (uint8_t)c->feat.async_event;

	/* One that is masked is news when it is no longer. */
	c->critical = now & (c->critical | news);
	if (!news)
		return;
	nvme_event(c, EVENT_SMART, EVENT_TEMPERATURE);
	nvme_events_send(c);
}

/* Its log page was read: events of the type may follow again. */
static void seen(struct nvme *c, unsigned type)
{
	c->event_reported[type] = false;
	nvme_events_send(c);
}

/* --- Pages --- */

static uint64_t units(uint64_t sectors)
{
	return (sectors + UNIT_SECTORS - 1) / UNIT_SECTORS;
}

static void smart(const struct nvme *c, uint8_t *p)
{
	const uint64_t now = now_ns(), busy = c->count.busy_ns + (c->inflight ? now - c->busy_since : 0);

	p[0] = critical(c);
	put_le16(p + 1, NVME_KELVIN);
	p[3] = 100;                             /* spare, and the threshold below which there is little */
	p[4] = 10;
	put_le64(p + 32, units(c->count.sectors_read));
	put_le64(p + 48, units(c->count.sectors_written));
	put_le64(p + 64, c->count.reads);
	put_le64(p + 80, c->count.writes);
	put_le64(p + 96, busy / NS_PER_MINUTE);
	put_le64(p + 112, 1);                   /* power cycles */
	put_le64(p + 128, (now - c->start_ns) / (60 * NS_PER_MINUTE));
	put_le64(p + 160, c->count.media_errors);
	put_le64(p + 176, c->count.errors);
}

static void effects(const struct nvme *c, uint8_t *p)
{
	static const uint8_t admin[] = {
		ADM_DELETE_SQ, ADM_CREATE_SQ, ADM_LOG_PAGE, ADM_DELETE_CQ, ADM_CREATE_CQ, ADM_IDENTIFY, ADM_ABORT, ADM_SET_FEATURES,
		ADM_GET_FEATURES, ADM_AER, ADM_DOORBELL_BUFFER,
	};
	static const uint8_t reads[] = { IO_FLUSH, IO_READ, IO_COMPARE, IO_VERIFY };

	for (size_t i = 0; i < NELEM(admin); i++)
		put_le32(p + 4 * admin[i], EFFECT_SUPPORTED);
	for (size_t i = 0; i < NELEM(reads); i++)
		put_le32(p + 1024 + 4 * reads[i], EFFECT_SUPPORTED);
	put_le32(p + 1024 + 4 * IO_WRITE, EFFECT_SUPPORTED | EFFECT_WRITES);
	put_le32(p + 1024 + 4 * IO_WRITE_ZEROES, EFFECT_SUPPORTED | EFFECT_WRITES);
	if (c->dsm)
		put_le32(p + 1024 + 4 * IO_DSM, EFFECT_SUPPORTED | EFFECT_WRITES);
}

/* Fills a page; its length, 0: unknown. */
static uint32_t fill(const struct nvme *c, uint8_t id, uint8_t *p)
{
	switch (id) {
	case LOG_ERROR_INFO:
		memcpy(p, c->errors, sizeof(c->errors));
		return sizeof(c->errors);
	case LOG_SMART:
		smart(c, p);
		return 512;
	case LOG_FIRMWARE:
		p[0] = 1;                       /* slot 1 runs */
		memcpy(p + 8, nvme_firmware, 8);
		return 512;
	case LOG_CHANGED_NS:                    /* none: the namespace never changes */
		return 4096;
	case LOG_EFFECTS:
		effects(c, p);
		return 4096;
	default:
		return 0;
	}
}

uint16_t nvme_log_page(struct nvme *c, const uint8_t *cmd)
{
	const uint8_t id = (uint8_t)nvme_dw(cmd, 10);
	const uint64_t words = (nvme_dw(cmd, 10) >> 16 | (uint64_t)(nvme_dw(cmd, 11) & 0xffff) << 16) + 1;
	const uint64_t off = get_le64(cmd + 48);
	const uint32_t nsid = nvme_nsid(cmd);
	uint8_t page[PAGE_LEN] = { 0 };
	const uint32_t len = fill(c, id, page);
	uint16_t status;

	if (!len)
		return NVME_LOG_INVALID | NVME_DNR;
	if (nsid > 1 && nsid != NVME_NSID_ALL)
		return NVME_INVALID_NAMESPACE | NVME_DNR;
	if (off % 4 || off > len || words * 4 > NVME_TRANSFER_MAX)
		return NVME_INVALID_FIELD | NVME_DNR;
	status = nvme_admin_write(c, cmd, page + off, len - (uint32_t)off, (uint32_t)words * 4);
	if (status || RAE(cmd))
		return status;
	if (id == LOG_ERROR_INFO)
		seen(c, EVENT_ERROR);
	else if (id == LOG_SMART)
		seen(c, EVENT_SMART);
	return NVME_SUCCESS;
}
