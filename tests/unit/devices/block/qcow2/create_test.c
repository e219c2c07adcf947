/*
 * Creating: what is refused, and every combination as qemu-img sees it, preallocated ones included.
 */
#include <errno.h>

#include "devices/block/qcow2/qcow2.h"
#include "tests/unit/capture.h"
#include "tests/unit/devices/block/qcow2/oracle.h"

static void refused(struct img_create c, const char *words)
{
	struct capture *cap = calloc(1, sizeof(*cap));

	c.path = "/nonexistent/x";
	c.format = "qcow2";
	capture_start(cap, STDERR_FILENO);
	const int err = img_create(&c);
	const char *text = capture_stop(cap);

	ck_assert_int_eq(err, -EINVAL);
	ck_assert_msg(strstr(text, words) && strstr(text, "'/nonexistent/x'"), "%s", text);
	free(cap);
}

START_TEST(impossible_requests_are_refused)
{
	char name[1100];

	memset(name, 'x', sizeof(name));
	name[1099] = '\0';
	refused((struct img_create){ .size = MIB(1), .version = 4 }, "versions 2");
	refused((struct img_create){ .size = MIB(1), .cluster_size = 256 }, "power of two from 512 to 2M");
	refused((struct img_create){ .size = MIB(1), .cluster_size = 1000 }, "power of two");
	refused((struct img_create){ .size = MIB(1), .cluster_size = 4u << 20 }, "power of two");
	refused((struct img_create){ .size = MIB(1), .refcount_bits = 128 }, "1, 2, 4, 8");
	refused((struct img_create){ .size = MIB(1), .refcount_bits = 3 }, "1, 2, 4, 8");
	refused((struct img_create){ .size = MIB(1), .version = 2, .refcount_bits = 8 }, "need version 3");
	refused((struct img_create){ .size = MIB(1), .version = 2, .zstd = true }, "need version 3");
	refused((struct img_create){ .size = MIB(1), .extended_l2 = true, .cluster_size = 8192 }, "at least 16K");
	refused((struct img_create){ .size = GIB(256), .cluster_size = 512 }, "larger cluster_size");
	refused((struct img_create){ .size = UINT64_MAX }, "8 EiB");
	refused((struct img_create){ .size = MIB(1), .backing = name }, "1 to 1023 bytes");
	refused((struct img_create){ .size = MIB(1), .backing = "b", .prealloc = IMG_PREALLOC_FULL }, "hide the backing file");
}
END_TEST

static void made(const struct oracle *o, struct img_create c)
{
	const uint64_t size = ALIGN_UP(c.size, 512u);

	c.path = oracle_path(o, "a");
	c.format = "qcow2";
	c.overwrite = true;
	ck_assert_int_eq(img_create(&c), 0);
	oracle_run(o, "qemu-img check -q a");
	oracle_run(o, "qemu-img info a | tee i; grep -q '(%llu bytes)' i && grep -q 'cluster_size: %u$' i && grep -q 'refcount bits: "
			"%u$' i && "
		   "grep -q 'compat: %s$' i", (unsigned long long)size, c.cluster_size, c.refcount_bits, c.version == 2 ? "0.10" : "1.1");
	if (size <= GIB(1))
		oracle_run(o, "rm -f z; truncate -s %llu z && qemu-img compare -q a z", (unsigned long long)size);
	if (c.prealloc && !c.backing && size)
		oracle_run(o, "qemu-img check a | grep -q '100.00%% allocated'");
	if (c.prealloc == IMG_PREALLOC_FULL)
		oracle_run(o, "test $(stat -c %%b a) -ge %llu", (unsigned long long)size / 512);
}

START_TEST(every_combination_is_sound)
{
	static const uint32_t clusters[] = { 512, 4096, 65536, 2u << 20 };
	static const unsigned bits[] = { 1, 2, 8, 16, 64 };
	struct oracle o;

	if (!oracle_there())
		return;
	oracle_start(&o);
	for (unsigned k = 0; k < NELEM(clusters); k++)
		for (unsigned b = 0; b < NELEM(bits); b += 2) {
			made(&o, (struct img_create){ .size = MIB(3) + 513, .cluster_size = clusters[k], .refcount_bits = bits[b],
				.prealloc = (k + b) % 4 == 0 ? IMG_PREALLOC_METADATA : IMG_PREALLOC_OFF, .lazy_refcounts = b == 0 });
			if (clusters[k] >= 65536)
				made(&o, (struct img_create){ .size = MIB(3), .cluster_size = clusters[k], .refcount_bits = bits[b + (b < 4)],
					.extended_l2 = true, .zstd = true, .prealloc = b ? IMG_PREALLOC_METADATA : IMG_PREALLOC_OFF });
		}
	made(&o, (struct img_create){ .size = MIB(9), .cluster_size = 65536, .refcount_bits = 16, .version = 2, .prealloc =
			IMG_PREALLOC_FALLOC });
	made(&o, (struct img_create){ .size = MIB(9), .cluster_size = 65536, .refcount_bits = 16, .prealloc = IMG_PREALLOC_FULL });
	made(&o, (struct img_create){ .size = 0, .cluster_size = 65536, .refcount_bits = 16 });
	made(&o, (struct img_create){ .size = GIB(64), .cluster_size = 512, .refcount_bits = 64 });
	made(&o, (struct img_create){ .size = GIB(1ull << 20), .cluster_size = 65536, .refcount_bits = 16 });
	oracle_end(&o);
}
END_TEST

START_TEST(preallocated_subclusters_show_what_is_below)
{
	struct oracle o;
	uint8_t b[4096];

	if (!oracle_there())
		return;
	oracle_start(&o);
	oracle_run(&o, "qemu-img create -q -f raw base 1M && qemu-io -f raw -c 'write -P 7 0 1M' base");
	const struct img_create c = { .path = oracle_path(&o, "a"), .format = "qcow2", .size = MIB(1), .backing = "base",
			.backing_format = "raw",
		.extended_l2 = true, .prealloc = IMG_PREALLOC_METADATA };

	ck_assert_int_eq(img_create(&c), 0);
	oracle_run(&o, "qemu-img check -q a && qemu-img compare -q a base");
	struct img *img = oracle_open(&o, "a", true, 0);

	ck_assert_int_eq(img_write_buf(img, 100, "new", 3), 0);
	ck_assert_int_eq(img_read_buf(img, 0, b, sizeof(b)), 0);
	ck_assert(b[99] == 7 && b[100] == 'n' && b[103] == 7);
	ck_assert_int_eq(img_close(img), 0);
	oracle_run(&o, "qemu-img check -q a && qemu-io -c 'read -P 7 103 1048473' -c 'read -P 7 0 100' a");
	ck_assert_int_eq(img_create(&c), -EEXIST);
	oracle_end(&o);
}
END_TEST

UNIT_MAIN("devices/block/qcow2/create", impossible_requests_are_refused, every_combination_is_sound,
	  preallocated_subclusters_show_what_is_below)
