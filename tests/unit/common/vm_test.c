/* Building dry VMs: what is refused and in which words, what the policies make of a guest's end. */
#include "common/vm.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>

#include "common/conf.h"
#include "devices/pci/pci.h"
#include "tests/unit/capture.h"
#include "tests/unit/loaders/freebsd/elffile.h"
#include "tests/unit/loaders/freebsd/hostfiles.h"
#include "tests/unit/unit.h"

static struct capture err;
static struct conf *conf;
static struct vm *vm;

/* Keys and values in pairs, NULL at the end.  The configuration is not checked: vm_create has to stand it. */
static int create(const struct arch_info *arch, bool dry, const char *const *settings)
{
	conf = conf_new();
	for (; *settings; settings += 2)
		ck_assert_int_eq(conf_set(conf, settings[0], settings[1], "test"), 0);
	vm = NULL;
	capture_start(&err, 2);
	int r = vm_create(conf, arch, dry, &vm);
	capture_stop(&err);
	return r;
}
#define CREATE(arch, dry, ...) create(arch, dry, (const char *const[]){ __VA_ARGS__, NULL })

static void destroy(void)
{
	if (vm)
		vm_free(vm);
	conf_free(conf);
}

static void refused(int got, int want, const char *sentence)
{
	char text[800];
	snprintf(text, sizeof(text), "skep: %s\n", sentence);
	ck_assert_str_eq(err.text, text);
	ck_assert_int_eq(got, want);
	ck_assert_ptr_null(vm);
	destroy();
}

static const struct arch_info *const arches[] = { &arch_x86, &arch_arm64 };

START_TEST(test_defaults)
{
	for (size_t i = 0; i < NELEM(arches); i++) {
		ck_assert_int_eq(CREATE(arches[i], true, "name", "vm1"), 0);
		ck_assert_str_eq(err.text, "");
		ck_assert_str_eq(vm->name, "vm1");
		ck_assert_uint_eq(vm->nvcpus, 1);
		ck_assert_uint_eq(mem_total(&vm->mem), MIB(256));
		ck_assert_uint_eq(vm->boots, 1);
		ck_assert_ptr_null(vm->rundir);
		ck_assert_ptr_nonnull(vm_device(vm, "lpc.com1"));
		ck_assert_ptr_null(vm_device(vm, "lpc.com2"));
		ck_assert_ptr_null(vm_device(vm, ""));
		ck_assert(vm->policy.reboot == ACTION_RESTART && vm->policy.poweroff == ACTION_EXIT && vm->policy.crash == ACTION_EXIT);
		destroy();
	}
}
END_TEST

START_TEST(test_devices)
{
	for (size_t i = 0; i < NELEM(arches); i++) {
		ck_assert_int_eq(CREATE(arches[i], true, "pci.0.3.0.device", "virtio-rnd", "pci.0.3.7.device", "virtio-rnd",
					"pci.0.9.0.device", "lpc", "pci.0.0.0.device", "hostbridge", "lpc.com2.path", "null"), 0);
		ck_assert_ptr_nonnull(vm_device(vm, "pci.0.3.0"));
		ck_assert_ptr_nonnull(vm_device(vm, "pci.0.3.7"));
		ck_assert_ptr_null(vm_device(vm, "pci.0.9.0"));         /* accepted, makes no device */
		ck_assert_ptr_nonnull(vm_device(vm, "lpc.com2"));
		destroy();
	}
}
END_TEST

/* Two machines of different architectures in one process. */
START_TEST(test_two_machines)
{
	ck_assert_int_eq(CREATE(&arch_x86, true, "name", "one"), 0);
	struct vm *first = vm;
	struct conf *first_conf = conf;
	ck_assert_int_eq(CREATE(&arch_arm64, true, "name", "two"), 0);
	ck_assert_str_eq(first->name, "one");
	ck_assert_ptr_ne(vm_device(first, "lpc.com1"), vm_device(vm, "lpc.com1"));
	vm_free(first);
	conf_free(first_conf);
	destroy();
}
END_TEST

