/*
 * virtio-console with several ports [VIRTIO-1.2 5.3] over devices/char/.
 *
 * bhyve's grammar: "virtio-console,NAME=BACKEND[,NAME2=BACKEND2...]"; a bare path, as bhyve takes it, is a UNIX
 * socket to listen on.  A port named "console" is a console, and so is port 0 with the option console.  A driver
 * without MULTIPORT gets port 0 as its console.
 *
 * Not modelled: adding and removing ports while running.
 * DEVIATION: the size is in the configuration (F_SIZE), RESIZE messages are not sent: widely used Linux drivers
 * read their two fields in the opposite order of [VIRTIO-1.2 5.3.6.2], and a swapped size is worse than none.
 */
#include <errno.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "common/vm.h"
#include "devices/char/chardev.h"
#include "devices/classes.h"
#include "devices/virtio/virtio_pci.h"

#define F_SIZE BIT64(0)
#define F_MULTIPORT BIT64(1)
#define F_EMERG_WRITE BIT64(2)

#define PORTS_MAX 16
#define QUEUE_SIZE 64
#define TX_BUDGET 64                            /* chains before other devices get their turn */
#define TX_BYTES_MAX (1u << 20)                 /* of one chain; no driver sends more at once */
#define NAME_LEN_MAX 63

enum { CFG_COLS = 0, CFG_ROWS = 2, CFG_PORTS = 4, CFG_EMERG = 8, CFG_LEN = 12 };
enum { Q_CTRL_RX = 2, Q_CTRL_TX = 3 };
/* Control messages [VIRTIO-1.2 5.3.6.2]: port, event, value. */
#define CTRL_LEN 8u
enum { EV_DEVICE_READY = 0, EV_PORT_ADD = 1, EV_PORT_READY = 3, EV_CONSOLE_PORT = 4, EV_PORT_OPEN = 6, EV_PORT_NAME = 7 };
/* Messages owed to the driver, sent in this order as buffers come. */
#define OWE_ADD 1u
#define OWE_CONSOLE 2u
#define OWE_NAME 4u
#define OWE_OPEN 8u

struct vcons;
struct port {
	struct vcons *d;
	unsigned n;
	struct chardev *chr;            /* NULL: no such port */
	const char *name;
	bool console;
	bool ready, guest_open;
	uint8_t owed;
};

struct vcons {
	struct virtio_dev v;            /* first */
	struct port port[PORTS_MAX];
	unsigned nports;
};

static unsigned rxq(unsigned port) { return port ? 2 + 2 * port : 0; }
static unsigned txq(unsigned port) { return rxq(port) + 1; }

/* The port a queue belongs to; NULL for the control queues and ports that are not there. */
static struct port *port_of(struct vcons *d, unsigned q)
{
	const unsigned n = q < 2 ? 0 : q / 2 - 1;

	return q != Q_CTRL_RX && q != Q_CTRL_TX && n < d->nports && d->port[n].chr ? &d->port[n] : NULL;
}

static bool multiport(const struct vcons *d) { return virtio_has(&d->v, F_MULTIPORT); }

/* --- Control messages to the driver --- */

static bool ctrl_send(struct vcons *d, unsigned port, uint16_t event, uint16_t value, const char *text)
{
	struct iovec iov[VQ_CHAIN_MAX];
	struct vq_chain c;
	uint8_t msg[CTRL_LEN + NAME_LEN_MAX];
	size_t len = CTRL_LEN;

	if (!virtio_pop(&d->v, Q_CTRL_RX, &c, iov))
		return false;
	put_le32(msg, port);
	put_le16(msg + 4, event);
	put_le16(msg + 6, value);
	if (text) {
		const size_t n = strnlen(text, NAME_LEN_MAX);

		memcpy(msg + len, text, n);
		len += n;
	}
	virtio_push(&d->v, Q_CTRL_RX, &c, (uint32_t)iov_write(iov + c.nr, c.nw, 0, msg, len));
	return true;
}

