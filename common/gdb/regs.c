/*
 * Registers of a vCPU for GDB, numbered as the target description lists them [GDB G.2].  Packet `g` has those before the first
 * of the system; GDB asks for the others one by one.
 */
#include <errno.h>

#include "common/gdb/gdb.h"

static const struct debug_reg *reg_find(const struct gdb *g, unsigned n)
{
	for (const struct debug_feature *f = g->arch->features; f->name; f++) {
		if (n < f->nregs)
			return &f->regs[n];
		n -= f->nregs;
	}
	return NULL;
}

static bool in_g(const struct debug_reg *r)
{
	return r && !(r->group && !strcmp(r->group, "system"));
}

static size_t width(const struct debug_reg *r)
{
	return MIN((r->bits + 7u) / 8, DEBUG_REG_MAX);
}

static void reg_put(struct gdb *g, const struct debug_reg *r, unsigned n)
{
	uint8_t val[DEBUG_REG_MAX] = { 0 };

	if (!g->ops->get(&g->vm->vcpus[g->thread], n, val)) {
		gdb_hex(g, val, width(r));
		return;
	}
	for (size_t i = 0; i < width(r); i++)
		gdb_text(g, "xx");
}

void gdb_regs_read(struct gdb *g)
{
	const struct debug_reg *r;

	for (unsigned n = 0; in_g(r = reg_find(g, n)); n++)
		reg_put(g, r, n);
}

int gdb_regs_write(struct gdb *g, const char *hex)
{
	uint8_t val[DEBUG_REG_MAX];
	const struct debug_reg *r;
	int err = 0;

	for (unsigned n = 0; in_g(r = reg_find(g, n)) && strlen(hex) >= 2 * width(r); n++, hex += 2 * width(r)) {
		int e = 0;

		/* Registers that are not available are sent back as they came. */
		if (gdb_unhex(hex, val, width(r)) == width(r))
			e = g->ops->set(&g->vm->vcpus[g->thread], n, val);
		else if (strncmp(hex, "xx", 2) != 0)
			e = -EINVAL;
		err = err ? err : e;
	}
	return err;
}

int gdb_reg_read(struct gdb *g, unsigned n)
{
	const struct debug_reg *r = reg_find(g, n);

	if (!r)
		return -EINVAL;
	reg_put(g, r, n);
	return 0;
}

int gdb_reg_write(struct gdb *g, unsigned n, const char *hex)
{
	const struct debug_reg *r = reg_find(g, n);
	uint8_t val[DEBUG_REG_MAX];

	if (!r || gdb_unhex(hex, val, width(r)) != width(r))
		return -EINVAL;
	return g->ops->set(&g->vm->vcpus[g->thread], n, val);
}

uint64_t gdb_pc(struct gdb *g, struct vcpu *v)
{
	uint8_t val[DEBUG_REG_MAX] = { 0 };

	g->ops->get(v, g->arch->pc, val);
	return get_le64(val);
}

int gdb_set_pc(struct gdb *g, struct vcpu *v, uint64_t pc)
{
	uint8_t val[DEBUG_REG_MAX] = { 0 };

	put_le64(val, pc);
	return g->ops->set(v, g->arch->pc, val);
}
