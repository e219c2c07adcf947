/*
 * NVMe Set Features and Get Features [NVME-1.4 5.13, 5.21].  None can be saved.  Of what is set, arbitration burst, write
 * cache, temperature thresholds, queues and asynchronous events act; the rest is kept for who asks.
 */
#include "common/vm.h"
#include "devices/nvme/nvme.h"

#define TEMP_OVER_DEFAULT 343           /* WCTEMP */
#define TEMP_SENSORS(dw) ((dw) >> 16 & 15)      /* 0: composite, 15: all */
#define TEMP_KIND(dw) ((dw) >> 20 & 3)  /* 0: over, 1: under */
#define DULBE 0x10000u                  /* an error for reading deallocated blocks, which is not there */
#define EVENTS_KNOWN 0x000000ffu        /* critical warnings */
#define VECTOR_CD 0x10000u              /* no coalescing */

enum { SEL_CURRENT, SEL_DEFAULT, SEL_SAVED, SEL_CAPABILITIES };
enum { CAN_CHANGE = 4, OF_NAMESPACE = 2 };

static void defaults(struct nvme_features *f)
{
	*f = (struct nvme_features){
		.arbitration = 7, .temp_over = TEMP_OVER_DEFAULT, .write_cache = 1, .async_event = EVENTS_KNOWN,
	};
	for (unsigned i = 0; i < NVME_QUEUES; i++)
		f->vector[i] = i;
}

void nvme_features_reset(struct nvme *c)
{
	defaults(&c->feat);
	c->nsqa = c->ncqa = (uint16_t)c->maxq;
}

/* Capabilities of a feature as Get Features shows them; 0: unknown. */
static unsigned capabilities(uint8_t fid)
{
	if (fid == FEAT_ERROR_RECOVERY)
		return CAN_CHANGE | OF_NAMESPACE;
	return fid >= FEAT_ARBITRATION && fid <= FEAT_ASYNC_EVENT && fid != 3 ? CAN_CHANGE : 0;         /* 3: LBA ranges */
}

static uint16_t set_temperature(struct nvme *c, uint32_t dw)
{
	const unsigned sensor = TEMP_SENSORS(dw), kind = TEMP_KIND(dw);

	if ((sensor != 0 && sensor != 15) || kind > 1)
		return NVME_INVALID_FIELD | NVME_DNR;
	*(kind ? &c->feat.temp_under : &c->feat.temp_over) = dw & 0xffff;
	nvme_health_check(c);
	return NVME_SUCCESS;
}

static bool any_queue(const struct nvme *c)
{
	for (unsigned q = 1; q < NVME_QUEUES; q++) {
		if (c->sq[q].live || c->cq[q].live)
			return true;
	}
	return false;
}

static uint32_t queues(const struct nvme *c)
{
	return (c->nsqa - 1u) | (c->ncqa - 1u) << 16;
}

static uint16_t set_queues(struct nvme *c, uint32_t dw, uint32_t *result)
{
	if ((dw & 0xffff) == 0xffff || dw >> 16 == 0xffff)
		return NVME_INVALID_FIELD | NVME_DNR;
	if (any_queue(c))
		return NVME_SEQUENCE_ERROR | NVME_DNR;
	c->nsqa = (uint16_t)MIN((dw & 0xffff) + 1, c->maxq);
	c->ncqa = (uint16_t)MIN((dw >> 16) + 1, c->maxq);
	*result = queues(c);
	return NVME_SUCCESS;
}

static uint16_t set_vector(struct nvme *c, uint32_t dw)
{
	if ((dw & 0xffff) > c->maxq)
		return NVME_INVALID_FIELD | NVME_DNR;
	c->feat.vector[dw & 0xffff] = dw & (VECTOR_CD | 0xffff);
	return NVME_SUCCESS;
}