/* Sends the first message owed for a port; false: no buffer. */
static bool ctrl_pay(struct port *p)
{
	const uint8_t what = p->owed & -p->owed;
	bool sent = true;

	if (what == OWE_ADD)
		sent = ctrl_send(p->d, p->n, EV_PORT_ADD, 1, NULL);
	else if (what == OWE_CONSOLE)
		sent = ctrl_send(p->d, p->n, EV_CONSOLE_PORT, 1, NULL);
	else if (what == OWE_NAME)
		sent = ctrl_send(p->d, p->n, EV_PORT_NAME, 1, p->name);
	else
		sent = ctrl_send(p->d, p->n, EV_PORT_OPEN, p->console || chardev_attached(p->chr), NULL);
	if (sent)
		p->owed &= (uint8_t)~what;
	return sent;
}

static bool any_owed(const struct vcons *d)
{
	for (unsigned i = 0; i < d->nports; i++) {
		if (d->port[i].owed)
			return true;
	}
	return false;
}

static void ctrl_flush(struct vcons *d)
{
	struct virtqueue *vq = &d->v.vq[Q_CTRL_RX];

	do {
		for (unsigned i = 0; i < d->nports; i++) {
			while (d->port[i].owed && ctrl_pay(&d->port[i]))
				;
		}
	} while (vq_notify_on(vq) && virtio_running(&d->v, Q_CTRL_RX) && any_owed(d));
	virtio_signal(&d->v, Q_CTRL_RX);
}

/* --- Control messages from the driver --- */

static void device_ready(struct vcons *d, bool ok)
{
	for (unsigned i = 0; i < d->nports && ok; i++)
		d->port[i].owed = OWE_ADD;
}

static void port_ready(struct port *p, bool ok)
{
	p->ready = ok;
	p->owed = ok ? OWE_NAME | OWE_OPEN | (p->console ? OWE_CONSOLE : 0) : 0;
}

static void ctrl_handle(struct vcons *d, const struct vq_chain *c)
{
	uint8_t msg[CTRL_LEN];
	uint32_t n;
	uint16_t value;

	if (iov_read(c->iov, c->nr, 0, msg, sizeof(msg)) != sizeof(msg))
		return;
	n = get_le32(msg);
	value = get_le16(msg + 6);
	if (get_le16(msg + 4) == EV_DEVICE_READY) {
		device_ready(d, value);
	} else if (n >= d->nports) {
		dev_warn(&d->v.pci.dev, "control message for port %u, there are %u", n, d->nports);
	} else if (get_le16(msg + 4) == EV_PORT_READY) {
		port_ready(&d->port[n], value);
	} else if (get_le16(msg + 4) == EV_PORT_OPEN) {
		d->port[n].guest_open = value;
		if (value)
			chardev_rx_ready(d->port[n].chr);
	}
}

static bool ctrl_run(struct vcons *d)
{
	struct iovec iov[VQ_CHAIN_MAX];
	struct vq_chain c;
	unsigned budget = TX_BUDGET;

	for (; budget && virtio_pop(&d->v, Q_CTRL_TX, &c, iov); budget--) {
		ctrl_handle(d, &c);
		virtio_push(&d->v, Q_CTRL_TX, &c, 0);
	}
	virtio_signal(&d->v, Q_CTRL_TX);
	ctrl_flush(d);
	return vq_notify_on(&d->v.vq[Q_CTRL_TX]) && virtio_running(&d->v, Q_CTRL_TX);
}

/* --- Data --- */

static void tx_chain(struct port *p, const struct vq_chain *c)
{
	size_t left = TX_BYTES_MAX;

	for (unsigned i = 0; i < c->nr && left; i++) {
		const size_t n = MIN(c->iov[i].iov_len, left);

		chardev_write(p->chr, c->iov[i].iov_base, n);
		left -= n;
	}
	if (c->rlen > TX_BYTES_MAX)
		dev_warn(&p->d->v.pci.dev, "port %u: %llu bytes in one request, cut", p->n, (unsigned long long)c->rlen);
}

static bool tx_run(struct port *p)
{
	struct virtio_dev *v = &p->d->v;
	const unsigned q = txq(p->n);
	struct iovec iov[VQ_CHAIN_MAX];
	struct vq_chain c;
	unsigned budget = TX_BUDGET;
	bool more = true;

	while (more && budget) {
		vq_notify_off(&v->vq[q]);
		for (; budget && virtio_pop(v, q, &c, iov); budget--) {
			tx_chain(p, &c);
			virtio_push(v, q, &c, 0);
		}
		more = vq_notify_on(&v->vq[q]);
	}
	virtio_signal(v, q);
	return more && virtio_running(v, q);
}

