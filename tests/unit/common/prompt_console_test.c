/* The prompt on the console of a dry VM: whose input it is, what follows boot, reboot and quit, what is refused. */
#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/conf.h"
#include "common/vm.h"
#include "devices/char/chr_int.h"
#include "loaders/freebsd/freebsd.h"
#include "tests/unit/capture.h"
#include "tests/unit/loaders/freebsd/kldfile.h"
#include "tests/unit/unit.h"

static const struct kld_rec recs[] = { { 3, "kernel", { 1500068 } } };

static char dir[64];
static struct conf *conf;
static struct vm *vm;
static struct chardev *chr;
static const struct chardev_ops *device_ops;
static struct capture cap;

static void path_in(char out[128], const char *name)
{
	snprintf(out, 128, "%s/%s", dir, name);
}

static void put_kernel(const char *name, size_t cut)
{
	char path[128];
	struct kld_file f;

	kld_make(&f, EM_X86_64, ET_EXEC, 0, recs, NELEM(recs));
	path_in(path, name);
	FILE *out = fopen(path, "w");

	ck_assert_ptr_nonnull(out);
	fwrite(f.data, 1, f.len - cut, out);
	fclose(out);
	free(f.data);
}

static void setup(void)
{
	char path[128];

	strcpy(dir, "/tmp/skep-unit-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(dir));
	path_in(path, "boot");
	ck_assert_int_eq(mkdir(path, 0755), 0);
	conf = conf_new();
	conf_set(conf, "loader.prompt", "true", "test");
	conf_set(conf, "arch", "x86", "test");
	ck_assert_int_eq(vm_create(conf, &arch_x86, true, &vm), 0);
	ck_assert_ptr_null(vm->prompt);                 /* a plan has none */
	conf_set(conf, "loader.hostdir", dir, "test");
	conf_set(conf, "lpc.com1.path", "stdio", "test");
	struct device *port = vm_device(vm, "lpc.com1");

	chr = port->cls->chardev(port);
	device_ops = chr->ops;
}

static void teardown(void)
{
	char cmd[128];

	vm_free(vm);
	conf_free(conf);
	snprintf(cmd, sizeof(cmd), "rm -rf %s", dir);
	ck_assert_int_eq(system(cmd), 0);
}

/* As a client of the chardev does: no more than there is room for. */
static size_t type(const char *text)
{
	size_t n = 0;

	while (text[n] && chr->ops->can_rx(chr->arg)) {
		chr->ops->rx(chr->arg, (const uint8_t *)text + n, 1);
		n++;
	}
	return n;
}

static void step(void)
{
	for (int i = 0; i < 4; i++)
		loop_step(vm->loop, 0);
}

static const char *shown(void)
{
	static char text[4096];

	text[chardev_tail(chr, (uint8_t *)text, sizeof(text) - 1)] = '\0';
	return text;
}

static void shows(const char *part)
{
	ck_assert_msg(strstr(shown(), part) != NULL, "'%s' lacks '%s'", shown(), part);
}

START_TEST(talks)
{
	setup();
	ck_assert_int_eq(prompt_console_start(vm), 0);
	ck_assert_ptr_nonnull(vm->prompt);
	ck_assert_ptr_ne(chr->ops, device_ops);
	shows("\r\nOK ");
	ck_assert_uint_eq(type("echo 4$missing2\r"), 16);
	shows("echo 4$missing2\r\n4\r\nOK ");
	prompt_console_stop(vm);
	prompt_console_stop(vm);
	ck_assert_ptr_null(vm->prompt);
	ck_assert_ptr_eq(chr->ops, device_ops);
	ck_assert_ptr_null(vm->image.fbsd);
	teardown();
}
END_TEST

/* A kernel that cannot be loaded: said on the console, and the prompt is there again. */
START_TEST(boot_fails)
{
	setup();
	put_kernel("boot/mine", 0);
	ck_assert_int_eq(prompt_console_start(vm), 0);
	type("load /boot/mine\r");
	shows("/boot/mine (elf kernel, ");
	capture_start(&cap, STDERR_FILENO);
	ck_assert_uint_eq(type("boot\rand more"), 5);   /* what follows is not the prompt's */
	step();
	capture_stop(&cap);
	ck_assert_str_eq(cap.text, "");
	shows("kernel 'host0:/boot/mine'");
	ck_assert_ptr_nonnull(vm->prompt);
	ck_assert_int_eq(vm->image.kind, IMAGE_NONE);
	ck_assert_int_eq(vm->cause, CAUSE_NONE);
	ck_assert_uint_eq(vm->boots, 1);
	ck_assert_uint_eq(type("echo alive\r"), 11);
	shows("alive\r\nOK ");
	teardown();                                     /* with the prompt still there */
}
END_TEST

START_TEST(starts_over)
{
	setup();
	put_kernel("boot/mine", 0);
	ck_assert_int_eq(prompt_console_start(vm), 0);
	type("load /boot/mine\rset x=1\rreboot\r");
	step();
	ck_assert_uint_eq(vm->image.fbsd->nfiles, 0);
	ck_assert_ptr_null(fbsd_getenv(vm->image.fbsd, "x"));
	type("show x\r");
	shows("variable 'x' not found");
	teardown();
}
END_TEST

/* The kernel of --kernel has gone meanwhile. */
START_TEST(starts_over_without)
{
	setup();
	conf_set(conf, "kernel", "host0:/boot/gone", "test");
	ck_assert_int_eq(fbsd_collect(conf, NULL, &vm->image.fbsd), 0);
	vm->image.opened = true;
	ck_assert_int_eq(prompt_console_start(vm), 0);
	type("reboot\r");
	step();
	shows("boot/gone");
	type("echo alive\r");
	shows("alive\r\nOK ");
	ck_assert_int_eq(vm->cause, CAUSE_NONE);
	teardown();
}
END_TEST

START_TEST(quits)
{
	setup();
	ck_assert_int_eq(prompt_console_start(vm), 0);
	type("quit\r");
	step();
	ck_assert_int_eq(vm->cause, CAUSE_POWEROFF);
	ck_assert_int_eq(vm->status, STATUS_POWEROFF);
	ck_assert_str_eq(vm->cause_text, "quit at the loader's prompt");
	teardown();
}
END_TEST

START_TEST(signal_first)
{
	setup();
	put_kernel("boot/mine", 0);
	ck_assert_int_eq(prompt_console_start(vm), 0);
	type("load /boot/mine\rboot\r");
	vm_request(vm, CAUSE_SIGNAL, NULL, "test");
	step();
	ck_assert_int_eq(vm->cause, CAUSE_SIGNAL);
	ck_assert_int_eq(vm->status, STATUS_SIGNAL + 15);
	ck_assert_ptr_null(strstr(shown(), "kernel 'host0:"));
	teardown();
}
END_TEST

static void refused(enum image_kind kind, const char *text)
{
	vm->dry = false;
	vm->image.kind = kind;
	vm->image.path = "vmlinuz";
	capture_start(&cap, STDERR_FILENO);
	int err = prompt_console_check(vm);

	capture_stop(&cap);
	vm->dry = true;
	vm->image.kind = IMAGE_NONE;
	if (!text) {
		ck_assert_int_eq(err, 0);
		ck_assert_str_eq(cap.text, "");
		return;
	}
	ck_assert_int_eq(err, -EINVAL);
	ck_assert_msg(strstr(cap.text, text) != NULL, "'%s' lacks '%s'", cap.text, text);
}

START_TEST(check)
{
	setup();
	ck_assert(!prompt_console_wanted(vm));
	refused(IMAGE_NONE, NULL);
	refused(IMAGE_FREEBSD_AMD64, NULL);
	refused(IMAGE_FREEBSD_ARM64, NULL);
	refused(IMAGE_BZIMAGE, "'vmlinuz' is no FreeBSD kernel but an x86 Linux bzImage; leave --loader-prompt out");
	vm->firmware = true;
	refused(IMAGE_NONE, "firmware loads its own loader");
	vm->firmware = false;
	conf_set(conf, "lpc.com1.path", "null", "test");
	refused(IMAGE_NONE, "nobody can type there (null): connect it with -l com1,stdio or a socket");
	conf_set(conf, "lpc.com1.path", "file=x", "test");
	refused(IMAGE_FREEBSD_AMD64, "nobody can type there (file=x): ");
	conf_set(conf, "lpc.com1.path", "unix=x", "test");
	refused(IMAGE_FREEBSD_AMD64, NULL);
	conf_set(conf, "loader.hostdir", "", "test");
	conf_set(conf, "loader.prompt", "false", "test");
	refused(IMAGE_BZIMAGE, NULL);
	teardown();
	setup();
	conf_free(conf);
	conf = conf_new();
	conf_set(conf, "loader.prompt", "true", "test");
	vm->conf = conf;
	refused(IMAGE_NONE, "nothing to load from");
	conf_set(conf, "loader.hostdir", dir, "test");
	refused(IMAGE_NONE, "nobody can type there: connect");
	teardown();
}
END_TEST

UNIT_MAIN("common/prompt_console", talks, boot_fails, starts_over, starts_over_without, quits, signal_first, check)
