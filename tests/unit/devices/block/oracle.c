#include "tests/unit/devices/block/oracle.h"

#include <check.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/util.h"
#include "tests/unit/capture.h"
#include "tests/unit/devices/block/powercut.h"

/* splitmix64 */
uint64_t oracle_rand(struct oracle *o)
{
	uint64_t z = o->rng += 0x9e3779b97f4a7c15;
	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
	z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
	return z ^ (z >> 31);
}

void oracle_init(struct oracle *o, size_t len, uint64_t seed)
{
	*o = (struct oracle){ .dir = "/tmp/skep-oracle-XXXXXX", .len = len, .rng = seed };
	ck_assert_ptr_nonnull(mkdtemp(o->dir));
	o->disk = calloc(1, len ? len : 1);
	ck_assert_ptr_nonnull(o->disk);
}

void oracle_fini(struct oracle *o)
{
	oracle_must(o, "rm -rf '%s'", o->dir);
	free(o->disk);
}

static void scribble(struct oracle *o, uint8_t *p, size_t n)
{
	/* Half of it compresses. */
	const uint64_t first = oracle_rand(o);
	for (size_t i = 0; i < n; i++)
		p[i] = first & 1 ? (uint8_t)(first >> 8) : (uint8_t)oracle_rand(o);
}

void oracle_fill(struct oracle *o)
{
	for (unsigned i = 0; i < 24; i++) {
		const size_t off = oracle_rand(o) % o->len, n = 1 + oracle_rand(o) % (i % 4 ? 5000 : 300000);
		scribble(o, o->disk + off, MIN(n, o->len - off));
	}
	o->disk[0] = 1;
	o->disk[o->len - 1] = 2;
}

const char *oracle_path(struct oracle *o, const char *name)
{
	static char path[4][128];
	static unsigned at;
	at = (at + 1) % 4;
	snprintf(path[at], sizeof(path[at]), "%s/%s", o->dir, name);
	return path[at];
}

void oracle_raw(struct oracle *o)
{
	FILE *f = fopen(oracle_path(o, "raw"), "w");
	ck_assert_ptr_nonnull(f);
	ck_assert_uint_eq(fwrite(o->disk, 1, o->len, f), o->len);
	ck_assert_int_eq(fclose(f), 0);
}

