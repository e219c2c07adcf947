/* uart16550: what drivers probe, interrupt semantics, FIFOs, loopback, and bytes to and from a client. */
#include "devices/char/chardev.h"
#include "tests/unit/devices/chip.h"

enum { THR, IER, IIR, LCR, MCR, LSR, MSR, SCR, FCR = IIR };

START_TEST(reset_values)
{
	struct chip c;
	chip_start(&c, &uart16550_class, "com1", false);
	ck_assert_uint_eq(rd(&c, IER, 1), 0);
	ck_assert_uint_eq(rd(&c, IIR, 1), 0x01);
	ck_assert_uint_eq(rd(&c, LCR, 1), 0);
	ck_assert_uint_eq(rd(&c, MCR, 1), 0);
	ck_assert_uint_eq(rd(&c, LSR, 1), 0x60);
	ck_assert_uint_eq(rd(&c, MSR, 1), 0xb0);
	ck_assert(!chip_irq(&c));
	chip_end(&c);
}
END_TEST

/* Linux: IER holds four bits, loopback shows RTS and OUT2 in MSR, FIFO bits say 16550A, scratch and divisor hold. */
START_TEST(probing)
{
	struct chip c;
	chip_start(&c, &uart16550_class, "com1", false);
	wr(&c, IER, 1, 0xff);
	ck_assert_uint_eq(rd(&c, IER, 1), 0x0f);
	wr(&c, IER, 1, 0);
	wr(&c, MCR, 1, 0x10 | 0x0a);
	ck_assert_uint_eq(rd(&c, MSR, 1) & 0xf0, 0x90);
	wr(&c, MCR, 1, 0xe0);
	ck_assert_uint_eq(rd(&c, MCR, 1), 0);
	wr(&c, FCR, 1, 0x01);
	ck_assert_uint_eq(rd(&c, IIR, 1) >> 6, 3);
	wr(&c, FCR, 1, 0xc0);           /* without the enable bit nothing else counts */
	ck_assert_uint_eq(rd(&c, IIR, 1) >> 6, 0);
	wr(&c, SCR, 1, 0xa5);
	ck_assert_uint_eq(rd(&c, SCR, 1), 0xa5);
	wr(&c, LCR, 1, 0x83);
	wr(&c, THR, 2, 0x1234);
	ck_assert_uint_eq(rd(&c, THR, 2), 0x1234);
	wr(&c, LCR, 1, 0x03);
	ck_assert_uint_eq(rd(&c, IER, 1), 0);
	chip_end(&c);
}
END_TEST

START_TEST(thre_interrupt)
{
	struct chip c;
	chip_start(&c, &uart16550_class, "com1", false);
	wr(&c, IER, 1, 2);
	ck_assert(chip_irq(&c));
	ck_assert_uint_eq(rd(&c, IIR, 1), 0x02);        /* reading identifies and clears it */
	ck_assert(!chip_irq(&c));
	ck_assert_uint_eq(rd(&c, IIR, 1), 0x01);
	wr(&c, IER, 1, 0);
	wr(&c, IER, 1, 2);
	ck_assert(chip_irq(&c));
	ck_assert_uint_eq(rd(&c, IIR, 1), 0x02);
	wr(&c, THR, 1, 'x');            /* sent at once, so empty again */
	ck_assert(chip_irq(&c));
	ck_assert_uint_eq(rd(&c, IIR, 1), 0x02);
	ck_assert(!chip_irq(&c));
	chip_end(&c);
}
END_TEST

START_TEST(loopback_fifo)
{
	struct chip c;
	chip_start(&c, &uart16550_class, "com1", false);
	wr(&c, MCR, 1, 0x10);
	wr(&c, FCR, 1, 0x81);           /* trigger at 8 */
	wr(&c, IER, 1, 0x05);
	wr(&c, THR, 1, 'a');
	ck_assert_uint_eq(rd(&c, IIR, 1), 0xcc);        /* time-out: below the trigger */
	for (int i = 1; i < 16; i++)
		wr(&c, THR, 1, 'a' + (unsigned)i);
	ck_assert_uint_eq(rd(&c, IIR, 1), 0xc4);
	wr(&c, THR, 1, '!');            /* the 17th is lost */
	ck_assert_uint_eq(rd(&c, IIR, 1), 0xc6);
	ck_assert_uint_eq(rd(&c, LSR, 1), 0x63);
	ck_assert_uint_eq(rd(&c, LSR, 1), 0x61);
	for (int i = 0; i < 16; i++)
		ck_assert_uint_eq(rd(&c, THR, 1), 'a' + (unsigned)i);
	ck_assert_uint_eq(rd(&c, LSR, 1), 0x60);
	ck_assert(!chip_irq(&c));
	wr(&c, THR, 1, 'z');
	wr(&c, FCR, 1, 0x83);           /* receiver reset */
	ck_assert_uint_eq(rd(&c, LSR, 1), 0x60);
	wr(&c, FCR, 1, 0x00);           /* 16450: one byte, the newer one stays */
	wr(&c, THR, 1, '1');
	wr(&c, THR, 1, '2');
	ck_assert_uint_eq(rd(&c, LSR, 1), 0x63);
	ck_assert_uint_eq(rd(&c, THR, 1), '2');
	chip_end(&c);
}
END_TEST

