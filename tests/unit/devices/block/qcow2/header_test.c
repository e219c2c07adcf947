/*
 * What a header may say and what is refused, in a sentence; names of backing files put into it.
 */
#include <errno.h>

#include "devices/block/qcow2/state.h"
#include "tests/unit/capture.h"
#include "tests/unit/devices/block/powercut.h"
#include "tests/unit/devices/block/qcow2/oracle.h"

static struct powercut *new_image(const struct img_create *c)
{
	struct powercut *pc = powercut_new(NULL, 0);
	struct bfile *f = powercut_open(pc, "new", true);

	ck_assert_int_eq(qcow2_format(f, c), 0);
	bfile_close(f);
	return pc;
}

static void put(struct powercut *pc, uint64_t off, const void *b, size_t len)
{
	struct bfile *f = powercut_open(pc, "put", true);

	ck_assert_int_eq(bfile_write(f, off, b, len), 0);
	bfile_close(f);
}

/* The image with `len` bytes of a big-endian number at `off`: `err` and a sentence with `words`; err 0: it opens. */
static void opens(bool write, unsigned off, unsigned len, uint64_t v, int err, const char *words)
{
	struct powercut *pc = new_image(&(struct img_create){ .path = "p", .size = MIB(1), .cluster_size = 16384 });
	struct capture *c = calloc(1, sizeof(*c));
	uint8_t b[8];
	int got = 0;

	put_be64(b, v);
	put(pc, off, b + 8 - len, len);
	capture_start(c, STDERR_FILENO);
	struct img *img = img_open_file(powercut_open(pc, "i.qcow2", write), &img_qcow2, &got);
	const char *text = capture_stop(c);

	ck_assert_int_eq(got, err);
	ck_assert_int_eq(img == NULL, err != 0);
	if (words)
		ck_assert_msg(strstr(text, words) && strstr(text, "i.qcow2"), "'%s' is not in: %s", words, text);
	img_close(img);
	powercut_free(pc);
	free(c);
}

START_TEST(refusals)
{
	opens(true, 4, 4, 3, 0, NULL);
	opens(true, 0, 4, 0x51464900, -EINVAL, "not a qcow2 image");
	opens(true, 4, 4, 1, -ENOTSUP, "version 1");
	opens(true, 4, 4, 4, -ENOTSUP, "version 4");
	opens(true, 20, 4, 8, -EINVAL, "512 bytes to 2 MiB");
	opens(true, 20, 4, 22, -EINVAL, "512 bytes to 2 MiB");
	opens(true, 20, 4, UINT32_MAX, -EINVAL, "512 bytes to 2 MiB");
	opens(true, 24, 8, UINT64_MAX, -EINVAL, "L1 table is too small");
	opens(true, 24, 8, GIB(1), -EINVAL, "L1 table is too small");
	opens(true, 32, 4, 1, -ENOTSUP, "AES");
	opens(true, 32, 4, 2, -ENOTSUP, "LUKS");
	opens(true, 36, 4, 0, -EINVAL, "L1 table is too small");
	opens(true, 36, 4, UINT32_MAX, -EINVAL, "32 MiB");
	opens(true, 36, 4, 1u << 20, -EINVAL, "L1 table does not lie in the file");
	opens(true, 40, 8, 0, -EINVAL, "L1 table does not lie");
	opens(true, 40, 8, 512, -EINVAL, "L1 table does not lie");
	opens(true, 40, 8, UINT64_MAX - 16383, -EINVAL, "L1 table does not lie");
	opens(true, 48, 8, MIB(4), -EINVAL, "refcount table does not lie");
	opens(true, 56, 4, 0, -EINVAL, "size of the refcount table");
	opens(true, 56, 4, UINT32_MAX, -EINVAL, "size of the refcount table");
	opens(true, 60, 4, 70000, -EINVAL, "65536 snapshots");
	opens(true, 60, 4, 1, -EINVAL, "snapshot table");
	opens(true, 72, 8, QCOW2_DATA_FILE, -ENOTSUP, "external data file");
	opens(true, 72, 8, BIT64(5), -ENOTSUP, "incompatible feature bit 5)");
	opens(true, 72, 8, BIT64(63), -ENOTSUP, "incompatible feature bit 63)");
	opens(true, 72, 8, QCOW2_COMPRESSION, -EINVAL, "compression type and its feature bit");
	opens(true, 104, 1, 1, -EINVAL, "compression type and its feature bit");
	opens(true, 72, 8, QCOW2_CORRUPT, -EROFS, "--repair all");
	opens(false, 72, 8, QCOW2_CORRUPT, 0, NULL);
	opens(true, 96, 4, 7, -EINVAL, "1 to 64 bits");
	opens(true, 100, 4, 96, -EINVAL, "its own length");
	opens(true, 100, 4, 108, -EINVAL, "its own length");
	opens(true, 8, 8, 16384 + 8, -EINVAL, "backing file's name");
}
END_TEST

