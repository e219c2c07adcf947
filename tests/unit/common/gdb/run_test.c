/* The server for GDB: breakpoints, resuming, stopping, several vCPUs, resets and ends. */
#include "tests/unit/common/gdb/client.h"

#define CODE (VA + RAM + 0x100)                 /* an address with code, for breakpoints */

static bool held(unsigned i)
{
	return atomic_load(&vm.vcpus[i].held);
}

START_TEST(test_continue)
{
	client_start();
	memcpy(ram(CODE), "\x11\x22\x33", 3);
	ASK("Z0,40010100,2", "OK");
	ck_assert_mem_eq(ram(CODE), "\x11\x22\x33", 3);
	GO("vCont;c");
	ck_assert(!vm.holds);
	ck_assert_mem_eq(ram(CODE), "\xcc\xdd\x33", 3);
	for (unsigned i = 0; i < NVCPUS; i++)
		ck_assert(fake[i].on && !fake[i].step && !held(i));
	ASK("m40010100,2", "E10");              /* it runs */
	ASK("qfThreadInfo", "m1,2,3");
	hit(1, DEBUG_SW_BREAK, CODE, 0);
	ck_assert(held(1) && !held(0));
	ck_assert_str_eq(hear(), "T05swbreak:;thread:2;");
	ck_assert(vm.holds == HOLD_DEBUG);
	ck_assert_mem_eq(ram(CODE), "\x11\x22\x33", 3);
	ASK("?", "T05swbreak:;thread:2;");
	ASK("qC", "QC2");
	ASK("m40010100,3", "112233");
	ASK("z0,40010100,2", "OK");
	ASK("z0,40010100,2", "OK");
	GO("c");
	ck_assert_mem_eq(ram(CODE), "\x11\x22\x33", 3);
	fake_stop();
}
END_TEST

/* What GDB did not say it knows is not in the answers. */
START_TEST(test_old_client)
{
	client_start();
	ASK("qSupported", "PacketSize=4000;QStartNoAckMode+;vContSupported+;swbreak+;hwbreak+;qXfer:features:read+;qXfer:threads:read+");
	ASK("Z0,40010100,2", "OK");
	ASK("Z1,40010200,2", "OK");
	ASK("P1=0001014000000000", "OK");
	GO("C05;40010300");
	ck_assert_uint_eq(get_le64(fake[0].reg[R_PC]), 0x40010300);
	hit(0, DEBUG_SW_BREAK, CODE, 0);
	ck_assert_str_eq(hear(), "T05thread:1;");
	GO("c40010280");
	hit(0, DEBUG_HW_BREAK, CODE + 0x100, 0);
	ck_assert_str_eq(hear(), "T05thread:1;");
	ASK("czz", "E16");
	fake_stop();
}
END_TEST

/* From a breakpoint GDB knows of: one instruction alone without it, then everything with it. */
START_TEST(test_over)
{
	client_start();
	memset(ram(CODE), 0x11, 4);
	ASK("Z0,40010100,2", "OK");
	ASK("Z1,40010200,2", "OK");
	ASK("Z2,40010400,8", "OK");
	GO("vCont;c");
	hit(1, DEBUG_SW_BREAK, CODE, 0);
	ck_assert_str_eq(hear(), "T05swbreak:;thread:2;");
	GO("vCont;c");
	ck_assert(held(0) && !held(1) && held(2) && fake[1].step && fake[1].n == 1);
	ck_assert_int_eq(fake[1].point[0].type, DEBUG_WRITE);
	ck_assert_uint_eq(ram(CODE)[0], 0x11);
	set_pc(1, CODE + 2);
	hit(1, DEBUG_STEPPED, 0, 0);
	ck_assert(quiet());
	ck_assert(!held(0) && !held(1) && !held(2) && !fake[1].step && fake[1].n == 2 && !vm.holds);
	ck_assert_uint_eq(ram(CODE)[0], 0xcc);
	/* A step from a breakpoint ends there, and the others have not run. */
	hit(0, DEBUG_HW_BREAK, CODE + 0x100, 0);
	ck_assert_str_eq(hear(), "T05hwbreak:;thread:1;");
	GO("vCont;s:1;c");
	ck_assert(!held(0) && held(1) && fake[0].step);
	set_pc(0, CODE + 0x104);
	hit(0, DEBUG_STEPPED, 0, 0);
	ck_assert_str_eq(hear(), "T05thread:1;");
	/* GDB has put it elsewhere. */
	GO("c");
	hit(0, DEBUG_SW_BREAK, CODE, 0);
	ck_assert_str_eq(hear(), "T05swbreak:;thread:1;");
	GO("c40010300");
	ck_assert(!held(1) && !fake[0].step);
	fake_stop();
}
END_TEST

