/*
 * qcow2: the input is the image, see image.h.  Entries of its tables may share clusters and say what they like about
 * refcounts, so what is read back is only what one write put into one sector.
 */
#include "tests/fuzz/image.h"

static void change(struct img *img)
{
	uint8_t buf[512], got[512], more[9000] = { 1 };
	const uint64_t step = MAX(ALIGN_DOWN(img->size / 6, 512u), 512u);

	for (uint64_t off = 0, i = 1; off + sizeof(buf) <= img->size && i < 9; off += step, i++) {
		memset(buf, (int)i, sizeof(buf));
		if (img_write_buf(img, off, buf, sizeof(buf)) == 0 && img_read_buf(img, off, got, sizeof(got)) == 0)
			MUST(memcmp(buf, got, sizeof(buf)) == 0);
		img_write_buf(img, off + 3000, more, sizeof(more));
		if (i == 3)
			img_flush(img);
		img_zero(img, off + 100, 7000, i & 1 ? IMG_UNMAP : 0);
		img_discard(img, off + 4096, 100000);
	}
}

static void look(int fd, bool must)
{
	struct img *img = fuzz_open(fd, &img_qcow2, false);
	struct img_check c = { 0 };

	MUST(img || !must);
	if (!img)
		return;
	json_t *info = json_object();
	struct img_snapshot *list = NULL;
	unsigned n;

	MUST(img->granule >= 512 && img->granule <= MIB(2));
	fuzz_map(img);
	fuzz_read(img);
	img->drv->check(img, 0, &c);
	img->drv->info(img, info);
	img->drv->snap_list(img, &list, &n);
	free(list);
	json_decref(info);
	MUST(img_close(img) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	uint64_t size;
	const int fd = fuzz_file(data, len, &size);

	look(fd, false);
	struct img *img = fuzz_open(fd, &img_qcow2, true);
	if (img) {
		change(img);
		fuzz_map(img);
		img->drv->set_backing(img, "below", "raw");
		img->drv->resize(img, img->size / 2);
		img->drv->resize(img, MIN(img->size * 3, GIB(1)));
		img_close(img);
		look(fd, true);
	}
	close(fd);
	return 0;
}
