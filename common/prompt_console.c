/*
 * The FreeBSD loader's prompt on the VM's console: before the guest's first instruction, at every start.  The first serial
 * port's chardev is borrowed, so the prompt is wherever that console is, and its users stay attached.  vCPUs stay parked and
 * devices as they are; a signal ends the VM at once, as no guest listens to its power button.
 */
#include "common/vm.h"

#include <elf.h>
#include <errno.h>
#include <stddef.h>
#include <stdlib.h>

#include "common/conf.h"
#include "common/log.h"
#include "devices/char/chardev.h"
#include "loaders/freebsd/freebsd.h"

#define CONSOLE_ID "lpc.com1"           /* of every board */

struct prompt_console {
	struct vm *vm;
	struct chardev *chr;
	struct prompt *prompt;
	int end;                        /* enum prompt_end; what follows is posted to the loop, and input waits */
};

/* --- the chardev's side --- */

static void say(void *arg, const char *text, size_t len)
{
	struct prompt_console *pc = arg;
	chardev_write(pc->chr, (const uint8_t *)text, len);
}

/* A byte at a time: what follows the line that starts the guest is the guest's. */
static size_t console_can_rx(void *arg)
{
	const struct prompt_console *pc = arg;
	return pc->end ? 0 : 1;
}

static void leave(void *arg, uint32_t events);

static void console_rx(void *arg, const uint8_t *buf, size_t len)
{
	struct prompt_console *pc = arg;
	for (size_t i = 0; i < len && !pc->end; i++)
		pc->end = prompt_input(pc->prompt, buf[i]);
	if (pc->end && ev_post(pc->vm->loop, leave, pc->vm))
		pc->end = 0;
}

static const struct chardev_ops console_ops = { console_can_rx, console_rx, NULL };

/* --- what is loaded --- */

static void forget_image(struct vm *vm)
{
	image_release(&vm->image);
	fbsd_free(vm->image.fbsd);
	vm->image.fbsd = NULL;
}

/* As at power-on: the kernel that was asked for, or nothing but variables. */
static int read_set(struct vm *vm)
{
	int err = 0;
	if (conf_str(vm->conf, "kernel") && !vm->image.opened)
		err = image_open(&vm->image, vm->conf, vm->arch->name);
	if (!err && !vm->image.fbsd)
		err = fbsd_collect(vm->conf, NULL, &vm->image.fbsd);
	return err;
}

/* The kernel may be another than the one the image was made of. */
static enum image_kind loaded_kind(const struct fbsd_set *set)
{
	const struct fbsd_file *f = set->file;
	bool arm = f->len >= sizeof(Elf64_Ehdr) && get_le16(f->data + offsetof(Elf64_Ehdr, e_machine)) == EM_AARCH64;
	return arm ? IMAGE_FREEBSD_ARM64 : IMAGE_FREEBSD_AMD64;
}

/* --- ends --- */

static void listen_again(struct prompt_console *pc)
{
	pc->end = 0;
	chardev_rx_ready(pc->chr);
}

static void boot(struct prompt_console *pc)
{
	struct vm *vm = pc->vm;
	enum image_kind kind = vm->image.kind;
	const char *path = vm->image.path;
	vm->image.kind = loaded_kind(vm->image.fbsd);
	vm->image.path = vm->image.fbsd->file[0].host;
	prompt_divert(pc->prompt, true);
	int err = vm_load(vm);
	prompt_divert(pc->prompt, false);
	vm->image.kind = kind;
	vm->image.path = path;
	if (err) {
		prompt_resume(pc->prompt, err);
		listen_again(pc);
		return;
	}
	prompt_console_stop(vm);
	vm_release(vm, HOLD_BOOT);
}

