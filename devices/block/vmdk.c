/*
 * VMDK, VMware's disk images: monolithicSparse, monolithicFlat, twoGbMaxExtentSparse, twoGbMaxExtentFlat and
 * streamOptimized, read and write, with a parent VMDK below sparse ones [VMDK-5.0].  What ESX keeps on its own file
 * systems (VMFSSPARSE, SESPARSE, raw device mappings) is refused by name.
 *
 * A disk is a row of extents: flat files, sparse files, or zeroes.  They are named in a text, the descriptor, which is
 * a file of its own or lies in the only, sparse extent.  The text may have been written by a guest: extents are opened
 * only in its directory or below.
 *
 * The descriptor's CID changes when contents do, so that an image based on this one knows that it no longer fits.  It is
 * changed before the first write; until then no write goes past the driver.
 */
#include "devices/block/vmdk.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

static struct vmdk *vmdk(struct img *img)
{
	return container_of(img, struct vmdk, img);
}

static int vmdk_probe(const uint8_t *head, size_t len, const uint8_t tail[512])
{
	if (len >= S_LEN && (get_le32(head) == VMDK_MAGIC || !memcmp(head, "COWD", 4)))
		return 100;
	if (len >= S_LEN && get_le64(head) == 0xcafebabe)
		return 50;
	return vmdk_desc_probe(head, len) ? 80 : 0;
}

/* --- Opening --- */

/* Where the extent's file is.  NULL: not where it may be (reported). */
static char *extent_path(const struct vmdk *v, const char *name, int *err)
{
	const char *path = v->img.file->path, *slash = strrchr(path, '/');
	const int dir_len = slash ? (int)(slash + 1 - path) : 0;
	char *out = NULL, *dir = NULL, *real = NULL;

	if (asprintf(&out, "%.*s%s", *name == '/' ? 0 : dir_len, path, name) < 0 || asprintf(&dir, "%.*s.", dir_len, path) < 0) {
		*err = err_msg(-ENOMEM, "image '%s': out of memory", path);
		free(dir);
		return NULL;
	}
	*err = 0;
	if (strchr(name, '/')) {
		char *real_dir = realpath(dir, NULL);
		const size_t n = real_dir ? strlen(real_dir) : 0;

		real = realpath(out, NULL);
		if (!real)
			*err = err_msg(-errno, "image '%s': its extent '%s' cannot be reached: %s", path, name, strerror(errno));
		else if (!n || strncmp(real, real_dir, n) || (real[n] != '/' && n > 1))
			*err = err_msg(-EPERM, "image '%s': its extent '%s' lies outside its own directory, and the image may have been written by a "
				       "guest; put the file beside it and change the name in the descriptor", path, name);
		free(real_dir);
	} else if (!strcmp(name, ".") || !strcmp(name, "..")) {
		*err = err_msg(-EPERM, "image '%s': its extent '%s' is no file", path, name);
	}
	free(dir);
	free(real);
	if (!*err)
		return out;
	free(out);
	return NULL;
}

static int open_extent_file(struct vmdk *v, struct vmdk_extent *e, const char *name)
{
	const unsigned keep = BFILE_DIRECT | BFILE_NO_LOCK;
	int err;
	char *path = extent_path(v, name, &err);

	if (!path)
		return err;
	e->file = bfile_open(path, (v->img.file_flags & keep) | (v->img.read_only ? 0 : BFILE_WRITE), &err);
	free(path);
	return e->file ? 0 : err;
}

static int open_flat(struct vmdk_extent *e, const struct vmdk_line *l)
{
	const int64_t size = e->file->ops->size(e->file);

	e->file_off = l->offset * 512;
	e->len = l->sectors * 512;
	if (size < 0)
		return err_msg((int)size, "image '%s': its size cannot be found: %s", e->file->path, strerror((int)-size));
	if (e->file_off > (uint64_t)size || e->len > (uint64_t)size - e->file_off)
		return err_msg(-EINVAL, "image '%s': it is shorter than its descriptor says; the file is truncated", e->file->path);
	return 0;
}