START_TEST(test_steps)
{
	client_start();
	GO("vCont;s:2");
	ck_assert(held(0) && !held(1) && held(2) && fake[1].step && !fake[0].on);
	hit(1, DEBUG_STEPPED, 0, 0);
	ck_assert_str_eq(hear(), "T05thread:2;");
	GO("vCont;S05:1;c");
	ck_assert(!held(0) && !held(1) && !held(2) && fake[0].step && !fake[1].step);
	hit(1, DEBUG_STEPPED, 0, 0);            /* it does not step */
	ck_assert(quiet() && !held(1));
	hit(0, DEBUG_STEPPED, 0, 0);
	ck_assert_str_eq(hear(), "T05thread:1;");
	GO("vCont;t:3;c");
	ck_assert(!held(0) && !held(1) && held(2));
	say_raw("\3", 1);
	ck_assert_str_eq(hear(), "T02thread:1;");
	ASK("Hc3", "OK");
	GO("s");
	ck_assert(held(0) && held(1) && !held(2) && fake[2].step);
	hit(2, DEBUG_STEPPED, 0, 0);
	ck_assert_str_eq(hear(), "T05thread:3;");
	GO("S05");
	say_raw("\3", 1);
	ck_assert_str_eq(hear(), "T02thread:3;");
	say_raw("\3", 1);
	ck_assert(quiet());
	fake_stop();
}
END_TEST

START_TEST(test_bad_vcont)
{
	static const char *const bad[] = {
		"vCont", "vCont;", "vCont;x", "vCont;c:4", "vCont;c:", "vCont;C", "vCont;c:1x", "vCont;r", "vCont;r1", "vCont;r1,", "vCont;c;;", "vContx",
		"vCont;t", "vCont;c:1:2", "vCont;Czz:1",
	};

	client_start();
	for (size_t i = 0; i < NELEM(bad); i++)
		ASK(bad[i], "E16");
	ASK("qC", "QC1");
	ck_assert(vm.holds == HOLD_DEBUG);
	fake_arm_err = -EIO;
	ASK("vCont;c", "E05");
	ck_assert(vm.holds == HOLD_DEBUG);
	fake_stop();
}
END_TEST

START_TEST(test_range)
{
	client_start();
	set_pc(0, CODE);
	GO("vCont;r40010100,40010108:1;c");
	for (unsigned i = 2; i < 8; i += 2) {
		set_pc(0, CODE + i);
		hit(0, DEBUG_STEPPED, 0, 0);
		ck_assert(quiet());
		ck_assert(!held(0) && fake[0].step);
	}
	set_pc(0, CODE + 8);
	hit(0, DEBUG_STEPPED, 0, 0);
	ck_assert_str_eq(hear(), "T05thread:1;");
	fake_stop();
}
END_TEST

/* A step into which the guest waits for an interrupt is helped once. */
START_TEST(test_kick)
{
	client_start();
	GO("vCont;s:1");
	loop_step(vm.loop, 200);
	ck_assert(!vm.holds && g->running);
	say_raw("\3", 1);
	ck_assert_str_eq(hear(), "T02thread:1;");
	loop_step(vm.loop, 100);
	ck_assert(vm.holds == HOLD_DEBUG);
	fake_stop();
}
END_TEST