START_TEST(test_device_refusals)
{
	refused(CREATE(&arch_x86, true, "pci.0.3.0.device", "nonsense"), -EINVAL, "pci.0.3.0: 'nonsense' is no PCI device of this version");
	refused(CREATE(&arch_arm64, true, "pci.0.3.0.device", "pl011"), -EINVAL, "pci.0.3.0: 'pl011' is no PCI device of this version");
	refused(CREATE(&arch_x86, true, "pci.0.0.0.device", "virtio-rnd"), -EEXIST,
		"pci.0.0.0: the q35 machine has its own hostbridge in this place; choose another slot for virtio-rnd");
	refused(CREATE(&arch_x86, true, "pci.0.31.0.device", "virtio-rnd"), -EEXIST,
		"pci.0.31.0: the q35 machine has its own lpc in this place; choose another slot for virtio-rnd");
	refused(CREATE(&arch_x86, true, "pci.0.32.0.device", "virtio-rnd"), -EINVAL,
		"'pci.0.32.0' is no place on the PCI bus: bus 0-255, slot 0-31, function 0-7");
	refused(CREATE(&arch_x86, true, "pci.1.3.0.device", "virtio-rnd"), -EINVAL,
		"'pci.1.3.0': this machine has PCI bus 0 only; use bus 0");
	refused(CREATE(&arch_x86, true, "pci.0.4.0.device", "virtio-rnd", "pci.0.3.0.device", "nonsense"), -EINVAL,
		"pci.0.3.0: 'nonsense' is no PCI device of this version");
}
END_TEST

START_TEST(test_size_refusals)
{
	struct arch_info small = arch_x86;
	small.max_vcpus = 2;
	ck_assert_int_eq(CREATE(&small, true, "cpus", "2"), 0);
	destroy();
	refused(CREATE(&small, true, "cpus", "3"), -EINVAL, "cpus: 3 vCPUs asked for, an x86 machine has at most 2");
	refused(CREATE(&arch_arm64, true, "cpus", "512"), -EINVAL, "cpus: 512 vCPUs asked for, an arm64 machine has at most 123");
	refused(CREATE(&arch_x86, true, "memory.size", "64T"), -EINVAL,
		"memory.size: 65536 GiB do not fit below 64 TiB beside the PCI windows; give at most 65468 GiB");
	refused(CREATE(&arch_arm64, true, "memory.size", "1T"), -EINVAL,
		"memory.size: 1048576 MiB is more than the virt board has room for: use at most 255G");
	refused(CREATE(&arch_x86, true, "memory.size", "33554433"), -EINVAL,
		"memory.size: 33554433 bytes are not whole pages; give a multiple of 4K");
}
END_TEST

START_TEST(test_boot_refusals)
{
	for (size_t i = 0; i < NELEM(arches); i++) {
		refused(CREATE(arches[i], true, "kernel", "/no/such/kernel"), -ENOENT, "kernel '/no/such/kernel': No such file or directory");
		refused(CREATE(arches[i], true, "initrd", "/no/such/initrd"), -EINVAL,
			"--initrd without --kernel: give --kernel FILE as well");
	}
}
END_TEST

/* -h DIR alone has a kernel, or says that it has none; nothing of it is used up. */
START_TEST(test_host_directory)
{
	static const char nextboot[] = "nextboot_enable=\"YES\"\nkernel=\"kernel.test\"\n";
	struct elf_file kernel;
	char text[64] = "";

	host_start();
	elf_linked(&kernel, EM_X86_64, ELF_KERNEL_AMD64);
	kernel.eh.e_shnum = 0;
	char sentence[700], dir[512];
	snprintf(dir, sizeof(dir), "%s", host_path("dir"));
	snprintf(sentence, sizeof(sentence), "-h '%s': there is no kernel in it (/boot/kernel/kernel); give --kernel host0:/PATH", dir);
	refused(CREATE(&arch_x86, true, "arch", "x86", "loader.hostdir", dir), -ENOENT, sentence);
	host_bytes("dir/boot/kernel/kernel", &kernel, sizeof(kernel));
	host_bytes("dir/boot/kernel.test/kernel", &kernel, sizeof(kernel));
	host_text("dir/boot/nextboot.conf", nextboot);
	ck_assert_msg(!CREATE(&arch_x86, true, "arch", "x86", "loader.hostdir", dir), "%s", err.text);
	ck_assert_str_eq(vm->image.path, "host0:/boot/kernel.test/kernel");
	ck_assert_int_eq(vm->image.kind, IMAGE_FREEBSD_AMD64);
	destroy();
	int fd = open(host_path("dir/boot/nextboot.conf"), O_RDONLY);
	ck_assert_int_eq(read(fd, text, sizeof(text)), (ssize_t)strlen(nextboot));
	close(fd);
	ck_assert_str_eq(text, nextboot);
	host_stop();
}
END_TEST