START_TEST(unknown_bit_is_named_by_the_table)
{
	struct powercut *pc = new_image(&(struct img_create){ .path = "p", .size = MIB(1) });
	struct capture *c = calloc(1, sizeof(*c));
	uint8_t row[48] = { 0, 9, 't', 'i', 'm', 'e', ' ', 'm', 0x1b, 'c' }, bits[8];
	int err = 0;

	put(pc, 120, row, sizeof(row));
	put_be64(bits, BIT64(9));
	put(pc, 72, bits, 8);
	capture_start(c, STDERR_FILENO);
	ck_assert_ptr_null(img_open_file(powercut_open(pc, "i.qcow2", false), &img_qcow2, &err));
	ck_assert_ptr_nonnull(strstr(capture_stop(c), "feature bit 9: time m?c"));
	ck_assert_int_eq(err, -ENOTSUP);
	powercut_free(pc);
	free(c);
}
END_TEST

START_TEST(autoclear_bits_are_cleared_by_writers_only)
{
	struct powercut *pc = new_image(&(struct img_create){ .path = "p", .size = MIB(1) });
	uint8_t bits[8];
	size_t len;
	int err;

	put_be64(bits, 0xf0);
	put(pc, 88, bits, 8);
	img_close(img_open_file(powercut_open(pc, "i", false), &img_qcow2, &err));
	ck_assert_uint_eq(get_be64(powercut_data(pc, &len) + 88), 0xf0);
	img_close(img_open_file(powercut_open(pc, "i", true), &img_qcow2, &err));
	ck_assert_uint_eq(get_be64(powercut_data(pc, &len) + 88), 0);
	powercut_free(pc);
}
END_TEST

/* --- backing files --- */

static void names(struct powercut *pc, const char *path, const char *format)
{
	int err;
	struct img *img = img_open_file(powercut_open(pc, "i", false), &img_qcow2, &err);

	ck_assert_ptr_nonnull(img);
	ck_assert_pstr_eq(img->backing_path, path);
	ck_assert_pstr_eq(img->backing_format, format);
	img_close(img);
}

static int set(struct powercut *pc, const char *path, const char *format)
{
	int err;
	struct img *img = img_open_file(powercut_open(pc, "i", true), &img_qcow2, &err);

	ck_assert_ptr_nonnull(img);
	err = img->drv->set_backing(img, path, format);
	ck_assert_int_eq(img_close(img), 0);
	return err;
}

