#include "common/mem.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "common/log.h"

int mem_add(struct guest_mem *m, const char *name, uint64_t gpa, uint64_t len)
{
	uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
	if (len == 0 || gpa + len < gpa || (gpa | len) & (page - 1))
		return err_msg(-EINVAL, "memory region '%s': %#" PRIx64 " bytes at %#" PRIx64 " are not whole pages of %" PRIu64 " bytes",
			       name, len, gpa, page);
	if (m->n == MEM_REGIONS_MAX)
		return err_msg(-ENOSPC, "memory region '%s': the table of %d regions is full", name, MEM_REGIONS_MAX);
	unsigned at = 0;
	while (at < m->n && m->r[at].gpa < gpa)
		at++;
	if ((at < m->n && gpa + len > m->r[at].gpa) || (at > 0 && m->r[at - 1].gpa + m->r[at - 1].len_bytes > gpa))
		return err_msg(-EEXIST, "memory region '%s' overlaps another one", name);

	int fd = memfd_create(name, MFD_CLOEXEC);
	if (fd < 0)
		return err_sys("memory region '%s': memfd_create", name);
	if (ftruncate(fd, (off_t)len) < 0) {
		int err = err_sys("memory region '%s': reserving %" PRIu64 " MiB", name, len >> 20);
		close(fd);
		return err;
	}
	void *hva = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd, 0);
	if (hva == MAP_FAILED) {
		int err = err_sys("memory region '%s': mapping %" PRIu64 " MiB", name, len >> 20);
		close(fd);
		return err;
	}
	memmove(&m->r[at + 1], &m->r[at], (m->n - at) * sizeof(m->r[0]));
	struct mem_region *r = &m->r[at];
	memset(r, 0, sizeof(*r));
	snprintf(r->name, sizeof(r->name), "%s", name);
	r->gpa = gpa;
	r->len_bytes = len;
	r->hva = hva;
	r->fd = fd;
	m->n++;
	return 0;
}

void mem_fini(struct guest_mem *m)
{
	for (unsigned i = 0; i < m->n; i++) {
		munmap(m->r[i].hva, m->r[i].len_bytes);
		close(m->r[i].fd);
	}
	m->n = 0;
}

static const struct mem_region *region_of(const struct guest_mem *m, uint64_t gpa)
{
	for (unsigned i = 0; i < m->n; i++) {
		if (gpa - m->r[i].gpa < m->r[i].len_bytes)      /* below the base wraps to a huge number */
			return &m->r[i];
	}
	return NULL;
}

void *mem_at(const struct guest_mem *m, uint64_t gpa, uint64_t len)
{
	const struct mem_region *r = region_of(m, gpa);
	if (!r || len == 0 || len > r->len_bytes - (gpa - r->gpa))
		return NULL;
	return r->hva + (gpa - r->gpa);
}

uint64_t mem_run(const struct guest_mem *m, uint64_t gpa)
{
	const struct mem_region *r = region_of(m, gpa);
	return r ? r->len_bytes - (gpa - r->gpa) : 0;
}

bool mem_read(const struct guest_mem *m, uint64_t gpa, void *buf, size_t len)
{
	const void *p = mem_at(m, gpa, len);
	if (p)
		memcpy(buf, p, len);
	return p || len == 0;
}

bool mem_write(const struct guest_mem *m, uint64_t gpa, const void *buf, size_t len)
{
	void *p = mem_at(m, gpa, len);
	if (p)
		memcpy(p, buf, len);
	return p || len == 0;
}

uint64_t mem_total(const struct guest_mem *m)
{
	uint64_t sum = 0;
	for (unsigned i = 0; i < m->n; i++)
		sum += m->r[i].len_bytes;
	return sum;
}