static int open_line(struct vmdk *v, const struct vmdk_line *l)
{
	struct vmdk_extent *e = &v->ext[v->n];
	uint64_t desc_at, desc_len;
	int err = 0;

	*e = (struct vmdk_extent){ .v = v, .kind = l->kind, .start = v->img.size, .len = l->sectors * 512 };
	if (!v->img.read_only && (!l->writable || l->kind == VMDK_ZERO))
		return err_msg(-EROFS, "image '%s': one of its extents cannot be written; open it read-only", v->img.file->path);
	v->n++;
	if (l->kind != VMDK_ZERO)
		err = open_extent_file(v, e, l->name);
	if (!err && l->kind == VMDK_FLAT)
		err = open_flat(e, l);
	else if (!err && l->kind == VMDK_SPARSE)
		err = vmdk_sparse_open(e, l->sectors, &desc_at, &desc_len);
	if (!err && e->len > INT64_MAX - v->img.size)
		err = err_msg(-EINVAL, "image '%s': its extents have no valid size; the descriptor is damaged", v->img.file->path);
	v->img.size += err ? 0 : e->len;
	return err;
}

static int open_descriptor(struct vmdk *v)
{
	const int64_t size = v->img.file->ops->size(v->img.file);
	int err = size < 0 ? (int)size : 0;

	if (err)
		return err_msg(err, "image '%s': its size cannot be found: %s", v->img.file->path, strerror(-err));
	err = vmdk_desc_read(&v->desc, v->img.file, 0, (uint64_t)size);
	if (err)
		return err;
	v->has_desc = true;
	if (!v->desc.n)
		return err_msg(-EINVAL, "image '%s': its descriptor names no extents; it is damaged or of another format", v->img.file->path);
	v->ext = calloc(v->desc.n, sizeof(*v->ext));
	if (!v->ext)
		return err_msg(-ENOMEM, "image '%s': out of memory", v->img.file->path);
	for (unsigned i = 0; i < v->desc.n && !err; i++)
		err = open_line(v, &v->desc.line[i]);
	return err;
}

static int open_sparse(struct vmdk *v)
{
	struct vmdk_extent *e;
	uint64_t at = 0, len = 0;
	int err;

	v->ext = e = calloc(1, sizeof(*v->ext));
	if (!e)
		return err_msg(-ENOMEM, "image '%s': out of memory", v->img.file->path);
	*e = (struct vmdk_extent){ .v = v, .kind = VMDK_SPARSE, .file = v->img.file };
	v->n = 1;
	err = vmdk_sparse_open(e, 0, &at, &len);
	if (err)
		return err;
	v->img.size = e->len;
	if (!at || !len)
		return 0;
	if (at > e->b.file_size || len > e->b.file_size - at)
		return err_msg(-EINVAL, "image '%s': its descriptor lies behind the end of the file; the file is truncated or damaged",
			       v->img.file->path);
	err = vmdk_desc_read(&v->desc, v->img.file, at, len);
	v->has_desc = !err;
	if (!err && (v->desc.n > 1 || (v->desc.n == 1 && v->desc.line[0].kind != VMDK_SPARSE)))
		err = err_msg(-ENOTSUP, "image '%s': it is one of several extents, but holds the descriptor of all; convert it where it was made",
			      v->img.file->path);
	return err;
}

/* Writers of several grains must not meet in one. */
static int check_writable(struct vmdk *v)
{
	if (v->img.read_only)
		return 0;
	if (v->desc.tracked)
		return err_msg(-EROFS, "image '%s': its changes are tracked in another file, which skep would not keep up to date; "
			       "open it read-only", v->img.file->path);
	for (unsigned i = 0; i < v->n; i++)
		if (v->ext[i].kind == VMDK_SPARSE && v->ext[i].start & ((1ull << v->ext[i].b.shift) - 1))
			return err_msg(-ENOTSUP, "image '%s': its extents do not end with whole grains; open it read-only, or convert it with 'skep img "
				       "convert'", v->img.file->path);
	return 0;
}

