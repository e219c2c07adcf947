/*
 * Inflating kernels [RFC-1952].  Output is bounded; a member cut short or with a wrong checksum is refused.  Bytes
 * behind the first member are ignored: some build systems pad.
 */
#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <zlib.h>

#include "common/image.h"
#include "common/log.h"
#include "common/util.h"
#include "loaders/loaders.h"

/* Why inflate() stopped, as the second half of a sentence. */
static int gunzip_failed(const char *path, const z_stream *z, int err)
{
	if (err == Z_MEM_ERROR)
		return err_msg(-ENOMEM, "kernel '%s': no memory to decompress it", path);
	if (z->avail_out == 0)
		return err_msg(-EFBIG, "kernel '%s' decompresses to more than %u MiB: it is no kernel", path,
			       (unsigned)(GUNZIP_MAX >> 20));
	if (err == Z_BUF_ERROR || err == Z_OK)
		return err_msg(-EINVAL, "kernel '%s' is truncated: its gzip data ends early; fetch the file again", path);
	return err_msg(-EINVAL, "kernel '%s' has damaged gzip data (%s): fetch the file again", path, z->msg ? z->msg : "not gzip");
}

/* Feeds input in pieces zlib's 32-bit counters can hold. */
static int inflate_all(z_stream *z, size_t in_len)
{
	int err;

	do {
		uInt piece = (uInt)MIN(in_len, (size_t)GIB(1));
		z->avail_in = piece;
		err = inflate(z, Z_NO_FLUSH);
		in_len -= piece - z->avail_in;
	} while (err == Z_OK && in_len && z->avail_out);
	return err;
}

int gunzip(const char *path, const uint8_t *in, size_t in_len, uint8_t **out, size_t *out_len)
{
	z_stream z = { .next_in = (Bytef *)in };
	/* Address space only: pages appear as they are written, and what is not needed is given back. */
	uint8_t *buf = mmap(NULL, GUNZIP_MAX, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (buf == MAP_FAILED)
		return err_sys("kernel '%s': memory to decompress it", path);
	z.next_out = buf;
	z.avail_out = GUNZIP_MAX;
	int err = inflateInit2(&z, 16 + MAX_WBITS);
	if (err == Z_OK) {
		err = inflate_all(&z, in_len);
		inflateEnd(&z);
	}
	if (err != Z_STREAM_END || z.total_out == 0) {
		munmap(buf, GUNZIP_MAX);
		return err == Z_STREAM_END ? err_msg(-EINVAL, "kernel '%s' decompresses to nothing: it is empty", path) :
			gunzip_failed(path, &z, err);
	}
	*out_len = z.total_out;
	*out = mremap(buf, GUNZIP_MAX, z.total_out, 0);         /* shrinking in place cannot fail */
	return 0;
}

void image_replace(struct image *img, uint8_t *data, size_t len)
{
	if (img->map_len)
		munmap(img->data, img->map_len);
	else
		free(img->data);
	img->data = data;
	img->len = img->map_len = len;
}

int image_gunzip(struct image *img)
{
	uint8_t *out;
	size_t out_len;
	int err = gunzip(img->path, img->data, img->len, &out, &out_len);

	if (!err)
		image_replace(img, out, out_len);
	return err;
}