/* A Linux console never says that it is open; other ports take nothing before they are. */
static bool wants_input(const struct port *p)
{
	return virtio_running(&p->d->v, rxq(p->n)) && (!multiport(p->d) || p->console || p->guest_open);
}

/* Room of the next buffer, which stays in the ring; asks for a kick when there is none. */
static size_t rx_room(struct port *p)
{
	struct virtio_dev *v = &p->d->v;
	const unsigned q = rxq(p->n);
	struct iovec iov[VQ_CHAIN_MAX];
	struct vq_chain c;

	if (!wants_input(p))
		return 0;
	for (unsigned i = 0; i < QUEUE_SIZE; i++) {
		if (virtio_pop(v, q, &c, iov)) {
			if (c.wlen) {
				virtio_unpop(v, q, &c);
				return MIN(c.wlen, (uint64_t)TX_BYTES_MAX);
			}
			virtio_push(v, q, &c, 0);       /* nothing fits there */
		} else if (!vq_notify_on(&v->vq[q])) {
			break;
		}
	}
	return 0;
}

static size_t on_can_rx(void *arg)
{
	struct port *p = arg;
	size_t room;

	dev_lock(&p->d->v.pci.dev);
	room = rx_room(p);
	dev_unlock(&p->d->v.pci.dev);
	return room;
}

/* The buffers may be fewer than on_can_rx() said if the guest reset the device in between: then bytes are lost. */
static void on_rx(void *arg, const uint8_t *buf, size_t len)
{
	struct port *p = arg;
	struct virtio_dev *v = &p->d->v;
	const unsigned q = rxq(p->n);
	struct iovec iov[VQ_CHAIN_MAX];
	struct vq_chain c;

	dev_lock(&v->pci.dev);
	while (len && wants_input(p) && virtio_pop(v, q, &c, iov)) {
		const size_t n = iov_write(iov + c.nr, c.nw, 0, buf, len);

		virtio_push(v, q, &c, (uint32_t)n);
		buf += n;
		len -= n;
	}
	virtio_signal(v, q);
	dev_unlock(&v->pci.dev);
}

static void on_event(void *arg, enum chardev_event e)
{
	struct port *p = arg;

	dev_lock(&p->d->v.pci.dev);
	if (e != CHR_BREAK && p->ready && !p->console && multiport(p->d)) {
		p->owed |= OWE_OPEN;
		ctrl_flush(p->d);
	}
	dev_unlock(&p->d->v.pci.dev);
}

static const struct chardev_ops port_ops = { on_can_rx, on_rx, on_event };

/* --- The virtio side --- */

static bool vcons_kick(struct virtio_dev *v, unsigned q)
{
	struct vcons *d = (struct vcons *)v;
	struct port *p = port_of(d, q);

	if (q == Q_CTRL_TX && multiport(d))
		return ctrl_run(d);
	if (q == Q_CTRL_RX && multiport(d))
		ctrl_flush(d);
	else if (p && q == txq(p->n))
		return tx_run(p);
	else if (p)
		chardev_rx_ready(p->chr);
	return false;
}

static void vcons_reset_type(struct virtio_dev *v)
{
	struct vcons *d = (struct vcons *)v;

	for (unsigned i = 0; i < d->nports; i++) {
		d->port[i].ready = d->port[i].guest_open = false;
		d->port[i].owed = 0;
	}
	put_le32(v->cfg + CFG_EMERG, 0);
}

/* The emergency write: a character without any queue [VIRTIO-1.2 5.3.4]. */
static void vcons_cfg_written(struct virtio_dev *v, unsigned off, unsigned size)
{
	struct vcons *d = (struct vcons *)v;
	const uint8_t byte = v->cfg[CFG_EMERG];

	if (off <= CFG_EMERG && off + size > CFG_EMERG && d->port[0].chr)
		chardev_write(d->port[0].chr, &byte, 1);
}