/* A live VM that is refused before KVM, the run directory or the signals' mask are touched for good. */
START_TEST(test_live_refusals)
{
	sigset_t before, after;
	pthread_sigmask(SIG_SETMASK, NULL, &before);
	refused(CREATE(&arch_x86, false, "name", "x"), -EINVAL, "nothing to boot: give --kernel FILE, or --firmware uefi to boot from a disk");
	refused(CREATE(&arch_x86, false, "name", "x", "kernel", "/no/such/kernel"), -ENOENT,
		"kernel '/no/such/kernel': No such file or directory");
	ck_assert_int_eq(CREATE(&arch_x86, false, "name", "x", "kernel", "/x", "memory.size", "60T"), -ENOMEM);
	ck_assert(!strncmp(err.text, "skep: memory.size: 62914560 MiB asked for, this host has ", 57));
	ck_assert_ptr_nonnull(strstr(err.text, " MiB with swap; give a smaller -m\n"));
	destroy();
	pthread_sigmask(SIG_SETMASK, NULL, &after);
	ck_assert_int_eq(sigismember(&before, SIGTERM), sigismember(&after, SIGTERM));
	ck_assert_int_eq(sigismember(&after, SIGINT), 0);
}
END_TEST

/* --- what follows a request --- */

/* Of a VM without vCPUs, whose registers a crash would show. */
static void request(enum vm_cause cause, const char *text)
{
	vm->nvcpus = 0;
	capture_start(&err, 2);
	vm_request(vm, cause, NULL, "%s", text);
	loop_step(vm->loop, 0);
	capture_stop(&err);
}

START_TEST(test_statuses)
{
	static const struct { enum vm_cause cause; int status; } rows[] = {
		{ CAUSE_POWEROFF, 0 }, { CAUSE_RESET, 3 }, { CAUSE_CRASH, 4 }, { CAUSE_HOST_ERROR, 5 }, { CAUSE_SIGNAL, 128 + SIGTERM },
	};
	for (size_t i = 0; i < NELEM(rows); i++) {
		ck_assert_int_eq(CREATE(&arch_x86, true, "on_reboot", "exit"), 0);
		request(rows[i].cause, "said the guest");
		ck_assert_int_eq(vm->status, rows[i].status);
		ck_assert_str_eq(vm->cause_text, "said the guest");
		destroy();
	}
}
END_TEST

START_TEST(test_first_request_wins)
{
	ck_assert_int_eq(CREATE(&arch_x86, true, "name", "x"), 0);
	vm_request(vm, CAUSE_POWEROFF, NULL, "first %d", 1);
	vm_request(vm, CAUSE_CRASH, NULL, "second");
	ck_assert_int_eq(vm->cause, CAUSE_POWEROFF);
	ck_assert_str_eq(vm->cause_text, "first 1");
	ck_assert(atomic_load(&vm->park_requested));
	loop_step(vm->loop, 0);
	ck_assert_int_eq(vm->status, 0);
	destroy();
}
END_TEST

START_TEST(test_pause_policy)
{
	ck_assert_int_eq(CREATE(&arch_x86, true, "on_poweroff", "pause"), 0);
	ck_assert_int_eq(vm->policy.poweroff, ACTION_PAUSE);
	vm->status = -1;
	request(CAUSE_POWEROFF, "off");
	ck_assert_str_eq(err.text, "skep: warning: paused after guest-poweroff, as its policy says; a signal ends it\n");
	ck_assert(vm->paused_for_good);
	request(CAUSE_CRASH, "ignored");
	ck_assert_int_eq(vm->status, -1);
	request(CAUSE_SIGNAL, "signal");
	ck_assert_int_eq(vm->status, 128 + SIGTERM);
	destroy();
}
END_TEST

