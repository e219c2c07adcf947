/*
 * Breakpoints and watchpoints.  A software breakpoint is an instruction in guest memory; where it cannot be (nothing is mapped
 * at the address yet, or it is no RAM) the CPU's debug registers do it.
 */
#include <errno.h>

#include "common/gdb/gdb.h"

static const enum debug_type types[] = { DEBUG_BREAK, DEBUG_BREAK, DEBUG_WRITE, DEBUG_READ, DEBUG_ACCESS };

/* Where its instruction would be in memory; false: the debug registers have to do it. */
static bool resolve(struct gdb *g, struct gdb_point *p)
{
	struct vcpu *v = &g->vm->vcpus[g->thread];
	uint64_t run;

	return p->kind == '0' && gdb_walk(g, v, p->addr, &p->pa, &run) && run >= g->arch->brk_len &&
	       mem_at(&g->vm->mem, p->pa, g->arch->brk_len);
}

static struct gdb_point *find(struct gdb *g, char kind, uint64_t addr, uint64_t len)
{
	for (struct gdb_point *p = g->points; p < g->points + g->npoints; p++)
		if (p->kind == kind && p->addr == addr && p->len == len)
			return p;
	return NULL;
}

unsigned points_hw(const struct gdb *g, struct debug_point *to, bool watch_only)
{
	unsigned n = 0;

	for (const struct gdb_point *p = g->points; p < g->points + g->npoints && n < DEBUG_POINTS_MAX; p++)
		if (p->hw && !(watch_only && p->kind <= '1'))
			to[n++] = (struct debug_point){ types[p->kind - '0'], p->addr, p->len };
	return n;
}

int point_add(struct gdb *g, char kind, uint64_t addr, uint64_t len)
{
	struct debug_point hw[DEBUG_POINTS_MAX + 1];
	struct gdb_point *p;
	unsigned n = 0;
	int err = 0;

	if (find(g, kind, addr, len))
		return 0;
	if (g->npoints == POINTS_MAX)
		return -ENOSPC;
	p = &g->points[g->npoints];
	*p = (struct gdb_point){ .kind = kind, .addr = addr, .len = len };
	p->hw = !resolve(g, p);
	if (p->hw)
		n = points_hw(g, hw, false);
	if (n == DEBUG_POINTS_MAX)
		return -ENOSPC;
	g->npoints++;
	/* Whether the CPU can do it is asked now, while there is a packet to answer. */
	if (p->hw)
		err = g->ops->arm(&g->vm->vcpus[g->thread], true, hw, points_hw(g, hw, false), false);
	if (err)
		g->npoints--;
	return err;
}

int point_del(struct gdb *g, char kind, uint64_t addr, uint64_t len)
{
	struct gdb_point *p = find(g, kind, addr, len);

	if (p)
		*p = g->points[--g->npoints];
	return 0;
}

void points_clear(struct gdb *g)
{
	points_lift(g);
	g->npoints = 0;
}

void points_plant(struct gdb *g)
{
	for (struct gdb_point *p = g->points; p < g->points + g->npoints; p++)
		if (!p->hw && !p->planted && mem_read(&g->vm->mem, p->pa, p->saved, g->arch->brk_len))
			p->planted = gdb_code_write(g, p->pa, g->arch->brk, g->arch->brk_len);
}

/* The last first, for the sake of two at one place. */
void points_lift(struct gdb *g)
{
	uint8_t now[sizeof(g->arch->brk)];

	for (struct gdb_point *p = g->points + g->npoints; p-- > g->points;) {
		/* What the guest has written there meanwhile is its own. */
		if (p->planted && mem_read(&g->vm->mem, p->pa, now, g->arch->brk_len) && !memcmp(now, g->arch->brk, g->arch->brk_len))
			gdb_code_write(g, p->pa, p->saved, g->arch->brk_len);
		p->planted = false;
	}
}

void points_resolve(struct gdb *g)
{
	for (struct gdb_point *p = g->points; p < g->points + g->npoints; p++)
		p->hw = !resolve(g, p);
}

const struct gdb_point *point_of(const struct gdb *g, const struct debug_stop *s)
{
	for (const struct gdb_point *p = g->points; p < g->points + g->npoints; p++) {
		if (s->why == DEBUG_WATCH ? p->kind > '1' && s->addr - p->addr < p->len : p->kind <= '1' && s->addr == p->addr)
			return p;
	}
	return NULL;
}

bool point_planted(struct gdb *g, struct vcpu *v, uint64_t va, bool *alias)
{
	uint64_t pa, run;
	const bool walked = gdb_walk(g, v, va, &pa, &run);
	bool found = false;

	for (const struct gdb_point *p = g->points; p < g->points + g->npoints; p++) {
		if (!p->planted || (walked ? p->pa != pa : p->addr != va))
			continue;
		*alias = p->addr != va && (!found || *alias);
		found = true;
	}
	return found;
}