static int run(struct oracle *o, const char *fmt, va_list ap, char *cmd, size_t size)
{
	char what[1024];
	vsnprintf(what, sizeof(what), fmt, ap);
	snprintf(cmd, size, "cd '%s' && (%s) >out 2>&1 </dev/null", o->dir, what);
	const int status = system(cmd);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

int oracle_sh(struct oracle *o, const char *fmt, ...)
{
	char cmd[2048];
	va_list ap;
	va_start(ap, fmt);
	const int ret = run(o, fmt, ap, cmd, sizeof(cmd));
	va_end(ap);
	return ret;
}

void oracle_must(struct oracle *o, const char *fmt, ...)
{
	char cmd[2048];
	va_list ap;
	va_start(ap, fmt);
	const int ret = run(o, fmt, ap, cmd, sizeof(cmd));
	va_end(ap);
	if (ret && strstr(cmd, "qemu")) {
		FILE *f = fopen(oracle_path(o, "out"), "r");
		char text[600] = "";
		const size_t n = f ? fread(text, 1, sizeof(text) - 1, f) : 0;
		text[n] = 0;
		ck_abort_msg("status %d (127: package qemu-utils is not installed) of %s: %s", ret, cmd, text);
	}
	ck_assert_msg(ret == 0, "status %d of %s", ret, cmd);
}

struct img *oracle_open(struct oracle *o, const char *name, const char *format, bool writable)
{
	const struct img_open how = { .path = oracle_path(o, name), .format = format, .file_flags = writable ? BFILE_WRITE : 0 };
	int err = 0;
	struct img *img = img_open(&how, &err);
	ck_assert_msg(img, "%s does not open: %d", how.path, err);
	ck_assert(img->read_only == !writable);
	return img;
}

void oracle_refused(struct oracle *o, const char *name, const char *format, bool writable, const char *word)
{
	static struct capture cap;
	const struct img_open how = { .path = oracle_path(o, name), .format = format, .file_flags = writable ? BFILE_WRITE : 0 };
	int err = 0;
	capture_start(&cap, 2);
	struct img *img = img_open(&how, &err);
	const char *text = capture_stop(&cap);
	ck_assert_msg(!img && err < 0, "'%s' was not refused", word);
	ck_assert_msg(strstr(text, word) && strchr(text, '\n') == text + strlen(text) - 1, "'%s' is not said in one sentence: %s", word,
		      text);
}

/* Where two buffers differ; n: nowhere. */
static size_t differ(const uint8_t *a, const uint8_t *b, size_t n)
{
	size_t i = 0;
	if (!memcmp(a, b, n))
		return n;
	while (a[i] == b[i])
		i++;
	return i;
}

void oracle_verify(struct oracle *o, struct img *img)
{
	const size_t step = 300000;
	uint8_t *buf = malloc(step), *want = malloc(step);
	ck_assert_uint_ge(img->size, o->len);
	for (size_t off = 0; off < o->len + 100000; off += step) {
		const size_t n = MIN(step, o->len + 100000 - off), inside = off < o->len ? MIN(n, o->len - off) : 0;
		memset(want, 0, n);
		memcpy(want, o->disk + off, inside);
		ck_assert_int_eq(img_read_buf(img, off, buf, n), 0);
		const size_t at = differ(buf, want, n);
		ck_assert_msg(at == n, "%s: byte %zu is %02x, not %02x", img->file->path, off + at, buf[at], want[at]);
	}
	free(buf);
	free(want);
}

static void work_write(struct oracle *o, struct img *img, size_t off, size_t n)
{
	const size_t a = n / 3;
	struct iovec v[3] = { { o->disk + off, a }, { o->disk + off + a, 0 }, { o->disk + off + a, n - a } };
	scribble(o, o->disk + off, n);
	ck_assert_int_eq(img_write(img, off, v, 3), 0);
}

static void work_discard(struct oracle *o, struct img *img, size_t off, size_t n)
{
	uint8_t *buf = malloc(n);
	ck_assert_int_eq(img_discard(img, off, n), 0);
	ck_assert_int_eq(img_read_buf(img, off, buf, n), 0);
	for (size_t i = 0; i < n; i++) {
		if (buf[i] && buf[i] != o->disk[off + i])
			ck_abort_msg("byte %zu is %02x after a discard, was %02x", off + i, buf[i], o->disk[off + i]);
		o->disk[off + i] = buf[i];
	}
	free(buf);
}

void oracle_work(struct oracle *o, struct img *img, unsigned rounds)
{
	uint8_t *buf = malloc(400000);
	for (unsigned i = 0; i < rounds; i++) {
		const size_t max = i % 5 == 0 ? 400000 : 6000;
		size_t off = oracle_rand(o) % o->len, n = 1 + oracle_rand(o) % max;
		n = MIN(n, o->len - off);
		if (i % 3 == 0) {
			off = ALIGN_DOWN(off, 512ul);
			n = MIN(o->len - off, ALIGN_UP(n, 512ul));
		}
		switch (oracle_rand(o) % 10) {
		case 0:
		case 1:
			memset(o->disk + off, 0, n);
			ck_assert_int_eq(img_zero(img, off, n, oracle_rand(o) & 1 ? IMG_UNMAP : 0), 0);
			break;
		case 2:
			work_discard(o, img, off, n);
			break;
		case 3:
			ck_assert_int_eq(img_flush(img), 0);
			break;
		default:
			work_write(o, img, off, n);
		}
		n = MIN(n, 400000);
		ck_assert_int_eq(img_read_buf(img, off, buf, n), 0);
		ck_assert_mem_eq(buf, o->disk + off, n);
	}
	free(buf);
}

/* --- One format --- */

static void same_for_qemu(struct oracle *o, const char *format, const char *name, bool check)
{
	struct img *img = oracle_open(o, name, NULL, false);
	struct img_check c = { 0 };
	ck_assert_str_eq(img->drv->name, format);
	oracle_verify(o, img);
	ck_assert_int_eq(img->drv->check(img, 0, &c), 0);
	ck_assert(!c.corruptions && !c.leaks && !c.errors);
	ck_assert_int_eq(img_close(img), 0);
	oracle_raw(o);
	oracle_must(o, "qemu-img compare -f raw -F %s raw %s", format, name);
	if (check)
		oracle_must(o, "qemu-img check -f %s %s", format, name);
}

static void changed_by_qemu(struct oracle *o, const char *format, const char *name)
{
	for (unsigned i = 0; i < 3; i++) {
		const size_t off = ALIGN_DOWN(oracle_rand(o) % (o->len - 70000), 512ul);
		const unsigned value = 1 + (unsigned)(oracle_rand(o) % 255);
		memset(o->disk + off, (int)value, 65536);
		oracle_must(o, "qemu-io -f %s -c 'write -P %u %zu 65536' %s", format, value, off, name);
	}
}

static void change(struct oracle *o, const char *name, const char *format, unsigned rounds)
{
	struct img *img = oracle_open(o, name, format, true);
	oracle_work(o, img, rounds);
	oracle_verify(o, img);
	ck_assert_int_eq(img_close(img), 0);
}

void oracle_format(const char *format, const char *options, const char *subformat, size_t len, bool check)
{
	const bool stream = subformat && !strcmp(subformat, "streamOptimized");
	struct oracle o;
	oracle_init(&o, len, 1 + len);
	oracle_fill(&o);
	oracle_raw(&o);
	oracle_must(&o, "qemu-img convert -f raw -O %s %s %s raw theirs.img", format, options ? "-o" : "", options ? options : "");
	same_for_qemu(&o, format, "theirs.img", check);
	change(&o, "theirs.img", NULL, 60);
	same_for_qemu(&o, format, "theirs.img", check);
	if (!stream) {
		changed_by_qemu(&o, format, "theirs.img");
		same_for_qemu(&o, format, "theirs.img", check);
	}

	const struct img_create c = { .path = oracle_path(&o, "ours.img"), .format = format, .size = len, .subformat = subformat };
	ck_assert_int_eq(img_create(&c), 0);
	struct img *img = oracle_open(&o, "ours.img", format, true);
	ck_assert_uint_eq(img->size, ALIGN_UP(len, 512));
	ck_assert_int_eq(img_write_buf(img, 0, o.disk, len), 0);
	ck_assert_int_eq(img_close(img), 0);
	same_for_qemu(&o, format, "ours.img", check);
	change(&o, "ours.img", NULL, 60);
	same_for_qemu(&o, format, "ours.img", check);
	if (!stream) {
		changed_by_qemu(&o, format, "ours.img");
		same_for_qemu(&o, format, "ours.img", check);
	}
	change(&o, "ours.img", format, 30);
	same_for_qemu(&o, format, "ours.img", check);
	oracle_fini(&o);
}

/* --- Power cuts --- */

#define SPOTS 48u                       /* sectors that are written, spread over the disk */
#define VERSIONS 200u

struct cut {
	struct oracle o;
	const char *format;
	uint64_t len, at[SPOTS];
	struct powercut *pc;
	unsigned n[SPOTS];                              /* versions issued */
	size_t issued[SPOTS][VERSIONS];                 /* entries of the log before that version was written */
	bool zero[SPOTS][VERSIONS];                     /* that version is zeroes */
	struct { size_t ops; unsigned n[SPOTS]; } flushed[1000];        /* what a flush that returned at ops promised */
	unsigned nflushed;
};

/* Sector s in version v, 1 and up. */
static void pattern(uint8_t b[512], unsigned s, unsigned v)
{
	memset(b, (int)(s + v), 512);
	put_le32(b, 0x5be90000 + s);
	put_le32(b + 4, v);
}

static void cut_write(struct cut *c, struct img *img)
{
	const unsigned s = (unsigned)(oracle_rand(&c->o) % SPOTS), v = ++c->n[s];
	uint8_t b[512];
	ck_assert_uint_lt(v, VERSIONS);
	pattern(b, s, v);
	c->issued[s][v] = powercut_ops(c->pc);
	c->zero[s][v] = oracle_rand(&c->o) % 8 == 0;
	if (c->zero[s][v])
		ck_assert_int_eq(img_zero(img, c->at[s], 512, oracle_rand(&c->o) & 1 ? IMG_UNMAP : 0), 0);
	else
		ck_assert_int_eq(img_write_buf(img, c->at[s], b, 512), 0);
}

static void cut_flush(struct cut *c, struct img *img)
{
	unsigned n[SPOTS];
	memcpy(n, c->n, sizeof(n));
	ck_assert_int_eq(img_flush(img), 0);
	ck_assert_uint_lt(c->nflushed, NELEM(c->flushed));
	c->flushed[c->nflushed].ops = powercut_ops(c->pc);
	memcpy(c->flushed[c->nflushed++].n, n, sizeof(n));
}

/* Is it a version that may be found: not older than promised, not younger than issued? */
static bool may_be(const struct cut *c, unsigned s, const uint8_t b[512], size_t cut, unsigned least)
{
	static const uint8_t zero[512];
	uint8_t want[512];
	for (unsigned v = least; v <= c->n[s]; v++) {
		if (v && c->issued[s][v] > cut)
			break;
		pattern(want, s, v);
		if (!memcmp(b, v == 0 || c->zero[s][v] ? zero : want, 512))
			return true;
	}
	return false;
}

static void cut_look(struct cut *c, size_t cut, uint64_t seed, bool qemu)
{
	struct powercut *after = powercut_after(c->pc, cut, seed);
	const struct img_driver *drv = img_driver_find(c->format);
	struct img_check found = { 0 };
	uint8_t b[512];
	int promise = -1, err = 0;
	for (unsigned i = 0; i < c->nflushed && c->flushed[i].ops <= cut; i++)
		promise = (int)i;
	struct img *img = img_open_file(powercut_open(after, "after the cut", true), drv, &err);
	ck_assert_msg(img, "cut %zu, seed %llu: does not open: %d", cut, (unsigned long long)seed, err);
	for (unsigned s = 0; s < SPOTS; s++) {
		ck_assert_int_eq(img_read_buf(img, c->at[s], b, 512), 0);
		ck_assert_msg(may_be(c, s, b, cut, promise < 0 ? 0 : c->flushed[promise].n[s]),
			      "cut %zu, seed %llu: sector %u lost or wrong", cut,
			      (unsigned long long)seed, s);
	}
	ck_assert_int_eq(drv->check(img, 0, &found), 0);
	ck_assert_msg(!found.corruptions && !found.leaks, "cut %zu, seed %llu: %llu corruptions, %llu leaks", cut,
		      (unsigned long long)seed, (unsigned long long)found.corruptions, (unsigned long long)found.leaks);
	/* And it goes on from there. */
	pattern(b, SPOTS, 1);
	for (unsigned s = 0; s < SPOTS; s += 7)
		ck_assert_int_eq(img_write_buf(img, c->at[s], b, 512), 0);
	for (unsigned s = 0; s < SPOTS; s++) {
		ck_assert_int_eq(img_read_buf(img, c->at[s], b, 512), 0);
		ck_assert(s % 7 ? may_be(c, s, b, cut, promise < 0 ? 0 : c->flushed[promise].n[s]) : get_le32(b) == 0x5be90000 + SPOTS);
	}
	ck_assert_int_eq(img_close(img), 0);
	if (qemu) {
		powercut_save(after, oracle_path(&c->o, "cut.img"));
		/* 63: the format has no check. */
		const int status = oracle_sh(&c->o, "qemu-img check -f %s cut.img", c->format);
		ck_assert_msg(status == 0 || status == 63, "cut %zu, seed %llu: qemu-img check: %d", cut, (unsigned long long)seed, status);
		oracle_must(&c->o, "qemu-img convert -f %s -O raw cut.img raw", c->format);
	}
	powercut_free(after);
}

void oracle_powercut(const char *format, uint32_t cluster, uint64_t len, unsigned writes, uint64_t seed)
{
	struct cut *c = calloc(1, sizeof(*c));
	int err = 0;
	c->format = format;
	c->len = len;
	oracle_init(&c->o, 0, seed);
	for (unsigned s = 0; s < SPOTS; s++)
		c->at[s] = ALIGN_DOWN(len / SPOTS * s + oracle_rand(&c->o) % (len / SPOTS - 512), 512ull);
	const struct img_create how = { .path = oracle_path(&c->o, "img"), .format = format, .size = len, .cluster_size = cluster };
	ck_assert_int_eq(img_create(&how), 0);
	c->pc = powercut_load(how.path);
	struct img *img = img_open_file(powercut_open(c->pc, "image", true), img_driver_find(format), &err);
	ck_assert_ptr_nonnull(img);
	for (unsigned i = 0; i < writes; i++) {
		cut_write(c, img);
		if (oracle_rand(&c->o) % 6 == 0)
			cut_flush(c, img);
	}
	cut_flush(c, img);
	const size_t ops = powercut_ops(c->pc);
	for (size_t cut = 0; cut <= ops; cut++)
		for (uint64_t k = 0; k < 3; k++)
			cut_look(c, cut, k < 2 ? k : seed + cut * 4 + k, k == 2 && cut % 25 == 0);
	ck_assert_uint_gt(ops, writes);
	ck_assert_int_eq(img_close(img), 0);
	powercut_free(c->pc);
	oracle_fini(&c->o);
	free(c);
}
