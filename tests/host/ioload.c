/*
 * Disk load that can be repeated: what is on the disk afterwards depends on the arguments alone.
 *
 * ioload FILE SEED THREADS OPS UNIT    each thread works in its own part of the disk with OPS writes (of any whole number
 *                                      of UNIT bytes), reads, zeroings and flushes, in an order that SEED gives, past
 *                                      the page cache; what is read is checked.  On a plain file the same without
 *                                      O_DIRECT: run in the host, that makes the copy to compare with.
 * ioload -b FILE KIND BLOCK DEPTH OPS  a benchmark: KIND is rr, rw, sr or sw (random or sequential, read or write), DEPTH
 *                                      requests in flight.  Prints nanoseconds for all.
 * ioload -d FILE OFF LEN               discards.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/aio_abi.h>
#include <linux/fs.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define MAX_UNITS 64
#define MAX_BYTES (256u << 10)

struct work {
	pthread_t thread;
	int fd, failed;
	int device;
	uint64_t seed, off, len;        /* bytes of its part */
	unsigned id, ops, unit;
	uint32_t *last;                 /* for every unit: the write it is from, 0 none, UINT32_MAX zeroes */
	unsigned writes, reads, zeroes, flushes;
};

static uint64_t mix(uint64_t x)
{
	x ^= x >> 30;
	x *= 0xbf58476d1ce4e5b9;
	x ^= x >> 27;
	x *= 0x94d049bb133111eb;
	return x ^ x >> 31;
}

static void fail(struct work *w, const char *what, uint64_t off)
{
	if (!w->failed)
		printf("IOLOAD-ERROR %s at byte %llu: %s\n", what, (unsigned long long)off, strerror(errno));
	w->failed = 1;
}

/* What the n-th operation writes into a unit; no two units alike. */
static void fill(const struct work *w, uint64_t *p, uint64_t unit, uint32_t n)
{
	const uint64_t x = mix(w->seed ^ (uint64_t)n << 32 ^ unit * 0x9e3779b97f4a7c15);

	for (unsigned i = 0; i < w->unit / 8; i++)
		p[i] = n == UINT32_MAX ? 0 : x + i * 0x2545f4914f6cdd1d;
}

static void do_write(struct work *w, uint8_t *buf, uint64_t unit, unsigned n, uint32_t op)
{
	const uint64_t off = w->off + unit * w->unit;

	for (unsigned i = 0; i < n; i++) {
		fill(w, (uint64_t *)(void *)(buf + (size_t)i * w->unit), unit + i, op);
		w->last[unit + i] = op;
	}
	if (pwrite(w->fd, buf, (size_t)n * w->unit, (off_t)off) != (ssize_t)((size_t)n * w->unit))
		fail(w, "write", off);
	w->writes++;
}

static void do_read(struct work *w, uint8_t *buf, uint64_t unit, unsigned n)
{
	const uint64_t off = w->off + unit * w->unit;
	uint64_t want[8192 / 8];

	if (pread(w->fd, buf, (size_t)n * w->unit, (off_t)off) != (ssize_t)((size_t)n * w->unit))
		fail(w, "read", off);
	for (unsigned i = 0; i < n; i++) {
		if (!w->last[unit + i])
			continue;       /* as the disk came */
		fill(w, want, unit + i, w->last[unit + i]);
		if (memcmp(buf + (size_t)i * w->unit, want, w->unit)) {
			errno = EILSEQ;
			fail(w, "wrong data", off + (uint64_t)i * w->unit);
		}
	}
	w->reads++;
}

static void do_zero(struct work *w, uint8_t *buf, uint64_t unit, unsigned n)
{
	uint64_t range[2] = { w->off + unit * w->unit, (uint64_t)n * w->unit };

	if (!w->device || ioctl(w->fd, BLKZEROOUT, range) < 0) {
		memset(buf, 0, range[1]);
		if (pwrite(w->fd, buf, range[1], (off_t)range[0]) != (ssize_t)range[1])
			fail(w, "zero", range[0]);
	}
	for (unsigned i = 0; i < n; i++)
		w->last[unit + i] = UINT32_MAX;
	w->zeroes++;
}

static void *run(void *arg)
{
	struct work *w = arg;
	const uint64_t units = w->len / w->unit;
	void *buf;

	if (posix_memalign(&buf, 4096, MAX_BYTES)) {
		fail(w, "memory", 0);
		return NULL;
	}
	for (unsigned op = 1; op <= w->ops && !w->failed; op++) {
		const uint64_t r = mix(w->seed + ((uint64_t)w->id << 40) + op), kind = r % 100;
		const unsigned max = MAX_BYTES / w->unit < MAX_UNITS ? MAX_BYTES / w->unit : MAX_UNITS;
		unsigned n = 1 + (unsigned)((r >> 8) % max);
		uint64_t unit;

		/* Small ones are the most. */
		if ((r >> 20) % 3)
			n = 1 + n % 8;
		unit = (r >> 24) % (units - n + 1);
		if (kind < 55)
			do_write(w, buf, unit, n, op);
		else if (kind < 85)
			do_read(w, buf, unit, n);
		else if (kind < 93)
			do_zero(w, buf, unit, n);
		else if (fsync(w->fd) < 0)
			fail(w, "flush", 0);
		else
			w->flushes++;
	}
	for (uint64_t unit = 0; unit + MAX_BYTES / w->unit <= units && !w->failed; unit += MAX_BYTES / w->unit)
		do_read(w, buf, unit, MAX_BYTES / w->unit);
	free(buf);
	return NULL;
}

static int open_disk(const char *path, int *device, uint64_t *size)
{
	struct stat st;
	int fd;

	if (stat(path, &st) < 0)
		return -1;
	*device = S_ISBLK(st.st_mode);
	fd = open(path, O_RDWR | (*device ? O_DIRECT : 0));
	*size = (uint64_t)lseek(fd, 0, SEEK_END);
	return fd;
}

