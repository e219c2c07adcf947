/* The server for GDB: connections, framing, packets that need no running guest. */
#include <netinet/in.h>

#include "common/conf.h"
#include "tests/unit/capture.h"
#include "tests/unit/common/gdb/client.h"

static struct capture err;

START_TEST(test_framing)
{
	fake_start();
	fake_connect();
	ck_assert(vm.holds == HOLD_DEBUG);
	say_raw("+$qC#b4", 7);
	ck_assert_int_eq(hear_byte(), '+');
	ck_assert_str_eq(hear(), "QC1");
	say_raw("-", 1);                        /* once more */
	ck_assert_str_eq(hear(), "QC1");
	say_raw("+$qC#b5", 7);
	ck_assert_int_eq(hear_byte(), '-');
	ck_assert_int_eq(hear_byte(), -2);
	say_raw("+$qC#zz$q$qC#B4", 15);         /* a checksum that is none, a packet cut short, capitals */
	ck_assert_int_eq(hear_byte(), '-');
	ck_assert_str_eq(hear(), "QC1");
	say_raw("abc\3#00+-", 9);
	ck_assert_str_eq(hear(), "QC1");        /* for the '-' */
	ck_assert(quiet());
	ASK("", "");
	ASK("QStartNoAckMode", "OK");
	say_raw("+--", 3);
	say_raw("$qC#00", 6);
	ck_assert_int_eq(hear_byte(), '$');     /* no acknowledgement, no check */
	ck_assert_int_eq(hear_byte(), 'Q');
	fake_stop();
}
END_TEST

START_TEST(test_long)
{
	static char big[PACKET_MAX + 10];

	client_start();
	memset(big, 'q', sizeof(big));
	for (unsigned i = 0; i < 3; i++) {
		say(big, PACKET_MAX + 1);
		ck_assert_str_eq(hear(), "E5a");
		say(big, PACKET_MAX);
		ck_assert_str_eq(hear(), "");
		ASK("qC", "QC1");
	}
	fake_stop();
}
END_TEST

/* Questions without end from one that never reads: the server's memory is bounded, and others are served. */
START_TEST(test_flood)
{
	char q[] = "$g#67$m40010000,1000#75\3";
	size_t sent = 0;
	unsigned stuck = 0;

	client_start();
	while (stuck < 50) {
		ssize_t n = send(peer, q, sizeof(q) - 1, MSG_DONTWAIT | MSG_NOSIGNAL);

		sent += n > 0 ? (size_t)n : 0;
		stuck = n > 0 ? 0 : stuck + 1;
		loop_step(vm.loop, 0);
	}
	ck_assert_uint_gt(sent, 1000);
	ck_assert_uint_lt(g->out_len - g->out_off, OUT_HIGH + 2 * PACKET_MAX);
	close(peer);
	while (g->fd >= 0)
		loop_step(vm.loop, 100);
	ck_assert(!vm.holds);
	fake_connect();
	ASK("qC", "QC1");
	fake_stop();
}
END_TEST

START_TEST(test_clients)
{
	int sv[2];
	char c;

	client_start();
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, sv), 0);
	ck_assert_int_eq(gdb_client(g, sv[0]), -EBUSY);
	ck_assert_int_eq(read(sv[1], &c, 1), 0);
	close(sv[1]);
	ASK("qC", "QC1");
	fake_stop();
}
END_TEST

START_TEST(test_queries)
{
	client_start();
	ASK("?", "T05thread:1;");
	ASK("vMustReplyEmpty", "");
	ASK("vCont?", "vCont;c;C;s;S;t;r");
	ASK("qC", "QC1");
	ASK("qfThreadInfo", "m1,2,3");
	ASK("qsThreadInfo", "l");
	ASK("qAttached", "1");
	ASK("qSymbol::", "OK");
	ASK("QNonStop:0", "OK");
	ASK("QNonStop:1", "E16");
	ASK("qThreadExtraInfo,2", "435055203120" "68616c746564");
	ASK("qThreadExtraInfo,4", "E03");
	ASK("T3", "OK");
	ASK("T4", "E03");
	ASK("T", "E03");
	ASK("Hg2", "OK");
	ASK("qC", "QC2");
	ASK("Hg0", "OK");
	ASK("Hc-1", "OK");
	ASK("Hg4", "E16");
	ASK("Hx1", "E16");
	ASK("H", "E16");
	ASK("!", "OK");
	fake_stop();
}
END_TEST

/* The whole of an object, read in pieces of this many bytes. */
static const char *xfer(const char *object, unsigned piece)
{
	static char all[8192];
	char line[100];
	size_t n = 0;

	do {
		snprintf(line, sizeof(line), "qXfer:%s:%zx,%x", object, n, piece);
		ask(line);
		ck_assert(heard[0] == 'm' || heard[0] == 'l');
		strcpy(all + n, heard + 1);
		n += strlen(heard + 1);
	} while (heard[0] == 'm');
	return all;
}