static int take_parent(struct vmdk *v)
{
	if (v->desc.parent_cid == VMDK_NO_CID)
		return 0;
	for (unsigned i = 0; i < v->n; i++)
		if (v->ext[i].kind != VMDK_SPARSE)
			return err_msg(-EINVAL, "image '%s': it has a parent, but extents that are not sparse; the descriptor is damaged",
				       v->img.file->path);
	v->img.backing_path = strdup(v->desc.parent);
	v->img.backing_format = strdup("vmdk");
	return v->img.backing_path && v->img.backing_format ? 0 : err_msg(-ENOMEM, "image '%s': out of memory", v->img.file->path);
}

static void vmdk_close(struct img *img)
{
	struct vmdk *v = vmdk(img);

	for (unsigned i = 0; i < v->n; i++) {
		vmdk_sparse_close(&v->ext[i]);
		if (v->ext[i].file != img->file)
			bfile_close(v->ext[i].file);
	}
	free(v->ext);
	free(v->z_grain);
	vmdk_desc_free(&v->desc);
	pthread_mutex_destroy(&v->begin_lock);
	pthread_mutex_destroy(&v->z_lock);
}

static int vmdk_open(struct img *img)
{
	struct vmdk *v = vmdk(img);
	uint8_t head[S_LEN] = { 0 };
	int err = bfile_read(img->file, 0, head, sizeof(head));

	if (err)
		return err_msg(err, "image '%s': it cannot be read: %s", img->file->path, strerror(-err));
	pthread_mutex_init(&v->begin_lock, NULL);
	pthread_mutex_init(&v->z_lock, NULL);
	v->desc.cid = v->desc.parent_cid = VMDK_NO_CID;
	err = vmdk_desc_probe(head, sizeof(head)) ? open_descriptor(v) : open_sparse(v);
	if (!err)
		err = check_writable(v);
	if (!err)
		err = take_parent(v);
	/* Flat extents have no grains; but what is behind the disk's end is not the disk's. */
	img->granule = 512;
	for (unsigned i = 0; i < v->n; i++)
		if (v->ext[i].kind == VMDK_SPARSE)
			img->granule = MAX(img->granule, 1u << v->ext[i].b.shift);
	if (err)
		vmdk_close(img);
	return err;
}

static int vmdk_attach(struct img *img)
{
	const struct vmdk *v = vmdk(img);

	if (img->backing->drv != &img_vmdk)
		return err_msg(-EINVAL, "image '%s': its parent '%s' is no VMDK", img->file->path, img->backing->file->path);
	if (vmdk(img->backing)->desc.cid != v->desc.parent_cid)
		return err_msg(-EINVAL, "image '%s': its parent '%s' was changed since (its CID is %08x instead of %08x); put the original back",
			       img->file->path, img->backing->file->path, vmdk(img->backing)->desc.cid, v->desc.parent_cid);
	return 0;
}

/* --- Running --- */

static struct vmdk_extent *find(struct vmdk *v, uint64_t off)
{
	unsigned lo = 0, hi = v->n - 1;

	while (lo < hi) {
		const unsigned mid = (lo + hi + 1) / 2;

		if (v->ext[mid].start <= off)
			lo = mid;
		else
			hi = mid - 1;
	}
	return &v->ext[lo];
}

static bool has_begun(struct vmdk *v)
{
	return __atomic_load_n(&v->begun, __ATOMIC_ACQUIRE);
}

static int begin(struct vmdk *v)
{
	int err = 0;

	if (has_begun(v))
		return 0;
	pthread_mutex_lock(&v->begin_lock);
	if (!v->begun) {
		err = v->has_desc ? vmdk_desc_new_cid(&v->desc, v->img.file) : 0;
		if (!err)
			__atomic_store_n(&v->begun, true, __ATOMIC_RELEASE);
	}
	pthread_mutex_unlock(&v->begin_lock);
	return err;
}

