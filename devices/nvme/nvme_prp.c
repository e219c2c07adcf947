/*
 * The data pointer of NVMe commands: physical region pages, and scatter-gather lists for I/O commands [NVME-1.4 4.3,
 * 4.4].  Both lie in guest memory: each piece is copied once and checked; how many are looked at is bounded.
 *
 * Scatter-gather lists: data blocks of any alignment, bit buckets, segments and last segments; the data may be
 * longer than what the command transfers.  Metadata pointers are not looked at, as no format here has metadata.
 */
#include <stdlib.h>

#include "common/vm.h"
#include "devices/nvme/nvme.h"

#define LIST_MAX (NVME_TRANSFER_MAX / (1u << NVME_PAGE_SHIFT) + 1)      /* entries of one transfer */
#define SGL_DESC_LEN 16u
#define SGL_CHUNK 256u                          /* descriptors copied at a time */
#define SGL_DESCS_MAX 4096u                     /* looked at for one command */
#define PSDT(cmd) ((cmd)[1] >> 6)

/* Descriptor types [NVME-1.4 4.4] */
enum { SGL_DATA = 0, SGL_BUCKET = 1, SGL_SEGMENT = 2, SGL_LAST = 3 };

struct map {
	struct nvme *c;
	struct iovec *iov;
	unsigned n;
	uint32_t left;                          /* bytes still to be named */
	bool to_host;
};

static bool add_host(struct map *m, void *p, uint32_t len)
{
	struct iovec *last = m->n ? &m->iov[m->n - 1] : NULL;

	if (last && (char *)last->iov_base + last->iov_len == (char *)p) {
		last->iov_len += len;
	} else {
		if (m->n == NVME_IOV_MAX)
			return false;
		m->iov[m->n++] = (struct iovec){ p, len };
	}
	m->left -= len;
	return true;
}

/* Guest memory, which may cross from one region into the next. */
static uint16_t add(struct map *m, uint64_t gpa, uint64_t len)
{
	const struct guest_mem *mem = &m->c->pci.dev.vm->mem;

	while (len) {
		const uint64_t n = MIN(len, mem_run(mem, gpa));
		void *p = mem_at(mem, gpa, n);

		if (!p)
			return NVME_TRANSFER_ERROR;
		if (!add_host(m, p, (uint32_t)n))
			return NVME_SGL_COUNT | NVME_DNR;
		gpa += n;
		len -= n;
	}
	return NVME_SUCCESS;
}

/* --- PRPs --- */

/* The list at gpa, and those it continues in [NVME-1.4 4.3]. */
static uint16_t map_list(struct map *m, uint64_t gpa)
{
	const uint32_t page = nvme_page(m->c);
	uint64_t list[LIST_MAX];
	uint16_t status;

	if (gpa % 8)
		return NVME_PRP_OFFSET | NVME_DNR;
	while (m->left) {
		const uint32_t slots = (page - (uint32_t)(gpa % page)) / 8, need = (m->left + page - 1) / page;
		const uint32_t n = MIN(slots, need);

		if (!mem_read(&m->c->pci.dev.vm->mem, gpa, list, n * 8))
			return NVME_TRANSFER_ERROR;
		for (uint32_t i = 0; i < n; i++) {
			if (list[i] % page)
				return NVME_PRP_OFFSET | NVME_DNR;
			if (i + 1 == slots && need > slots)
				break;                  /* the last place names the next list */
			status = add(m, list[i], MIN(m->left, page));
			if (status)
				return status;
		}
		gpa = list[n - 1];              /* begins a page: more places than a transfer needs */
	}
	return NVME_SUCCESS;
}

static uint16_t map_prps(struct map *m, uint64_t prp1, uint64_t prp2)
{
	const uint32_t page = nvme_page(m->c), first = page - (uint32_t)(prp1 % page);
	uint16_t status;

	if (prp1 % 4)
		return NVME_PRP_OFFSET | NVME_DNR;
	status = add(m, prp1, MIN(m->left, first));
	if (status || !m->left)
		return status;
	if (m->left > page)
		return map_list(m, prp2);
	if (prp2 % page)
		return NVME_PRP_OFFSET | NVME_DNR;
	return add(m, prp2, m->left);
}

/* --- SGLs --- */

