/*
 * `testdev`: the guest ends the VM by writing to its port, the protocol of QEMU's chr-testdev [QEMU-TESTDEV].  A
 * command is white space, a decimal number (none: 0), white space and a letter.  `q` ends skep with status
 * (number << 1) | 1, of which the system keeps eight bits; other letters do nothing.
 */
#include <ctype.h>
#include <errno.h>
#include <stdlib.h>

#include "common/vm.h"
#include "devices/char/chr_int.h"

struct testdev {
	enum { AT_START, IN_NUMBER, BEHIND_NUMBER } at;
	uint32_t number;                /* modulo 2^32: eight bits are all that counts */
};

static void take(struct chardev *c, struct testdev *t, unsigned char ch)
{
	if (isspace(ch)) {
		t->at = t->at == IN_NUMBER ? BEHIND_NUMBER : t->at;
	} else if (isdigit(ch) && t->at != BEHIND_NUMBER) {
		t->number = t->number * 10 + (ch - '0');
		t->at = IN_NUMBER;
	} else {
		if (ch == 'q')
			vm_guest_exit(c->vm, (int)((t->number << 1 | 1) & 0xff), c->name);
		*t = (struct testdev){ .at = AT_START };
	}
}

static void testdev_written(struct chardev *c, const uint8_t *buf, size_t len)
{
	while (len--)
		take(c, c->priv, *buf++);
}

/* The client that is attached for ever is what `null` has, too. */
static int testdev_open(struct chardev *c, const char *arg)
{
	struct chr_client proto = { .in_fd = -1, .out_fd = -1, .out = CHR_OUT_NONE };
	struct testdev *t = calloc(1, sizeof(*t));
	int err = t ? chr_attach(c, &proto) : -ENOMEM;
	if (err)
		free(t);
	else
		c->priv = t;
	return err;
}

static void testdev_close(struct chardev *c)
{
	free(c->priv);
	c->priv = NULL;
}

const struct chr_backend chr_testdev = {
	.prefix = "testdev", .whole = true, .open = testdev_open, .close = testdev_close, .written = testdev_written,
};
