#include "tests/unit/devices/block/fake_img.h"

#include <check.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "common/iov.h"
#include "common/loop.h"
#include "common/util.h"

static struct fake *fake_of(struct img *img)
{
	return (struct fake *)img;
}

static enum fake_state state_of(struct fake *f, uint64_t g)
{
	enum fake_state s = FAKE_MISSING;

	if (g < FAKE_GRANULES_MAX) {
		pthread_mutex_lock(&f->lock);
		s = f->state[g];
		pthread_mutex_unlock(&f->lock);
	}
	return s;
}

static void state_set(struct fake *f, uint64_t g, enum fake_state s)
{
	if (g >= FAKE_GRANULES_MAX)
		return;
	pthread_mutex_lock(&f->lock);
	f->state[g] = (uint8_t)s;
	pthread_mutex_unlock(&f->lock);
}

static void gate(struct fake *f)
{
	atomic_fetch_add(&f->entered, 1);
	if (f->gated)
		sem_wait(&f->gate);
}

/* Nobody but the caller changes a granule. */
static void busy_add(struct fake *f, uint64_t off, uint64_t len, unsigned n)
{
	for (uint64_t g = off / FAKE_GRANULE; g * FAKE_GRANULE < off + len && g < FAKE_GRANULES_MAX; g++) {
		const unsigned was = atomic_fetch_add(&f->busy[g], n);

		ck_assert_msg(was < 1000 && (was == 0 || n < 1000), "granule %u is used by several calls: %u", (unsigned)g, was);
	}
}

static void busy_del(struct fake *f, uint64_t off, uint64_t len, unsigned n)
{
	for (uint64_t g = off / FAKE_GRANULE; g * FAKE_GRANULE < off + len && g < FAKE_GRANULES_MAX; g++)
		atomic_fetch_sub(&f->busy[g], n);
}

static int fake_map(struct img *img, uint64_t off, uint64_t len, unsigned flags, struct img_seg *seg)
{
	static const enum img_kind kinds[] = {
		[FAKE_MISSING] = IMG_NONE, [FAKE_DATA] = IMG_DATA, [FAKE_ZERO] = IMG_ZERO, [FAKE_OPAQUE] = IMG_OPAQUE,
	};
	struct fake *f = fake_of(img);
	const uint64_t g = off / FAKE_GRANULE;
	const enum fake_state s = state_of(f, g);

	seg->kind = kinds[s];
	seg->len = MIN(len, FAKE_GRANULE - off % FAKE_GRANULE);
	seg->in_place = s == FAKE_DATA;
	seg->file = img->file;
	seg->file_off = s == FAKE_DATA ? (uint64_t)f->place[g] * FAKE_GRANULE + off % FAKE_GRANULE : 0;
	return 0;
}

/* "Compressed": every byte is the granule's number. */
static int fake_read(struct img *img, uint64_t off, const struct iovec *v, unsigned niov)
{
	struct fake *f = fake_of(img);
	size_t len = 0;

	for (unsigned i = 0; i < niov; i++)
		len += v[i].iov_len;
	busy_add(f, off, len, 1);
	atomic_fetch_add(&f->reads, 1);
	gate(f);
	for (unsigned i = 0; i < niov; i++)
		memset(v[i].iov_base, (int)(off / FAKE_GRANULE), v[i].iov_len);
	busy_del(f, off, len, 1);
	return atomic_load(&f->fail);
}

/* Copies the whole granule, as if it had to be put somewhere else. */
static int granule_write(struct fake *f, uint64_t g, uint64_t from, const uint8_t *p, size_t len)
{
	const uint64_t at = (uint64_t)f->place[g] * FAKE_GRANULE;
	uint8_t buf[FAKE_GRANULE] = { 0 };
	int err = 0;

	if (state_of(f, g) == FAKE_DATA)
		err = bfile_read(f->img.file, at, buf, sizeof(buf));
	else if (state_of(f, g) == FAKE_OPAQUE)
		memset(buf, (int)g, sizeof(buf));
	memcpy(buf + from, p, len);
	if (f->linger_us)
		usleep(f->linger_us);
	if (!err)
		err = bfile_write(f->img.file, at, buf, sizeof(buf));
	state_set(f, g, FAKE_DATA);
	return err;
}