/* Bytes a read throws away; a write has none there. */
static uint16_t add_bucket(struct map *m, uint32_t len)
{
	if (!m->to_host)
		return NVME_SUCCESS;
	if (!m->c->bucket)
		m->c->bucket = malloc(NVME_TRANSFER_MAX);
	if (!m->c->bucket)
		return NVME_INTERNAL_ERROR;
	return add_host(m, m->c->bucket, len) ? NVME_SUCCESS : NVME_SGL_COUNT | NVME_DNR;
}

/* A descriptor that names data.  What is beyond the transfer's end is not looked at. */
static uint16_t add_data(struct map *m, const uint8_t *desc)
{
	const uint32_t len = MIN(get_le32(desc + 8), m->left);

	if (desc[15] & 15)
		return NVME_SGL_TYPE | NVME_DNR;        /* addresses in memory only */
	switch (desc[15] >> 4) {
	case SGL_DATA: return add(m, get_le64(desc), len);
	case SGL_BUCKET: return len ? add_bucket(m, len) : NVME_SUCCESS;
	default: return NVME_SGL_TYPE | NVME_DNR;
	}
}

/* Descriptors of one segment but, when it is not the last, its last one.  That goes to next[]. */
static uint16_t map_segment(struct map *m, const uint8_t *seg, unsigned *budget, uint8_t next[SGL_DESC_LEN])
{
	const uint32_t len = get_le32(seg + 8);
	const bool last = seg[15] >> 4 == SGL_LAST;
	uint8_t buf[SGL_CHUNK * SGL_DESC_LEN];
	uint64_t gpa = get_le64(seg);
	uint32_t count = len / SGL_DESC_LEN;
	uint16_t status = NVME_SUCCESS;

	if (len == 0 || len % SGL_DESC_LEN)
		return (last ? NVME_SGL_LAST_SEGMENT : NVME_SGL_COUNT) | NVME_DNR;
	next[15] = SGL_DATA << 4;
	while (count && m->left) {
		const uint32_t n = MIN(count, SGL_CHUNK);

		if (*budget < n)
			return NVME_SGL_COUNT | NVME_DNR;
		*budget -= n;
		if (!mem_read(&m->c->pci.dev.vm->mem, gpa, buf, n * SGL_DESC_LEN))
			return NVME_TRANSFER_ERROR;
		gpa += n * SGL_DESC_LEN;
		count -= n;
		for (uint32_t i = 0; i < n && m->left; i++) {
			const uint8_t *d = buf + i * SGL_DESC_LEN;

			if (d[15] >> 4 == SGL_SEGMENT || d[15] >> 4 == SGL_LAST) {
				if (last)
					return NVME_SGL_LAST_SEGMENT | NVME_DNR;
				if (count || i + 1 < n)
					return NVME_SGL_COUNT | NVME_DNR;
				memcpy(next, d, SGL_DESC_LEN);
				return NVME_SUCCESS;
			}
			status = add_data(m, d);
			if (status)
				return status;
		}
	}
	return m->left ? NVME_SGL_LENGTH | NVME_DNR : NVME_SUCCESS;
}

static uint16_t map_sgl(struct map *m, const uint8_t *sgl1)
{
	uint8_t seg[SGL_DESC_LEN], next[SGL_DESC_LEN] = { 0 };
	unsigned budget = SGL_DESCS_MAX;
	uint16_t status;

	memcpy(seg, sgl1, sizeof(seg));
	if (seg[15] >> 4 != SGL_SEGMENT && seg[15] >> 4 != SGL_LAST) {
		status = add_data(m, seg);
		return status || !m->left ? status : NVME_SGL_LENGTH | NVME_DNR;
	}
	while (m->left) {
		if (seg[15] & 15)
			return NVME_SGL_TYPE | NVME_DNR;
		status = map_segment(m, seg, &budget, next);
		if (status)
			return status;
		memcpy(seg, next, sizeof(seg));
	}
	return NVME_SUCCESS;
}

uint16_t nvme_map(struct nvme *c, const uint8_t *cmd, uint32_t len, bool to_host, bool admin, struct iovec *iov, unsigned *niov)
{
	struct map m = { .c = c, .iov = iov, .left = len, .to_host = to_host };
	uint16_t status;

	if (len == 0 || len > NVME_TRANSFER_MAX)
		return NVME_INVALID_FIELD | NVME_DNR;
	if (PSDT(cmd) == 0)
		status = map_prps(&m, get_le64(cmd + 24), get_le64(cmd + 32));
	else if (PSDT(cmd) == 1 && !admin)
		status = map_sgl(&m, cmd + 24);
	else
		status = NVME_INVALID_FIELD | NVME_DNR;
	*niov = m.n;
	return status;
}
