/*
 * NVMe I/O commands [NVME-1.4 6]: flush, read, write, compare, verify, write zeroes, dataset management.  Fused commands,
 * Write Uncorrectable and reservations are not there.  Protection information: no format has any.
 *
 * Compare and Verify read the disk piece by piece into memory of their own; Dataset Management discards its ranges one
 * after the other.
 */
#include <errno.h>
#include <stdlib.h>

#include "common/vm.h"
#include "devices/nvme/nvme.h"

#define PENDING 0xffff                  /* the completion follows later */
#define PIECE (64u << 10)
#define FUSED 3
#define FUA BIT(30)
#define DEAC BIT(25)
#define DSM_DEALLOCATE 4u
#define RANGE_LEN 16u

static uint64_t slba(const struct nvme_req *r) { return get_le64(r->cmd + 40); }
static uint32_t nlb(const struct nvme_req *r) { return (nvme_dw(r->cmd, 12) & 0xffff) + 1; }

static bool in_range(const struct nvme *c, uint64_t lba, uint64_t n)
{
	return n <= c->blocks && lba <= c->blocks - n;
}

/* What the host said, as a drive would; the disk has reported it. */
static uint16_t failed(struct nvme_req *r, int err)
{
	struct nvme *c = r->c;
	const bool read = r->blk.op == BLK_READ;

	if (err == -ECANCELED)
		return NVME_ABORT_REQUESTED;
	c->count.media_errors++;
	if (err == -ENOSPC)
		return NVME_CAPACITY;
	return err == -EROFS ? NVME_WRITE_PROTECTED : read ? NVME_READ_ERROR : NVME_WRITE_FAULT;
}

static void on_done(struct blk_req *b)
{
	struct nvme_req *r = (struct nvme_req *)b;

	nvme_finish(r, b->ret ? failed(r, b->ret) : NVME_SUCCESS);
}

/* Commands of several steps end when nobody waits for them any more. */
static bool unwanted(const struct nvme_req *r)
{
	return r->c->resetting || r->c->dropping;
}

static void submit(struct nvme_req *r, enum blk_op op, uint64_t off, uint64_t len, void (*done)(struct blk_req *))
{
	r->blk.op = op;
	r->blk.off = off;
	r->blk.len = len;
	r->blk.done = done;
	blk_submit(r->c->blk, &r->blk);
}

/* --- Read, write --- */

static uint16_t rw(struct nvme_req *r, bool write)
{
	struct nvme *c = r->c;
	const uint64_t len = (uint64_t)nlb(r) << c->lbads;
	uint16_t status;

	if (len > NVME_TRANSFER_MAX)
		return NVME_INVALID_FIELD | NVME_DNR;
	if (!in_range(c, slba(r), nlb(r)))
		return NVME_LBA_RANGE | NVME_DNR;
	status = nvme_map(c, r->cmd, (uint32_t)len, !write, false, r->iov, &r->niov);
	if (status)
		return status;
	if (write) {
		c->count.writes++;
		c->count.sectors_written += len / 512;
	} else {
		c->count.reads++;
		c->count.sectors_read += len / 512;
	}
	r->blk.iov = r->iov;
	r->blk.niov = r->niov;
	/* Without a write cache, every write is on stable storage. */
	r->blk.fua = write && (nvme_dw(r->cmd, 12) & FUA || !c->feat.write_cache);
	submit(r, write ? BLK_WRITE : BLK_READ, slba(r) << c->lbads, len, on_done);
	return PENDING;
}

/* --- Compare, verify --- */

static void next_piece(struct nvme_req *r, void (*done)(struct blk_req *))
{
	const uint64_t len = MIN(r->end - r->at, (uint64_t)PIECE);

	r->one = (struct iovec){ r->buf, len };
	r->blk.iov = &r->one;
	r->blk.niov = 1;
	r->blk.fua = false;
	submit(r, BLK_READ, r->at, len, done);
}

static bool same(const struct nvme_req *r, size_t off, size_t len)
{
	uint8_t theirs[4096];

	for (size_t n, at = 0; at < len; at += n) {
		n = MIN(len - at, sizeof(theirs));
		if (iov_read(r->iov, r->niov, off + at, theirs, n) != n || memcmp(theirs, r->buf + at, n))
			return false;
	}
	return true;
}

static void piece_done(struct blk_req *b)
{
	struct nvme_req *r = (struct nvme_req *)b;
	const uint64_t start = slba(r) << r->c->lbads, len = MIN(r->end - r->at, (uint64_t)PIECE);

	if (b->ret || unwanted(r)) {
		nvme_finish(r, b->ret ? failed(r, b->ret) : NVME_ABORT_REQUESTED);
		return;
	}
	if (r->cmd[0] == IO_COMPARE && !same(r, r->at - start, len)) {
		nvme_finish(r, NVME_COMPARE_FAILURE);
		return;
	}
	r->at += len;
	if (r->at == r->end)
		nvme_finish(r, NVME_SUCCESS);
	else
		next_piece(r, piece_done);
}