static void any_name_on(const struct img_create *c)
{
	struct powercut *pc = new_image(c);
	char longest[1025];

	memset(longest, 'n', sizeof(longest));
	longest[1024] = '\0';
	names(pc, c->backing, c->backing_format);
	ck_assert_int_eq(set(pc, "other", "raw"), 0);
	names(pc, "other", "raw");
	ck_assert_int_eq(set(pc, "no-format", NULL), 0);
	names(pc, "no-format", NULL);
	ck_assert_int_eq(set(pc, NULL, NULL), 0);
	names(pc, NULL, NULL);
	ck_assert_int_eq(set(pc, longest, "raw"), -ENAMETOOLONG);
	ck_assert_int_eq(set(pc, "", "raw"), -ENAMETOOLONG);
	names(pc, NULL, NULL);
	longest[1023] = '\0';
	if (c->cluster_size > 2048) {
		ck_assert_int_eq(set(pc, longest, "qcow2"), 0);
		names(pc, longest, "qcow2");
	} else {
		ck_assert_int_eq(set(pc, longest, "qcow2"), -ENAMETOOLONG);
		names(pc, NULL, NULL);
	}
	powercut_free(pc);
}

START_TEST(backing_names_are_put_and_taken)
{
	any_name_on(&(struct img_create){ .path = "p", .size = MIB(1), .cluster_size = 4096 });
	any_name_on(&(struct img_create){ .path = "p", .size = MIB(1), .cluster_size = 4096, .backing = "b", .backing_format = "qcow2" });
	any_name_on(&(struct img_create){ .path = "p", .size = MIB(1), .cluster_size = 512, .backing = "a/b", .backing_format = "raw" });
	any_name_on(&(struct img_create){ .path = "p", .size = MIB(1), .cluster_size = 512, .version = 2 });
	any_name_on(&(struct img_create){ .path = "p", .size = MIB(1), .cluster_size = 65536, .version = 2, .backing = "b" });
}
END_TEST

/* At any cut there is the old name with the old format, or the new ones. */
START_TEST(backing_names_survive_power_failures)
{
	static const char *const name[] = { "/a/first/name", "second", "/third/name/that/is/a/little/longer" };
	static const char *const format[] = { "raw", "qcow2", "raw" };

	for (unsigned i = 0; i < 3; i++) {
		const unsigned k = (i + 1) % 3;
		struct powercut *pc = new_image(&(struct img_create){ .path = "p", .size = MIB(1), .backing = name[i], .backing_format =
				format[i] });
		const size_t from = powercut_ops(pc);

		ck_assert_int_eq(set(pc, name[k], format[k]), 0);
		for (size_t cut = from; cut <= powercut_ops(pc); cut++)
			for (uint64_t seed = 0; seed < 20; seed++) {
				struct powercut *after = powercut_after(pc, cut, seed);
				int err;
				struct img *img = img_open_file(powercut_open(after, "i", false), &img_qcow2, &err);

				ck_assert_ptr_nonnull(img);
				const unsigned is = strcmp(img->backing_path, name[i]) ? k : i;

				ck_assert_str_eq(img->backing_path, name[is]);
				ck_assert_str_eq(img->backing_format, format[is]);
				ck_assert(cut < powercut_ops(pc) || is == k);
				img_close(img);
				powercut_free(after);
			}
		powercut_free(pc);
	}
}
END_TEST

START_TEST(qemu_reads_the_names)
{
	struct oracle o;

	if (!oracle_there())
		return;
	oracle_start(&o);
	oracle_run(&o, "qemu-img create -q -f raw base.raw 1M; qemu-img create -q -f qcow2 base.qcow2 1M; qemu-img create -q -f qcow2 "
			"-F raw -b "
		   "base.raw i && cp i j");
	struct img *img = oracle_open(&o, "i", true, 0);

	ck_assert_int_eq(img->drv->set_backing(img, "base.qcow2", "qcow2"), 0);
	img_close(img);
	oracle_run(&o, "qemu-img info i | grep -x 'backing file: base.qcow2.*' && qemu-img info i | grep -x 'backing file format: "
			"qcow2' && "
		   "qemu-img check -q i");
	/* Feature names are kept. */
	oracle_run(&o, "grep -q 'lazy refcounts' i");
	oracle_end(&o);
}
END_TEST

UNIT_MAIN("devices/block/qcow2/header", refusals, unknown_bit_is_named_by_the_table, autoclear_bits_are_cleared_by_writers_only,
	  backing_names_are_put_and_taken, backing_names_survive_power_failures, qemu_reads_the_names)