static const struct virtio_type vcons_type = {
	.id = 3, .class_code = 0x078000, .features = F_SIZE | F_MULTIPORT | F_EMERG_WRITE,
	.kick = vcons_kick, .reset = vcons_reset_type, .cfg_written = vcons_cfg_written,
};

/* --- Set-up --- */

static const char *port_opt(const struct vcons *d, unsigned n, const char *what)
{
	char name[32];

	snprintf(name, sizeof(name), "port.%u.%s", n, what);
	return dev_opt_str(&d->v.pci.dev, name);
}

static void ports_close(struct vcons *d)
{
	for (unsigned i = 0; i < d->nports; i++)
		chardev_close(d->port[i].chr);
	d->nports = 0;
}

static int port_open(struct vcons *d, unsigned n, const char *name, const char *path)
{
	struct device *dev = &d->v.pci.dev;
	struct port *p = &d->port[n];

	if (!name || !*name || strchr(name, '/'))
		return err_msg(-EINVAL, "%s: port %u needs a name without '/': set %s.port.%u.name", dev->id, n, dev->id, n);
	*p = (struct port){ .d = d, .n = n, .name = name };
	p->console = strcmp(name, "console") == 0 || (n == 0 && dev_opt_bool(dev, "console"));
	p->chr = chardev_open(dev->vm, name, path, &port_ops, p);
	return p->chr ? 0 : errno ? -errno : -EINVAL;
}

static int ports_open(struct vcons *d)
{
	struct device *dev = &d->v.pci.dev;
	int err = 0;

	while (!err && d->nports < PORTS_MAX) {
		const char *name = port_opt(d, d->nports, "name"), *path = port_opt(d, d->nports, "path");

		if (!name && !path)
			break;
		err = port_open(d, d->nports, name, path);
		if (!err)
			d->nports++;
	}
	if (!err && d->nports == 0)
		err = err_msg(-EINVAL, "%s: virtio-console needs a port: virtio-console,NAME=BACKEND with %s", dev->id,
			      CHARDEV_FORMS);
	if (err)
		ports_close(d);
	return err;
}

static void size_fill(struct vcons *d)
{
	struct winsize w = { 0 };
	const char *path = port_opt(d, 0, "path");

	if (path && strcmp(path, "stdio") == 0 && !d->v.pci.dev.vm->dry && ioctl(STDOUT_FILENO, TIOCGWINSZ, &w) < 0)
		w.ws_col = 0;           /* no terminal */
	if (!w.ws_col || !w.ws_row)
		w = (struct winsize){ .ws_col = 80, .ws_row = 24 };
	put_le16(d->v.cfg + CFG_COLS, w.ws_col);
	put_le16(d->v.cfg + CFG_ROWS, w.ws_row);
}

static int vcons_init(struct device *dev)
{
	struct vcons *d = (struct vcons *)dev;
	int err = ports_open(d);

	if (err)
		return err;
	/* Port 0 has queues 0 and 1, the control queues are 2 and 3, whatever the number of ports. */
	err = virtio_init(&d->v, &vcons_type, 0, 2 + 2 * d->nports, QUEUE_SIZE, CFG_LEN);
	if (err) {
		ports_close(d);
		return err;
	}
	size_fill(d);
	put_le32(d->v.cfg + CFG_PORTS, d->nports);
	memset(d->v.cfg_wmask + CFG_EMERG, 0xff, 4);
	return 0;
}

static void vcons_fini(struct device *dev)
{
	struct vcons *d = (struct vcons *)dev;

	ports_close(d);
	virtio_fini(&d->v);
}

static void vcons_reset(struct device *dev) { virtio_reset((struct virtio_dev *)dev); }
/* Nothing is ever in flight: what a back end holds is its own business. */
static void vcons_pause(struct device *dev) { virtio_pause((struct virtio_dev *)dev); }
static void vcons_resume(struct device *dev) { virtio_resume((struct virtio_dev *)dev); }