START_TEST(modem_deltas)
{
	struct chip c;
	chip_start(&c, &uart16550_class, "com1", false);
	wr(&c, IER, 1, 8);
	wr(&c, MCR, 1, 0x1f);
	ck_assert_uint_eq(rd(&c, MSR, 1), 0xf0);        /* CTS, DSR, DCD stayed on, RI rose: no delta */
	ck_assert(!chip_irq(&c));
	wr(&c, MCR, 1, 0x1b);
	ck_assert(chip_irq(&c));
	ck_assert_uint_eq(rd(&c, IIR, 1), 0x00);
	ck_assert_uint_eq(rd(&c, MSR, 1), 0xb4);        /* trailing edge of RI */
	ck_assert(!chip_irq(&c));
	wr(&c, MCR, 1, 0x10);
	ck_assert_uint_eq(rd(&c, MSR, 1), 0x0b);
	wr(&c, MCR, 1, 0x00);
	ck_assert_uint_eq(rd(&c, MSR, 1), 0xbb);
	chip_end(&c);
}
END_TEST

START_TEST(wide_accesses)
{
	struct chip c;
	chip_start(&c, &uart16550_class, "com1", false);
	wr(&c, IER, 4, 0x10030100 | 0x05);      /* IER=5 FCR=1 LCR=3 MCR=0x10 */
	ck_assert_uint_eq(rd(&c, IER, 4), 0x1003c105);
	wr(&c, THR, 1, 'q');
	ck_assert_uint_eq(rd(&c, THR, 8) & 0xff, 'q');
	ck_assert_uint_eq(rd(&c, LSR, 1), 0x60);
	wr(&c, IER, 1, 0x0f);
	chip_sweep(&c);
	chip_end(&c);
}
END_TEST

START_TEST(snapshot)
{
	struct chip c;
	chip_start(&c, &uart16550_class, "com1", false);
	wr(&c, MCR, 1, 0x1b);
	wr(&c, FCR, 1, 0xc1);
	wr(&c, IER, 1, 0x01);
	wr(&c, SCR, 1, 7);
	wr(&c, THR, 1, 'A');
	wr(&c, THR, 1, 'B');
	chip_round_trip(&c);
	ck_assert_uint_eq(rd(&c, THR, 1), 'A');
	ck_assert_uint_eq(rd(&c, THR, 1), 'B');
	ck_assert_uint_eq(rd(&c, SCR, 1), 7);
	chip_end(&c);
}
END_TEST

START_TEST(client_talks)
{
	struct chip c;
	char buf[128];
	chip_start(&c, &uart16550_class, "com1", true);
	for (const char *p = "boot\r\n"; *p; p++)
		wr(&c, THR, 1, (uint8_t)*p);
	int fd = chip_connect(&c);
	ck_assert_str_eq(chip_recv(fd, buf, sizeof(buf)), "boot\r\n");
	wr(&c, THR, 1, '>');            /* straight from the write, the loop does nothing */
	ck_assert_str_eq(chip_recv(fd, buf, sizeof(buf)), ">");
	/* Twenty bytes into a FIFO of sixteen: the rest follows when it is empty. */
	wr(&c, FCR, 1, 0x01);
	wr(&c, IER, 1, 0x01);
	ck_assert_int_eq(write(fd, "abcdefghijklmnopqrst", 20), 20);
	chip_loop(&c);
	ck_assert(chip_irq(&c));
	for (unsigned i = 0; i < 16; i++)
		ck_assert_uint_eq(rd(&c, THR, 1), 'a' + i);
	ck_assert_uint_eq(rd(&c, LSR, 1) & 1, 0);
	chip_loop(&c);
	for (unsigned i = 16; i < 20; i++)
		ck_assert_uint_eq(rd(&c, THR, 1), 'a' + i);
	/* Loopback cuts the client off and leaves its bytes waiting. */
	wr(&c, MCR, 1, 0x10);
	ck_assert_int_eq(write(fd, "L", 1), 1);
	wr(&c, THR, 1, 'i');
	chip_loop(&c);
	ck_assert_uint_eq(rd(&c, THR, 1), 'i');
	ck_assert_uint_eq(rd(&c, LSR, 1) & 1, 0);
	ck_assert_str_eq(chip_recv(fd, buf, sizeof(buf)), "");
	wr(&c, MCR, 1, 0);
	chip_loop(&c);
	ck_assert_uint_eq(rd(&c, THR, 1), 'L');
	/* A reset of the machine keeps the client. */
	chip_reset(&c);
	wr(&c, THR, 1, '2');
	ck_assert_str_eq(chip_recv(fd, buf, sizeof(buf)), "2");
	close(fd);
	chip_end(&c);
}
END_TEST

/* A break from the other side: a zero with BI at the front [PC16550D 8.4 bit 4], and what follows it. */
START_TEST(break_received)
{
	struct chip c;
	struct chardev *chr;

	chip_start(&c, &uart16550_class, "com1", true);
	chr = uart16550_class.chardev(c.d);
	wr(&c, FCR, 1, 0x01);
	wr(&c, IER, 1, 0x05);
	chardev_receive_break(chr);
	ck_assert(chip_irq(&c));
	ck_assert_uint_eq(rd(&c, IIR, 1) & 0x0f, 0x06);         /* receiver line status comes first */
	ck_assert_uint_eq(rd(&c, LSR, 1) & 0x9f, 0x91);         /* DR, BI, an error in the FIFO */
	ck_assert_uint_eq(rd(&c, LSR, 1) & 0x9f, 0x01);         /* told once */
	ck_assert_uint_eq(rd(&c, THR, 1), 0);
	ck_assert(!chip_irq(&c));
	wr(&c, MCR, 1, 0x10);
	chardev_receive_break(chr);                             /* its own line is not the world's */
	ck_assert_uint_eq(rd(&c, LSR, 1) & 0x9f, 0);
	chip_end(&c);
}
END_TEST

UNIT_MAIN("devices/uart16550", reset_values, probing, thre_interrupt, loopback_fifo, modem_deltas, wide_accesses, snapshot,
	  client_talks, break_received)
