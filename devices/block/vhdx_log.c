/*
 * The log of a VHDX [MS-VHDX 2.3]: a ring of entries, each with sectors of 4 KiB to be written somewhere in the file.
 * The entries of the newest complete sequence are what a writer that was cut off had not put in its place yet.  They
 * are read into memory, and stand in front of the file's contents.
 */
#include <errno.h>
#include <stdlib.h>

#include "devices/block/vhdx.h"

#define SECTOR 4096u
#define ENTRY_HEADER 64u
#define DESC 32u

/* Log entry header [MS-VHDX 2.3.1.1], descriptors [2.3.1.2, 2.3.1.3], data sector [2.3.1.4]: offsets. */
enum {
	L_SUM = 4, L_LEN = 8, L_TAIL = 12, L_SEQ = 16, L_COUNT = 24, L_GUID = 32, L_FLUSHED = 48, L_LAST = 56,
	LD_TRAILING = 4, LD_LEADING = 8, LD_OFF = 16, LD_SEQ = 24,
	LS_SEQ_HIGH = 4, LS_DATA = 8, LS_SEQ_LOW = 4092,
};

struct log {
	struct vhdx *v;
	const char *path;
	uint8_t *ring;
	uint32_t len;
	uint64_t budget;                /* bytes that may still be looked at */
	uint8_t *entry;                 /* of len bytes: the entry under examination, in one piece */
};

uint32_t vhdx_crc(const uint8_t *p, size_t len, size_t sum_at)
{
	/* The reflected polynomial 0x82f63b78, four bits at a time. */
	static const uint32_t table[16] = {
		0x00000000, 0x105ec76f, 0x20bd8ede, 0x30e349b1, 0x417b1dbc, 0x5125dad3, 0x61c69362, 0x7198540d,
		0x82f63b78, 0x92a8fc17, 0xa24bb5a6, 0xb21572c9, 0xc38d26c4, 0xd3d3e1ab, 0xe330a81a, 0xf36e6f75,
	};
	uint32_t crc = ~0u;

	for (size_t i = 0; i < len; i++) {
		crc ^= i - sum_at < 4 ? 0 : p[i];
		crc = (crc >> 4) ^ table[crc & 15];
		crc = (crc >> 4) ^ table[crc & 15];
	}
	return ~crc;
}

static void ring_copy(const struct log *l, uint32_t at, void *out, uint32_t n)
{
	const uint32_t first = MIN(n, l->len - at);

	memcpy(out, l->ring + at, first);
	memcpy((uint8_t *)out + first, l->ring, n - first);
}

/* The sectors its descriptors take, the header's among them. */
static uint64_t desc_sectors(uint32_t count)
{
	return (ENTRY_HEADER + (uint64_t)count * DESC + SECTOR - 1) / SECTOR;
}

/* Are the descriptors of l->entry those of this entry, with as many data sectors as they want? */
static bool descriptors_valid(const uint8_t *e, uint32_t count, uint32_t len)
{
	uint64_t data = desc_sectors(count);

	if (data * SECTOR > len)
		return false;
	for (uint32_t i = 0; i < count; i++) {
		const uint8_t *d = e + ENTRY_HEADER + (size_t)i * DESC;

		if (get_le64(d + LD_SEQ) != get_le64(e + L_SEQ) || get_le64(d + LD_OFF) % SECTOR)
			return false;
		if (!memcmp(d, "zero", 4)) {
			if (get_le64(d + LD_LEADING) % SECTOR || get_le64(d + LD_LEADING) > UINT64_MAX - get_le64(d + LD_OFF))
				return false;
			continue;
		}
		if (memcmp(d, "desc", 4) || data * SECTOR >= len)
			return false;
		const uint8_t *s = e + data++ * SECTOR;
		if (memcmp(s, "data", 4) || get_le32(s + LS_SEQ_HIGH) != get_le64(e + L_SEQ) >> 32 ||
		    get_le32(s + LS_SEQ_LOW) != (uint32_t)get_le64(e + L_SEQ))
			return false;
	}
	return true;
}

