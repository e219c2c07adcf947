/*
 * Content of a flash device.  The guest runs from the very bytes here (kvm_rom_map), so they are memory of their own
 * and never a mapping of the file, which somebody could cut short.  Programming is written through: a VM that is killed
 * has lost nothing that the guest believes stored.
 */
#include "devices/pflash_bank.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/log.h"
#include "common/util.h"
#include "devices/pflash.h"

#define FILE_UNIT 4096u                 /* firmware volumes are made of such blocks */
#define CHUNK (256u << 10)              /* read at a time */
#define PATTERN (1u << 20)              /* erased bytes kept in memory */
#define ERASED 0xff

/* --- memory --- */

/*
 * Erased bytes from `at` on.  64 MiB of them are common, and all but never written: every page shows the same few until it is.
 */
static int fill_erased(uint8_t *at, uint64_t len)
{
	uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE), head = MIN(-(uintptr_t)at & (page - 1), len);
	memset(at, ERASED, head);
	at += head;
	len -= head;
	if (len == 0)
		return 0;
	uint64_t size = MAX((uint64_t)PATTERN, page);
	int err = 0, fd = memfd_create("erased-flash", MFD_CLOEXEC);
	uint8_t *pattern = fd >= 0 && ftruncate(fd, (off_t)size) == 0 ? mmap(NULL, size, PROT_WRITE, MAP_SHARED, fd, 0) : MAP_FAILED;
	if (pattern != MAP_FAILED) {
		memset(pattern, ERASED, size);
		munmap(pattern, size);
	} else {
		err = err_sys("flash: memory for erased bytes");
	}
	for (uint64_t done = 0; !err && done < len; done += size) {
		if (mmap(at + done, MIN(size, len - done), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_FIXED, fd, 0) == MAP_FAILED)
			err = err_sys("flash: memory for erased bytes");
	}
	if (fd >= 0)
		close(fd);
	return err;
}