static int load(char **argv)
{
	const unsigned threads = (unsigned)atoi(argv[2]);
	struct work *w = calloc(threads, sizeof(*w)), sum = { 0 };
	uint64_t size, part;
	int device, fd = open_disk(argv[0], &device, &size);

	if (fd < 0 || !w) {
		printf("IOLOAD-ERROR %s: %s\n", argv[0], strerror(errno));
		return 1;
	}
	part = size / threads / 4096 * 4096;
	for (unsigned i = 0; i < threads; i++) {
		w[i] = (struct work){ .fd = fd, .device = device, .seed = mix(strtoull(argv[1], NULL, 0) + 1), .off = i * part, .len = part,
				      .id = i, .ops = (unsigned)atoi(argv[3]), .unit = (unsigned)atoi(argv[4]) };
		w[i].last = calloc(part / w[i].unit, 4);
		if (!w[i].last || pthread_create(&w[i].thread, NULL, run, &w[i]))
			return 1;
	}
	for (unsigned i = 0; i < threads; i++) {
		pthread_join(w[i].thread, NULL);
		sum.failed |= w[i].failed;
		sum.writes += w[i].writes;
		sum.reads += w[i].reads;
		sum.zeroes += w[i].zeroes;
		sum.flushes += w[i].flushes;
	}
	if (fsync(fd) < 0 || sum.failed)
		return 1;
	printf("IOLOAD %s size=%llu writes=%u reads=%u zeroes=%u flushes=%u\n", argv[0], (unsigned long long)size, sum.writes, sum.reads,
	       sum.zeroes, sum.flushes);
	return 0;
}

/* --- The benchmark: Linux's own asynchronous I/O, one thread --- */

static uint64_t now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

static int bench(char **argv)
{
	const char *kind = argv[1];
	const uint64_t block = strtoull(argv[2], NULL, 0);
	const unsigned depth = (unsigned)atoi(argv[3]), ops = (unsigned)atoi(argv[4]);
	struct iocb *cb = calloc(depth, sizeof(*cb)), **list = calloc(depth, sizeof(*list));
	struct io_event *ev = calloc(depth, sizeof(*ev));
	aio_context_t ctx = 0;
	uint64_t size, start;
	unsigned sent = 0, done = 0, nfree = depth;
	int device, fd = open_disk(argv[0], &device, &size);

	if (fd < 0 || syscall(SYS_io_setup, depth, &ctx) < 0) {
		printf("IOBENCH-ERROR %s: %s\n", argv[0], strerror(errno));
		return 1;
	}
	for (unsigned i = 0; i < depth; i++) {
		void *buf;

		if (posix_memalign(&buf, 4096, block))
			return 1;
		memset(buf, (int)(i + 1), block);
		cb[i] = (struct iocb){ .aio_fildes = (unsigned)fd, .aio_buf = (uint64_t)(uintptr_t)buf, .aio_nbytes = block,
				       .aio_lio_opcode = kind[1] == 'w' ? IOCB_CMD_PWRITE : IOCB_CMD_PREAD };
		list[i] = &cb[i];
	}
	start = now();
	while (done < ops) {
		unsigned n = 0;
		long got;

		while (nfree && sent < ops) {
			struct iocb *c = list[--nfree];
			const uint64_t at = kind[0] == 'r' ? mix(sent + 77) : sent;

			c->aio_offset = (int64_t)(at % (size / block) * block);
			c->aio_data = (uint64_t)(uintptr_t)c;
			ev[n++].data = c->aio_data;
			sent++;
		}
		for (unsigned i = 0; i < n; i++) {
			struct iocb *c = (struct iocb *)(uintptr_t)ev[i].data;

			if (syscall(SYS_io_submit, ctx, 1, &c) != 1) {
				printf("IOBENCH-ERROR submit: %s\n", strerror(errno));
				return 1;
			}
		}
		got = syscall(SYS_io_getevents, ctx, 1, depth, ev, NULL);
		for (long i = 0; i < got; i++) {
			if (ev[i].res != (int64_t)block) {
				printf("IOBENCH-ERROR transfer: %lld\n", (long long)ev[i].res);
				return 1;
			}
			list[nfree++] = (struct iocb *)(uintptr_t)ev[i].data;
			done++;
		}
	}
	if (kind[1] == 'w' && fsync(fd) < 0)
		return 1;
	printf("IOBENCH %s kind=%s block=%llu depth=%u ops=%u ns=%llu\n", argv[0], kind, (unsigned long long)block, depth, ops,
	       (unsigned long long)(now() - start));
	return 0;
}

static int discard(char **argv)
{
	uint64_t range[2] = { strtoull(argv[1], NULL, 0), strtoull(argv[2], NULL, 0) }, size;
	int device, fd = open_disk(argv[0], &device, &size);

	if (fd < 0 || ioctl(fd, BLKDISCARD, range) < 0) {
		printf("IOLOAD-ERROR discard: %s\n", strerror(errno));
		return 1;
	}
	return 0;
}

int main(int argc, char **argv)
{
	setvbuf(stdout, NULL, _IOLBF, 0);
	if (argc == 6 && argv[1][0] != '-')
		return load(argv + 1);
	if (argc == 7 && !strcmp(argv[1], "-b"))
		return bench(argv + 2);
	if (argc == 5 && !strcmp(argv[1], "-d"))
		return discard(argv + 2);
	fprintf(stderr, "usage: ioload FILE SEED THREADS OPS UNIT | -b FILE KIND BLOCK DEPTH OPS | -d FILE OFF LEN\n");
	return 2;
}