static void start_over(struct prompt_console *pc)
{
	struct vm *vm = pc->vm;
	forget_image(vm);
	prompt_divert(pc->prompt, true);
	int err = read_set(vm);
	if (err && !vm->image.fbsd)     /* a kernel that is gone is no reason to leave */
		err = fbsd_collect(vm->conf, NULL, &vm->image.fbsd);
	prompt_divert(pc->prompt, false);
	struct prompt *fresh = err ? NULL : prompt_new(vm->conf, vm->image.fbsd, say, pc);
	if (!fresh) {
		vm_request(vm, CAUSE_HOST_ERROR, NULL, "the loader's prompt cannot start over: %s", strerror(err ? -err : ENOMEM));
		return;
	}
	prompt_free(pc->prompt);
	pc->prompt = fresh;
	listen_again(pc);
}

/* Loop thread, posted by console_rx(). */
static void leave(void *arg, uint32_t events)
{
	struct vm *vm = arg;
	struct prompt_console *pc = vm->prompt;
	(void)events;
	if (!pc || vm->cause != CAUSE_NONE)
		return;         /* a signal came first */
	switch (pc->end) {
	case PROMPT_BOOT:
		boot(pc);
		break;
	case PROMPT_REBOOT:
		start_over(pc);
		break;
	case PROMPT_QUIT:
		vm_request(vm, CAUSE_POWEROFF, NULL, "quit at the loader's prompt");
		break;
	default:
		break;
	}
}

/* --- starting and stopping --- */

bool prompt_console_wanted(const struct vm *vm)
{
	return !vm->dry && conf_bool(vm->conf, "loader.prompt");
}

/* Nobody could ever type the command that starts the guest. */
static int check_console(const struct vm *vm)
{
	const char *path = conf_raw(vm->conf, CONSOLE_ID ".path");
	if (path && strcmp(path, "null") && strcmp(path, "testdev") && strncmp(path, "file=", 5))
		return 0;
	return err_msg(-EINVAL, "--loader-prompt: the prompt is on the first serial port, and nobody can type there%s%s%s: connect it "
		       "with -l com1,stdio or a socket", path ? " (" : "", path ? path : "", path ? ")" : "");
}

int prompt_console_check(const struct vm *vm)
{
	enum image_kind kind = vm->image.kind;
	if (!conf_bool(vm->conf, "loader.prompt"))
		return 0;
	if (vm->firmware)
		return err_msg(-EINVAL, "--loader-prompt: firmware loads its own loader; leave one of the two out");
	if (kind == IMAGE_NONE && !conf_str(vm->conf, "loader.hostdir") && !vm->dry)
		return err_msg(-EINVAL, "--loader-prompt: nothing to load from; give -h DIR, or --kernel with a FreeBSD kernel");
	if (kind != IMAGE_NONE && kind != IMAGE_FREEBSD_AMD64 && kind != IMAGE_FREEBSD_ARM64)
		return err_msg(-EINVAL, "--loader-prompt: '%s' is no FreeBSD kernel but an %s; leave --loader-prompt out",
			       vm->image.path ? vm->image.path : "--load", image_kind_name(kind));
	return vm->dry ? 0 : check_console(vm);
}

int prompt_console_start(struct vm *vm)
{
	struct device *port = vm_device(vm, CONSOLE_ID);
	int err = read_set(vm);
	if (err)
		return err;
	struct prompt_console *pc = calloc(1, sizeof(*pc));
	if (!pc)
		return -ENOMEM;
	pc->vm = vm;
	pc->chr = port->cls->chardev(port);
	pc->prompt = prompt_new(vm->conf, vm->image.fbsd, say, pc);
	if (!pc->prompt) {
		free(pc);
		return -ENOMEM;
	}
	vm->prompt = pc;
	chardev_borrow(pc->chr, &console_ops, pc);
	return 0;
}

void prompt_console_stop(struct vm *vm)
{
	struct prompt_console *pc = vm->prompt;
	if (!pc)
		return;
	vm->prompt = NULL;
	chardev_return(pc->chr);
	prompt_free(pc->prompt);
	free(pc);
	forget_image(vm);
}
