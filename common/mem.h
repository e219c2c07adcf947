/*
 * Guest memory: RAM regions of this process or behind a memfd, and the one checked translation from guest-physical addresses.
 * Regions are added before the first vCPU runs and never move, so translation takes no lock and may be
 * called on any thread.
 */
#ifndef COMMON_MEM_H
#define COMMON_MEM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MEM_REGIONS_MAX 16

struct mem_region {
	char name[16];
	uint64_t gpa, len_bytes;        /* multiples of the host page size */
	uint8_t *hva;
	int fd;                         /* memfd; -1 for anonymous */
	uint64_t fd_off;
};

/*
 * A memfd can be shared with other processes, but most hosts give it small pages only, which cost a guest dearly (a
 * fault and a TLB entry each).  AUTO: memfd where the host backs shared memory with huge pages, else anonymous.
 */
enum mem_backing { MEM_AUTO, MEM_ANONYMOUS, MEM_MEMFD };

struct guest_mem {
	struct mem_region r[MEM_REGIONS_MAX];   /* sorted by gpa */
	unsigned n;
};

/*
 * Creates `len_bytes` of zero-filled RAM at `gpa`.  Memory is reserved lazily by the host.
 * 0; -EEXIST overlap; -EINVAL zero length, wrap or misalignment; -ENOSPC table full; -errno of the host.
 */
int mem_add(struct guest_mem *, const char *name, uint64_t gpa, uint64_t len_bytes, enum mem_backing);
void mem_fini(struct guest_mem *);

/*
 * Host address of [gpa, gpa+len), or NULL when any byte lies outside one region.  len 0 is NULL.
 * The guest may change what is there at any time: copy once, check the copy, use the copy.
 */
void *mem_at(const struct guest_mem *, uint64_t gpa, uint64_t len);
/* The guest-physical address of what mem_at() gave; false: it lies in no region. */
bool mem_gpa_of(const struct guest_mem *, const void *hva, uint64_t *gpa);
/* Bytes from gpa to the end of its region; 0 when gpa is not RAM. */
uint64_t mem_run(const struct guest_mem *, uint64_t gpa);
/* Copies; false (nothing copied) when any byte is not RAM. */
bool mem_read(const struct guest_mem *, uint64_t gpa, void *buf, size_t len);
bool mem_write(const struct guest_mem *, uint64_t gpa, const void *buf, size_t len);
uint64_t mem_total(const struct guest_mem *);

#endif