static int vmdk_map(struct img *img, uint64_t off, uint64_t len, unsigned flags, struct img_seg *s)
{
	struct vmdk_extent *e = find(vmdk(img), off);
	const uint64_t in = off - e->start;

	if (e->kind == VMDK_SPARSE)
		return blocks_map(&e->b, in, MIN(len, e->len - in), has_begun(e->v), s);
	*s = (struct img_seg){ .kind = e->kind == VMDK_FLAT ? IMG_DATA : IMG_ZERO, .img = img, .len = MIN(len, e->len - in) };
	if (e->kind == VMDK_FLAT) {
		s->file = e->file;
		s->file_off = e->file_off + in;
		s->in_place = has_begun(e->v);
	}
	return 0;
}

static int vmdk_read(struct img *img, uint64_t off, const struct iovec *iov, unsigned niov)
{
	struct vmdk_extent *e = find(vmdk(img), off);

	return vmdk_stream_read(e, off - e->start, iov, niov);
}

static int write_extent(struct vmdk_extent *e, uint64_t off, const struct iovec *iov, unsigned niov)
{
	if (e->kind == VMDK_FLAT)
		return e->file->ops->write(e->file, e->file_off + off, iov, niov);
	if (e->kind == VMDK_ZERO)
		return -EROFS;
	return e->compressed ? vmdk_stream_write(e, off, iov, niov) : blocks_write(&e->b, off, iov, niov);
}

/* The part of iov that lies in e, from byte `done` on. */
static int write_part(struct vmdk_extent *e, uint64_t off, const struct iovec *iov, unsigned niov, size_t done, size_t len)
{
	struct iovec *copy = malloc(niov * sizeof(*copy));
	unsigned n = 0;
	int err;

	if (!copy)
		return -ENOMEM;
	for (unsigned i = 0; i < niov && len; i++) {
		const size_t skip = MIN(done, iov[i].iov_len), take = MIN(iov[i].iov_len - skip, len);

		done -= skip;
		len -= take;
		if (take)
			copy[n++] = (struct iovec){ (uint8_t *)iov[i].iov_base + skip, take };
	}
	err = write_extent(e, off, copy, n);
	free(copy);
	return err;
}

static int vmdk_write(struct img *img, uint64_t off, const struct iovec *iov, unsigned niov)
{
	struct vmdk *v = vmdk(img);
	uint64_t total = 0, done = 0;
	int err = begin(v);

	for (unsigned i = 0; i < niov; i++)
		total += iov[i].iov_len;
	while (!err && done < total) {
		struct vmdk_extent *e = find(v, off + done);
		const uint64_t in = off + done - e->start, n = MIN(total - done, e->len - in);

		if (n == total)
			return write_extent(e, in, iov, niov);
		err = write_part(e, in, iov, niov, done, n);
		done += n;
	}
	return err;
}

static int zero_extent(struct vmdk_extent *e, uint64_t off, uint64_t len, unsigned flags)
{
	if (e->kind == VMDK_FLAT)
		return e->file->ops->zero(e->file, e->file_off + off, len, flags & IMG_UNMAP);
	if (e->kind == VMDK_ZERO)
		return 0;
	return e->compressed ? vmdk_stream_zero(e, off, len) : blocks_zero(&e->b, off, len, flags);
}

static int discard_extent(struct vmdk_extent *e, uint64_t off, uint64_t len)
{
	if (e->kind == VMDK_FLAT)
		return e->file->block_device ? 0 : e->file->ops->zero(e->file, e->file_off + off, len, true);
	return e->kind == VMDK_ZERO || e->compressed ? 0 : blocks_discard(&e->b, off, len);
}

