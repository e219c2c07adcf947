/*
 * NVMe admin commands [NVME-1.4 5]: queues, abort, asynchronous event requests, shadow doorbells; identify, features and
 * log pages are in files of their own.  Not there, and refused as unknown opcodes: format, firmware, security, namespace
 * management, self-test, directives, sanitize, virtualization.
 */
#include "common/vm.h"
#include "devices/nvme/nvme.h"

#define DEFERRED 0xffff                 /* the completion follows later */
#define FUSED_OR_PSDT 0xc3              /* byte 1 of a command: fused operation, kind of data pointer */

uint16_t nvme_admin_write(struct nvme *c, const uint8_t *cmd, const void *data, uint32_t have, uint32_t len)
{
	unsigned niov;
	const uint16_t status = nvme_map(c, cmd, len, true, true, c->admin_iov, &niov);

	if (status)
		return status;
	have = MIN(have, len);
	iov_write(c->admin_iov, niov, 0, data, have);
	iov_zero(c->admin_iov, niov, have, len - have);
	return NVME_SUCCESS;
}

/* --- Queues [NVME-1.4 5.3 to 5.6] --- */

static bool cqid_ok(const struct nvme *c, uint16_t q) { return q && q <= c->ncqa; }
static bool sqid_ok(const struct nvme *c, uint16_t q) { return q && q <= c->nsqa; }

/* What creating either kind has in common.  Physically contiguous queues only (CAP.CQR). */
static uint16_t queue_check(const struct nvme *c, const uint8_t *cmd, unsigned es, unsigned es_wanted)
{
	const uint32_t size = (nvme_dw(cmd, 10) >> 16) + 1;

	if (size < 2 || size > c->qsz)
		return NVME_QSIZE_INVALID;
	if (!(nvme_dw(cmd, 11) & 1) || es != es_wanted)
		return NVME_INVALID_FIELD;
	if (get_le64(cmd + 24) % nvme_page(c))
		return NVME_PRP_OFFSET;
	return nvme_queue_mem(c, get_le64(cmd + 24), size, 1u << es) ? NVME_SUCCESS : NVME_INVALID_FIELD;
}

static uint16_t create_cq(struct nvme *c, const uint8_t *cmd)
{
	const uint16_t qid = (uint16_t)nvme_dw(cmd, 10), iv = (uint16_t)(nvme_dw(cmd, 11) >> 16);
	uint16_t status;

	if (!cqid_ok(c, qid) || c->cq[qid].live)
		return NVME_QID_INVALID | NVME_DNR;
	status = queue_check(c, cmd, CC_IOCQES(c->cc), 4);
	if (!status && (pci_msix_enabled(&c->pci) ? iv >= c->pci.msix_n : iv != 0))
		status = NVME_VECTOR_INVALID;
	if (status)
		return status | NVME_DNR;
	c->cq[qid] = (struct nvme_cq){
		.live = true, .ien = nvme_dw(cmd, 11) & 2, .phase = true, .iv = iv, .size = (nvme_dw(cmd, 10) >> 16) + 1,
		.base = get_le64(cmd + 24),
	};
	c->cq[qid].mem = nvme_queue_mem(c, c->cq[qid].base, c->cq[qid].size, NVME_CQE_LEN);
	nvme_shadow_clear(c, qid, true);
	return NVME_SUCCESS;
}

static uint16_t create_sq(struct nvme *c, const uint8_t *cmd)
{
	const uint16_t qid = (uint16_t)nvme_dw(cmd, 10), cqid = (uint16_t)(nvme_dw(cmd, 11) >> 16);
	uint16_t status;

	if (!sqid_ok(c, qid) || c->sq[qid].live || !cqid_ok(c, cqid))
		return NVME_QID_INVALID | NVME_DNR;
	if (!c->cq[cqid].live)
		return NVME_CQ_INVALID | NVME_DNR;
	status = queue_check(c, cmd, CC_IOSQES(c->cc), 6);
	if (status)
		return status | NVME_DNR;
	c->sq[qid] = (struct nvme_sq){
		.live = true, .cqid = cqid, .size = (nvme_dw(cmd, 10) >> 16) + 1, .base = get_le64(cmd + 24),
	};
	c->sq[qid].mem = nvme_queue_mem(c, c->sq[qid].base, c->sq[qid].size, NVME_SQE_LEN);
	c->cq[cqid].nsq++;
	c->sqs |= BIT64(qid);
	nvme_shadow_clear(c, qid, false);
	nvme_shadow_follow(c);
	return NVME_SUCCESS;
}

static uint16_t delete_cq(struct nvme *c, const uint8_t *cmd)
{
	const uint16_t qid = (uint16_t)nvme_dw(cmd, 10);

	if (!cqid_ok(c, qid) || !c->cq[qid].live)
		return NVME_QID_INVALID | NVME_DNR;
	if (c->cq[qid].nsq)
		return NVME_QUEUE_DELETION | NVME_DNR;
	c->cq[qid] = (struct nvme_cq){ 0 };
	nvme_intx_update(c);
	return NVME_SUCCESS;
}