static uint16_t set(struct nvme *c, uint8_t fid, uint32_t dw, uint32_t *result)
{
	switch (fid) {
	case FEAT_ARBITRATION:
		c->feat.arbitration = dw & 0xffffff07;
		return NVME_SUCCESS;
	case FEAT_POWER:
		if (dw & 0x1f)                  /* there is state 0 only */
			return NVME_INVALID_FIELD | NVME_DNR;
		c->feat.power = dw & 0xe0;
		return NVME_SUCCESS;
	case FEAT_TEMPERATURE: return set_temperature(c, dw);
	case FEAT_ERROR_RECOVERY:
		if (dw & DULBE)
			return NVME_INVALID_FIELD | NVME_DNR;
		c->feat.error_recovery = dw & 0xffff;
		return NVME_SUCCESS;
	case FEAT_WRITE_CACHE:
		c->feat.write_cache = dw & 1;
		return NVME_SUCCESS;
	case FEAT_QUEUES: return set_queues(c, dw, result);
	case FEAT_COALESCING:
		c->feat.coalescing = dw & 0xffff;
		return NVME_SUCCESS;
	case FEAT_VECTOR: return set_vector(c, dw);
	case FEAT_ATOMICITY:
		c->feat.atomicity = dw & 1;
		return NVME_SUCCESS;
	default:
		c->feat.async_event = dw & EVENTS_KNOWN;
		nvme_health_check(c);
		return NVME_SUCCESS;
	}
}

uint16_t nvme_set_features(struct nvme *c, const uint8_t *cmd, uint32_t *result)
{
	const uint8_t fid = (uint8_t)nvme_dw(cmd, 10);
	const unsigned caps = capabilities(fid);
	const uint32_t nsid = nvme_nsid(cmd);

	if (!caps)
		return NVME_INVALID_FIELD | NVME_DNR;
	if (nvme_dw(cmd, 10) & 0x80000000)
		return NVME_NOT_SAVEABLE | NVME_DNR;
	if (caps & OF_NAMESPACE ? nsid != 1 && nsid != NVME_NSID_ALL : nsid > 1 && nsid != NVME_NSID_ALL)
		return NVME_INVALID_NAMESPACE | NVME_DNR;
	if (!(caps & OF_NAMESPACE) && nsid == 1)
		return NVME_NOT_NAMESPACE | NVME_DNR;
	return set(c, fid, nvme_dw(cmd, 11), result);
}

static uint16_t get(const struct nvme *c, const struct nvme_features *f, uint8_t fid, uint32_t dw, uint32_t *out)
{
	switch (fid) {
	case FEAT_ARBITRATION: *out = f->arbitration; break;
	case FEAT_POWER: *out = f->power; break;
	case FEAT_TEMPERATURE:
		if (TEMP_SENSORS(dw) || TEMP_KIND(dw) > 1)
			return NVME_INVALID_FIELD | NVME_DNR;
		*out = TEMP_KIND(dw) ? f->temp_under : f->temp_over;
		break;
	case FEAT_ERROR_RECOVERY: *out = f->error_recovery; break;
	case FEAT_WRITE_CACHE: *out = f->write_cache; break;
	case FEAT_QUEUES: *out = f == &c->feat ? queues(c) : (c->maxq - 1u) * 0x10001u; break;
	case FEAT_COALESCING: *out = f->coalescing; break;
	case FEAT_VECTOR:
		if ((dw & 0xffff) > c->maxq)
			return NVME_INVALID_FIELD | NVME_DNR;
		*out = f->vector[dw & 0xffff];
		break;
	case FEAT_ATOMICITY: *out = f->atomicity; break;
	default: *out = f->async_event;
	}
	return NVME_SUCCESS;
}

uint16_t nvme_get_features(struct nvme *c, const uint8_t *cmd, uint32_t *result)
{
	const uint8_t fid = (uint8_t)nvme_dw(cmd, 10);
	const unsigned sel = nvme_dw(cmd, 10) >> 8 & 7, caps = capabilities(fid);
	struct nvme_features f;

	if (!caps || sel > SEL_CAPABILITIES)
		return NVME_INVALID_FIELD | NVME_DNR;
	if (sel == SEL_CAPABILITIES) {
		*result = caps;
		return NVME_SUCCESS;
	}
	if (caps & OF_NAMESPACE && nvme_nsid(cmd) != 1)
		return NVME_INVALID_NAMESPACE | NVME_DNR;
	if (sel == SEL_CURRENT)
		return get(c, &c->feat, fid, nvme_dw(cmd, 11), result);
	defaults(&f);                   /* nothing is saved: the default is what a reset brings back */
	return get(c, &f, fid, nvme_dw(cmd, 11), result);
}