/* Is there a valid entry at `at`?  l->entry gets it.  1, 0, or -EINVAL when too much was looked at. */
static int read_entry(struct log *l, uint32_t at)
{
	uint8_t h[ENTRY_HEADER];

	ring_copy(l, at, h, ENTRY_HEADER);
	const uint32_t len = get_le32(h + L_LEN);
	if (memcmp(h, "loge", 4) || !len || len > l->len || len % SECTOR || !get_le64(h + L_SEQ) || get_le32(h + L_TAIL) >= l->len ||
	    get_le32(h + L_TAIL) % SECTOR || memcmp(h + L_GUID, l->v->header + VH_LOG_GUID, 16))
		return 0;
	if (len > l->budget)
		return -EINVAL;
	l->budget -= len;
	ring_copy(l, at, l->entry, len);
	return vhdx_crc(l->entry, len, L_SUM) == get_le32(h + L_SUM) && descriptors_valid(l->entry, get_le32(h + L_COUNT), len);
}

/* Counts the data sectors and descriptors in l->entry, or adds them to the patches. */
static void take_entry(struct log *l, uint32_t *nsect)
{
	const uint8_t *e = l->entry;
	const uint32_t count = get_le32(e + L_COUNT);
	uint64_t data = desc_sectors(count);
	struct vhdx *v = l->v;

	for (uint32_t i = 0; i < count; i++) {
		const uint8_t *d = e + ENTRY_HEADER + (size_t)i * DESC;
		struct vhdx_patch p = { .off = get_le64(d + LD_OFF), .len = SECTOR };

		if (!memcmp(d, "zero", 4)) {
			p.len = get_le64(d + LD_LEADING);
		} else if (v->patch) {
			uint8_t *out = v->patch_data + (size_t)*nsect * SECTOR;

			memcpy(out, d + LD_LEADING, 8);
			memcpy(out + 8, e + data * SECTOR + LS_DATA, SECTOR - 12);
			memcpy(out + SECTOR - 4, d + LD_TRAILING, 4);
			p.data = out;
		}
		if (memcmp(d, "zero", 4)) {
			data++;
			++*nsect;
		}
		if (v->patch)
			v->patch[v->npatch] = p;
		v->npatch++;
	}
}

/*
 * Follows the entries from `tail`, each in the place and with the number after the one before; *head: where the last one
 * begins, *seq its number.  Entries, or -EINVAL.  take: they become patches.
 */
static int follow(struct log *l, uint32_t tail, uint32_t *head, uint64_t *seq, uint32_t *nsect, bool take, uint32_t stop)
{
	uint32_t at = tail, used = 0;
	int n = 0;

	while (used < l->len) {
		const int ret = read_entry(l, at);

		if (ret < 0)
			return ret;
		if (!ret || (n && get_le64(l->entry + L_SEQ) != *seq + 1))
			break;
		*seq = get_le64(l->entry + L_SEQ);
		*head = at;
		n++;
		if (take)
			take_entry(l, nsect);
		if (take && at == stop)
			break;
		const uint32_t len = get_le32(l->entry + L_LEN);
		used += len;
		at = (uint32_t)(((uint64_t)at + len) % l->len);
	}
	return n;
}

/* The newest sequence that is complete: its last entry says where it began [MS-VHDX 2.3.2].  1, 0: none, or -errno. */
static int find_active(struct log *l, uint32_t *tail, uint32_t *head)
{
	uint64_t best = 0, seq = 0;
	int found = 0;

	for (uint32_t at = 0, h = 0, unused = 0; at < l->len; at += SECTOR) {
		const uint32_t from = at;
		int n;

		if (memcmp(l->ring + at, "loge", 4))
			continue;
		n = follow(l, at, &h, &seq, &unused, false, 0);
		if (n < 0)
			return n;
		if (!n)
			continue;
		/* Walks that begin inside this one would end where it ended. */
		at = h < at ? l->len - SECTOR : h;
		if (seq <= best || read_entry(l, h) != 1)
			continue;
		/* A sequence that begins before this walk is another walk's. */
		const uint32_t t = get_le32(l->entry + L_TAIL);
		if ((t + l->len - from) % l->len > (h + l->len - from) % l->len)
			continue;
		*tail = t;
		*head = h;
		best = seq;
		found = 1;
	}
	return found;
}

