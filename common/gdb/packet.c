/*
 * Packets of the remote serial protocol [GDB E.2] to [GDB E.6]: one table.
 */
#include <ctype.h>
#include <errno.h>

#include "common/gdb/gdb.h"

/* What a handler returns; a negative errno becomes an error packet. */
enum { REPLY, OK, SILENT };

/* --- parsing --- */

static int digit(char c)
{
	return isdigit((unsigned char)c) ? c - '0' : isxdigit((unsigned char)c) ? (c | 0x20) - 'a' + 10 : -1;
}

const char *gdb_num(const char *s, uint64_t *val)
{
	const char *start = s;

	for (*val = 0; digit(*s) >= 0 && s - start <= 16; s++)
		*val = *val << 4 | (unsigned)digit(*s);
	return s == start || s - start > 16 ? NULL : s;
}

size_t gdb_unhex(const char *s, uint8_t *to, size_t len)
{
	size_t n = 0;

	for (; n < len && digit(s[0]) >= 0 && digit(s[1]) >= 0; s += 2)
		to[n++] = (uint8_t)(digit(s[0]) << 4 | digit(s[1]));
	return n;
}

/* Thread n is vCPU n - 1; 0 is any, -1 all [GDB E.2 thread-id]. */
bool gdb_thread(const struct gdb *g, const char **s, int *id)
{
	uint64_t n;

	if (!strncmp(*s, "-1", 2)) {
		*s += 2;
		*id = -1;
		return true;
	}
	*s = gdb_num(*s, &n);
	if (!*s || n > g->vm->nvcpus)
		return false;
	*id = n ? (int)n - 1 : (int)g->thread;
	return true;
}

/* "ADDR,LEN", *s behind it. */
static bool addr_len(const char **s, uint64_t *addr, uint64_t *len)
{
	*s = gdb_num(*s, addr);
	if (!*s || **s != ',')
		return false;
	*s = gdb_num(*s + 1, len);
	return *s;
}

static struct vcpu *vcpu(struct gdb *g)
{
	return &g->vm->vcpus[g->thread];
}

/* --- registers and memory --- */

static int do_g(struct gdb *g, char *args UNUSED)
{
	gdb_regs_read(g);
	return REPLY;
}

static int do_G(struct gdb *g, char *args)
{
	const int err = gdb_regs_write(g, args);

	return err ? err : OK;
}

static int do_p(struct gdb *g, char *args)
{
	uint64_t n;

	return gdb_num(args, &n) && n < UINT16_MAX ? gdb_reg_read(g, (unsigned)n) : -EINVAL;
}

static int do_P(struct gdb *g, char *args)
{
	uint64_t n;
	const char *s = gdb_num(args, &n);
	const int err = s && *s == '=' && n < UINT16_MAX ? gdb_reg_write(g, (unsigned)n, s + 1) : -EINVAL;

	return err ? err : OK;
}

static int do_m(struct gdb *g, char *args)
{
	uint8_t buf[PACKET_MAX / 2];
	const char *s = args;
	uint64_t addr, len;

	if (!addr_len(&s, &addr, &len) || *s)
		return -EINVAL;
	len = gdb_mem_read(g, addr, buf, MIN(len, sizeof(buf)));
	gdb_hex(g, buf, len);
	return len ? REPLY : -EFAULT;
}

static int do_M(struct gdb *g, char *args)
{
	uint8_t buf[PACKET_MAX / 2];
	const char *s = args;
	uint64_t addr, len;

	if (!addr_len(&s, &addr, &len) || *s != ':' || len > sizeof(buf) || gdb_unhex(s + 1, buf, len) != len)
		return -EINVAL;
	return gdb_mem_write(g, addr, buf, len) ? OK : -EFAULT;
}

/* As M, but in binary: '}' and the byte with bit 5 flipped [GDB E.1].  The body's own length counts: there are zeros in it. */
static int do_X(struct gdb *g, char *args)
{
	const char *s = args, *end = g->body + g->body_len;
	uint64_t addr, len;
	char *to = args;

	if (!addr_len(&s, &addr, &len) || *s++ != ':')
		return -EINVAL;
	for (; s < end; s++)
		*to++ = *s == '}' && s + 1 < end ? *++s ^ 0x20 : *s;
	if ((uint64_t)(to - args) != len)
		return -EINVAL;
	return gdb_mem_write(g, addr, args, len) ? OK : -EFAULT;
}

static int point(struct gdb *g, char *args, int (*fn)(struct gdb *, char, uint64_t, uint64_t))
{
	const char kind = args[0], *s = args + 2;
	uint64_t addr, len;

	if (kind < '0' || kind > '4')
		return REPLY;
	if (args[1] != ',' || !addr_len(&s, &addr, &len) || !len || (kind <= '1' && len != g->arch->brk_len))
		return -EINVAL;
	const int err = fn(g, kind, addr, len);
	return err ? err : OK;
}

static int do_Z(struct gdb *g, char *args)
{
	return point(g, args, point_add);
}