static int vmdk_zero(struct img *img, uint64_t off, uint64_t len, unsigned flags)
{
	struct vmdk *v = vmdk(img);
	int err = begin(v);

	while (len && !err) {
		struct vmdk_extent *e = find(v, off);
		const uint64_t n = MIN(len, e->len - (off - e->start));

		err = zero_extent(e, off - e->start, n, flags);
		off += n;
		len -= n;
	}
	return err;
}

static int vmdk_discard(struct img *img, uint64_t off, uint64_t len)
{
	struct vmdk *v = vmdk(img);
	int err = begin(v);

	while (len && !err) {
		struct vmdk_extent *e = find(v, off);
		const uint64_t n = MIN(len, e->len - (off - e->start));

		err = discard_extent(e, off - e->start, n);
		off += n;
		len -= n;
	}
	return err;
}

static int vmdk_write_compressed(struct img *img, uint64_t off, const void *buf, size_t len)
{
	const struct iovec iov = { (void *)(uintptr_t)buf, len };

	if (!find(vmdk(img), off)->compressed)
		return err_msg(-ENOTSUP, "image '%s': only VMDKs with subformat=streamOptimized are compressed", img->file->path);
	return vmdk_write(img, off, &iov, 1);
}

static int vmdk_flush(struct img *img)
{
	struct vmdk *v = vmdk(img);
	int err = 0;

	for (unsigned i = 0; i < v->n && !err; i++) {
		if (v->ext[i].kind == VMDK_SPARSE)
			err = blocks_flush(&v->ext[i].b);
		else if (v->ext[i].kind == VMDK_FLAT)
			err = v->ext[i].file->ops->flush(v->ext[i].file);
	}
	return err;
}

static bool vmdk_dirty(struct img *img)
{
	struct vmdk *v = vmdk(img);

	/* With several files there is more to be flushed than the one a caller knows of. */
	if (v->n != 1 || v->ext[0].file != img->file)
		return true;
	return v->ext[0].kind == VMDK_SPARSE && blocks_dirty(&v->ext[0].b);
}

static int vmdk_check(struct img *img, unsigned fix, struct img_check *c)
{
	struct vmdk *v = vmdk(img);
	int err = 0;

	for (unsigned i = 0; i < v->n && !err; i++)
		if (v->ext[i].kind == VMDK_SPARSE)
			err = blocks_check(&v->ext[i].b, c);
	return err;
}

static int vmdk_info(struct img *img, json_t *o)
{
	const struct vmdk *v = vmdk(img);
	json_t *list = json_array();
	char cid[16];

	snprintf(cid, sizeof(cid), "%08x", v->desc.cid);
	json_object_set_new(o, "create-type", json_string(v->desc.type));
	json_object_set_new(o, "cid", json_string(cid));
	snprintf(cid, sizeof(cid), "%08x", v->desc.parent_cid);
	json_object_set_new(o, "parent-cid", json_string(cid));
	for (unsigned i = 0; i < v->n; i++) {
		static const char *const kinds[] = { "FLAT", "SPARSE", "ZERO" };
		const struct vmdk_extent *e = &v->ext[i];

		json_array_append_new(list, json_pack("{s:s, s:s?, s:I, s:b}", "type", kinds[e->kind], "filename", e->file ? e->file->path : NULL,
						      "virtual-size", (json_int_t)e->len, "compressed", e->compressed));
	}
	return json_object_set_new(o, "extents", list);
}

const struct img_driver img_vmdk = {
	.name = "vmdk", .help = "VMware disk image, sparse, flat or streamOptimized", .size = sizeof(struct vmdk),
	.writes = true, .safe = true,
	.probe = vmdk_probe, .open = vmdk_open, .attach = vmdk_attach, .close = vmdk_close, .map = vmdk_map, .read = vmdk_read,
	.write = vmdk_write, .zero = vmdk_zero, .discard = vmdk_discard, .flush = vmdk_flush, .dirty = vmdk_dirty, .create = vmdk_create,
	.check = vmdk_check, .info = vmdk_info, .write_compressed = vmdk_write_compressed,
};
