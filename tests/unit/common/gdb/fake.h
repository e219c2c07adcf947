/*
 * A machine without KVM for tests of the server for GDB: vCPUs that are what the test says, 1 MiB of RAM at 0x10000, page tables
 * that map [0x40000000, 0x40110000) to 0, each page by itself, but for the page at 0x40003000.  And a client's end of the connection.
 */
#ifndef TESTS_UNIT_COMMON_GDB_FAKE_H
#define TESTS_UNIT_COMMON_GDB_FAKE_H

#include <errno.h>
#include <linux/kvm.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/gdb/gdb.h"

#define NVCPUS 3
#define RAM 0x10000
#define RAM_LEN MIB(1)
#define VA 0x40000000u
#define HOLE 0x40003000u

enum { R_A, R_PC, R_VEC, R_SYS, R_NONE, REGS };

static const struct debug_reg fake_core[] = {
	{ "a", "int64", 64, "general", 0 }, { "pc", "code_ptr", 64, "general", 0 }, { "v", "v4", 128, "float", 0 },
};
static const struct debug_reg fake_system[] = { { "cr0", "int", 32, "system", 0 }, { "none", "int", 32, "system", 0 } };
static const struct debug_feature fake_features[] = {
	{ "org.skep.core", "<vector id=\"v4\" type=\"uint32\" count=\"4\"/>", fake_core, NELEM(fake_core) },
	{ "org.skep.system", NULL, fake_system, NELEM(fake_system) },
	{ NULL, NULL, NULL, 0 }
};

static int fake_walk(const struct debug_mmu *mmu, uint64_t va, uint64_t *pa, uint64_t *len)
{
	if (mmu->reg[0] != 1 || va < VA || va >= VA + RAM + RAM_LEN || ALIGN_DOWN(va, 4096u) == HOLE)
		return -EFAULT;
	*pa = va - VA;
	*len = 4096 - va % 4096;
	/* A second address of the first page of RAM. */
	if (va >= VA + RAM + RAM_LEN - 4096)
		*pa = RAM + va % 4096;
	return 0;
}

static const struct arch_debug fake_debug = {
	.gdb_arch = "i386:x86-64", .features = fake_features, .pc = R_PC, .brk = { 0xcc, 0xdd }, .brk_len = 2, .walk = fake_walk,
};
static const struct arch_info fake_arch = { .name = "x86", .debug = &fake_debug };

static struct fake_vcpu {
	uint8_t reg[REGS][16];
	bool on, step;
	unsigned n;
	struct debug_point point[DEBUG_POINTS_MAX];
	struct debug_stop stop;
	bool not_ours;
	unsigned reinjected, arms;
} fake[NVCPUS];
static unsigned fake_hw = 4;                    /* debug registers */
static int fake_arm_err;

static int fake_get(struct vcpu *v, unsigned n, uint8_t *val)
{
	if (n >= R_NONE)
		return -ENOENT;
	memcpy(val, fake[v->id].reg[n], 16);
	return 0;
}

static int fake_set(struct vcpu *v, unsigned n, const uint8_t *val)
{
	if (n >= R_NONE)
		return -ENOENT;
	memcpy(fake[v->id].reg[n], val, n == R_VEC ? 16 : n == R_SYS ? 4 : 8);
	return 0;
}

static void fake_mmu(struct vcpu *v, struct debug_mmu *mmu)
{
	(void)v;
	mmu->reg[0] = 1;
}

static int fake_arm(struct vcpu *v, bool on, const struct debug_point *p, unsigned n, bool step)
{
	struct fake_vcpu *f = &fake[v->id];

	if (n > fake_hw || fake_arm_err)
		return fake_arm_err ? fake_arm_err : -ENOSPC;
	f->on = on;
	f->step = step;
	f->n = n;
	f->arms++;
	if (n)
		memcpy(f->point, p, n * sizeof(*p));
	return 0;
}

static bool fake_exit(struct vcpu *v, struct debug_stop *s)
{
	*s = fake[v->id].stop;
	return !fake[v->id].not_ours;
}

static int fake_reinject(struct vcpu *v)
{
	fake[v->id].reinjected++;
	return 0;
}

static unsigned fake_mp_state(struct vcpu *v)
{
	return v->id == 0 ? KVM_MP_STATE_RUNNABLE : v->id == 1 ? KVM_MP_STATE_HALTED : KVM_MP_STATE_UNINITIALIZED;
}

static const struct gdb_ops fake_ops = {
	.get = fake_get, .set = fake_set, .mmu = fake_mmu, .arm = fake_arm, .exit = fake_exit, .reinject = fake_reinject,
	.mp_state = fake_mp_state,
};

static struct vm vm;
static struct gdb *g;
static int peer = -1;

/* The client's end, connected. */
static void fake_connect(void)
{
	int sv[2];

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, sv) < 0 || gdb_client(g, sv[0]))
		abort();
	peer = sv[1];
}

static void fake_start(void)
{
	memset(fake, 0, sizeof(fake));
	fake_arm_err = 0;
	fake_hw = 4;
	vm = (struct vm){ .name = "unit", .arch = &fake_arch, .dry = true, .nvcpus = NVCPUS, .loop = loop_new(), .state = VM_RUNNING, .fd = -1,
			   .policy.reboot = ACTION_PAUSE };     /* requests stay to be seen */
	pthread_mutex_init(&vm.park_lock, NULL);
	pthread_mutex_init(&vm.req_lock, NULL);
	pthread_cond_init(&vm.park_cond, NULL);
	pthread_cond_init(&vm.resume_cond, NULL);
	vm.vcpus = calloc(NVCPUS, sizeof(*vm.vcpus));
	for (unsigned i = 0; i < NVCPUS; i++) {
		vm.vcpus[i].vm = &vm;
		vm.vcpus[i].id = i;
		vm.vcpus[i].fd = -1;
	}
	if (mem_add(&vm.mem, "ram", RAM, RAM_LEN, MEM_ANONYMOUS))
		abort();
	g = vm.gdb = gdb_new(&vm, &fake_ops);
	if (!g)
		abort();
}

static void fake_stop(void)
{
	gdb_stop(g);
	if (peer >= 0)
		close(peer);
	peer = -1;
	loop_free(vm.loop);
	mem_fini(&vm.mem);
	free(vm.vcpus);
	pthread_mutex_destroy(&vm.park_lock);
	pthread_mutex_destroy(&vm.req_lock);
	pthread_cond_destroy(&vm.park_cond);
	pthread_cond_destroy(&vm.resume_cond);
}

#endif