static int vcons_loaded(struct device *dev)
{
	struct vcons *d = (struct vcons *)dev;

	if (get_le32(d->v.cfg + CFG_PORTS) != d->nports)
		return err_msg(-EINVAL, "snapshot of %s: it had %u ports, this machine gives %u", dev->id,
			       get_le32(d->v.cfg + CFG_PORTS), d->nports);
	size_fill(d);
	for (unsigned i = 0; i < PORTS_MAX; i++)
		d->port[i].owed &= i < d->nports ? OWE_ADD | OWE_CONSOLE | OWE_NAME | OWE_OPEN : 0;
	return virtio_loaded(&d->v);
}

/* --- Options --- */

static const struct opt vcons_opts[] = {
	{ "port.N.name", OPT_STR, 1, NAME_LEN_MAX, NULL, NULL, "name the guest sees; 'console' makes it a console", NULL },
	{ "port.N.path", OPT_STR, 0, 4096, NULL, NULL, "back end: " CHARDEV_FORMS, NULL },
	{ "console", OPT_BOOL, 0, 0, "false", NULL, "port 0 is a console whatever its name", NULL },
	OPT_LAST
};

/* The first port without a back end in the configuration. */
static unsigned port_next(struct conf *conf, const char *id)
{
	char key[64];

	for (unsigned n = 0; ; n++) {
		snprintf(key, sizeof(key), "%s.port.%u.path", id, n);
		if (n == PORTS_MAX || !conf_raw(conf, key))
			return n;
	}
}

static int port_key(struct conf *conf, const char *id, unsigned n, const char *what, const char *value, const char *origin)
{
	char key[64];

	snprintf(key, sizeof(key), "%s.port.%u.%s", id, n, what);
	return conf_set(conf, key, value, origin);
}

/* "unix=PATH,server" was split at the comma: the second word belongs to the port before. */
static int server_word(struct conf *conf, const char *id, unsigned n, const char *origin)
{
	char key[64], value[4160];

	snprintf(key, sizeof(key), "%s.port.%u.path", id, n - 1);
	snprintf(value, sizeof(value), "%.4096s,server", conf_raw(conf, key));
	return conf_set(conf, key, value, origin);
}

static int vcons_conf_word(struct conf *conf, const char *id, const char *word, const char *origin)
{
	const char *eq = strchr(word, '=');
	const unsigned n = port_next(conf, id);
	char name[NAME_LEN_MAX + 1], path[4160];
	int err;

	if (strcmp(word, "server") == 0 && n > 0)
		return server_word(conf, id, n, origin);
	if (!eq)
		return 1;
	snprintf(name, sizeof(name), "%.*s", (int)MIN(eq - word, NAME_LEN_MAX), word);
	/* "console=true" is the option, "console=stdio" the port of that name. */
	if (strncmp(name, "port.", 5) == 0 || (strcmp(name, "console") == 0 && opt_parse_bool(eq + 1, &(bool){ false }) == 0))
		return 1;
	if (n == PORTS_MAX)
		return err_msg(-EINVAL, "%s: '%s': virtio-console has at most %u ports", id, word, PORTS_MAX);
	snprintf(path, sizeof(path), eq[1] == '/' && strncmp(eq + 1, "/dev/", 5) != 0 ? "unix=%.4096s,server" : "%.4096s", eq + 1);
	err = port_key(conf, id, n, "name", name, origin);
	return err ? err : port_key(conf, id, n, "path", path, origin);
}

static const struct snap_field port_fields[] = {
	SNAP_BOOL(struct port, ready, 1), SNAP_BOOL(struct port, guest_open, 1), SNAP_U8(struct port, owed, 1),
	SNAP_END
};
static const struct snap_field vcons_fields[] = {
	SNAP_STRUCT(struct vcons, v, virtio_fields, 1),
	SNAP_STRUCTS(struct vcons, port, port_fields, 1),
	SNAP_END
};

const struct device_class virtio_console_class = {
	.name = "virtio-console", .help = "console and ports", .size = sizeof(struct vcons),
	.opts = vcons_opts, .conf_word = vcons_conf_word,
	.init = vcons_init, .fini = vcons_fini, .reset = vcons_reset, .pause = vcons_pause, .resume = vcons_resume,
	.snap = vcons_fields, .snap_version = 1, .loaded = vcons_loaded, .pci = true,
};