START_TEST(test_xfer)
{
	static const char target[] =
		"<?xml version=\"1.0\"?><!DOCTYPE target SYSTEM \"gdb-target.dtd\"><target version=\"1.0\">"
		"<architecture>i386:x86-64</architecture><feature name=\"org.skep.core\"><vector id=\"v4\" type=\"uint32\" count=\"4\"/>"
		"<reg name=\"a\" bitsize=\"64\" regnum=\"0\" type=\"int64\" group=\"general\"/>"
		"<reg name=\"pc\" bitsize=\"64\" regnum=\"1\" type=\"code_ptr\" group=\"general\"/>"
		"<reg name=\"v\" bitsize=\"128\" regnum=\"2\" type=\"v4\" group=\"float\"/></feature>"
		"<feature name=\"org.skep.system\"><reg name=\"cr0\" bitsize=\"32\" regnum=\"3\" type=\"int\" group=\"system\"/>"
		"<reg name=\"none\" bitsize=\"32\" regnum=\"4\" type=\"int\" group=\"system\"/></feature></target>";

	client_start();
	ck_assert_str_eq(xfer("features:read:target.xml", 7), target);
	ck_assert_str_eq(xfer("features:read:target.xml", 0xffff), target);
	ck_assert_str_eq(xfer("threads:read:", 50), "<?xml version=\"1.0\"?><threads><thread id=\"1\" core=\"0\" name=\"CPU 0\">running</thread>"
			 "<thread id=\"2\" core=\"1\" name=\"CPU 1\">halted</thread><thread id=\"3\" core=\"2\" name=\"CPU 2\">not started</thread></threads>");
	ASK("qXfer:threads:read::ffffffff,10", "l");
	ASK("qXfer:threads:read::", "E00");
	ASK("qXfer:threads:read::1", "E00");
	ASK("qXfer:features:read:other.xml:0,100", "");
	ASK("qXfer:memory-map:read::0,100", "");
	fake_stop();
}
END_TEST

START_TEST(test_registers)
{
	client_start();
	memset(fake[1].reg, 0x5a, sizeof(fake[1].reg));
	set_pc(1, 0x1122334455667788);
	ASK("g", "00000000000000000000000000000000" "00000000000000000000000000000000");
	ASK("Hg2", "OK");
	ASK("g", "5a5a5a5a5a5a5a5a" "8877665544332211" "5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a");
	ASK("p1", "8877665544332211");
	ASK("p3", "5a5a5a5a");
	ASK("p4", "xxxxxxxx");
	ASK("p5", "E16");
	ASK("p", "E16");
	ASK("pffffffffffffffff", "E16");
	ASK("P0=0102030405060708", "OK");
	ASK("P0=01", "E16");
	ASK("P4=01020304", "E02");
	ASK("P9=01020304", "E16");
	ASK("P0", "E16");
	ck_assert_uint_eq(get_le64(fake[1].reg[R_A]), 0x0807060504030201);
	ASK("G0100000000000000xxxxxxxxxxxxxxxxffffffffffffffffffffffffffffffff", "OK");
	ck_assert_uint_eq(get_le64(fake[1].reg[R_A]), 1);
	ck_assert_uint_eq(get_le64(fake[1].reg[R_PC]), 0x1122334455667788);
	ck_assert_uint_eq(fake[1].reg[R_VEC][15], 0xff);
	ASK("Gzz00000000000000", "E16");
	ASK("G", "OK");
	fake_stop();
}
END_TEST

