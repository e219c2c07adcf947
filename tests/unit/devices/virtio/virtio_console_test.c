#include "tests/unit/unit.h"

#include <errno.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "devices/classes.h"
#include "tests/unit/devices/virtio/driver.h"

#define F_MULTIPORT BIT64(1)
#define F_EMERG BIT64(2)
enum { RX0, TX0, CRX, CTX, RX1, TX1, QUEUES };

struct cons {
	struct drv *d;
	char sock[64];
	int fd;
};

static struct cons cons_new(void)
{
	struct cons c = { NULL, "", -1 };
	struct vm *vm = drv_vm_new();
	char spec[96];
	snprintf(c.sock, sizeof(c.sock), "/tmp/skep-cons-%d.sock", (int)getpid());
	snprintf(spec, sizeof(spec), "org.agent=unix=%s", c.sock);
	ck_assert_int_eq(virtio_console_class.conf_word(vm->conf, "pci.0.6.0", "console=null", "test"), 0);
	ck_assert_int_eq(virtio_console_class.conf_word(vm->conf, "pci.0.6.0", spec, "test"), 0);
	ck_assert_int_eq(virtio_console_class.conf_word(vm->conf, "pci.0.6.0", "server", "test"), 0);
	ck_assert_int_eq(virtio_console_class.conf_word(vm->conf, "pci.0.6.0", "console=true", "test"), 1);
	c.d = drv_open(vm, &virtio_console_class, "pci.0.6.0");
	ck_assert_ptr_nonnull(c.d);
	return c;
}

static void cons_end(struct cons *c)
{
	struct vm *vm = c->d->vm;
	drv_close(c->d);
	drv_vm_free(vm);
	if (c->fd >= 0)
		close(c->fd);
	unlink(c->sock);
}

static void attach(struct cons *c)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	snprintf(a.sun_path, sizeof(a.sun_path), "%s", c->sock);
	c->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
	ck_assert_int_eq(connect(c->fd, (struct sockaddr *)&a, sizeof(a)), 0);
	drv_settle(c->d);
}

static void ctrl_send(struct drv *d, uint32_t port, uint16_t event, uint16_t value)
{
	const struct drv_buf b = { drv_alloc(d, 8), 8, false };
	put_le32(drv_ptr(d, b.gpa, 4), port);
	put_le16(drv_ptr(d, b.gpa + 4, 2), event);
	put_le16(drv_ptr(d, b.gpa + 6, 2), value);
	ck_assert_int_eq(drv_do(d, CTX, &b, 1, false), 0);
}

/* The next control message; its text after the header. */
static void ctrl_expect(struct drv *d, uint64_t *bufs, uint32_t port, uint16_t event, uint16_t value, const char *text)
{
	uint32_t len;
	const int id = drv_wait(d, CRX, &len);
	ck_assert_msg(id >= 0, "no message %u (%u) for port %u", event, value, port);
	const uint8_t *p = drv_ptr(d, bufs[id], 64);
	ck_assert_uint_eq(get_le32(p), port);
	ck_assert_uint_eq(get_le16(p + 4), event);
	ck_assert_uint_eq(get_le16(p + 6), value);
	ck_assert_uint_eq(len, 8 + strlen(text));
	ck_assert_mem_eq(p + 8, text, strlen(text));
}

static void ctrl_buffers(struct drv *d, uint64_t *bufs, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		const struct drv_buf b = { drv_alloc(d, 64), 64, true };
		bufs[drv_add(d, CRX, &b, 1, false)] = b.gpa;
	}
	drv_kick(d, CRX);
	drv_settle(d);
}

