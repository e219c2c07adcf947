/*
 * What the files of the server for GDB share.  All of it is the loop thread's, but for what says otherwise.
 *
 * While GDB holds the machine, guest memory has no breakpoints in it: points_plant() puts them there when vCPUs are let go,
 * points_lift() takes them out when all are parked again.
 */
#ifndef COMMON_GDB_GDB_H
#define COMMON_GDB_GDB_H

#include <pthread.h>
#include <stdio.h>

#include "common/debug.h"
#include "common/loop.h"
#include "common/vm.h"

#define PACKET_MAX 0x4000                       /* bytes of a packet's contents, either way */
#define POINTS_MAX 256
#define OUT_HIGH KIB(64)                        /* more unread than this: no further packet is taken */
#define OUT_MAX MIB(4)                          /* ... and text for the user is dropped */

/* The KVM half; tests put another in its place. */
struct gdb_ops {
	int (*get)(struct vcpu *, unsigned regno, uint8_t *val);
	int (*set)(struct vcpu *, unsigned regno, const uint8_t *val);
	void (*mmu)(struct vcpu *, struct debug_mmu *);
	int (*arm)(struct vcpu *, bool on, const struct debug_point *, unsigned n, bool step);
	bool (*exit)(struct vcpu *, struct debug_stop *);
	int (*reinject)(struct vcpu *);
	unsigned (*mp_state)(struct vcpu *);    /* KVM_MP_STATE_* */
};
extern const struct gdb_ops gdb_kvm_ops;

/* A breakpoint or watchpoint.  Written while vCPUs are parked, read by vCPU threads. */
struct gdb_point {
	char kind;                              /* '0' to '4', as in Z packets */
	bool hw;                                /* in the CPU's debug registers; else in memory */
	bool planted;
	uint64_t addr, len;
	uint64_t pa;                            /* not hw */
	uint8_t saved[4];
};

struct gdb_vcpu {
	/* The vCPU's thread writes these, under the lock, before it parks. */
	bool hit;                               /* there is a stop GDB has not been told of */
	bool alias;                             /* at a breakpoint, by an address that is not the breakpoint's: GDB is not told */
	struct debug_stop stop;

	bool armed_step;
	char action;                            /* 'c', 's', 'r' (step while in the range); 0: stays parked */
	uint64_t range[2];
	bool over;                              /* GDB knows that it is at a breakpoint: it goes on behind it */
	uint64_t over_pc;                       /* ... if its program counter is still this */
	uint64_t pc;                            /* at the hit */
};

enum { RX_IDLE, RX_BODY, RX_SUM1, RX_SUM2 };

struct gdb {
	struct vm *vm;
	const struct gdb_ops *ops;
	const struct arch_debug *arch;

	/* Listening. */
	int listen_fd;
	struct ev *listen_ev, *retry;
	char *path;                             /* of a unix socket, removed at the end */

	/* The client. */
	int fd;                                 /* -1: none */
	struct ev *ev;
	char *out;                              /* not taken by it yet */
	size_t out_len, out_off, out_size;
	char in[4096];                          /* received, not looked at yet */
	size_t in_len, in_off;
	int rx;
	char body[PACKET_MAX + 1];              /* of the packet that comes in; ends in 0 */
	size_t body_len;
	bool too_long;
	uint8_t sum, sum_said;
	char reply[PACKET_MAX + 1];
	size_t reply_len;
	bool no_ack, leaving;                   /* leaving: the connection ends when everything is written */
	bool extended, swbreak, hwbreak, phys;
	bool killed;                            /* in extended mode: may be run again, ends with the connection */
	char *target, *threads;                 /* XML, once asked for */
	char stop_reply[96];                    /* the last one */

	/* The machine. */
	bool attached;                          /* GDB has it; else it runs as if there were no debugger */
	bool running;                           /* GDB has let it go and waits for a stop */
	bool run_wanted;                        /* a reset for vRun is under way */
	unsigned thread, cont;                  /* vCPUs of Hg and Hc */
	int over;                               /* vCPU that goes over a breakpoint, alone; -1: none does */
	struct ev *kick;                        /* a step takes long: the guest waits for an interrupt */
	struct gdb_vcpu *vcpus;
	struct gdb_point points[POINTS_MAX];
	unsigned npoints;
	pthread_mutex_t lock;
	bool posted;                            /* under lock: gdb_on_stop() comes */
};