START_TEST(test_memory)
{
	const uint32_t at = VA + RAM;

	client_start();
	memcpy(mem_at(&vm.mem, RAM + 0xffe, 4), "\1\2\3\4", 4);
	ASK("m40010ffe,4", "01020304");
	ASK("M40010ffe,4:aabbccdd", "OK");
	ck_assert_mem_eq(ram(at + 0xffe), "\xaa\xbb\xcc\xdd", 4);
	say("X40010ffe,4:}\3\0}]\1", 18);       /* '#', 0, '}', 1 */
	ck_assert_str_eq(hear(), "OK");
	ck_assert_mem_eq(ram(at + 0xffe), "#\0}\1", 4);
	ASK("X40010ffe,0:", "OK");
	ASK("X40010ffe,4:abc", "E16");
	ASK("M40010ffe,4:aabbcc", "E16");
	ASK("M40010ffe,ffffffff:aabbcc", "E16");
	ASK("M40010ffe:aabbcc", "E16");
	ASK("m40010ffe", "E16");
	ASK("m40010ffe,4:", "E16");
	ASK("m10000,4", "E0e");                 /* not mapped */
	ASK("m40000000,4", "E0e");              /* mapped, but no RAM */
	ASK("m40003000,4", "E0e");
	ASK("M4010fffe,4:aabbccdd", "E0e");     /* the end of what is mapped: nothing is written */
	ASK("m4010fffe,4", "2300");             /* ... and what there is is read */
	ASK("mffffffffffffffff,ffffffffffffffff", "E0e");
	ck_assert_uint_eq(strlen(ask("m40010000,ffffffff")), PACKET_MAX);
	ASK("qRcmd,706879732020206f6e", "OK");  /* phys on */
	ck_assert_str_eq(said, "Addresses are guest-physical.\n");
	ASK("m10ffe,4", "23007d01");
	ASK("m40010ffe,4", "E0e");
	ASK("m10fffc,8", "00000000");
	ASK("m10fffffff,8", "E0e");
	ASK("qRcmd,70687973206f6666", "OK");
	ASK("m10ffe,4", "E0e");
	fake_stop();
}
END_TEST

/* --- listening --- */

static int start(const char *const *settings)
{
	struct gdb *out = NULL;
	int r;

	vm.conf = conf_new();
	for (; *settings; settings += 2)
		ck_assert_int_eq(conf_set(vm.conf, settings[0], settings[1], "test"), 0);
	capture_start(&err, 2);
	r = gdb_start(&vm, &out);
	capture_stop(&err);
	ck_assert(r == 0 || !out);
	conf_free(vm.conf);
	if (out) {
		gdb_stop(g);
		g = vm.gdb = out;
	}
	return r;
}
#define START(...) start((const char *const[]){ __VA_ARGS__, NULL })

START_TEST(test_listen)
{
	struct sockaddr_in sa = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof(sa);
	int other = socket(AF_INET, SOCK_STREAM, 0);
	char port[8], want[200];

	fake_start();
	ck_assert_int_eq(START("name", "x"), 0);
	ck_assert_int_eq(START("gdb.port", "0"), 0);
	ck_assert_int_eq(START("gdb.wait", "true"), -EINVAL);
	ck_assert_str_eq(err.text, "skep: gdb.wait: there is no debug server to wait for; give -G w[ADDR:]PORT\n");
	ck_assert_int_eq(START("gdb.port", "1", "gdb.address", "example.org"), -EINVAL);
	ck_assert_str_eq(err.text, "skep: gdb.address: 'example.org' is no address; write localhost, or one in numbers such as "
			 "127.0.0.1 or ::1\n");
	ck_assert_int_eq(bind(other, (struct sockaddr *)&sa, sizeof(sa)), 0);
	ck_assert_int_eq(listen(other, 1), 0);
	ck_assert_int_eq(getsockname(other, (struct sockaddr *)&sa, &len), 0);
	snprintf(port, sizeof(port), "%u", ntohs(sa.sin_port));
	ck_assert_int_eq(START("gdb.port", port), -EADDRINUSE);
	snprintf(want, sizeof(want), "skep: gdb: listening at port %s of 'localhost': Address already in use; give -G another [ADDR:]PORT\n",
		 port);
	ck_assert_str_eq(err.text, want);
	close(other);
	ck_assert(!vm.holds);
	ck_assert_int_eq(START("gdb.port", port, "gdb.wait", "true"), 0);
	ck_assert(vm.holds == HOLD_DEBUG);
	peer = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
	connect(peer, (struct sockaddr *)&sa, len);
	g->ops = &fake_ops;
	ASK("qC", "QC1");
	fake_stop();
}
END_TEST

START_TEST(test_listen_unix)
{
	struct sockaddr_un { sa_family_t family; char path[108]; } sa = { .family = AF_UNIX };
	char dir[] = "/tmp/skep-gdb-XXXXXX";

	fake_start();
	ck_assert_ptr_nonnull(mkdtemp(dir));
	snprintf(sa.path, sizeof(sa.path), "%s/gdb", dir);
	ck_assert_int_eq(START("gdb.path", sa.path), 0);
	ck_assert(!vm.holds);
	g->ops = &fake_ops;
	peer = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
	ck_assert_int_eq(connect(peer, (struct sockaddr *)&sa, sizeof(sa)), 0);
	ASK("qC", "QC1");
	ck_assert(vm.holds == HOLD_DEBUG);
	ASK("D", "OK");
	ck_assert(!vm.holds);
	fake_stop();
	ck_assert_int_eq(rmdir(dir), 0);
}
END_TEST

UNIT_MAIN("common/gdb", test_framing, test_long, test_flood, test_clients, test_queries, test_xfer, test_registers, test_memory, test_listen,
	  test_listen_unix)