static int do_z(struct gdb *g, char *args)
{
	return point(g, args, point_del);
}

/* --- execution --- */

static void actions(struct gdb *g, char action)
{
	for (unsigned i = 0; i < g->vm->nvcpus; i++)
		g->vcpus[i].action = action;
}

static int resume(struct gdb *g)
{
	const int err = gdb_resume(g);

	return err ? err : SILENT;
}

/* c, s, with an address to go on from. */
static int old_resume(struct gdb *g, const char *addr, char action)
{
	uint64_t pc;
	int err = 0;

	if (*addr && !gdb_num(addr, &pc))
		return -EINVAL;
	if (*addr)
		err = gdb_set_pc(g, &g->vm->vcpus[g->cont], pc);
	if (err)
		return err;
	actions(g, action == 's' ? 0 : 'c');
	g->vcpus[g->cont].action = action;
	return resume(g);
}

static int do_c(struct gdb *g, char *args)
{
	return old_resume(g, args, 'c');
}

static int do_s(struct gdb *g, char *args)
{
	return old_resume(g, args, 's');
}

/* With a signal, which a machine has no use for. */
static int do_C(struct gdb *g, char *args)
{
	const char *semi = strchr(args, ';');

	return old_resume(g, semi ? semi + 1 : "", 'c');
}

static int do_S(struct gdb *g, char *args)
{
	const char *semi = strchr(args, ';');

	return old_resume(g, semi ? semi + 1 : "", 's');
}

/* One action of vCont: "c", "C05", "s", "S05", "rSTART,END", then perhaps ":THREAD". */
static const char *one_action(struct gdb *g, const char *s, char *to)
{
	const char action = *s++;
	uint64_t range[2] = { 0, 0 }, sig;
	int id = -1;

	if (action == 'C' || action == 'S')
		s = gdb_num(s, &sig);
	else if (action == 'r' && !addr_len(&s, &range[0], &range[1]))
		return NULL;
	else if (!strchr("csrt", action) || !action)
		return NULL;
	if (!s || (*s == ':' && (s++, !gdb_thread(g, &s, &id))) || (*s && *s != ';'))
		return NULL;
	for (unsigned i = 0; i < g->vm->nvcpus; i++) {
		if (to[i] || (id >= 0 && (unsigned)id != i))
			continue;
		to[i] = (char)(action | 0x20);
		memcpy(g->vcpus[i].range, range, sizeof(range));
	}
	return s;
}

/* The leftmost action that names a thread is its own; one that none names stays [GDB E.2 vCont]. */
static int do_vcont(struct gdb *g, char *args)
{
	char to[g->vm->nvcpus];
	const char *s = args;

	memset(to, 0, sizeof(to));
	while (s && *s == ';')
		s = one_action(g, s + 1, to);
	if (!s)
		return -EINVAL;
	for (unsigned i = 0; i < g->vm->nvcpus; i++)
		g->vcpus[i].action = to[i] == 't' ? 0 : to[i];
	return resume(g);
}

static int do_vcont_q(struct gdb *g, char *args UNUSED)
{
	gdb_text(g, "vCont;c;C;s;S;t;r");
	return REPLY;
}

static int do_reason(struct gdb *g, char *args UNUSED)
{
	gdb_text(g, "%s", g->killed || !g->attached ? "W00" : g->stop_reply);
	return REPLY;
}

static int do_detach(struct gdb *g, char *args UNUSED)
{
	gdb_detach(g);
	return OK;
}

/* In extended mode the user may run the guest again, so it waits for that; leaving ends it. */
static int do_kill(struct gdb *g, char *args UNUSED)
{
	if (g->extended) {
		vm_hold(g->vm, HOLD_DEBUG);
		points_clear(g);
		g->running = false;
		g->attached = g->killed = true;
	} else {
		vm_request(g->vm, CAUSE_SIGNAL, NULL, "'kill' of GDB");
	}
	return OK;
}

static int do_k(struct gdb *g, char *args)
{
	do_kill(g, args);
	return SILENT;
}

static int do_extended(struct gdb *g, char *args UNUSED)
{
	g->extended = true;
	return OK;
}

/* The stop reply comes from gdb_vm_reset(). */
static int do_run(struct gdb *g, char *args UNUSED)
{
	g->killed = false;
	gdb_attach(g);
	g->run_wanted = true;
	vm_request(g->vm, CAUSE_RESET, NULL, "'run' of GDB");
	return SILENT;
}

static int do_R(struct gdb *g, char *args UNUSED)
{
	vm_request(g->vm, CAUSE_RESET, NULL, "'run' of GDB");
	return SILENT;
}

static int do_attach(struct gdb *g, char *args)
{
	g->killed = false;
	gdb_attach(g);
	return do_reason(g, args);
}

/* --- threads --- */

static int do_H(struct gdb *g, char *args)
{
	const char *s = args + 1;
	int id;

	if ((args[0] != 'g' && args[0] != 'c') || !gdb_thread(g, &s, &id) || *s)
		return -EINVAL;
	if (args[0] == 'g')
		g->thread = id < 0 ? g->thread : (unsigned)id;
	else
		g->cont = id < 0 ? g->thread : (unsigned)id;
	return OK;
}

