/*
 * Images as bytes: the loops over a chain, with a small format of the test's own, and opening chains of real files.
 */
#include "tests/unit/unit.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "devices/block/img.h"
#include "tests/unit/capture.h"
#include "tests/unit/devices/block/powercut.h"

static struct capture cap;

/* --- A format: a letter for each 512 bytes; data lies 4096 bytes further back in the file --- */

#define UNIT 512u
#define SHIFT 4096u
struct tiny {
	struct img img;
	const char *units;              /* D data, Z zero, N none, O opaque */
	unsigned writes, waits;
};

static int tiny_open(struct img *img)
{
	img->granule = UNIT;
	return 0;
}

static int tiny_map(struct img *img, uint64_t off, uint64_t len, unsigned flags, struct img_seg *seg)
{
	struct tiny *t = (struct tiny *)img;
	const char c = t->units[off / UNIT];
	ck_assert_uint_lt(off, img->size);
	ck_assert_uint_le(off + len, img->size);
	if (c == 'Z' && flags & IMG_NOWAIT) {
		t->waits++;
		return -EAGAIN;
	}
	seg->kind = c == 'D' ? IMG_DATA : c == 'Z' ? IMG_ZERO : c == 'N' ? IMG_NONE : IMG_OPAQUE;
	seg->len = MIN(len, UNIT - off % UNIT);
	seg->file = img->file;
	seg->file_off = off + SHIFT;
	seg->in_place = c == 'D';
	return 0;
}

static int tiny_read(struct img *img, uint64_t off, const struct iovec *v, unsigned niov)
{
	ck_assert_int_eq(((struct tiny *)img)->units[off / UNIT], 'O');
	return img->file->ops->read(img->file, off + SHIFT, v, niov);
}

static int tiny_write(struct img *img, uint64_t off, const struct iovec *v, unsigned niov)
{
	uint64_t end = off;
	for (unsigned i = 0; i < niov; i++)
		end += v[i].iov_len;
	ck_assert_uint_le(end, img->size);
	((struct tiny *)img)->writes++;
	return img->file->ops->write(img->file, off + SHIFT, v, niov);
}

static const struct img_driver tiny_driver = {
	.name = "tiny", .help = "", .size = sizeof(struct tiny), .writes = true, .open = tiny_open, .map = tiny_map,
	.read = tiny_read, .write = tiny_write,
};
static const struct img_driver tiny_reader = {
	.name = "tiny-reader", .help = "", .size = sizeof(struct tiny), .open = tiny_open, .map = tiny_map, .read = tiny_read,
};

static struct img *tiny(const struct img_driver *d, struct powercut *pc, const char *units, uint64_t size, struct img *backing)
{
	int err = -1;
	struct img *img = img_open_file(powercut_open(pc, "tiny", true), d, &err);
	ck_assert_ptr_nonnull(img);
	ck_assert_int_eq(err, 0);
	((struct tiny *)img)->units = units;
	img->size = size;
	img->backing = backing;
	return img;
}

/* Contents in which every byte tells the layer. */
static struct powercut *layer(unsigned salt)
{
	uint8_t p[SHIFT + 16 * UNIT];
	for (unsigned i = 0; i < sizeof(p); i++)
		p[i] = (uint8_t)(i * 31 + (i >> 8) + salt);
	return powercut_new(p, sizeof(p));
}

struct three {
	struct powercut *pc[3];
	struct img *img[3];             /* top first */
	uint8_t want[16 * UNIT];
};

static const char *const three_units[] = { "DNZNONNDNNNN", "NDNZNONNN", "DDDDD" };
static const uint64_t three_sizes[] = { 11 * UNIT + 100, 8 * UNIT + 17, 4 * UNIT + 1 };

static void three_make(struct three *t)
{
	memset(t->want, 0, sizeof(t->want));
	for (int i = 2; i >= 0; i--) {
		t->pc[i] = layer(50 * (unsigned)i);
		t->img[i] = tiny(&tiny_driver, t->pc[i], three_units[i], three_sizes[i], i < 2 ? t->img[i + 1] : NULL);
	}
	for (unsigned at = 0; at < three_sizes[0]; at++) {
		for (unsigned i = 0; i < 3 && at < three_sizes[i]; i++) {
			const char c = three_units[i][at / UNIT];
			size_t len;
			if (c == 'N')
				continue;
			t->want[at] = c == 'Z' ? 0 : powercut_data(t->pc[i], &len)[SHIFT + at];
			break;
		}
	}
}