/* Nothing of the queue is in flight any more. */
void nvme_sq_deleted(struct nvme *c, uint16_t sqid)
{
	uint8_t cmd[NVME_SQE_LEN] = { ADM_DELETE_SQ };

	put_le16(cmd + 2, c->sq[sqid].delete_cid);
	c->cq[c->sq[sqid].cqid].nsq--;
	c->sq[sqid] = (struct nvme_sq){ 0 };
	c->sqs &= ~BIT64(sqid);
	for (unsigned i = 0; i < NVME_ABORTS; i++)
		c->abort[i].used &= c->abort[i].sqid != sqid;
	nvme_shadow_follow(c);
	nvme_post(c, 0, cmd, NVME_SUCCESS, 0);
}

static uint16_t delete_sq(struct nvme *c, const uint8_t *cmd)
{
	const uint16_t qid = (uint16_t)nvme_dw(cmd, 10);

	if (!sqid_ok(c, qid) || !c->sq[qid].live || c->sq[qid].deleting)
		return NVME_QID_INVALID | NVME_DNR;
	c->sq[qid].deleting = true;
	c->sq[qid].delete_cid = nvme_cid(cmd);
	if (c->sq[qid].inflight == 0)
		nvme_sq_deleted(c, qid);
	return DEFERRED;
}

/* --- Asynchronous event requests and abort [NVME-1.4 5.1, 5.2] --- */

static uint16_t aer(struct nvme *c, const uint8_t *cmd)
{
	if (c->naer == NVME_AERS)
		return NVME_AER_LIMIT | NVME_DNR;
	c->aer_cid[c->naer++] = nvme_cid(cmd);
	c->cq[0].reserved--;            /* its completion takes a place when there is an event */
	nvme_events_send(c);
	return DEFERRED;
}

/* An event request is given back at once. */
static bool abort_aer(struct nvme *c, uint16_t cid)
{
	uint8_t cmd[NVME_SQE_LEN] = { ADM_AER };

	for (unsigned i = 0; i < c->naer; i++) {
		if (c->aer_cid[i] != cid || !nvme_cq_room(&c->cq[0]))
			continue;
		memmove(&c->aer_cid[i], &c->aer_cid[i + 1], (c->naer - i - 1u) * sizeof(c->aer_cid[0]));
		c->naer--;
		put_le16(cmd + 2, cid);
		c->cq[0].reserved++;
		nvme_post(c, 0, cmd, NVME_ABORT_REQUESTED, 0);
		return true;
	}
	return false;
}

/* What still waits in its queue is not run.  What runs already, on the host's disk, is not called back. */
static uint16_t abort_cmd(struct nvme *c, const uint8_t *cmd, uint32_t *result)
{
	const uint16_t sqid = (uint16_t)nvme_dw(cmd, 10), cid = (uint16_t)(nvme_dw(cmd, 10) >> 16);
	const struct nvme_sq *sq = sqid < NVME_QUEUES ? &c->sq[sqid] : NULL;
	unsigned slot = 0;

	*result = 1;
	if (!sq || !sq->live)
		return NVME_INVALID_FIELD | NVME_DNR;
	if (sqid == 0 && abort_aer(c, cid)) {
		*result = 0;
		return NVME_SUCCESS;
	}
	for (uint32_t i = sq->head; i != sq->tail; i = i + 1 == sq->size ? 0 : i + 1) {
		if (nvme_cid(sq->mem + i * NVME_SQE_LEN) != cid)
			continue;
		while (slot < NVME_ABORTS && c->abort[slot].used)
			slot++;
		if (slot == NVME_ABORTS)
			return NVME_ABORT_LIMIT;
		c->abort[slot] = (struct nvme_abort){ true, sqid, cid, i };
		*result = 0;
		break;
	}
	return NVME_SUCCESS;
}

/* --- Dispatch --- */

static uint16_t dispatch(struct nvme *c, const uint8_t *cmd, uint32_t *result)
{
	if (cmd[1] & FUSED_OR_PSDT)
		return NVME_INVALID_FIELD | NVME_DNR;
	switch (cmd[0]) {
	case ADM_DELETE_SQ: return delete_sq(c, cmd);
	case ADM_CREATE_SQ: return create_sq(c, cmd);
	case ADM_LOG_PAGE: return nvme_log_page(c, cmd);
	case ADM_DELETE_CQ: return delete_cq(c, cmd);
	case ADM_CREATE_CQ: return create_cq(c, cmd);
	case ADM_IDENTIFY: return nvme_identify(c, cmd);
	case ADM_ABORT: return abort_cmd(c, cmd, result);
	case ADM_SET_FEATURES: return nvme_set_features(c, cmd, result);
	case ADM_GET_FEATURES: return nvme_get_features(c, cmd, result);
	case ADM_AER: return aer(c, cmd);
	case ADM_DOORBELL_BUFFER: return nvme_shadow_set(c, get_le64(cmd + 24), get_le64(cmd + 32), false);
	default: return NVME_INVALID_OPCODE | NVME_DNR;
	}
}

void nvme_admin(struct nvme *c, const uint8_t *cmd)
{
	uint32_t result = 0;
	const uint16_t status = dispatch(c, cmd, &result);

	if (status != DEFERRED)
		nvme_post(c, 0, cmd, status, result);
}
