/*
 * Execution for GDB, all-stop [GDB E.2]: letting vCPUs go as their actions say, and what follows when one stops.
 *
 * A vCPU whose stop is for GDB records it, stays parked by itself (`held`) and posts; the loop then parks all others.  One
 * stop is reported, further ones wait for the next resume.  A vCPU that GDB knows to be at a breakpoint first goes over
 * the instruction alone, with no breakpoint in memory, before the others are let go.
 */
#include <errno.h>

#include "common/gdb/gdb.h"
#include "common/log.h"

/*
 * A step over an instruction that waits for an interrupt need not end by itself.  Parking ends the wait on arm64, where WFI may
 * return at any time [Arm ARM D1, "Wait for Interrupt"]; elsewhere nothing changes.
 */
#define KICK_NS 50000000u

enum { SIG_INT = 2, SIG_TRAP = 5 };

#define EACH_VCPU(i) (unsigned i = 0; i < g->vm->nvcpus; i++)

void gdb_stop_reply(struct gdb *g, unsigned vcpu, const struct debug_stop *s, unsigned sig)
{
	static const char *const watch[] = { [DEBUG_BREAK] = "", [DEBUG_WRITE] = "watch", [DEBUG_READ] = "rwatch", [DEBUG_ACCESS] = "awatch" };
	const struct gdb_point *p = s ? point_of(g, s) : NULL;
	char why[48] = "";

	if (s && s->why == DEBUG_WATCH)
		snprintf(why, sizeof(why), "%s:%llx;", watch[s->type], (unsigned long long)s->addr);
	else if (p && p->kind == '0' && g->swbreak)
		strcpy(why, "swbreak:;");
	else if (p && p->kind == '1' && g->hwbreak)
		strcpy(why, "hwbreak:;");
	snprintf(g->stop_reply, sizeof(g->stop_reply), "T%02x%sthread:%x;", sig, why, vcpu + 1);
	g->thread = g->cont = vcpu;
}

static void report(struct gdb *g, unsigned vcpu, const struct debug_stop *s, unsigned sig)
{
	struct gdb_vcpu *gv = &g->vcpus[vcpu];

	gv->hit = false;
	if (s && (s->why == DEBUG_SW_BREAK || s->why == DEBUG_HW_BREAK)) {
		gv->over = true;
		gv->over_pc = gv->pc;
	}
	g->running = false;
	g->reply_len = 0;
	gdb_stop_reply(g, vcpu, s, sig);
	gdb_text(g, "%s", g->stop_reply);
	gdb_send(g);
}

/* --- letting go --- */

/* The next vCPU that has to go over a breakpoint first; -1: none. */
static int next_over(struct gdb *g)
{
	for EACH_VCPU(i) {
		struct gdb_vcpu *gv = &g->vcpus[i];

		if (!gv->action || !gv->over)
			continue;
		if (gv->over_pc == gdb_pc(g, &g->vm->vcpus[i]))
			return (int)i;
		gv->over = false;
	}
	return -1;
}

static int go(struct gdb *g)
{
	struct debug_point hw[DEBUG_POINTS_MAX];
	bool steps = false;
	int err = 0;

	g->over = next_over(g);
	const unsigned n = points_hw(g, hw, g->over >= 0);

	for EACH_VCPU(i) {
		struct gdb_vcpu *gv = &g->vcpus[i];
		const bool runs = g->over < 0 ? gv->action : (int)i == g->over;

		gv->armed_step = runs && (g->over >= 0 || gv->action != 'c');
		steps |= gv->armed_step;
		atomic_store(&g->vm->vcpus[i].held, !runs);
		if (runs && !err)
			err = g->ops->arm(&g->vm->vcpus[i], true, hw, n, gv->armed_step);
	}
	if (err)
		return err;
	if (g->over < 0)
		points_plant(g);
	ev_arm(g->kick, steps ? KICK_NS : 0);
	vm_release(g->vm, HOLD_DEBUG);
	return 0;
}

/* A stop that was not reported when it happened: GDB may have removed what caused it. */
static bool still_true(struct gdb *g, unsigned i)
{
	const struct gdb_vcpu *gv = &g->vcpus[i];

	return gv->stop.why != DEBUG_STEPPED && point_of(g, &gv->stop) &&
	       (gv->stop.why == DEBUG_WATCH || gdb_pc(g, &g->vm->vcpus[i]) == gv->pc);
}

int gdb_resume(struct gdb *g)
{
	bool any = false;

	for EACH_VCPU(i) {
		struct gdb_vcpu *gv = &g->vcpus[i];

		any |= gv->action;
		if (!gv->action || !gv->hit)
			continue;
		if (still_true(g, i)) {
			report(g, i, &gv->stop, SIG_TRAP);
			return 0;
		}
		gv->hit = false;
	}
	const int err = any ? go(g) : -EINVAL;

	g->running = !err;
	return err;
}

/* --- stopping --- */

