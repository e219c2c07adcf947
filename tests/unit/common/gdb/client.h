/*
 * The client's side of GDB's protocol, for tests.
 */
#ifndef TESTS_UNIT_COMMON_GDB_CLIENT_H
#define TESTS_UNIT_COMMON_GDB_CLIENT_H

#include "tests/unit/common/gdb/fake.h"
#include "tests/unit/unit.h"

static char heard[KIB(64)];                     /* contents of the last packet */
static char said[KIB(16)];                      /* text of O packets since the last answer */

static void say_raw(const void *data, size_t len)
{
	ck_assert_int_eq(send(peer, data, len, MSG_NOSIGNAL), (ssize_t)len);
}

static void say(const char *packet, size_t len)
{
	char end[4];

	snprintf(end, sizeof(end), "#%02x", byte_sum(packet, len));
	say_raw("$", 1);
	say_raw(packet, len);
	say_raw(end, 3);
}

/* The next byte from the server; -1: it hung up, -2: it says nothing. */
static int hear_byte(void)
{
	uint8_t c;

	for (unsigned i = 0; i < 20; i++) {
		ssize_t n = recv(peer, &c, 1, 0);

		if (n >= 0)
			return n ? c : -1;
		loop_step(vm.loop, i < 3 ? 0 : 20);
	}
	return -2;
}

/* Nothing comes but, before it, acknowledgements. */
static bool quiet(void)
{
	int c;

	while ((c = hear_byte()) == '+')
		;
	return c == -2;
}

static const char *hear_packet(void)
{
	size_t n = 0;
	int c;

	do
		c = hear_byte();
	while (c == '+');
	ck_assert_msg(c == '$', "%d instead of a packet", c);
	while ((c = hear_byte()) != '#') {
		ck_assert_int_ge(c, 0);
		heard[n++] = (char)c;
	}
	heard[n] = 0;
	char sum[3] = { (char)hear_byte(), (char)hear_byte(), 0 };
	ck_assert_uint_eq(strtoul(sum, NULL, 16), byte_sum(heard, n));
	return heard;
}

/* O packets are kept in said[]. */
static const char *hear(void)
{
	size_t n = 0;

	while (hear_packet()[0] == 'O' && strcmp(heard, "OK") != 0) {
		n += gdb_unhex(heard + 1, (uint8_t *)said + n, sizeof(said) - n - 1);
		said[n] = 0;
	}
	return heard;
}

static const char *ask(const char *packet)
{
	said[0] = 0;
	say(packet, strlen(packet));
	return hear();
}

#define ASK(packet, want) ck_assert_str_eq(ask(packet), want)
#define GO(packet) do { say(packet, strlen(packet)); ck_assert_msg(quiet(), "%s is answered", packet); } while (0)

/* vCPU i leaves KVM_RUN for this. */
static UNUSED void hit(unsigned i, enum debug_why why, uint64_t addr, enum debug_type type)
{
	fake[i].stop = (struct debug_stop){ why, addr, type };
	if (why == DEBUG_SW_BREAK || why == DEBUG_HW_BREAK)
		put_le64(fake[i].reg[R_PC], addr);
	gdb_vcpu_exit(&vm.vcpus[i]);
}

static UNUSED void set_pc(unsigned i, uint64_t pc)
{
	put_le64(fake[i].reg[R_PC], pc);
}

static UNUSED uint8_t *ram(uint64_t va)
{
	return mem_at(&vm.mem, va - VA, 16);
}

static void client_start(void)
{
	fake_start();
	fake_connect();
	ASK("QStartNoAckMode", "OK");
	ASK("qSupported:swbreak+;hwbreak+;xmlRegisters=i386",
	    "PacketSize=4000;QStartNoAckMode+;vContSupported+;swbreak+;hwbreak+;qXfer:features:read+;qXfer:threads:read+");
}

#endif