START_TEST(test_together)
{
	client_start();
	ASK("Z0,40010100,2", "OK");
	ASK("Z4,40010400,8", "OK");
	GO("vCont;c");
	hit(0, DEBUG_SW_BREAK, CODE, 0);
	hit(1, DEBUG_SW_BREAK, CODE, 0);
	hit(2, DEBUG_WATCH, CODE + 0x300, DEBUG_ACCESS);
	ck_assert_str_eq(hear(), "T05swbreak:;thread:1;");
	ck_assert(quiet());
	/* Who is not let go keeps it. */
	GO("vCont;s:1");
	hit(0, DEBUG_STEPPED, 0, 0);
	ck_assert_str_eq(hear(), "T05thread:1;");
	ASK("vCont;c", "T05swbreak:;thread:2;");
	ASK("vCont;c", "T05awatch:40010400;thread:3;");
	/* All told; vCPU 1 has to go over its breakpoint. */
	GO("vCont;c");
	ck_assert(held(0) && !held(1) && held(2));
	set_pc(1, CODE + 2);
	hit(1, DEBUG_STEPPED, 0, 0);
	ck_assert(quiet() && !held(0));
	/* One that GDB removes meanwhile, or leaves, is not reported. */
	hit(0, DEBUG_SW_BREAK, CODE, 0);
	hit(1, DEBUG_SW_BREAK, CODE, 0);
	hit(2, DEBUG_WATCH, CODE + 0x300, DEBUG_ACCESS);
	ck_assert_str_eq(hear(), "T05awatch:40010400;thread:3;");
	set_pc(0, CODE + 0x50);
	ASK("Z0,40010150,2", "OK");
	ASK("z0,40010100,2", "OK");
	GO("vCont;c");
	/* A step is told first. */
	say_raw("\3", 1);
	ck_assert_str_eq(hear(), "T02thread:3;");
	GO("vCont;s:3;c");
	hit(0, DEBUG_SW_BREAK, CODE + 0x50, 0);
	hit(2, DEBUG_STEPPED, 0, 0);
	ck_assert_str_eq(hear(), "T05thread:3;");
	ASK("vCont;c", "T05swbreak:;thread:1;");
	fake_stop();
}
END_TEST

START_TEST(test_interrupted)
{
	client_start();
	ASK("Z0,40010100,2", "OK");
	GO("vCont;c");
	hit(1, DEBUG_SW_BREAK, CODE, 0);
	say_raw("\3", 1);                       /* too late: there is something to tell */
	ck_assert_str_eq(hear(), "T05swbreak:;thread:2;");
	ck_assert(quiet());
	GO("vCont;c");                          /* over it, which is cut short */
	say_raw("\3", 1);
	ck_assert_str_eq(hear(), "T02thread:2;");
	GO("vCont;c");                          /* and done again */
	ck_assert(held(0) && !held(1) && fake[1].step);
	set_pc(1, CODE + 2);
	hit(1, DEBUG_STEPPED, 0, 0);
	say_raw("\3", 1);
	ck_assert_str_eq(hear(), "T02thread:2;");
	GO("vCont;c");
	ck_assert(!held(0) && !fake[1].step);
	fake_stop();
}
END_TEST

START_TEST(test_not_ours)
{
	client_start();
	memset(ram(CODE), 0x11, 8);
	ASK("Z0,40010100,2", "OK");
	GO("vCont;c");
	hit(0, DEBUG_SW_BREAK, CODE + 4, 0);    /* kgdb's in the guest */
	ck_assert_uint_eq(fake[0].reinjected, 1);
	ck_assert(quiet() && !held(0) && g->running);
	fake[0].not_ours = true;
	hit(0, DEBUG_HW_BREAK, CODE, 0);
	ck_assert(quiet() && !held(0));
	fake[0].not_ours = false;
	hit(0, DEBUG_SW_BREAK, HOLE, 0);        /* nothing is mapped there */
	ck_assert_uint_eq(fake[0].reinjected, 2);
	/* The same code by another address: GDB need not know. */
	hit(2, DEBUG_SW_BREAK, VA + RAM + RAM_LEN - 4096 + 0x100, 0);
	ck_assert(quiet());
	ck_assert(held(0) && !held(2) && fake[2].step);
	ck_assert_uint_eq(ram(CODE)[0], 0x11);
	set_pc(2, VA + RAM + RAM_LEN - 4096 + 0x102);
	hit(2, DEBUG_STEPPED, 0, 0);
	ck_assert(quiet());
	ck_assert(!held(0) && !fake[2].step);
	ck_assert_uint_eq(ram(CODE)[0], 0xcc);
	fake_stop();
}
END_TEST

