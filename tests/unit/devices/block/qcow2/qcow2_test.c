/*
 * Images of every kind: made here and judged by qemu-img, made by qemu-img and read here, and random changes of both
 * against a shadow copy.
 */
#include <errno.h>

#include "devices/block/qcow2/qcow2.h"
#include "tests/unit/devices/block/qcow2/oracle.h"

struct kind {
	const char *name, *qemu;        /* options of qemu-img create */
	struct img_create c;
	uint64_t cache_max;
};

static const struct kind kinds[] = {
	{ "default", "compat=1.1", { .size = MIB(6) + 512 }, 0 },
	{ "version 2", "compat=0.10", { .size = MIB(5), .version = 2 }, 0 },
	{ "512 bytes", "cluster_size=512", { .size = MIB(3), .cluster_size = 512 }, 1 },
	{ "512 bytes, 64 bits", "cluster_size=512,refcount_bits=64", { .size = MIB(3), .cluster_size = 512, .refcount_bits = 64 }, 1 },
	{ "1 bit", "cluster_size=4096,refcount_bits=1", { .size = MIB(4), .cluster_size = 4096, .refcount_bits = 1 }, 1 },
	{ "2 bits", "cluster_size=1024,refcount_bits=2", { .size = MIB(2), .cluster_size = 1024, .refcount_bits = 2 }, 1 },
	{ "4 bits", "cluster_size=2048,refcount_bits=4", { .size = MIB(2), .cluster_size = 2048, .refcount_bits = 4 }, 1 },
	{ "8 bits", "cluster_size=8192,refcount_bits=8", { .size = MIB(4), .cluster_size = 8192, .refcount_bits = 8 }, 1 },
	{ "32 bits", "cluster_size=32768,refcount_bits=32", { .size = MIB(4), .cluster_size = 32768, .refcount_bits = 32 }, 1 },
	{ "2 MiB", "cluster_size=2M", { .size = MIB(24), .cluster_size = 2u << 20 }, 1 },
	{ "lazy", "lazy_refcounts=on", { .size = MIB(5), .lazy_refcounts = true }, 0 },
	{ "zstd", "compression_type=zstd", { .size = MIB(5), .zstd = true }, 0 },
	{ "subclusters", "extended_l2=on", { .size = MIB(5) + 1024, .extended_l2 = true }, 0 },
	{ "small subclusters", "extended_l2=on,cluster_size=16K", { .size = MIB(5), .extended_l2 = true, .cluster_size = 16384 }, 1 },
	{ "large subclusters", "extended_l2=on,cluster_size=2M", { .size = MIB(24), .extended_l2 = true, .cluster_size = 2u << 20 }, 1 },
};

/* --- a disk and what should be on it --- */

struct shadow {
	struct img *img;
	uint8_t *b;
	uint64_t size;
	uint64_t rng;
};

static uint64_t rnd(struct shadow *s)
{
	s->rng ^= s->rng << 13;
	s->rng ^= s->rng >> 7;
	s->rng ^= s->rng << 17;
	return s->rng;
}

static void shadow_check(struct shadow *s)
{
	const size_t chunk = 300001;
	uint8_t *b = malloc(chunk);

	for (uint64_t off = 0; off < s->size; off += chunk) {
		const size_t n = MIN(chunk, s->size - off);

		ck_assert_int_eq(img_read_buf(s->img, off, b, n), 0);
		for (size_t i = 0; i < n && memcmp(b, s->b + off, n); i++)
			if (b[i] != s->b[off + i])
				ck_abort_msg("byte 0x%llx is %02x instead of %02x", (unsigned long long)(off + i), b[i], s->b[off + i]);
	}
	free(b);
}

static void random_range(struct shadow *s, uint64_t *off, uint64_t *len)
{
	const uint64_t unit = (uint64_t[]){ 1, 512, 4096, 65536, s->img->granule }[rnd(s) % 5];
	const uint64_t most = rnd(s) % 8 ? 20000 : MIB(1);

	*off = ALIGN_DOWN(rnd(s) % s->size, unit);
	*len = 1 + rnd(s) % most;
	if (rnd(s) % 2)
		*len = ALIGN_UP(*len, unit);
	*len = MIN(*len, s->size - *off);
}

static void random_write(struct shadow *s, uint64_t off, uint64_t len)
{
	struct iovec v[3];
	const uint8_t tag = (uint8_t)(1 + rnd(s) % 255);
	uint8_t *b = s->b + off;

	for (uint64_t i = 0; i < len; i++)
		b[i] = (uint8_t)(tag + (off + i) / 512);
	v[0] = (struct iovec){ b, len / 3 };
	v[1] = (struct iovec){ b + len / 3, 0 };
	v[2] = (struct iovec){ b + len / 3, len - len / 3 };
	ck_assert_int_eq(img_write(s->img, off, v, 3), 0);
}

/* Discarded clusters hold zeroes or what they held. */
static void take_discarded(struct shadow *s, uint64_t off, uint64_t len)
{
	uint8_t *b = malloc(len);

	ck_assert_int_eq(img_read_buf(s->img, off, b, len), 0);
	for (uint64_t i = 0; i < len; i++)
		if (b[i] && b[i] != s->b[off + i])
			ck_abort_msg("byte 0x%llx is %02x after a discard, was %02x", (unsigned long long)(off + i), b[i], s->b[off + i]);
	memcpy(s->b + off, b, len);
	free(b);
}