static void ports(uint64_t features)
{
	struct cons c = cons_new();
	struct drv *d = c.d;
	uint64_t bufs[64];
	char got[64];
	uint32_t len;
	drv_start(d, features | F_MULTIPORT, QUEUES, 32);
	ck_assert_uint_eq(drv_cfg(d, 4, 4), 2);
	ctrl_buffers(d, bufs, 1);                       /* fewer than there are messages: the rest waits */
	ctrl_send(d, 0, 0, 1);
	ctrl_expect(d, bufs, 0, 1, 1, "");
	ctrl_buffers(d, bufs, 12);
	ctrl_expect(d, bufs, 1, 1, 1, "");
	ctrl_send(d, 0, 3, 1);
	ctrl_expect(d, bufs, 0, 4, 1, "");
	ctrl_expect(d, bufs, 0, 7, 1, "console");
	ctrl_expect(d, bufs, 0, 6, 1, "");
	ctrl_send(d, 1, 3, 1);
	ctrl_expect(d, bufs, 1, 7, 1, "org.agent");
	ctrl_expect(d, bufs, 1, 6, 0, "");
	ctrl_send(d, 99, 3, 1);
	attach(&c);
	ctrl_expect(d, bufs, 1, 6, 1, "");
	const struct drv_buf out = { drv_alloc(d, 5), 5, false };
	memcpy(drv_ptr(d, out.gpa, 5), "hello", 5);
	ck_assert_int_eq(drv_do(d, TX1, &out, 1, false), 0);
	drv_settle(d);
	ck_assert_int_eq(recv(c.fd, got, sizeof(got), 0), 5);
	ck_assert_mem_eq(got, "hello", 5);
	/* Input waits until the guest has opened the port and given buffers; small ones are filled in turn. */
	ck_assert_int_eq(send(c.fd, "abcdef", 6, 0), 6);
	const struct drv_buf in[2] = { { drv_alloc(d, 4), 4, true }, { drv_alloc(d, 4), 4, true } };
	drv_add(d, RX1, &in[0], 1, false);
	drv_kick(d, RX1);
	drv_settle(d);
	ck_assert_int_eq(drv_poll(d, RX1, &len), -1);
	ctrl_send(d, 1, 6, 1);
	ck_assert_int_ge(drv_wait(d, RX1, &len), 0);
	ck_assert_uint_eq(len, 4);
	drv_add(d, RX1, &in[1], 1, false);
	drv_kick(d, RX1);
	ck_assert_int_ge(drv_wait(d, RX1, &len), 0);
	ck_assert_uint_eq(len, 2);
	ck_assert_mem_eq(drv_ptr(d, in[0].gpa, 4), "abcd", 4);
	ck_assert_mem_eq(drv_ptr(d, in[1].gpa, 2), "ef", 2);
	drv_add(d, RX1, &in[0], 1, false);
	drv_kick(d, RX1);
	drv_settle(d);
	close(c.fd);
	c.fd = -1;
	ctrl_expect(d, bufs, 1, 6, 0, "");
	cons_end(&c);
}
START_TEST(multiport_split) { ports(0); ports(VIRTIO_F_EVENT_IDX); }
END_TEST
START_TEST(multiport_packed) { ports(VIRTIO_F_RING_PACKED); ports(VIRTIO_F_RING_PACKED | VIRTIO_F_EVENT_IDX); }
END_TEST

START_TEST(single_port)
{
	struct vm *vm = drv_vm_new();
	char path[] = "/tmp/skep-cons-XXXXXX", text[32] = "", spec[64];
	close(mkstemp(path));
	snprintf(spec, sizeof(spec), "file=%s", path);
	drv_conf(vm, "pci.0.6.0.port.0.name", "console");
	drv_conf(vm, "pci.0.6.0.port.0.path", spec);
	struct drv *d = drv_open(vm, &virtio_console_class, "pci.0.6.0");
	ck_assert_ptr_nonnull(d);
	drv_start(d, F_EMERG, 2, 8);
	const struct drv_buf out = { drv_alloc(d, 3), 3, false };
	memcpy(drv_ptr(d, out.gpa, 3), "boo", 3);
	ck_assert_int_eq(drv_do(d, TX0, &out, 1, false), 0);
	drv_write(d, VIRTIO_BAR_DEVICE + 8, 4, 't');
	drv_settle(d);
	drv_close(d);
	drv_vm_free(vm);
	FILE *f = fopen(path, "r");
	ck_assert_ptr_nonnull(fgets(text, sizeof(text), f));
	fclose(f);
	unlink(path);
	ck_assert_str_eq(text, "boot");
}
END_TEST

START_TEST(words)
{
	struct conf *c = conf_new();
	const struct device_class *cls = &virtio_console_class;
	char word[32];
	ck_assert_int_eq(cls->conf_word(c, "pci.0.6.0", "a=/run/x.sock", "test"), 0);
	ck_assert_str_eq(conf_raw(c, "pci.0.6.0.port.0.name"), "a");
	ck_assert_str_eq(conf_raw(c, "pci.0.6.0.port.0.path"), "unix=/run/x.sock,server");
	ck_assert_int_eq(cls->conf_word(c, "pci.0.6.0", "b=/dev/ttyS0", "test"), 0);
	ck_assert_str_eq(conf_raw(c, "pci.0.6.0.port.1.path"), "/dev/ttyS0");
	ck_assert_int_eq(cls->conf_word(c, "pci.0.6.0", "word", "test"), 1);
	for (unsigned i = 2; i < 16; i++) {
		snprintf(word, sizeof(word), "p%u=null", i);
		ck_assert_int_eq(cls->conf_word(c, "pci.0.6.0", word, "test"), 0);
	}
	ck_assert_int_eq(cls->conf_word(c, "pci.0.6.0", "one=null", "test"), -EINVAL);
	conf_free(c);
	struct vm *vm = drv_vm_new();
	ck_assert_ptr_null(drv_open(vm, cls, "pci.0.6.0"));
	drv_conf(vm, "pci.0.6.0.port.0.path", "null");
	ck_assert_ptr_null(drv_open(vm, cls, "pci.0.6.0"));
	drv_vm_free(vm);
}
END_TEST

UNIT_MAIN("devices/virtio/virtio_console", multiport_split, multiport_packed, single_port, words)