START_TEST(test_points)
{
	char packet[40];

	client_start();
	ASK("Z0,40003000,2", "OK");             /* not mapped, not RAM: the CPU does it */
	ASK("Z0,40000100,2", "OK");
	ASK("Z1,40010100,2", "OK");
	ck_assert_uint_eq(fake[0].n, 3);
	ASK("Z0,40003000,2", "OK");             /* again: nothing new */
	ASK("Z3,40010104,1", "OK");
	ASK("Z1,40010180,2", "E1c");            /* it has no more */
	ASK("Z0,40010180,2", "OK");
	GO("c");
	ck_assert_uint_eq(fake[0].n, 4);
	ck_assert(fake[0].point[3].type == DEBUG_READ && fake[0].point[3].addr == CODE + 4 && fake[0].point[3].len == 1);
	hit(0, DEBUG_HW_BREAK, HOLE, 0);
	ck_assert_str_eq(hear(), "T05swbreak:;thread:1;");      /* GDB asked for that kind */
	GO("vCont;c:2");
	hit(1, DEBUG_WATCH, CODE + 4, DEBUG_READ);
	ck_assert_str_eq(hear(), "T05rwatch:40010104;thread:2;");
	ASK("Z0,40010200", "E16");
	ASK("Z0,40010200,1", "E16");
	ASK("Z0", "E16");
	ASK("Z", "");
	ASK("Z2,40010200,0", "E16");
	ASK("Z5,40010200,1", "");
	ASK("z2,40010200,1", "OK");
	for (unsigned i = 0; i < POINTS_MAX - 5; i++) {
		snprintf(packet, sizeof(packet), "Z0,%x,2", CODE + 0x200 + 4 * i);
		ASK(packet, "OK");
	}
	ASK("Z0,40020000,2", "E1c");
	fake_hw = 2;
	ASK("vCont;c:3", "E1c");
	fake_stop();
}
END_TEST

START_TEST(test_leaving)
{
	client_start();
	memset(ram(CODE), 0x11, 8);
	ASK("Z0,40010100,2", "OK");
	ASK("Z0,40010104,2", "OK");
	GO("vCont;c");
	hit(0, DEBUG_SW_BREAK, CODE, 0);
	memset(ram(CODE) + 4, 0x22, 2);         /* the guest has overwritten that one */
	close(peer);
	while (g->fd >= 0)
		loop_step(vm.loop, 100);
	ck_assert(!vm.holds && !held(0) && !fake[0].on && !fake[2].on);
	ck_assert_mem_eq(ram(CODE), "\x11\x11\x11\x11\x22\x22\x11\x11", 8);
	fake_connect();
	ck_assert(vm.holds == HOLD_DEBUG);
	ASK("?", "T05thread:1;");
	ASK("D;1", "OK");
	ck_assert(!vm.holds);
	hit(1, DEBUG_WATCH, CODE, DEBUG_WRITE);         /* nobody is there to be told */
	ck_assert(!held(1) && quiet());
	ASK("?", "W00");
	ASK("g", "E10");
	ASK("c", "E10");
	ASK("D", "OK");
	ASK("vAttach;1", "T05thread:1;");
	ck_assert(vm.holds == HOLD_DEBUG);
	fake_stop();
}
END_TEST

START_TEST(test_kill)
{
	client_start();
	ASK("vKill;1", "OK");
	ck_assert_int_eq(vm.cause, CAUSE_SIGNAL);
	ck_assert_str_eq(vm.cause_text, "'kill' of GDB");
	fake_stop();
}
END_TEST

START_TEST(test_extended_kill)
{
	client_start();
	ASK("!", "OK");
	ASK("Z0,40010100,2", "OK");
	GO("c");
	ASK("vKill;1", "OK");
	ck_assert(vm.cause == CAUSE_NONE && vm.holds == HOLD_DEBUG && ram(CODE)[0] == 0);
	ASK("g", "E10");
	ASK("?", "W00");
	GO("vRun;");
	ck_assert_int_eq(vm.cause, CAUSE_RESET);
	ASK("g", "E10");
	gdb_vm_reset(g);
	ck_assert_str_eq(hear(), "T05thread:1;");
	ck_assert(vm.holds & HOLD_DEBUG);
	GO("k");
	vm.cause = CAUSE_NONE;
	close(peer);
	while (g->fd >= 0)
		loop_step(vm.loop, 100);
	ck_assert_int_eq(vm.cause, CAUSE_SIGNAL);
	fake_stop();
}
END_TEST

/* What handle_request() does around it. */
static void reset(void)
{
	vm_hold(&vm, HOLD_BOOT);
	memset(ram(CODE), 0x33, 4);
	gdb_vm_reset(g);
	vm_release(&vm, HOLD_BOOT);
}

