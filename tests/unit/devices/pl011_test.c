/* pl011: identification, early consoles, FIFO levels and interrupts, loopback, and bytes to and from a client. */
#include "devices/char/chardev.h"
#include "tests/unit/devices/chip.h"

enum { DR = 0, RSR = 4, FR = 0x18, LCR_H = 0x2c, CR = 0x30, IFLS = 0x34, IMSC = 0x38, RIS = 0x3c, MIS = 0x40, ICR = 0x44 };

START_TEST(reset_and_ids)
{
	static const uint8_t id[] = { 0x11, 0x10, 0x34, 0x00, 0x0d, 0xf0, 0x05, 0xb1 };
	struct chip c;
	chip_start(&c, &pl011_class, "com1", false);
	for (unsigned i = 0; i < NELEM(id); i++)
		ck_assert_uint_eq(rd(&c, 0xfe0 + 4 * i, 4), id[i]);
	ck_assert_uint_eq(rd(&c, CR, 4), 0x300);
	ck_assert_uint_eq(rd(&c, IFLS, 4), 0x12);
	ck_assert_uint_eq(rd(&c, FR, 4), 0x97);
	ck_assert_uint_eq(rd(&c, FR, 2), 0x97);
	ck_assert_uint_eq(rd(&c, RIS, 4), 0);
	chip_end(&c);
}
END_TEST

START_TEST(loopback_levels)
{
	struct chip c;
	chip_start(&c, &pl011_class, "com1", false);
	wr(&c, LCR_H, 4, 0x70);
	wr(&c, CR, 4, 0x381);
	wr(&c, IMSC, 4, 0x50);
	wr(&c, DR, 1, 'a');
	ck_assert_uint_eq(rd(&c, MIS, 4), 0x40);
	ck_assert(chip_irq(&c));
	for (unsigned i = 1; i < 16; i++)
		wr(&c, DR, 4, 'a' + i);
	ck_assert_uint_eq(rd(&c, MIS, 4), 0x50);
	for (unsigned i = 16; i < 33; i++)
		wr(&c, DR, 2, 'a' + i);
	ck_assert_uint_eq(rd(&c, FR, 4) & 0x50, 0x40);
	ck_assert_uint_eq(rd(&c, RIS, 4) & 0x400, 0x400);
	for (unsigned i = 0; i < 31; i++)
		ck_assert_uint_eq(rd(&c, DR, 4), 'a' + i);
	ck_assert_uint_eq(rd(&c, MIS, 4), 0x40);
	ck_assert_uint_eq(rd(&c, DR, 4), (uint64_t)('a' + 31) | 0x800);        /* the overrun came behind this one */
	ck_assert_uint_eq(rd(&c, RSR, 4), 8);
	wr(&c, RSR, 4, 0);
	ck_assert_uint_eq(rd(&c, RSR, 4), 0);
	ck_assert_uint_eq(rd(&c, MIS, 4), 0);
	ck_assert(!chip_irq(&c));
	chip_end(&c);
}
END_TEST

START_TEST(tx_interrupt)
{
	struct chip c;
	chip_start(&c, &pl011_class, "com1", false);
	wr(&c, IMSC, 4, 0x20);
	ck_assert(!chip_irq(&c));       /* a transition raises it, emptiness does not */
	wr(&c, DR, 4, 'x');
	ck_assert(chip_irq(&c));
	wr(&c, ICR, 4, 0x20);
	ck_assert(!chip_irq(&c));
	chip_end(&c);
}
END_TEST

START_TEST(modem_loopback)
{
	struct chip c;
	chip_start(&c, &pl011_class, "com1", false);
	wr(&c, CR, 4, 0x381 | 0x0800);
	ck_assert_uint_eq(rd(&c, FR, 4) & 0x107, 0x001);
	ck_assert_uint_eq(rd(&c, RIS, 4) & 0xf, 0xc);
	wr(&c, ICR, 4, 0x7ff);
	wr(&c, CR, 4, 0x301);
	ck_assert_uint_eq(rd(&c, FR, 4) & 0x107, 0x007);
	ck_assert_uint_eq(rd(&c, RIS, 4) & 0xf, 0xc);
	chip_end(&c);
}
END_TEST

START_TEST(sweep_and_snapshot)
{
	struct chip c;
	chip_start(&c, &pl011_class, "com1", false);
	chip_sweep(&c);
	chip_reset(&c);
	wr(&c, LCR_H, 4, 0x10);
	wr(&c, CR, 4, 0x381);
	wr(&c, IMSC, 4, 0x40);
	wr(&c, DR, 4, 'A');
	wr(&c, DR, 4, 'B');
	chip_round_trip(&c);
	ck_assert_uint_eq(rd(&c, DR, 4), 'A');
	ck_assert_uint_eq(rd(&c, DR, 4), 'B');
	chip_end(&c);
}
END_TEST

START_TEST(client_talks)
{
	struct chip c;
	char buf[128];
	chip_start(&c, &pl011_class, "com1", true);
	int fd = chip_connect(&c);
	wr(&c, DR, 1, 'h');             /* UARTCR.UARTEN is still 0 */
	wr(&c, DR, 4, 'i');
	ck_assert_str_eq(chip_recv(fd, buf, sizeof(buf)), "hi");
	wr(&c, LCR_H, 4, 0x70);
	wr(&c, IMSC, 4, 0x50);
	ck_assert_int_eq(write(fd, "0123456789", 10), 10);
	chip_loop(&c);
	ck_assert(chip_irq(&c));
	for (unsigned i = 0; i < 10; i++)
		ck_assert_uint_eq(rd(&c, DR, 4), '0' + i);
	ck_assert(!chip_irq(&c));
	ck_assert_uint_eq(rd(&c, FR, 4) & 0x10, 0x10);
	chip_reset(&c);
	ck_assert_int_eq(write(fd, "ab", 2), 2);        /* FIFO off: one at a time */
	chip_loop(&c);
	ck_assert_uint_eq(rd(&c, DR, 4), 'a');
	ck_assert_uint_eq(rd(&c, FR, 4) & 0x10, 0x10);
	chip_loop(&c);
	ck_assert_uint_eq(rd(&c, DR, 4), 'b');
	close(fd);
	chip_end(&c);
}
END_TEST

/* A break from the other side: a zero with BE [DDI0183G 3.3.1]; a full FIFO shows OE with its newest entry. */
START_TEST(break_received)
{
	struct chip c;
	struct chardev *chr;

	chip_start(&c, &pl011_class, "com1", true);
	chr = pl011_class.chardev(c.d);
	wr(&c, LCR_H, 4, 0x70);
	wr(&c, IMSC, 4, 0x200);
	chardev_receive_break(chr);
	ck_assert(chip_irq(&c));
	ck_assert_uint_eq(rd(&c, DR, 4), 0x400);
	ck_assert_uint_eq(rd(&c, 0x004, 4), 0x4);               /* UARTRSR: BE */
	wr(&c, 0x044, 4, 0x200);                                /* UARTICR: BEIC */
	ck_assert(!chip_irq(&c));
	for (unsigned i = 0; i < 33; i++)
		chardev_receive_break(chr);
	for (unsigned i = 0; i < 32; i++)
		ck_assert_uint_eq(rd(&c, DR, 4), i < 31 ? 0x400 : 0xc00);
	ck_assert_uint_eq(rd(&c, 0x03c, 4) & 0x600, 0x600);     /* UARTRIS: OE, BE */
	chip_end(&c);
}
END_TEST

UNIT_MAIN("devices/pl011", reset_and_ids, loopback_levels, tx_interrupt, modem_loopback, sweep_and_snapshot, client_talks, break_received)
