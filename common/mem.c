#include "common/mem.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "common/log.h"
#include "common/util.h"

#define HUGE_PAGE MIB(2)

/* Does this host back shared memory with huge pages? [Linux admin-guide/mm/transhuge.rst, shmem_enabled] */
static bool shmem_huge_pages(void)
{
	char text[80] = "";
	FILE *f = fopen("/sys/kernel/mm/transparent_hugepage/shmem_enabled", "re");
	if (!f)
		return false;
	bool known = fgets(text, sizeof(text), f) != NULL;
	fclose(f);
	return known && !strstr(text, "[never]") && !strstr(text, "[deny]");
}

static int open_memfd(const char *name, uint64_t len, int *fd)
{
	*fd = memfd_create(name, MFD_CLOEXEC);
	if (*fd < 0)
		return err_sys("memory region '%s': memfd_create", name);
	return ftruncate(*fd, (off_t)len) < 0 ? err_sys("memory region '%s': reserving %" PRIu64 " MiB", name, len >> 20) : 0;
}

/* A mapping aligned so that huge pages of host and guest coincide; NULL with errno set. */
static uint8_t *map_region(uint64_t len, int fd)
{
	uint8_t *area = mmap(NULL, len + HUGE_PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (area == MAP_FAILED)
		return NULL;
	uint8_t *start = (uint8_t *)ALIGN_UP((uintptr_t)area, HUGE_PAGE);
	int flags = MAP_FIXED | MAP_NORESERVE | (fd < 0 ? MAP_PRIVATE | MAP_ANONYMOUS : MAP_SHARED);
	if (mmap(start, len, PROT_READ | PROT_WRITE, flags, fd, 0) == MAP_FAILED) {
		munmap(area, len + HUGE_PAGE);
		return NULL;
	}
	/* What alignment left over on either side. */
	if (start > area)
		munmap(area, (size_t)(start - area));
	munmap(start + len, (size_t)(area + HUGE_PAGE - start));
	madvise(start, len, MADV_HUGEPAGE);     /* advice: a kernel without them says EINVAL */
	return start;
}

int mem_add(struct guest_mem *m, const char *name, uint64_t gpa, uint64_t len, enum mem_backing backing)
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

	int fd = -1;
	int err = backing == MEM_MEMFD || (backing == MEM_AUTO && shmem_huge_pages()) ? open_memfd(name, len, &fd) : 0;
	uint8_t *hva = err ? NULL : map_region(len, fd);
	if (!hva) {
		if (!err)
			err = err_sys("memory region '%s': mapping %" PRIu64 " MiB", name, len >> 20);
		if (fd >= 0)
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
		if (m->r[i].fd >= 0)
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

bool mem_gpa_of(const struct guest_mem *m, const void *hva, uint64_t *gpa)
{
	for (unsigned i = 0; i < m->n; i++) {
		const uint64_t off = (uintptr_t)hva - (uintptr_t)m->r[i].hva;   /* below the region wraps to a huge number */
		if (off < m->r[i].len_bytes) {
			*gpa = m->r[i].gpa + off;
			return true;
		}
	}
	return false;
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
