/*
 * Opening kernels and initrds: mapped, recognised by their own headers, refused by name when they are of no use.
 */
#include "common/image.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <stdlib.h>
#include <unistd.h>

#include "common/log.h"
#include "common/util.h"
#include "loaders/loaders.h"

static const struct {
	const char *name, *arch;
} kinds[] = {
	[IMAGE_NONE] = { "none", "" },
	[IMAGE_BZIMAGE] = { "x86 Linux bzImage", "x86" },
	[IMAGE_PVH] = { "x86 ELF with a PVH entry", "x86" },
	[IMAGE_ARM64] = { "arm64 Linux Image", "arm64" },
};

const char *image_kind_name(enum image_kind kind)
{
	return kinds[kind].name;
}

static int map_file(const char *what, const char *path, uint8_t **data, size_t *len)
{
	struct stat st;
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);         /* a FIFO is refused below, not waited for */
	if (fd < 0)
		return err_sys("%s '%s'", what, path);
	if (fstat(fd, &st) < 0) {
		int err = err_sys("%s '%s'", what, path);
		close(fd);
		return err;
	}
	if (!S_ISREG(st.st_mode) || st.st_size == 0) {
		close(fd);
		return err_msg(-EINVAL, "%s '%s': %s; give a kernel or initrd file", what, path,
			       S_ISREG(st.st_mode) ? "the file is empty" : "this is no regular file");
	}
	void *p = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
	int err = p == MAP_FAILED ? err_sys("%s '%s': mapping it", what, path) : 0;
	close(fd);
	*data = err ? NULL : p;
	*len = err ? 0 : (size_t)st.st_size;
	return err;
}

static int recognise(struct image *im)
{
	static int (*const probes[])(struct image *) = { bzimage_probe, pvh_probe, arm64_image_probe };
	if (im->len >= 2 && im->data[0] == 0x1f && im->data[1] == 0x8b) {
		int err = image_gunzip(im);
		if (err)
			return err;
	}
	for (size_t i = 0; i < NELEM(probes); i++) {
		int r = probes[i](im);
		if (r != 0)
			return r < 0 ? r : 0;
	}
	return err_msg(-ENOEXEC, "kernel '%s': not a kernel skep knows (Linux bzImage, ELF with a PVH note, arm64 Image, gzip'd Image)", im->path);
}

int image_open(struct image *im, const char *kernel, const char *initrd, const char *want)
{
	memset(im, 0, sizeof(*im));
	im->path = kernel;
	im->initrd_path = initrd;
	int err = map_file("kernel", kernel, &im->data, &im->len);
	im->map_len = im->len;
	if (!err)
		err = recognise(im);
	if (!err && strcmp(kinds[im->kind].arch, want) != 0)
		err = err_msg(-ENOEXEC, "kernel '%s' is an %s, this machine is %s: give a kernel for %s, or run it on an %s host", kernel,
			      kinds[im->kind].name, want, want, kinds[im->kind].arch);
	if (!err && initrd) {
		err = map_file("initrd", initrd, &im->initrd, &im->initrd_len);
		im->initrd_map_len = im->initrd_len;
	}
	if (err)
		image_release(im);
	return err;
}

void image_release(struct image *im)
{
	if (im->map_len)
		munmap(im->data, im->map_len);
	else
		free(im->data);
	if (im->initrd_map_len)
		munmap(im->initrd, im->initrd_map_len);
	im->data = im->initrd = NULL;
	im->map_len = im->initrd_map_len = 0;
	im->nseg = 0;
}