START_TEST(test_reset)
{
	client_start();
	gdb_vm_reset(NULL);
	ASK("Z0,40010100,2", "OK");
	GO("vCont;c:2");
	reset();
	ck_assert(!vm.holds && !held(0) && fake[0].on);
	ck_assert_mem_eq(ram(CODE), "\xcc\xdd\x33\x33", 4);
	hit(0, DEBUG_SW_BREAK, CODE, 0);
	ck_assert_str_eq(hear(), "T05swbreak:;thread:1;");
	ck_assert_str_eq(said, "The guest has been reset; it runs on with your breakpoints.\n");
	ck_assert_mem_eq(ram(CODE), "\x33\x33\x33\x33", 4);
	reset();                                /* while GDB does not listen */
	ck_assert(quiet() && vm.holds == HOLD_DEBUG);
	ASK("?", "T05thread:1;");
	GO("vCont;s:2;c");
	reset();
	ck_assert_str_eq(hear(), "T05thread:1;");
	ck_assert(vm.holds == HOLD_DEBUG);
	/* A stop that the reset overtakes is forgotten. */
	GO("vCont;c");
	hit(0, DEBUG_SW_BREAK, CODE, 0);
	reset();
	ck_assert(!held(0) && !vm.holds);
	ck_assert_str_eq(hear_packet(), "O" "5468652067756573" "7420686173206265" "656e207265736574" "3b2069742072756e" "73206f6e20776974"
			 "6820796f75722062" "7265616b706f696e" "74732e0a");
	ck_assert(quiet());
	fake_arm_err = -EIO;
	reset();
	ck_assert_str_eq(hear(), "T05thread:1;");
	fake_stop();
}
END_TEST

START_TEST(test_ended)
{
	client_start();
	gdb_vm_ended(NULL, 0);
	GO("c");
	gdb_vm_ended(g, 3);
	ck_assert_str_eq(hear(), "W03");
	ck_assert_int_eq(hear_byte(), -1);
	close(peer);
	fake_connect();
	ASK("QStartNoAckMode", "OK");
	GO("c");
	gdb_vm_ended(g, 143);
	ck_assert_str_eq(hear(), "X0f");
	ck_assert_int_eq(hear_byte(), -1);
	close(peer);
	fake_connect();
	gdb_vm_ended(g, 0);                     /* GDB would take it for the answer to its next question */
	ck_assert_int_eq(hear_byte(), -1);
	gdb_vm_ended(g, 0);
	fake_stop();
}
END_TEST

static const char *monitor(const char *line)
{
	char packet[300] = "qRcmd,";

	for (const char *p = line; *p; p++)
		sprintf(packet + strlen(packet), "%02x", (unsigned char)*p);
	ASK(packet, "OK");
	return said;
}

START_TEST(test_monitor)
{
	static const char *const names[] = { "help", "info", "regs", "exits", "phys", "nmi", "reset", "poweroff" };

	client_start();
	for (size_t i = 0; i < NELEM(names); i++)
		ck_assert_ptr_nonnull(strstr(monitor("help"), names[i]));
	ASK("Z0,40010100,2", "OK");
	ASK("Z2,40010100,2", "OK");
	ck_assert_str_eq(monitor("info"), "unit: x86, 3 vCPUs, 1 MiB, paused, start 0\nbreakpoints: 1 in memory, 1 in debug registers\n");
	ck_assert_str_eq(monitor("regs 3"), "There is no vCPU '3': they are 0 to 2.\n");
	ck_assert_str_eq(monitor("regs -1"), "There is no vCPU '-1': they are 0 to 2.\n");
	ck_assert_str_eq(monitor("regs  x"), "There is no vCPU 'x': they are 0 to 2.\n");
	ck_assert_str_eq(monitor("phys"), "Addresses are those of the current thread's page tables.\n");
	ck_assert_str_eq(monitor("phys maybe"), "'monitor phys' is on or off.\n");
	ck_assert_str_eq(monitor(""), "There is no command '': 'monitor help' lists them.\n");
	ck_assert_str_eq(monitor("helpme"), "There is no command 'helpme': 'monitor help' lists them.\n");
	ck_assert_ptr_nonnull(strstr(monitor("nmi 1"), "vCPU 1: "));     /* refused, there being no KVM */
	ck_assert_ptr_nonnull(strstr(monitor("reset"), "The guest is reset."));
	ck_assert_int_eq(vm.cause, CAUSE_RESET);
	fake_stop();
}
END_TEST

UNIT_MAIN("common/gdb/run", test_continue, test_old_client, test_over, test_steps, test_bad_vcont, test_range, test_kick, test_together,
	  test_interrupted, test_not_ours, test_points, test_leaving, test_kill, test_extended_kill,
	  test_reset, test_ended, test_monitor)