static void three_end(struct three *t)
{
	ck_assert_int_eq(img_close(t->img[0]), 0);
	for (unsigned i = 0; i < 3; i++)
		powercut_free(t->pc[i]);
}

START_TEST(chain_reads)
{
	static uint8_t got[16 * UNIT];
	struct three t;
	three_make(&t);
	for (unsigned off = 0; off < 13 * UNIT; off += 73) {
		for (unsigned len = 1; off + len <= 16 * UNIT; len += 331) {
			memset(got, 0xee, sizeof(got));
			ck_assert_int_eq(img_read_buf(t.img[0], off, got, len), 0);
			ck_assert_mem_eq(got, t.want + off, len);
			ck_assert_uint_eq(got[len], 0xee);
		}
	}
	/* in many small pieces, some of them empty */
	struct iovec v[300];
	for (unsigned i = 0; i < NELEM(v); i++)
		v[i] = (struct iovec){ got + 20 * i, i % 7 == 3 ? 0 : 20 };
	memset(got, 0xee, sizeof(got));
	ck_assert_int_eq(img_read(t.img[0], 5, v, NELEM(v)), 0);
	for (unsigned i = 0, at = 5; i < NELEM(v); at += v[i++].iov_len)
		ck_assert_mem_eq(v[i].iov_base, t.want + at, v[i].iov_len);
	ck_assert_uint_gt(((struct tiny *)t.img[0])->waits, 0);         /* NOWAIT first, then in earnest */
	/* far away */
	ck_assert_int_eq(img_read_buf(t.img[0], UINT64_MAX - 4096, got, 512), 0);
	ck_assert_uint_eq(got[0] | got[511], 0);
	three_end(&t);
}
END_TEST

START_TEST(chain_maps)
{
	struct img_seg s;
	struct three t;
	three_make(&t);
	ck_assert_int_eq(img_map(t.img[0], 10, 5000, 0, &s), 0);
	ck_assert(s.kind == IMG_DATA && s.in_place && s.img == t.img[0] && s.file_off == SHIFT + 10 && s.len == UNIT - 10);
	ck_assert_int_eq(img_map(t.img[0], UNIT, 5000, 0, &s), 0);
	ck_assert(s.kind == IMG_DATA && !s.in_place && s.img == t.img[1] && s.file == t.img[1]->file && s.len == UNIT);
	ck_assert_int_eq(img_map(t.img[0], 2 * UNIT, 5000, IMG_NOWAIT, &s), -EAGAIN);
	ck_assert_int_eq(img_map(t.img[0], 2 * UNIT, 5000, 0, &s), 0);
	ck_assert(s.kind == IMG_ZERO && s.img == t.img[0]);
	ck_assert_int_eq(img_map(t.img[0], 4 * UNIT, 5000, 0, &s), 0);
	ck_assert(s.kind == IMG_OPAQUE && s.img == t.img[0]);
	/* the middle image ends within this unit: two answers */
	ck_assert_int_eq(img_map(t.img[0], 8 * UNIT, UNIT, 0, &s), 0);
	ck_assert(s.kind == IMG_ZERO && s.img == t.img[2] && s.len == 17);
	ck_assert_int_eq(img_map(t.img[0], 8 * UNIT + 17, UNIT - 17, 0, &s), 0);
	ck_assert(s.kind == IMG_ZERO && s.img == t.img[1] && s.len == UNIT - 17);
	/* never below the base */
	ck_assert_int_eq(img_map(t.img[2], 0, UNIT, 0, &s), 0);
	ck_assert(s.kind == IMG_DATA && s.in_place);
	three_end(&t);
}
END_TEST