static int do_T(struct gdb *g, char *args)
{
	const char *s = args;
	int id;

	return gdb_thread(g, &s, &id) ? OK : -ESRCH;
}

static int do_threads(struct gdb *g, char *args UNUSED)
{
	for (unsigned i = 0; i < g->vm->nvcpus; i++)
		gdb_text(g, "%c%x", i ? ',' : 'm', i + 1);
	return REPLY;
}

static int do_threads_end(struct gdb *g, char *args UNUSED)
{
	gdb_text(g, "l");
	return REPLY;
}

static int do_thread_info(struct gdb *g, char *args)
{
	const char *s = args;
	char text[40];
	int id;

	if (!gdb_thread(g, &s, &id) || id < 0)
		return -ESRCH;
	gdb_hex(g, text, (size_t)snprintf(text, sizeof(text), "CPU %d %s", id, gdb_thread_state(g, (unsigned)id)));
	return REPLY;
}

static int do_current(struct gdb *g, char *args UNUSED)
{
	gdb_text(g, "QC%x", vcpu(g)->id + 1);
	return REPLY;
}

/* --- the rest --- */

static int do_supported(struct gdb *g, char *args)
{
	g->swbreak = strstr(args, "swbreak+");
	g->hwbreak = strstr(args, "hwbreak+");
	gdb_text(g, "PacketSize=%x;QStartNoAckMode+;vContSupported+;swbreak+;hwbreak+;qXfer:features:read+;qXfer:threads:read+", PACKET_MAX);
	return REPLY;
}

static int do_no_ack(struct gdb *g, char *args UNUSED)
{
	g->no_ack = true;
	return OK;
}

static int do_non_stop(struct gdb *g UNUSED, char *args)
{
	return args[0] == '0' ? OK : -EINVAL;
}

static int do_attached(struct gdb *g, char *args UNUSED)
{
	gdb_text(g, "1");
	return REPLY;
}

static int do_ok(struct gdb *g UNUSED, char *args UNUSED)
{
	return OK;
}

static int do_xfer(struct gdb *g, char *args)
{
	gdb_xfer(g, args);
	return REPLY;
}

static int do_monitor(struct gdb *g, char *args)
{
	char line[128];
	const size_t n = gdb_unhex(args, (uint8_t *)line, sizeof(line) - 1);

	line[n] = 0;
	gdb_monitor(g, line);
	return OK;
}

/* Prefixes; what is no prefix of another packet needs no end.  `stopped`: GDB holds the guest. */
static const struct packet {
	const char *name;
	bool stopped;
	int (*fn)(struct gdb *, char *args);
} packets[] = {
	{ "?", true, do_reason }, { "!", false, do_extended },
	{ "g", true, do_g }, { "G", true, do_G }, { "p", true, do_p }, { "P", true, do_P },
	{ "m", true, do_m }, { "M", true, do_M }, { "X", true, do_X },
	{ "Z", true, do_Z }, { "z", true, do_z },
	{ "c", true, do_c }, { "C", true, do_C }, { "s", true, do_s }, { "S", true, do_S },
	{ "vCont?", false, do_vcont_q }, { "vCont", true, do_vcont },
	{ "vKill;", false, do_kill }, { "vRun;", false, do_run }, { "vAttach;", false, do_attach },
	{ "k", false, do_k }, { "R", false, do_R }, { "D", false, do_detach },
	{ "H", false, do_H }, { "T", false, do_T },
	{ "qfThreadInfo", false, do_threads }, { "qsThreadInfo", false, do_threads_end },
	{ "qThreadExtraInfo,", true, do_thread_info }, { "qC", false, do_current },
	{ "qSupported", false, do_supported }, { "QStartNoAckMode", false, do_no_ack }, { "QNonStop:", false, do_non_stop },
	{ "qAttached", false, do_attached }, { "qSymbol::", false, do_ok }, { "qXfer:", true, do_xfer },
	{ "qRcmd,", true, do_monitor },
	{ NULL, false, NULL }
};

void gdb_packet(struct gdb *g)
{
	const struct packet *p = packets;
	int r = REPLY;

	g->body[g->body_len] = 0;
	g->reply_len = 0;
	while (p->name && strncmp(g->body, p->name, strlen(p->name)) != 0)
		p++;
	/* Without a guest at hand, "?" says so. */
	if (p->name && p->stopped && p->fn != do_reason && (!g->attached || g->running || g->killed || g->run_wanted))
		r = -EBUSY;
	else if (p->name && p->fn == do_reason && g->running)
		r = -EBUSY;
	else if (p->name)
		r = p->fn(g, g->body + strlen(p->name));
	if (r == SILENT)
		return;
	if (r < 0) {
		g->reply_len = 0;
		gdb_text(g, "E%02x", -r & 0xff);
	} else if (r == OK) {
		g->reply_len = 0;
		gdb_text(g, "OK");
	}
	gdb_send(g);
}