void gdb_vcpu_exit(struct vcpu *v)
{
	struct gdb *g = v->vm->gdb;
	struct gdb_vcpu *gv = &g->vcpus[v->id];
	struct debug_stop stop;
	bool alias = false;
	int err;

	if (!g->ops->exit(v, &stop))
		return;
	if (stop.why == DEBUG_SW_BREAK && !point_planted(g, v, stop.addr, &alias)) {
		err = g->ops->reinject(v);
		if (err)
			vm_request(v->vm, CAUSE_HOST_ERROR, v, "a breakpoint of the guest's own cannot be given to it: %s", strerror(-err));
		return;
	}
	/* Too late: nobody has asked for it any more. */
	if (!g->attached || (stop.why == DEBUG_STEPPED && !gv->armed_step))
		return;
	pthread_mutex_lock(&g->lock);
	gv->hit = true;
	gv->alias = alias;
	gv->stop = stop;
	atomic_store(&v->held, true);
	if (!g->posted)
		g->posted = !ev_post(v->vm->loop, gdb_on_stop, g);
	pthread_mutex_unlock(&g->lock);
}

/* What the stop of one vCPU means; false: nothing that GDB has to know. */
static bool judge(struct gdb *g, unsigned i)
{
	struct gdb_vcpu *gv = &g->vcpus[i];
	const bool stepped = gv->stop.why == DEBUG_STEPPED;

	gv->pc = gdb_pc(g, &g->vm->vcpus[i]);
	if (gv->alias) {
		gv->over = true;
		gv->over_pc = gv->pc;
		return false;
	}
	if ((int)i == g->over && stepped) {
		gv->over = false;
		if (gv->action == 'c')
			return false;
	}
	return !(stepped && gv->action == 'r' && gv->pc >= gv->range[0] && gv->pc < gv->range[1]);
}

/* All vCPUs are parked: a report, or they go on.  With `interrupt` there is a report. */
static void stopped(struct gdb *g, bool interrupt)
{
	int best = -1;

	ev_arm(g->kick, 0);
	points_lift(g);
	for EACH_VCPU(i) {
		struct gdb_vcpu *gv = &g->vcpus[i];

		if (gv->hit && gv->action)
			gv->hit = judge(g, i);
		if (!gv->hit || !gv->action)
			continue;
		/* The one that GDB steps, or else the one it looks at: the others can wait. */
		if (best < 0 || gv->stop.why == DEBUG_STEPPED || (i == g->thread && g->vcpus[best].stop.why != DEBUG_STEPPED))
			best = (int)i;
	}
	g->over = -1;
	if (best >= 0)
		report(g, (unsigned)best, &g->vcpus[best].stop, SIG_TRAP);
	else if (interrupt || go(g))
		report(g, g->thread, NULL, interrupt ? SIG_INT : SIG_TRAP);
}

static bool any_hit(struct gdb *g)
{
	bool any = false;

	pthread_mutex_lock(&g->lock);
	for EACH_VCPU(i)
		any |= g->vcpus[i].hit && g->vcpus[i].action;
	pthread_mutex_unlock(&g->lock);
	return any;
}

void gdb_on_stop(void *arg, uint32_t events UNUSED)
{
	struct gdb *g = arg;

	pthread_mutex_lock(&g->lock);
	g->posted = false;
	pthread_mutex_unlock(&g->lock);
	if (!g->running || !any_hit(g))
		return;
	vm_hold(g->vm, HOLD_DEBUG);
	stopped(g, false);
}

void gdb_on_kick(void *arg, uint32_t events UNUSED)
{
	struct gdb *g = arg;

	if (!g->running)
		return;
	vm_hold(g->vm, HOLD_DEBUG);
	if (any_hit(g))
		stopped(g, false);
	else
		vm_release(g->vm, HOLD_DEBUG);
}

void gdb_interrupt(struct gdb *g)
{
	if (!g->running)
		return;
	vm_hold(g->vm, HOLD_DEBUG);
	stopped(g, true);
}

/* --- attaching --- */

static void forget(struct gdb *g)
{
	ev_arm(g->kick, 0);
	memset(g->vcpus, 0, g->vm->nvcpus * sizeof(*g->vcpus));
	g->over = -1;
	g->running = g->run_wanted = false;
	gdb_stop_reply(g, 0, NULL, SIG_TRAP);
}

void gdb_attach(struct gdb *g)
{
	if (g->attached)
		return;
	vm_hold(g->vm, HOLD_DEBUG);
	forget(g);
	g->attached = true;
}

void gdb_detach(struct gdb *g)
{
	if (!g->attached)
		return;
	vm_hold(g->vm, HOLD_DEBUG);
	points_clear(g);
	forget(g);
	for EACH_VCPU(i) {
		const int err = g->ops->arm(&g->vm->vcpus[i], false, NULL, 0, false);

		if (err)
			log_warn("gdb", "vCPU %u: debugging does not end: %s", i, strerror(-err));
		atomic_store(&g->vm->vcpus[i].held, false);
	}
	g->attached = g->phys = false;
	vm_release(g->vm, HOLD_DEBUG);
}

/* Every vCPU is parked, and what was in RAM may have been written over. */
void gdb_vm_reset(struct gdb *g)
{
	static const char text[] = "The guest has been reset; it runs on with your breakpoints.\n";
	bool waits, stepped = false;

	if (!g || !g->attached)
		return;
	points_lift(g);
	for EACH_VCPU(i)
		stepped |= g->vcpus[i].action && g->vcpus[i].action != 'c';
	waits = g->running || g->run_wanted;
	stepped |= !g->running;
	forget(g);
	points_resolve(g);
	if (waits && !stepped) {
		for EACH_VCPU(i)
			g->vcpus[i].action = 'c';
		gdb_say(g, text, sizeof(text) - 1);
		g->running = !go(g);
		if (g->running)
			return;
	}
	vm_hold(g->vm, HOLD_DEBUG);
	if (waits)
		report(g, 0, NULL, SIG_TRAP);
}