/* --- gdb.c: connection --- */
struct gdb *gdb_new(struct vm *, const struct gdb_ops *);       /* listens nowhere; NULL: no memory */
int gdb_client(struct gdb *, int fd);           /* takes a connection over; -EBUSY: there is one already (fd closed) */
void gdb_send(struct gdb *);                    /* reply[] as a packet */
void gdb_hex(struct gdb *, const void *data, size_t len);       /* appended to the reply, as far as there is room */
void gdb_text(struct gdb *, const char *fmt, ...) PRINTF_LIKE(2, 3);
void gdb_say(struct gdb *, const char *text, size_t len);       /* O packets: text for GDB's user */

/* --- packet.c --- */
void gdb_packet(struct gdb *);                  /* body[] is whole */
const char *gdb_num(const char *s, uint64_t *val);              /* hexadecimal; NULL: there is none */
/* Bytes from hexadecimal digits, up to len; how many there were. */
size_t gdb_unhex(const char *s, uint8_t *to, size_t len);
bool gdb_thread(const struct gdb *, const char **s, int *id);   /* vCPU, -1: all; *s behind it.  False: there is none */

/* --- xml.c --- */
const char *gdb_thread_state(struct gdb *, unsigned vcpu);
void gdb_xfer(struct gdb *, const char *args);  /* qXfer: "features:read:target.xml:0,1000" */

/* --- regs.c --- */
void gdb_regs_read(struct gdb *);               /* g */
int gdb_regs_write(struct gdb *, const char *hex);
int gdb_reg_read(struct gdb *, unsigned n);     /* p */
int gdb_reg_write(struct gdb *, unsigned n, const char *hex);
uint64_t gdb_pc(struct gdb *, struct vcpu *);
int gdb_set_pc(struct gdb *, struct vcpu *, uint64_t pc);

/* --- memory.c: by the addresses of a vCPU, or guest-physical with `monitor phys on` --- */
bool gdb_walk(struct gdb *, struct vcpu *, uint64_t va, uint64_t *pa, uint64_t *len);   /* also on the vCPU's own thread */
size_t gdb_mem_read(struct gdb *, uint64_t addr, void *buf, size_t len);        /* how much there is */
bool gdb_mem_write(struct gdb *, uint64_t addr, const void *buf, size_t len);   /* all or nothing */
bool gdb_code_write(struct gdb *, uint64_t pa, const void *buf, size_t len);    /* the guest will execute it */

/* --- points.c --- */
int point_add(struct gdb *, char kind, uint64_t addr, uint64_t len);    /* 0 or -errno */
int point_del(struct gdb *, char kind, uint64_t addr, uint64_t len);
void points_clear(struct gdb *);
void points_plant(struct gdb *);
void points_lift(struct gdb *);
void points_resolve(struct gdb *);              /* anew, after a reset */
/* The debug registers' share; `watch_only` leaves out breakpoints. */
unsigned points_hw(const struct gdb *, struct debug_point *, bool watch_only);
const struct gdb_point *point_of(const struct gdb *, const struct debug_stop *);
/* On the vCPU's thread: is the instruction at va one that points_plant() has put there?  *alias: by another address. */
bool point_planted(struct gdb *, struct vcpu *, uint64_t va, bool *alias);

/* --- run.c --- */
void gdb_attach(struct gdb *);                  /* holds the machine */
void gdb_detach(struct gdb *);                  /* lets it go, without a trace */
int gdb_resume(struct gdb *);                   /* by the vCPUs' actions; 0 or -errno */
void gdb_interrupt(struct gdb *);               /* ^C */
void gdb_on_stop(void *g, uint32_t);            /* posted by a vCPU's thread */
void gdb_on_kick(void *g, uint32_t);
void gdb_stop_reply(struct gdb *, unsigned vcpu, const struct debug_stop *, unsigned signal);

/* --- monitor.c --- */
void gdb_monitor(struct gdb *, const char *line);

#endif