static void random_step(struct shadow *s)
{
	uint64_t off, len;

	random_range(s, &off, &len);
	switch (rnd(s) % 16) {
	case 0:
	case 1:
		memset(s->b + off, 0, len);
		ck_assert_int_eq(img_zero(s->img, off, len, 0), 0);
		break;
	case 2:
	case 3:
		memset(s->b + off, 0, len);
		ck_assert_int_eq(img_zero(s->img, off, len, IMG_UNMAP), 0);
		break;
	case 4:
	case 5:
		ck_assert_int_eq(img_discard(s->img, off, len), 0);
		take_discarded(s, off, len);
		break;
	case 6:
		ck_assert_int_eq(img_flush(s->img), 0);
		ck_assert(!img_dirty(s->img) || img_flush(s->img) == 0);
		break;
	default:
		random_write(s, off, len);
	}
}

static void shadow_save(const struct shadow *s, const char *path)
{
	FILE *f = fopen(path, "w");

	ck_assert_ptr_nonnull(f);
	ck_assert_uint_eq(fwrite(s->b, 1, s->size, f), s->size);
	fclose(f);
}

static void judged(const struct oracle *o, const char *name)
{
	oracle_run(o, "qemu-img check -q %s && qemu-img compare -q -F raw %s shadow", name, name);
}

static void random_steps(struct shadow *s, const struct oracle *o, const char *name, uint64_t cache_max, unsigned rounds)
{
	for (unsigned round = 0; round < rounds; round++) {
		s->img = oracle_open(o, name, true, cache_max);
		ck_assert_uint_eq(s->img->size, s->size);
		for (unsigned i = 0; i < 60; i++)
			random_step(s);
		shadow_check(s);
		ck_assert_int_eq(img_close(s->img), 0);
		s->img = oracle_open(o, name, false, cache_max);
		shadow_check(s);
		ck_assert_int_eq(img_close(s->img), 0);
		shadow_save(s, oracle_path(o, "shadow"));
		judged(o, name);
	}
}

static struct shadow shadow_new(uint64_t size, uint64_t seed)
{
	return (struct shadow){ .b = calloc(1, size), .size = size, .rng = seed * 0x9e3779b97f4a7c15ull + 1 };
}

START_TEST(random_changes_of_images_made_here)
{
	struct oracle o;

	if (!oracle_there())
		return;
	oracle_start(&o);
	for (size_t i = 0; i < NELEM(kinds); i++) {
		struct img_create c = kinds[i].c;
		struct shadow s = shadow_new(c.size, i);

		c.path = oracle_path(&o, "a");
		c.format = "qcow2";
		c.overwrite = true;
		ck_assert_int_eq(img_create(&c), 0);
		oracle_run(&o, "qemu-img check -q a");
		random_steps(&s, &o, "a", kinds[i].cache_max, 2);
		free(s.b);
	}
	oracle_end(&o);
}
END_TEST

START_TEST(random_changes_over_a_backing_chain)
{
	struct oracle o;

	if (!oracle_there())
		return;
	oracle_start(&o);
	for (size_t i = 0; i < NELEM(kinds); i++) {
		struct img_create c = kinds[i].c;
		struct shadow s = shadow_new(c.size, i + 100);
		const uint64_t below = s.size / 2 + 7680;

		/* raw below qcow2 of QEMU below ours; both are shorter */
		for (uint64_t at = 0; at < below; at++)
			s.b[at] = (uint8_t)(at / 1000 + 1);
		shadow_save(&(struct shadow){ .b = s.b, .size = ALIGN_DOWN(below, 512) }, oracle_path(&o, "base"));
		memset(s.b + ALIGN_DOWN(below, 512), 0, below % 512);
		oracle_run(&o, "qemu-img create -q -f qcow2 -F raw -b base mid && qemu-io -c 'write -P 0x55 4096 100k' mid");
		memset(s.b + 4096, 0x55, 102400);
		c.path = oracle_path(&o, "top");
		c.format = "qcow2";
		c.backing = "mid";
		c.backing_format = "qcow2";
		c.overwrite = true;
		ck_assert_int_eq(img_create(&c), 0);
		random_steps(&s, &o, "top", kinds[i].cache_max, 2);
		free(s.b);
	}
	oracle_end(&o);
}
END_TEST

/* Filled by qemu-io with all that L2 entries can say, compressed clusters included. */
START_TEST(images_of_qemu_read_and_change)
{
	struct oracle o;

	if (!oracle_there())
		return;
	oracle_start(&o);
	for (size_t i = 0; i < NELEM(kinds); i++) {
		struct shadow s = shadow_new(kinds[i].c.size, i + 200);
		FILE *f;

		oracle_run(&o, "qemu-img create -q -f qcow2 -o %s q %llu", kinds[i].qemu, (unsigned long long)s.size);
		oracle_run(&o, "seq 1 300000 | head -c 1M >text && qemu-img convert -c -O qcow2 -o %s text q2 && qemu-img resize -q q2 %llu",
			   kinds[i].qemu, (unsigned long long)s.size);
		oracle_run(&o, "qemu-io -c 'write -P 1 0 70k' -c 'write -P 2 1M 333k' -c 'write -z 100k 900k' -c 'write -z -u 1100k 20k' -c "
				"'discard 1M 64k' "
			   "-c 'write -P 3 300k 5000' q2");
		oracle_run(&o, "qemu-img convert -O raw q2 flat");
		f = fopen(oracle_path(&o, "flat"), "r");
		ck_assert_ptr_nonnull(f);
		ck_assert_uint_eq(fread(s.b, 1, s.size, f), s.size);
		fclose(f);
		s.img = oracle_open(&o, "q2", false, kinds[i].cache_max);
		shadow_check(&s);
		img_close(s.img);
		random_steps(&s, &o, "q2", kinds[i].cache_max, 2);
		free(s.b);
	}
	oracle_end(&o);
}
END_TEST

UNIT_MAIN("devices/block/qcow2/qcow2", random_changes_of_images_made_here, random_changes_over_a_backing_chain,
	  images_of_qemu_read_and_change)