static int fake_write(struct img *img, uint64_t off, const struct iovec *v, unsigned niov)
{
	struct fake *f = fake_of(img);
	size_t len = 0, done = 0;
	int err;

	for (unsigned i = 0; i < niov; i++)
		len += v[i].iov_len;
	uint8_t *buf = malloc(len);
	iov_read(v, niov, 0, buf, len);
	busy_add(f, off, len, 1000);
	atomic_fetch_add(&f->writes, 1);
	gate(f);
	err = atomic_load(&f->fail);
	while (!err && done < len) {
		const uint64_t from = (off + done) % FAKE_GRANULE, n = MIN(len - done, FAKE_GRANULE - from);

		err = granule_write(f, (off + done) / FAKE_GRANULE, from, buf + done, n);
		done += n;
	}
	busy_del(f, off, len, 1000);
	free(buf);
	return err;
}

static int range_call(struct fake *f, uint64_t off, uint64_t len, atomic_uint *counter)
{
	int err;

	busy_add(f, off, len, 1000);
	atomic_fetch_add(counter, 1);
	pthread_mutex_lock(&f->lock);
	f->longest = MAX(f->longest, len);
	pthread_mutex_unlock(&f->lock);
	gate(f);
	err = atomic_load(&f->fail);
	for (uint64_t at = off; !err && at < off + len;) {
		const uint64_t g = at / FAKE_GRANULE, from = at % FAKE_GRANULE, n = MIN(off + len - at, FAKE_GRANULE - from);
		static const uint8_t zero[FAKE_GRANULE];

		if (n == FAKE_GRANULE)
			state_set(f, g, FAKE_ZERO);
		else if (counter == &f->zeroes)
			err = granule_write(f, g, from, zero, n);
		at += n;
	}
	busy_del(f, off, len, 1000);
	return err;
}

static int fake_zero(struct img *img, uint64_t off, uint64_t len, unsigned flags)
{
	return range_call(fake_of(img), off, len, &fake_of(img)->zeroes);
}

static int fake_discard(struct img *img, uint64_t off, uint64_t len)
{
	return range_call(fake_of(img), off, len, &fake_of(img)->discards);
}

static int fake_flush(struct img *img)
{
	struct fake *f = fake_of(img);

	atomic_fetch_add(&f->flushes, 1);
	gate(f);
	atomic_store(&f->is_dirty, false);
	return atomic_load(&f->fail);
}

static bool fake_dirty(struct img *img)
{
	return atomic_load(&fake_of(img)->is_dirty);
}

static void fake_close(struct img *img)
{
	sem_destroy(&fake_of(img)->gate);
	pthread_mutex_destroy(&fake_of(img)->lock);
}

static const struct img_driver fake_driver = {
	.name = "fake", .size = sizeof(struct fake), .writes = true, .close = fake_close, .map = fake_map, .read = fake_read,
	.write = fake_write, .zero = fake_zero, .discard = fake_discard, .flush = fake_flush, .dirty = fake_dirty,
};

struct fake *fake_new(uint64_t size, enum fake_state state)
{
	struct fake *f = calloc(1, sizeof(*f));
	const int fd = memfd_create("fake", MFD_CLOEXEC);

	ck_assert(f && fd >= 0);
	f->img.drv = &fake_driver;
	f->img.file = bfile_from_fd(fd, "fake");
	ck_assert_ptr_nonnull(f->img.file);
	f->img.size = size;
	f->img.granule = FAKE_GRANULE;
	pthread_mutex_init(&f->lock, NULL);
	sem_init(&f->gate, 0, 0);
	for (unsigned g = 0; g < FAKE_GRANULES_MAX; g++) {
		f->state[g] = (uint8_t)state;
		f->place[g] = g;
	}
	return f;
}

void fake_let(struct fake *f, unsigned n)
{
	while (n--)
		sem_post(&f->gate);
}

void fake_entered(const struct fake *f, unsigned n)
{
	const uint64_t end = now_ns() + 10000000000u;

	while (atomic_load(&f->entered) < n && now_ns() < end)
		usleep(100);
	ck_assert_uint_eq(atomic_load(&f->entered), n);
}