START_TEST(below)
{
	uint8_t got[UNIT * 3];
	struct three t;
	three_make(&t);
	memset(got, 0xee, sizeof(got));
	ck_assert_int_eq(img_read_below(t.img[0], UNIT, got, UNIT), 0);
	ck_assert_mem_eq(got, t.want + UNIT, UNIT);
	memset(got, 0xee, sizeof(got));
	ck_assert_int_eq(img_read_below(t.img[1], 4 * UNIT - 10, got, UNIT), 0);        /* across the base's end */
	size_t len;
	ck_assert_mem_eq(got, powercut_data(t.pc[2], &len) + SHIFT + 4 * UNIT - 10, 11);
	for (unsigned i = 11; i < UNIT; i++)
		ck_assert_uint_eq(got[i], 0);
	memset(got, 0xee, sizeof(got));
	ck_assert_int_eq(img_read_below(t.img[2], 0, got, UNIT), 0);
	ck_assert_uint_eq(got[0] | got[UNIT - 1], 0);
	ck_assert_uint_eq(got[UNIT], 0xee);
	powercut_fail(t.pc[1], POWERCUT_READ, 0, -EIO, true);
	ck_assert_int_eq(img_read_below(t.img[0], UNIT, got, UNIT), -EIO);
	ck_assert_int_eq(img_read_buf(t.img[0], 0, got, UNIT), 0);
	ck_assert_int_eq(img_read_buf(t.img[0], 0, got, 2 * UNIT), -EIO);
	powercut_fail(t.pc[1], 0, 0, 0, false);
	three_end(&t);
}
END_TEST

START_TEST(changes_end_at_the_size)
{
	static uint8_t data[65536 * 2];
	struct powercut *pc = layer(1);
	struct img *img = tiny(&tiny_driver, pc, "DDDD", 3 * UNIT + 7, NULL);
	struct iovec v[100];
	size_t len;
	memset(data, 0xab, sizeof(data));
	for (unsigned i = 0; i < NELEM(v); i++)
		v[i] = (struct iovec){ data + i * 100, 100 };
	ck_assert_int_eq(img_write(img, 3, v, NELEM(v)), 0);
	const uint8_t *p = powercut_data(pc, &len);
	ck_assert_uint_eq(p[SHIFT + 3 * UNIT + 6], 0xab);
	ck_assert_uint_eq(p[SHIFT + 3 * UNIT + 7], (uint8_t)((SHIFT + 3 * UNIT + 7) * 31 + ((SHIFT + 3 * UNIT + 7) >> 8) + 1));
	ck_assert_int_eq(img_write_buf(img, img->size, data, 512), 0);  /* dropped */
	const unsigned writes = ((struct tiny *)img)->writes;
	ck_assert_int_eq(img_zero(img, 100, UINT64_MAX, 0), 0);         /* the driver has no zero: zeroes are written */
	ck_assert_uint_gt(((struct tiny *)img)->writes, writes);
	p = powercut_data(pc, &len);
	ck_assert_uint_eq(p[SHIFT + 99], 0xab);
	ck_assert_uint_eq(p[SHIFT + 100] | p[SHIFT + 3 * UNIT + 6], 0);
	ck_assert_int_eq(img_discard(img, 0, UNIT), 0);
	ck_assert(!img_dirty(img));
	ck_assert_int_eq(img_close(img), 0);
	ck_assert(powercut_is_flush(pc, powercut_ops(pc) - 1));
	/* a driver that only reads makes the image read-only */
	img = tiny(&tiny_reader, pc, "DDDD", 3 * UNIT, NULL);
	ck_assert(img->read_only && img->file->read_only);
	ck_assert_int_eq(img_write_buf(img, 0, data, 1), -EROFS);
	ck_assert_int_eq(img_zero(img, 0, 1, 0), -EROFS);
	ck_assert_int_eq(img_discard(img, 0, 1), -EROFS);
	ck_assert_int_eq(img_close(img), 0);
	ck_assert_int_eq(img_close(NULL), 0);
	powercut_free(pc);
}
END_TEST

START_TEST(damage)
{
	uint8_t b[512] = { 0 };
	struct img_seg s;
	struct powercut *pc = layer(1);
	struct img *img = tiny(&tiny_driver, pc, "DDDD", 4 * UNIT, NULL);
	ck_assert_int_eq(img_write_buf(img, 0, b, 512), 0);
	capture_start(&cap, STDERR_FILENO);
	ck_assert_int_eq(img_damaged(img, "table %d lies in %s", 3, "the header"), -EIO);
	ck_assert_int_eq(img_damaged(img, "again"), -EIO);
	ck_assert_int_eq(img_read_buf(img, 0, b, 512), -EIO);
	ck_assert_int_eq(img_write_buf(img, 0, b, 512), -EIO);
	ck_assert_int_eq(img_zero(img, 0, 512, 0), -EIO);
	ck_assert_int_eq(img_flush(img), -EIO);
	ck_assert_int_eq(img_map(img, 0, 512, 0, &s), -EIO);
	capture_stop(&cap);
	ck_assert_str_eq(cap.text, "skep: image 'tiny': table 3 lies in the header; it is damaged and gives only errors from now "
			 "on; switch the machine off and try 'skep img check --repair tiny'\n");
	capture_start(&cap, STDERR_FILENO);
	ck_assert_int_eq(img_close(img), -EIO);
	capture_stop(&cap);
	powercut_free(pc);
}
END_TEST

