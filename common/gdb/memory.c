/*
 * Guest memory for GDB: by the addresses of a vCPU, through its page tables, or guest-physical.  Only RAM: reading a device's
 * register would change the device.
 */
#include <errno.h>

#include "common/gdb/gdb.h"

static int read_phys(void *arg, uint64_t gpa, void *buf, size_t len)
{
	const struct vm *vm = arg;

	return mem_read(&vm->mem, gpa, buf, len) ? 0 : -EFAULT;
}

bool gdb_walk(struct gdb *g, struct vcpu *v, uint64_t va, uint64_t *pa, uint64_t *len)
{
	struct debug_mmu mmu = { .read = read_phys, .arg = g->vm };

	g->ops->mmu(v, &mmu);
	return g->arch->walk(&mmu, va, pa, len) == 0 && *len;
}

/* The next piece of [addr, addr+len) that lies together in RAM; NULL: there is none. */
static void *piece(struct gdb *g, uint64_t addr, size_t len, size_t *n)
{
	uint64_t pa = addr, run = len;

	if (!g->phys && !gdb_walk(g, &g->vm->vcpus[g->thread], addr, &pa, &run))
		return NULL;
	*n = MIN(MIN(len, run), mem_run(&g->vm->mem, pa));
	return mem_at(&g->vm->mem, pa, *n);
}

size_t gdb_mem_read(struct gdb *g, uint64_t addr, void *buf, size_t len)
{
	size_t done = 0, n;
	const void *p;

	while (done < len && (p = piece(g, addr + done, len - done, &n))) {
		memcpy((char *)buf + done, p, n);
		done += n;
	}
	return done;
}

bool gdb_mem_write(struct gdb *g, uint64_t addr, const void *buf, size_t len)
{
	size_t n;
	void *p;

	for (size_t done = 0; done < len; done += n)
		if (!piece(g, addr + done, len - done, &n))
			return false;
	for (size_t done = 0; done < len && (p = piece(g, addr + done, len - done, &n)); done += n) {
		memcpy(p, (const char *)buf + done, n);
		arch_debug_written(p, n);
	}
	return true;
}

bool gdb_code_write(struct gdb *g, uint64_t pa, const void *buf, size_t len)
{
	void *p = mem_at(&g->vm->mem, pa, len);

	if (!p)
		return false;
	memcpy(p, buf, len);
	arch_debug_written(p, len);
	return true;
}
