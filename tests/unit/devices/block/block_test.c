/*
 * The block layer over raw images: opening, locking, the odd tail, ranges, through both engines.
 */
#include "tests/unit/unit.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "common/vm.h"
#include "devices/block/block.h"

static struct vm vm;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static char path[64];
static uint8_t buf[8192];

static void on_batch(void *arg) { }
static const struct blk_owner owner = { &lock, on_batch, NULL };

static void on_done(struct blk_req *r)
{
	r->unmap = true;                                /* seen */
}

static void image(uint64_t size)
{
	snprintf(path, sizeof(path), "/tmp/skep-block-XXXXXX");
	const int fd = mkstemp(path);
	ck_assert_int_eq(ftruncate(fd, (off_t)size), 0);
	close(fd);
	vm.loop = loop_new();
}

static void image_end(struct blk *b)
{
	blk_close(b);
	loop_free(vm.loop);
	unlink(path);
}

static struct blk *open_as(struct blk_conf c, int *err)
{
	c.path = path;
	return blk_open(&vm, "test", &c, &owner, err);
}

static int io(struct blk *b, enum blk_op op, uint64_t off, uint64_t len)
{
	struct iovec v[2] = { { buf, len / 2 }, { buf + len / 2, len - len / 2 } };
	struct blk_req r = { .op = op, .off = off, .len = len, .iov = v, .niov = 2, .done = on_done };
	blk_submit(b, &r);
	blk_drain(b);
	ck_assert(r.unmap);
	return r.ret;
}

static void tail(enum blk_aio aio)
{
	int err;
	image(4096 + 10);
	struct blk *b = open_as((struct blk_conf){ .aio = aio }, &err);
	ck_assert_ptr_nonnull(b);
	ck_assert_uint_eq(b->size, 4106);
	memset(buf, 0xee, sizeof(buf));
	ck_assert_int_eq(io(b, BLK_READ, 4096, 512), 0);
	ck_assert_uint_eq(buf[10], 0);                          /* beyond the end */
	ck_assert_uint_eq(buf[511], 0);
	memset(buf, 0x55, sizeof(buf));
	ck_assert_int_eq(io(b, BLK_WRITE, 4096, 512), 0);
	memset(buf, 0xee, sizeof(buf));
	ck_assert_int_eq(io(b, BLK_READ, 4096, 512), 0);
	ck_assert_uint_eq(buf[9], 0x55);
	ck_assert_uint_eq(buf[511], 0x55);                      /* the sector is whole now */
	ck_assert_int_eq(io(b, BLK_WRITE_ZEROES, 4096, 512), 0);
	ck_assert_int_eq(io(b, BLK_READ, 4096, 512), 0);
	ck_assert_uint_eq(buf[9], 0);
	ck_assert_int_eq(io(b, BLK_DISCARD, 0, 4096), 0);
	ck_assert_int_eq(io(b, BLK_FLUSH, 0, 0), 0);
	const int fd = open(path, O_RDONLY);
	ck_assert_int_eq(lseek(fd, 0, SEEK_END), 4096 + 512);
	close(fd);
	image_end(b);
}
START_TEST(odd_tail) { tail(BLK_AIO_URING); tail(BLK_AIO_THREADS); }
END_TEST

START_TEST(nodelete)
{
	int err;
	image(4096);
	struct blk *b = open_as((struct blk_conf){ .nodelete = true, .sync = true }, &err);
	memset(buf, 0x55, sizeof(buf));
	ck_assert_int_eq(io(b, BLK_WRITE, 0, 4096), 0);
	ck_assert_int_eq(io(b, BLK_DISCARD, 0, 4096), 0);
	memset(buf, 0, sizeof(buf));
	ck_assert_int_eq(io(b, BLK_READ, 0, 4096), 0);
	ck_assert_uint_eq(buf[4095], 0x55);
	image_end(b);
}
END_TEST

START_TEST(locks)
{
	int err = 0;
	image(4096);
	struct blk *a = open_as((struct blk_conf){ .read_only = true }, &err);
	struct blk *b = open_as((struct blk_conf){ .read_only = true }, &err);
	ck_assert(a && b);
	ck_assert_ptr_null(open_as((struct blk_conf){ .path = path }, &err));
	ck_assert_int_eq(err, -EBUSY);
	blk_close(a);
	blk_close(b);
	a = open_as((struct blk_conf){ .path = path }, &err);
	ck_assert_ptr_nonnull(a);
	ck_assert_ptr_null(open_as((struct blk_conf){ .read_only = true }, &err));
	image_end(a);
}
END_TEST

START_TEST(refusals)
{
	int err = 0;
	image(4096);
	ck_assert_ptr_null(open_as((struct blk_conf){ .format = "floppy" }, &err));
	ck_assert_int_eq(err, -EINVAL);
	ck_assert_ptr_null(open_as((struct blk_conf){ .logical = 1000 }, &err));
	ck_assert_ptr_null(open_as((struct blk_conf){ .logical = 512, .physical = 1u << 20 }, &err));
	unlink(path);
	ck_assert_ptr_null(open_as((struct blk_conf){ .path = path }, &err));
	ck_assert_int_eq(err, -ENOENT);
	snprintf(path, sizeof(path), "/dev/null");
	ck_assert_ptr_null(open_as((struct blk_conf){ .read_only = true }, &err));
	ck_assert_int_eq(err, -EINVAL);
	loop_free(vm.loop);
}
END_TEST

UNIT_MAIN("devices/block/block", odd_tail, nodelete, locks, refusals)