/* --- Real files --- */

static char dir[64];

static const char *in_dir(const char *name)
{
	static char out[4][160];
	static unsigned next;
	char *p = out[next++ % 4];
	snprintf(p, 160, "%s/%s", dir, name);
	return p;
}

static void dir_make(void)
{
	snprintf(dir, sizeof(dir), "/var/tmp/skep-img-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(dir));
	ck_assert_int_eq(mkdir(in_dir("vm"), 0700), 0);
	ck_assert_int_eq(mkdir(in_dir("vm/sub"), 0700), 0);
	ck_assert_int_eq(mkdir(in_dir("store"), 0700), 0);
}

static void dir_remove(void)
{
	char cmd[96];
	snprintf(cmd, sizeof(cmd), "rm -r %s", dir);
	ck_assert_int_eq(system(cmd), 0);
}

static void raw_make(const char *name, uint64_t size, int fill)
{
	uint8_t b[4096];
	const int fd = open(in_dir(name), O_RDWR | O_CREAT | O_TRUNC, 0600);
	memset(b, fill, sizeof(b));
	for (uint64_t at = 0; at < size; at += sizeof(b))
		ck_assert_int_eq(pwrite(fd, b, MIN(sizeof(b), size - at), (off_t)at), MIN(sizeof(b), size - at));
	close(fd);
}

static void make(const char *name, uint64_t size, const char *backing, const char *format)
{
	const struct img_create c = {
		.path = in_dir(name), .format = "qcow2", .size = size, .backing = backing, .backing_format = format,
		.overwrite = true,
	};
	ck_assert_int_eq(img_create(&c), 0);
}

static struct img *open_ok(struct img_open o)
{
	int err = -1;
	o.path = in_dir(o.path);
	struct img *img = img_open(&o, &err);
	ck_assert_ptr_nonnull(img);
	ck_assert_int_eq(err, 0);
	return img;
}

static void open_fails(struct img_open o, int want, const char *text, const char *text2)
{
	int err = 0;
	o.path = in_dir(o.path);
	capture_start(&cap, STDERR_FILENO);
	struct img *img = img_open(&o, &err);
	capture_stop(&cap);
	ck_assert_ptr_null(img);
	ck_assert_msg(err == want, "%d: %s", err, cap.text);
	ck_assert_msg(strstr(cap.text, text) && strstr(cap.text, text2), "'%s', '%s' not in '%s'", text, text2, cap.text);
	ck_assert_ptr_eq(strchr(cap.text, '\n'), cap.text + strlen(cap.text) - 1);     /* one line */
}

#define OPEN(...) ((struct img_open){ __VA_ARGS__ })

START_TEST(files_in_a_chain)
{
	uint8_t b[8192];
	dir_make();
	raw_make("vm/base", 65536 + 4096, 'b');
	make("vm/mid", 1 << 20, "base", "raw");
	struct img *img = open_ok(OPEN(.path = "vm/mid", .file_flags = BFILE_WRITE));
	memset(b, 'm', 4096);
	ck_assert_int_eq(img_write_buf(img, 4096, b, 4096), 0);
	ck_assert_int_eq(img_close(img), 0);
	make("vm/sub/top", 2 << 20, in_dir("vm/mid"), NULL);
	open_fails(OPEN(.path = "vm/sub/top"), -EPERM, "lies outside its own directory", "backing=DIR");
	make("vm/top", 2 << 20, "./mid", NULL);
	img = open_ok(OPEN(.path = "vm/top", .file_flags = BFILE_WRITE));
	ck_assert(!img->read_only && img->probed);
	ck_assert(img->backing && img->backing->probed && img->backing->read_only && img->backing->file->read_only);
	ck_assert(img->backing->backing && img->backing->backing->drv == &img_raw && !img->backing->backing->probed);
	ck_assert_str_eq(img->backing->file->path, in_dir("vm/./mid"));
	memset(b, 't', 4096);
	ck_assert_int_eq(img_write_buf(img, 65536 - 2048, b, 4096), 0);
	ck_assert_int_eq(img_read_buf(img, 0, b, 8192), 0);
	ck_assert(b[0] == 'b' && b[4095] == 'b' && b[4096] == 'm' && b[8191] == 'm');
	ck_assert_int_eq(img_read_buf(img, 65536 - 4096, b, 8192), 0);
	ck_assert(b[0] == 'b' && b[2047] == 'b' && b[2048] == 't' && b[6143] == 't' && b[6144] == 'b' && b[8191] == 'b');
	ck_assert_int_eq(img_read_buf(img, 65536 + 4096, b, 512), 0);
	ck_assert(b[0] == 0);
	/* backing files are locked as read */
	open_fails(OPEN(.path = "vm/base", .file_flags = BFILE_WRITE), -EBUSY, "it is in use", "vm/base");
	open_fails(OPEN(.path = "vm/mid", .file_flags = BFILE_WRITE), -EBUSY, "it is in use", "vm/mid");
	struct img *second = open_ok(OPEN(.path = "vm/mid"));
	img_close(second);
	second = open_ok(OPEN(.path = "vm/top", .file_flags = BFILE_NO_LOCK, .share_lock = true));
	img_close(second);
	ck_assert_int_eq(img_close(img), 0);
	img = open_ok(OPEN(.path = "vm/top", .no_backing = true));
	ck_assert(!img->backing);
	ck_assert_str_eq(img->backing_path, "./mid");
	img_close(img);
	/* with share_lock a base that somebody writes can be looked at */
	struct img *base = open_ok(OPEN(.path = "vm/base", .format = "raw", .file_flags = BFILE_WRITE));
	open_fails(OPEN(.path = "vm/mid"), -EBUSY, "it is in use", "vm/base");
	img = open_ok(OPEN(.path = "vm/mid", .share_lock = true));
	img_close(img);
	img_close(base);
	dir_remove();
}
END_TEST

START_TEST(missing_backing)
{
	dir_make();
	make("vm/top", 1 << 20, "gone", "raw");
	open_fails(OPEN(.path = "vm/top"), -ENOENT, "vm/top': its backing file '", "vm/gone' is not there");
	make("vm/top", 1 << 20, "sub/a", "floppy");
	raw_make("vm/sub/a", 4096, 0);
	open_fails(OPEN(.path = "vm/top"), -EINVAL, "vm/sub/a' has the format 'floppy'", "vm/top");
	open_fails(OPEN(.path = "vm/sub/a", .format = "floppy"), -EINVAL, "there is no format 'floppy'; there are ", "vm/sub/a");
	open_fails(OPEN(.path = "vm/none"), -ENOENT, "open: No such file or directory", "vm/none");
	dir_remove();
}
END_TEST

START_TEST(loops)
{
	dir_make();
	make("vm/a", 1 << 20, "b", "qcow2");
	make("vm/b", 1 << 20, "c", "qcow2");
	make("vm/c", 1 << 20, "a", "qcow2");
	open_fails(OPEN(.path = "vm/a", .file_flags = BFILE_WRITE), -ELOOP, "vm/c': its backing file '",
		   "vm/a' is an image that is based on it");
	make("vm/self", 1 << 20, "self", NULL);
	open_fails(OPEN(.path = "vm/self"), -ELOOP, "vm/self", "rebase -u");
	/* by another name */
	ck_assert_int_eq(link(in_dir("vm/a"), in_dir("vm/d")), 0);
	make("vm/c", 1 << 20, "d", "qcow2");
	open_fails(OPEN(.path = "vm/a"), -ELOOP, "vm/c", "vm/d");
	ck_assert_int_eq(symlink("a", in_dir("vm/e")), 0);
	make("vm/c", 1 << 20, "e", "qcow2");
	open_fails(OPEN(.path = "vm/a"), -ELOOP, "vm/c", "vm/e");
	dir_remove();
}
END_TEST

START_TEST(long_chains)
{
	char name[16], below[16];
	dir_make();
	raw_make("vm/0", 65536, 'x');
	for (unsigned i = 1; i <= IMG_CHAIN_MAX; i++) {
		snprintf(name, sizeof(name), "vm/%u", i);
		snprintf(below, sizeof(below), "%u", i - 1);
		make(name, 65536, below, i == 1 ? "raw" : "qcow2");
	}
	snprintf(name, sizeof(name), "vm/%d", IMG_CHAIN_MAX - 1);
	struct img *img = open_ok(OPEN(.path = name));
	uint8_t b = 0;
	ck_assert_int_eq(img_read_buf(img, 65535, &b, 1), 0);
	ck_assert_uint_eq(b, 'x');
	img_close(img);
	snprintf(name, sizeof(name), "vm/%d", IMG_CHAIN_MAX);
	open_fails(OPEN(.path = name), -ELOOP, "more than 64 images are based on each other", "skep img commit");
	dir_remove();
}
END_TEST

START_TEST(backing_elsewhere)
{
	char dirs[400];
	dir_make();
	raw_make("store/base", 65536, 's');
	raw_make("vm/sub/near", 65536, 'n');
	/* up, absolute, through a link to a file, through a link to a directory */
	ck_assert_int_eq(symlink("../store/base", in_dir("vm/link")), 0);
	ck_assert_int_eq(symlink("../store", in_dir("vm/linked")), 0);
	char absolute[160];
	snprintf(absolute, sizeof(absolute), "%s", in_dir("store/base"));
	const char *const ways[] = { "../store/base", absolute, "link", "linked/base", "sub/../../store/base" };
	for (unsigned i = 0; i < NELEM(ways); i++) {
		make("vm/top", 65536, ways[i], "raw");
		open_fails(OPEN(.path = "vm/top"), -EPERM, "store/base' lies outside its own directory", "--backing-dir DIR");
		open_fails(OPEN(.path = "vm/top", .backing_dirs = in_dir("sto")), -EPERM, "lies outside", "vm/top");
		open_fails(OPEN(.path = "vm/top", .backing_dirs = "::/nowhere"), -EPERM, "lies outside", "vm/top");
		snprintf(dirs, sizeof(dirs), "/nowhere:%s", in_dir("store"));
		img_close(open_ok(OPEN(.path = "vm/top", .backing_dirs = dirs)));
		snprintf(dirs, sizeof(dirs), "%s:", in_dir("vm/linked/"));
		img_close(open_ok(OPEN(.path = "vm/top", .backing_dirs = dirs)));
		img_close(open_ok(OPEN(.path = "vm/top", .backing_dirs = "/")));
	}
	make("vm/top", 65536, "sub/near", "raw");
	img_close(open_ok(OPEN(.path = "vm/top")));
	/* nothing is even opened there: a fifo would be refused by another sentence */
	ck_assert_int_eq(mkfifo(in_dir("store/fifo"), 0600), 0);
	make("vm/top", 65536, "../store/fifo", "raw");
	open_fails(OPEN(.path = "vm/top"), -EPERM, "lies outside", "store/fifo");
	open_fails(OPEN(.path = "vm/top", .backing_dirs = "/"), -EINVAL, "neither a file nor a block device", "store/fifo");
	/* the directory of the image in the middle counts for what that names */
	make("store/mid", 65536, "base", "raw");
	make("vm/top", 65536, "../store/mid", "qcow2");
	snprintf(dirs, sizeof(dirs), "%s", in_dir("store"));
	img_close(open_ok(OPEN(.path = "vm/top", .backing_dirs = dirs)));
	make("store/mid", 65536, "../vm/sub/near", "raw");
	open_fails(OPEN(.path = "vm/top", .backing_dirs = dirs), -EPERM, "store/mid': its backing file", "vm/sub/near");
	dir_remove();
}
END_TEST

START_TEST(protocols)
{
	static const char *const names[] = { "nbd://host/disk", "json:{\"file.filename\":\"a\"}", "file:a", "http://a/b" };
	dir_make();
	raw_make("vm/a:b", 65536, 's');
	for (unsigned i = 0; i < NELEM(names); i++) {
		make("vm/top", 65536, names[i], "raw");
		open_fails(OPEN(.path = "vm/top", .backing_dirs = "/"), -ENOTSUP, names[i], "is not a plain file name");
	}
	make("vm/top", 65536, "./a:b", "raw");
	img_close(open_ok(OPEN(.path = "vm/top")));
	dir_remove();
}
END_TEST

START_TEST(overlays)
{
	uint8_t b[512];
	int err = -1;
	dir_make();
	raw_make("vm/base", 65536 + 10, 'b');
	ck_assert_int_eq(setenv("TMPDIR", in_dir("store"), 1), 0);
	struct img *top = img_overlay_temp(open_ok(OPEN(.path = "vm/base", .format = "raw")), &err);
	ck_assert_ptr_nonnull(top);
	ck_assert_int_eq(rmdir(in_dir("store")), 0);                    /* nameless */
	ck_assert_uint_eq(top->size, 65536 + 512);
	ck_assert(!top->read_only && top->backing && top->backing->read_only);
	memset(b, 't', sizeof(b));
	ck_assert_int_eq(img_write_buf(top, 1000, b, 512), 0);
	ck_assert_int_eq(img_write_buf(top, 65536, b, 512), 0);
	ck_assert_int_eq(img_flush(top), 0);
	ck_assert_int_eq(img_read_buf(top, 65536, b, 512), 0);
	ck_assert(b[0] == 't' && b[511] == 't');
	ck_assert_int_eq(img_read_buf(top, 1500, b, 512), 0);
	ck_assert(b[0] == 't' && b[11] == 't' && b[12] == 'b' && b[511] == 'b');
	ck_assert_int_eq(img_read_buf(top->backing, 1000, b, 512), 0);
	ck_assert(b[0] == 'b' && b[511] == 'b');
	ck_assert_int_eq(img_close(top), 0);
	/* no place for it: the base is closed too */
	capture_start(&cap, STDERR_FILENO);
	top = img_overlay_temp(open_ok(OPEN(.path = "vm/base", .format = "raw")), &err);
	capture_stop(&cap);
	ck_assert_ptr_null(top);
	ck_assert_int_eq(err, -ENOENT);
	ck_assert_ptr_nonnull(strstr(cap.text, "store/skep-overlay-"));
	img_close(open_ok(OPEN(.path = "vm/base", .format = "raw", .file_flags = BFILE_WRITE)));
	unsetenv("TMPDIR");
	dir_remove();
}
END_TEST

/* --- Formats --- */

START_TEST(table)
{
	uint8_t head[4096] = { 0 }, tail[512] = { 0 };
	const struct img_driver *const *d;
	ck_assert_ptr_eq(img_driver_find("raw"), &img_raw);
	ck_assert_ptr_eq(img_driver_find("vhd"), img_driver_find("vpc"));
	ck_assert_ptr_null(img_driver_find("floppy"));
	for (d = img_drivers; *d; d++) {
		ck_assert_ptr_eq(img_driver_find((*d)->name), *d);
		ck_assert((*d)->help && (*d)->probe && (*d)->open && (*d)->map && (*d)->size >= sizeof(struct img));
		ck_assert((*d)->writes == ((*d)->write != NULL));
	}
	ck_assert_ptr_eq(d[-1], &img_raw);
	ck_assert_ptr_eq(img_probe_bytes(head, sizeof(head), tail), &img_raw);
	/* Nothing beyond len is looked at: under a sanitizer this fails otherwise. */
	for (size_t len = 0; len <= sizeof(head); len += len < 600 ? 1 : 499) {
		for (unsigned i = 0; img_drivers[i]; i++) {
			uint8_t *p = malloc(len ? len : 1);
			static const char *const magics[] = {
				"QFI\xfb\0\0\0\3", "KDMV\1\0\0\0", "vhdxfile", "conectix", "# Disk DescriptorFile\n", "COWD",
			};
			for (unsigned m = 0; m < NELEM(magics); m++) {
				const size_t n = MIN(len, m == 0 || m == 1 ? 8 : strlen(magics[m]));
				memset(p, 0, len);
				memcpy(p, magics[m], n);
				ck_assert_int_ge(img_drivers[i]->probe(p, len, tail), 0);
			}
			memset(p, ' ', len);
			ck_assert_int_ge(img_drivers[i]->probe(p, len, tail), 0);
			free(p);
		}
	}
}
END_TEST

UNIT_MAIN("devices/block/img", chain_reads, chain_maps, below, changes_end_at_the_size, damage, files_in_a_chain,
	  missing_backing, loops, long_chains, backing_elsewhere, protocols, overlays, table)