/* Of what the operator asks of a machine that a policy keeps paused, the first wins, too. */
START_TEST(test_paused_first_request)
{
	ck_assert_int_eq(CREATE(&arch_x86, true, "on_poweroff", "pause"), 0);
	request(CAUSE_POWEROFF, "off");
	vm_request(vm, CAUSE_SIGNAL, NULL, "first");
	vm_request(vm, CAUSE_RESET, NULL, "second");
	vm_request(vm, CAUSE_SIGNAL, NULL, "third");
	ck_assert_int_eq(vm->cause, CAUSE_SIGNAL);
	ck_assert_str_eq(vm->cause_text, "first");
	loop_step(vm->loop, 0);
	ck_assert_int_eq(vm->status, 128 + SIGTERM);
	/* Nothing of it comes later, when the machine has ended. */
	vm->status = -1;
	vm_request(vm, CAUSE_RESET, NULL, "too late");
	loop_step(vm->loop, 0);
	ck_assert_str_eq(vm->cause_text, "first");
	ck_assert_int_eq(vm->status, -1);
	destroy();
}
END_TEST

/* Who lets the machine go does not let those vCPUs go on that have asked for something meanwhile. */
START_TEST(test_request_while_held)
{
	ck_assert_int_eq(CREATE(&arch_x86, true, "on_poweroff", "pause"), 0);
	vm_release(vm, HOLD_BOOT);
	ck_assert(!atomic_load(&vm->park_requested));
	vm_hold(vm, HOLD_SAVE);
	vm_state_set(vm, VM_SAVING, VM_RUNNING);
	vm_hold(vm, HOLD_USER);
	vm_release(vm, HOLD_USER);
	ck_assert_int_eq(vm->state, VM_SAVING);
	vm_request(vm, CAUSE_POWEROFF, NULL, "off");
	loop_step(vm->loop, 0);
	ck_assert(!vm->paused_for_good);        /* it waits for the memory to be written */
	vm_release(vm, HOLD_SAVE);
	ck_assert(atomic_load(&vm->park_requested));
	capture_start(&err, 2);
	loop_step(vm->loop, 0);
	capture_stop(&err);
	ck_assert(vm->paused_for_good);
	destroy();
}
END_TEST

/* What the host's trouble stops goes on when the operator says so; what ends it wins. */
START_TEST(test_stop_and_continue)
{
	ck_assert_int_eq(CREATE(&arch_x86, true, "name", "x"), 0);
	vm->nvcpus = 0;
	vm_release(vm, HOLD_BOOT);
	vm_continue(vm);                /* it runs: nothing */
	vm_stop_for(vm, "disk full");
	vm_stop_for(vm, "another one");
	ck_assert(atomic_load(&vm->park_requested));
	loop_step(vm->loop, 0);
	ck_assert(vm->holds & HOLD_STOP);
	ck_assert_str_eq(vm->stop_text, "disk full");
	vm_continue(vm);
	ck_assert(!(vm->holds & HOLD_STOP));
	ck_assert(!atomic_load(&vm->park_requested));
	vm_stop_for(vm, "again");
	loop_step(vm->loop, 0);
	ck_assert(vm->holds & HOLD_STOP);
	ck_assert_str_eq(vm->stop_text, "again");
	vm->status = -1;
	request(CAUSE_SIGNAL, "signal");
	ck_assert_int_eq(vm->status, 128 + SIGTERM);
	vm_stop_for(vm, "too late");
	loop_step(vm->loop, 0);
	ck_assert_str_eq(vm->stop_text, "again");
	destroy();

	ck_assert_int_eq(CREATE(&arch_x86, true, "on_reboot", "exit"), 0);
	vm->nvcpus = 0;
	vm_request(vm, CAUSE_RESET, NULL, "reset");
	vm_stop_for(vm, "meanwhile");
	loop_step(vm->loop, 0);
	ck_assert(!(vm->holds & HOLD_STOP));
	ck_assert_int_eq(vm->status, STATUS_RESET);
	destroy();
}
END_TEST

START_TEST(test_crash_is_told)
{
	ck_assert_int_eq(CREATE(&arch_x86, true, "on_crash", "exit"), 0);
	request(CAUSE_CRASH, "triple fault");
	ck_assert_str_eq(err.text, "skep: guest crashed: triple fault\n");
	destroy();
}
END_TEST

UNIT_MAIN("common/vm", test_defaults, test_devices, test_two_machines, test_device_refusals, test_size_refusals, test_boot_refusals,
	  test_host_directory, test_live_refusals, test_statuses, test_first_request_wins, test_pause_policy, test_paused_first_request,
	  test_request_while_held, test_stop_and_continue, test_crash_is_told)
