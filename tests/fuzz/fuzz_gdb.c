/*
 * What a client says to the server for GDB.  Byte 0: acknowledgements are wanted (1), the machine runs at first (2).  Then the
 * client's bytes; 0xff and a byte is an event instead: vCPU (bits 0 and 1, 3: the machine is reset) and why it stops (2 to 4), at one
 * of eight addresses (5 to 7).  Whatever happens: what breakpoints have changed is as before when the client has gone, nothing
 * keeps the machine, and the next client is answered.
 */
#include "tests/fuzz/fuzz.h"

#include <unistd.h>

#include "tests/unit/common/gdb/fake.h"

static void drain(void)
{
	static char buf[65536];

	for (unsigned i = 0; i < 4; i++) {
		loop_step(vm.loop, 0);
		while (recv(peer, buf, sizeof(buf), MSG_DONTWAIT) > 0)
			;
	}
}

static void event(uint8_t what)
{
	const unsigned i = what & 3;

	drain();
	if (i == NVCPUS) {
		vm_hold(&vm, HOLD_BOOT);
		gdb_vm_reset(g);
		vm_release(&vm, HOLD_BOOT);
		return;
	}
	/* Only a vCPU that was let go can stop. */
	if (vm.holds || atomic_load(&vm.vcpus[i].held))
		return;
	fake[i].stop = (struct debug_stop){ (what >> 2 & 7) % 4, VA + RAM + 0x100 + 4 * (what >> 5), what >> 4 & 3 };
	if (fake[i].stop.why != DEBUG_WATCH)
		put_le64(fake[i].reg[R_PC], fake[i].stop.addr);
	gdb_vcpu_exit(&vm.vcpus[i]);
}

static void say(const uint8_t *p, size_t len)
{
	while (len) {
		const uint8_t *ff = memchr(p, 0xff, len);
		const size_t n = ff ? (size_t)(ff - p) : len;

		if (n && send(peer, p, n, MSG_NOSIGNAL) != (ssize_t)n)
			return;
		drain();
		if (!ff || len - n < 2)
			return;
		event(ff[1]);
		p = ff + 2;
		len -= n + 2;
	}
}

static void leave(void)
{
	close(peer);
	peer = -1;
	for (unsigned i = 0; i < 100 && g->fd >= 0; i++)
		loop_step(vm.loop, 1);
	MUST(g->fd < 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	static const char no_ack[] = "$QStartNoAckMode#b0+", go[] = "$c#63";
	static const uint8_t code[4] = { 1, 2, 3, 4 };
	char answer[16] = "";

	if (!len)
		return 0;
	fake_start();
	vm.cause = CAUSE_CRASH;                 /* requests are made in vain: there is no machine to reset or to end */
	memcpy(mem_at(&vm.mem, RAM + 0x100, 4), code, 4);
	fake_connect();
	if (!(data[0] & 1))
		MUST(send(peer, no_ack, sizeof(no_ack) - 1, 0) > 0);
	if (data[0] & 2)
		MUST(send(peer, go, sizeof(go) - 1, 0) > 0);
	drain();
	say(data + 1, len - 1);
	drain();
	const bool killed = g->killed;
	leave();
	for (unsigned i = 0; i < NVCPUS; i++)
		MUST(killed || (!fake[i].on && !atomic_load(&vm.vcpus[i].held)));
	MUST(killed || !(vm.holds & HOLD_DEBUG));
	MUST(!memmem(mem_at(&vm.mem, RAM, RAM_LEN), RAM_LEN, fake_debug.brk, 2) || memmem(data, len, "M", 1) || memmem(data, len, "X", 1));
	fake_connect();
	MUST(send(peer, "$qC#b4", 6, 0) == 6);
	for (unsigned i = 0; i < 100 && strlen(answer) < 4; i++) {
		loop_step(vm.loop, 1);
		MUST(recv(peer, answer, sizeof(answer) - 1, MSG_PEEK | MSG_DONTWAIT) != 0);
	}
	MUST(!strncmp(answer, "+$QC", 4));
	fake_stop();
	return 0;
}