static uint16_t compare(struct nvme_req *r)
{
	struct nvme *c = r->c;
	const uint64_t len = (uint64_t)nlb(r) << c->lbads;
	uint16_t status = NVME_SUCCESS;

	if (!in_range(c, slba(r), nlb(r)))
		return NVME_LBA_RANGE | NVME_DNR;
	if (r->cmd[0] == IO_COMPARE)
		status = len > NVME_TRANSFER_MAX ? NVME_INVALID_FIELD | NVME_DNR :
			nvme_map(c, r->cmd, (uint32_t)len, false, false, r->iov, &r->niov);
	if (status)
		return status;
	r->buf = malloc(MIN(len, (uint64_t)PIECE));
	if (!r->buf)
		return NVME_INTERNAL_ERROR;
	c->count.reads += r->cmd[0] == IO_COMPARE;
	r->at = slba(r) << c->lbads;
	r->end = r->at + len;
	next_piece(r, piece_done);
	return PENDING;
}

/* --- Write zeroes, dataset management --- */

static uint16_t write_zeroes(struct nvme_req *r)
{
	struct nvme *c = r->c;

	if (!in_range(c, slba(r), nlb(r)))
		return NVME_LBA_RANGE | NVME_DNR;
	r->blk.fua = nvme_dw(r->cmd, 12) & FUA || !c->feat.write_cache;
	r->blk.unmap = nvme_dw(r->cmd, 12) & DEAC && !c->nodelete;
	submit(r, BLK_WRITE_ZEROES, slba(r) << c->lbads, (uint64_t)nlb(r) << c->lbads, on_done);
	return PENDING;
}

static uint64_t range_blocks(const struct nvme_req *r, uint64_t i) { return get_le32(r->buf + i * RANGE_LEN + 4); }
static uint64_t range_lba(const struct nvme_req *r, uint64_t i) { return get_le64(r->buf + i * RANGE_LEN + 8); }

/* Starts the next range that is not empty; false: there is none. */
static bool next_range(struct nvme_req *r, void (*done)(struct blk_req *))
{
	while (r->at < r->end && range_blocks(r, r->at) == 0)
		r->at++;
	if (r->at == r->end)
		return false;
	const uint64_t i = r->at++;

	submit(r, BLK_DISCARD, range_lba(r, i) << r->c->lbads, range_blocks(r, i) << r->c->lbads, done);
	return true;
}

static void range_done(struct blk_req *b)
{
	struct nvme_req *r = (struct nvme_req *)b;

	if (b->ret)
		nvme_finish(r, failed(r, b->ret));
	else if (unwanted(r) || !next_range(r, range_done))
		nvme_finish(r, NVME_SUCCESS);
}

static uint16_t dataset(struct nvme_req *r)
{
	const uint32_t n = (nvme_dw(r->cmd, 10) & 0xff) + 1;
	uint16_t status;

	status = nvme_map(r->c, r->cmd, n * RANGE_LEN, false, false, r->iov, &r->niov);
	if (status)
		return status;
	r->buf = malloc(n * RANGE_LEN);
	if (!r->buf)
		return NVME_INTERNAL_ERROR;
	iov_read(r->iov, r->niov, 0, r->buf, n * RANGE_LEN);
	r->at = 0;
	r->end = n;
	for (uint64_t i = 0; i < n; i++) {
		if (!in_range(r->c, range_lba(r, i), range_blocks(r, i)))
			return NVME_LBA_RANGE | NVME_DNR;
	}
	if (!(nvme_dw(r->cmd, 11) & DSM_DEALLOCATE) || r->c->nodelete)
		return NVME_SUCCESS;            /* the other attributes are hints about use */
	return next_range(r, range_done) ? PENDING : NVME_SUCCESS;
}

/* --- Dispatch --- */

static uint16_t flush(struct nvme_req *r)
{
	submit(r, BLK_FLUSH, 0, 0, on_done);
	return PENDING;
}

static bool writes(uint8_t opcode)
{
	return opcode == IO_WRITE || opcode == IO_WRITE_ZEROES || opcode == IO_DSM;
}

static uint16_t dispatch(struct nvme_req *r)
{
	struct nvme *c = r->c;
	const uint8_t op = r->cmd[0];
	const uint32_t nsid = nvme_nsid(r->cmd);

	if (r->cmd[1] & FUSED)
		return NVME_INVALID_FIELD | NVME_DNR;
	if (nsid != 1 && !(op == IO_FLUSH && nsid == NVME_NSID_ALL))
		return NVME_INVALID_NAMESPACE | NVME_DNR;
	if (!c->blk)
		return NVME_INTERNAL_ERROR;
	if (c->read_only && writes(op))
		return NVME_WRITE_PROTECTED | NVME_DNR;
	switch (op) {
	case IO_FLUSH: return flush(r);
	case IO_READ: return rw(r, false);
	case IO_WRITE: return rw(r, true);
	case IO_COMPARE:
	case IO_VERIFY: return compare(r);
	case IO_WRITE_ZEROES: return write_zeroes(r);
	case IO_DSM: return c->dsm ? dataset(r) : NVME_INVALID_OPCODE | NVME_DNR;
	default: return NVME_INVALID_OPCODE | NVME_DNR;
	}
}

void nvme_io(struct nvme_req *r)
{
	const uint16_t status = dispatch(r);

	if (status != PENDING)
		nvme_finish(r, status);
}