static int alloc(struct pflash_bank *b, uint64_t len)
{
	uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
	uint8_t *p = mmap(NULL, ALIGN_UP(len, page), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (p == MAP_FAILED)
		return err_sys("flash: %llu KiB of memory", (unsigned long long)len >> 10);
	b->data = p;
	b->len = len;
	b->map_len = ALIGN_UP(len, page);
	b->changed = b->fd < 0 ? calloc((size_t)(len / b->block), sizeof(*b->changed)) : NULL;
	return b->fd >= 0 || b->changed ? 0 : -ENOMEM;
}

static bool all_zero(const uint8_t *p, size_t len)
{
	return p[0] == 0 && memcmp(p, p + 1, len - 1) == 0;
}

/* Copies the file to the start of the bank; zeroes are there already and need no memory. */
static int load(struct pflash_bank *b, int fd, const char *path, uint64_t len)
{
	uint8_t *buf = malloc(CHUNK);
	int err = buf ? 0 : -ENOMEM;
	for (uint64_t off = 0; !err && off < len;) {
		ssize_t n = pread(fd, buf, MIN((uint64_t)CHUNK, len - off), (off_t)off);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			err = err_sys("firmware '%s': read", path);
		else if (n == 0)
			err = err_msg(-EIO, "firmware '%s': it got shorter while it was read; start again", path);
		else if (!all_zero(buf, (size_t)n))
			memcpy(b->data + off, buf, (size_t)n);
		off += n > 0 ? (uint64_t)n : 0;
	}
	free(buf);
	return err;
}

/* --- the file --- */

static int check_size(const struct pflash_spec *s, uint64_t size)
{
	uint64_t most = s->len ? s->len : s->max ? s->max : PFLASH_LEN_MAX, unit = MAX(s->len ? 1 : s->block, FILE_UNIT);
	if (size == 0)
		return err_msg(-EINVAL, "firmware '%s': it is empty; give a firmware image", s->path);
	if (size > most)
		return err_msg(-EINVAL, "firmware '%s': %llu KiB are more than the %llu KiB of this machine's flash; is it a firmware image?",
			       s->path, (unsigned long long)size >> 10, (unsigned long long)most >> 10);
	if ((!s->len || s->persistent) && size % unit)
		return err_msg(-EINVAL, "firmware '%s': %llu bytes are no multiple of %llu KiB, so it is cut short or no firmware image",
			       s->path, (unsigned long long)size, (unsigned long long)unit >> 10);
	return 0;
}

static int lock_file(int fd, const char *path)
{
	struct flock l = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
	if (fcntl(fd, F_OFD_SETLK, &l) == 0)
		return 0;
	if (errno == EAGAIN || errno == EACCES)
		return err_msg(-EBUSY, "firmware '%s': another machine uses these variables (see 'skep list'); give each its own copy", path);
	log_warn("flash", "firmware '%s': its file system has no locks (%s); nothing prevents a second machine", path, strerror(errno));
	return 0;
}

/* Descriptor, or -errno (reported). */
static int open_file(const struct pflash_spec *s, bool write, uint64_t *size)
{
	struct stat st;
	/* O_NONBLOCK: a fifo given by mistake must be refused, not waited for. */
	int fd = open(s->path, (write ? O_RDWR : O_RDONLY) | O_CLOEXEC | O_NOCTTY | O_NONBLOCK), err = 0;
	if (fd < 0 && write && (errno == EACCES || errno == EROFS || errno == EPERM))
		return err_msg(-errno, "firmware '%s': it keeps the variables and may not be written: %s; give a copy, or change its rights",
			       s->path, strerror(errno));
	if (fd < 0)
		return err_sys("firmware '%s': open", s->path);
	if (fstat(fd, &st) < 0)
		err = err_sys("firmware '%s': stat", s->path);
	else if (!S_ISREG(st.st_mode))
		err = err_msg(-EINVAL, "firmware '%s': it is not a file; give a firmware image", s->path);
	else if (write)
		err = lock_file(fd, s->path);
	if (!err)
		err = check_size(s, (uint64_t)st.st_size);
	if (err) {
		close(fd);
		return err;
	}
	*size = (uint64_t)st.st_size;
	return fd;
}

int pflash_bank_open(struct pflash_bank *b, const struct pflash_spec *s, bool dry)
{
	bool write = s->persistent && !dry;
	uint64_t size = 0;
	int fd = -1, err;
	assert((s->path || (s->len && !s->persistent)) && !(s->readonly && s->persistent) && s->block && s->len % s->block == 0);
	*b = (struct pflash_bank){ .fd = -1, .block = s->block };
	if (s->path) {
		fd = open_file(s, write, &size);
		if (fd < 0)
			return fd;
	}
	if (write) {
		b->fd = fd;
		b->file_len = size;
		b->path = strdup(s->path);
	}
	err = alloc(b, s->len ? s->len : size);
	if (!err && write && !b->path)
		err = -ENOMEM;
	if (!err && fd >= 0)
		err = load(b, fd, s->path, size);
	if (!err)
		err = fill_erased(b->data + size, b->map_len - size);
	if (!write && fd >= 0)
		close(fd);
	if (err)
		pflash_bank_close(b);
	return err;
}

void pflash_bank_sync(struct pflash_bank *b)
{
	if (b->fd >= 0 && atomic_exchange(&b->dirty, false) && fdatasync(b->fd) < 0)
		err_sys("firmware '%s': its variables may not be on the disk", b->path);
}

void pflash_bank_close(struct pflash_bank *b)
{
	if (!b->data && !b->block)
		return;
	pflash_bank_sync(b);
	if (b->fd >= 0)
		close(b->fd);
	if (b->data)
		munmap(b->data, b->map_len);
	free(b->changed);
	free(b->path);
	*b = (struct pflash_bank){ .fd = -1 };
}

/* --- changes --- */

static int write_all(int fd, const uint8_t *p, uint64_t len, uint64_t off)
{
	while (len) {
		ssize_t n = pwrite(fd, p, len, (off_t)off);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -EIO;
		p += n;
		off += (uint64_t)n;
		len -= (uint64_t)n;
	}
	return 0;
}

/* New bytes for [off, off + len), to the file first.  A file shorter than the device grows, its new part erased. */
static int store(struct pflash_bank *b, uint64_t off, const uint8_t *bytes, uint32_t len)
{
	int err = 0;
	if (b->fd >= 0) {
		if (off > b->file_len)
			err = write_all(b->fd, b->data + b->file_len, off - b->file_len, b->file_len);
		if (!err)
			err = write_all(b->fd, bytes, len, off);
		atomic_store(&b->dirty, true);
	}
	if (err) {
		if (!b->told)
			err_msg(err, "firmware '%s': a variable could not be written: %s; the guest is told so", b->path, strerror(-err));
		b->told = true;
		return -EIO;
	}
	b->file_len = MAX(b->file_len, off + len);
	memcpy(b->data + off, bytes, len);
	for (uint64_t n = off / b->block; b->changed && n <= (off + len - 1) / b->block; n++)
		b->changed[n] = true;
	return 0;
}

int pflash_bank_program(struct pflash_bank *b, uint64_t off, const uint8_t *bits, uint32_t len)
{
	uint8_t bytes[PFLASH_BUFFER_MAX];
	assert(len && len <= sizeof(bytes) && off < b->len && len <= b->len - off);
	for (uint32_t i = 0; i < len; i++)
		bytes[i] = b->data[off + i] & bits[i];
	return store(b, off, bytes, len);
}

int pflash_bank_erase(struct pflash_bank *b, uint64_t off, uint32_t len)
{
	uint8_t *erased = malloc(len);
	assert(len && off < b->len && len <= b->len - off);
	if (!erased)
		return -EIO;
	memset(erased, ERASED, len);
	int err = store(b, off, erased, len);
	free(erased);
	return err;
}

/* --- checkpoints --- */

uint8_t *pflash_bank_changes(const struct pflash_bank *b, uint32_t *len)
{
	uint64_t count = 0, total = b->changed ? b->len / b->block : 0;
	for (uint64_t n = 0; n < total; n++)
		count += b->changed[n];
	*len = 0;
	if (count == 0)
		return NULL;
	uint8_t *out = malloc(count * (4 + b->block)), *p = out;
	if (!out) {
		err_msg(-ENOMEM, "flash: out of memory for %llu changed blocks", (unsigned long long)count);
		return NULL;
	}
	for (uint64_t n = 0; n < total; n++) {
		if (!b->changed[n])
			continue;
		put_le32(p, (uint32_t)n);
		memcpy(p + 4, b->data + n * b->block, b->block);
		p += 4 + b->block;
	}
	*len = (uint32_t)(p - out);
	return out;
}

int pflash_bank_apply(struct pflash_bank *b, const uint8_t *changes, uint32_t len)
{
	uint32_t entry = 4 + b->block;
	if (len % entry || (len && !b->changed))
		return -EINVAL;
	for (uint32_t at = 0; at < len; at += entry) {
		if (get_le32(changes + at) >= b->len / b->block)
			return -EINVAL;
	}
	for (uint32_t at = 0; at < len; at += entry) {
		uint32_t n = get_le32(changes + at);
		memcpy(b->data + (uint64_t)n * b->block, changes + at + 4, b->block);
		b->changed[n] = true;
	}
	return 0;
}
