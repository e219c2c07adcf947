/*
 * Compressed clusters: packed as QEMU does and read by it, refused when they are cut or garbled, overwritten, zeroed.
 */
#include <errno.h>

#include "devices/block/qcow2/state.h"
#include "tests/unit/devices/block/qcow2/oracle.h"

#define CLUSTERS 24u

static void content(uint8_t *b, size_t len, unsigned n)
{
	for (size_t i = 0; i < len; i++)
		b[i] = (uint8_t)(n % 3 == 2 ? (i * 2654435761u + n * 97u) >> 13 : n + i / 700);
}

static void packed(const struct oracle *o, struct img_create c)
{
	const uint32_t len = c.cluster_size;
	uint8_t *b = malloc(len), *got = malloc(len);
	FILE *flat = fopen(oracle_path(o, "flat"), "w");

	c.path = oracle_path(o, "a");
	c.format = "qcow2";
	c.size = (uint64_t)CLUSTERS * len - 512;
	c.overwrite = true;
	ck_assert_int_eq(img_create(&c), 0);
	struct img *img = oracle_open(o, "a", true, 0);

	for (unsigned i = 0; i < CLUSTERS; i++) {
		const size_t n = MIN(len, c.size - (uint64_t)i * len);

		content(b, len, i);
		ck_assert_int_eq(img->drv->write_compressed(img, (uint64_t)i * len, b, n), 0);
		ck_assert_uint_eq(fwrite(b, 1, n, flat), n);
	}
	fclose(flat);
	ck_assert_int_eq(img_close(img), 0);
	oracle_run(o, "qemu-img check -q a && qemu-img compare -q -F raw a flat");
	img = oracle_open(o, "a", true, 0);
	for (unsigned i = 0; i < CLUSTERS - 1; i++) {
		content(b, len, i);
		ck_assert_int_eq(img_read_buf(img, (uint64_t)i * len, got, len), 0);
		ck_assert_int_eq(memcmp(b, got, len), 0);
	}
	/* Part of one written over, one zeroed, one discarded, one compressed again: the neighbours stay. */
	ck_assert_int_eq(img_write_buf(img, len + 100, "xyz", 3), 0);
	ck_assert_int_eq(img_zero(img, 3 * len, len, IMG_UNMAP), 0);
	ck_assert_int_eq(img_discard(img, 4 * len, len), 0);
	content(b, len, 0);
	ck_assert_int_eq(img->drv->write_compressed(img, 6 * len, b, len), 0);
	ck_assert_int_eq(img_read_buf(img, 6 * len, got, len), 0);
	ck_assert_int_eq(memcmp(b, got, len), 0);
	for (unsigned i = 0; i < 8; i++) {
		content(b, len, i == 6 ? 0 : i);
		if (i == 1)
			memcpy(b + 100, "xyz", 3);
		if (i == 3 || i == 4)
			memset(b, 0, len);
		ck_assert_int_eq(img_read_buf(img, (uint64_t)i * len, got, len), 0);
		ck_assert_int_eq(memcmp(b, got, len), 0);
	}
	ck_assert_int_eq(img_close(img), 0);
	oracle_run(o, "qemu-img check -q a");
	free(b);
	free(got);
}

START_TEST(packed_here_read_by_qemu)
{
	struct oracle o;

	if (!oracle_there())
		return;
	oracle_start(&o);
	packed(&o, (struct img_create){ .cluster_size = 65536 });
	packed(&o, (struct img_create){ .cluster_size = 512 });
	packed(&o, (struct img_create){ .cluster_size = 4096, .refcount_bits = 1 });
	packed(&o, (struct img_create){ .cluster_size = 4096, .refcount_bits = 2 });
	packed(&o, (struct img_create){ .cluster_size = 16384, .extended_l2 = true });
	packed(&o, (struct img_create){ .cluster_size = 4096, .zstd = true });
	packed(&o, (struct img_create){ .cluster_size = 2u << 20, .version = 2 });
	oracle_end(&o);
}
END_TEST

/* Where a descriptor points, in images of qemu-img. */
static void garbled(const struct oracle *o, const char *options)
{
	uint64_t off, len;
	uint8_t b[512], junk[4096];

	memset(junk, 0xff, sizeof(junk));
	oracle_run(o, "rm -f q && qemu-img create -q -f qcow2 -o %s q 1M && qemu-io -c 'write -c -P 5 0 64k' -c 'write -c -P 6 64k 64k' "
			"q", options);
	struct img *img = oracle_open(o, "q", true, 0);
	struct qcow2 *q = qcow2_of(img);
	struct qcow2_slice *s;

	ck_assert_int_eq(img_read_buf(img, 65536, b, 512), 0);
	ck_assert(b[0] == 6 && b[511] == 6);
	pthread_mutex_lock(&q->lock);
	ck_assert_int_eq(qcow2_l2_slice(q, 0, &s), 0);
	qcow2_compressed_place(q, qcow2_l2_get(q, s, 0), &off, &len);
	pthread_mutex_unlock(&q->lock);
	ck_assert_int_eq(bfile_write(img->file, off, junk, 20), 0);
	ck_assert_int_eq(img_read_buf(img, 0, b, 512), -EIO);
	ck_assert_int_eq(img_read_buf(img, 65536, b, 512), 0);  /* only the one */
	ck_assert(b[0] == 6);
	ck_assert_int_eq(img_write_buf(img, 0, b, 1), -EIO);     /* what would be copied cannot be read */
	ck_assert_int_eq(img_zero(img, 0, 65536, IMG_UNMAP), 0);
	ck_assert_int_eq(img_read_buf(img, 0, b, 512), 0);
	ck_assert_int_eq(img_close(img), 0);
	oracle_run(o, "qemu-img check -q q");
}

START_TEST(garbled_clusters_are_errors)
{
	struct oracle o;

	if (!oracle_there())
		return;
	oracle_start(&o);
	garbled(&o, "cluster_size=64k");
	garbled(&o, "cluster_size=64k,compression_type=zstd");
	oracle_end(&o);
}
END_TEST

UNIT_MAIN("devices/block/qcow2/compressed", packed_here_read_by_qemu, garbled_clusters_are_errors)