static int replay(struct log *l, uint32_t tail, uint32_t head)
{
	struct vhdx *v = l->v;
	uint32_t nsect = 0, h = 0;
	uint64_t seq = 0;

	l->budget = l->len;
	if (follow(l, tail, &h, &seq, &nsect, true, head) <= 0 || h != head)
		return err_msg(-EINVAL, "image '%s': its log is damaged; check it with Hyper-V's Repair-VHD", l->path);
	v->patch = calloc(v->npatch ? v->npatch : 1, sizeof(*v->patch));
	v->patch_data = malloc(nsect ? (size_t)nsect * SECTOR : 1);
	if (!v->patch || !v->patch_data)
		return err_msg(-ENOMEM, "image '%s': no memory for its log", l->path);
	v->npatch = nsect = 0;
	l->budget = l->len;
	follow(l, tail, &h, &seq, &nsect, true, head);
	/* l->entry is the last one. */
	if (get_le64(l->entry + L_FLUSHED) > v->file_size)
		return err_msg(-EINVAL, "image '%s': it is shorter than its log says; the file is truncated", l->path);
	v->file_size = MAX(v->file_size, MIN(get_le64(l->entry + L_LAST), VHDX_SIZE_MAX));
	return 0;
}

int vhdx_log_read(struct vhdx *v)
{
	static const uint8_t none[16];
	struct log l = { .v = v, .path = v->img.file->path };
	const uint64_t off = get_le64(v->header + VH_LOG_OFF);
	uint32_t tail = 0, head = 0;
	int err;

	l.len = get_le32(v->header + VH_LOG_LEN);
	v->used_end = MAX(v->used_end, MIN(off, VHDX_SIZE_MAX) + l.len);
	if (!memcmp(v->header + VH_LOG_GUID, none, 16))
		return 0;
	if (get_le16(v->header + VH_LOG_VERSION) != 0)
		return err_msg(-ENOTSUP, "image '%s': log version %u; skep reads 0", l.path, get_le16(v->header + VH_LOG_VERSION));
	if (!l.len || l.len % MIB(1) || off % MIB(1) || off < MIB(1) || off > v->file_size || l.len > v->file_size - off)
		return err_msg(-EINVAL, "image '%s': its log lies behind the end of the file; the file is truncated or damaged", l.path);
	if (l.len > VHDX_LOG_MAX)
		return err_msg(-EFBIG, "image '%s': its log of %u MiB is larger than skep reads; let 'qemu-img check -r all' replay it",
			       l.path, l.len >> 20);
	l.ring = malloc(l.len);
	l.entry = malloc(l.len);
	/* Walks hardly overlap: eight times the log is more than any needs that a writer left. */
	l.budget = 8ull * l.len;
	err = l.ring && l.entry ? bfile_read(v->img.file, off, l.ring, l.len) : -ENOMEM;
	if (err)
		err_msg(err, "image '%s': its log cannot be read: %s", l.path, strerror(-err));
	else
		err = find_active(&l, &tail, &head);
	if (err == 1 && !v->img.read_only)
		err = err_msg(-EBUSY, "image '%s': its writer was cut off and its log is not empty; replay it with 'qemu-img check -r all "
			      "%s', or open it read-only", l.path, l.path);
	else if (err == 1)
		err = replay(&l, tail, head);
	else if (err == -EINVAL)
		err_msg(err, "image '%s': its log is damaged; check it with Hyper-V's Repair-VHD", l.path);
	free(l.ring);
	free(l.entry);
	return err;
}

int vhdx_read(struct vhdx *v, uint64_t off, void *buf, size_t len)
{
	const int err = bfile_read(v->img.file, off, buf, len);

	for (uint32_t i = 0; !err && len && i < v->npatch; i++) {
		const struct vhdx_patch *p = &v->patch[i];
		const uint64_t from = MAX(off, p->off), to = MIN(off + len, p->off + p->len);

		if (from >= to)
			continue;
		if (p->data)
			memcpy((uint8_t *)buf + (from - off), p->data + (from - p->off), to - from);
		else
			memset((uint8_t *)buf + (from - off), 0, to - from);
	}
	return err;
}
