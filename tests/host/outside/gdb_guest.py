"""gdb_guest.py, inside GDB: see gdb-guest. The guest waits at its first instruction, with two vCPUs."""
import os
import signal
import sys
import threading

sys.path.insert(0, os.path.join(os.environ["TOP"], "tests", "host", "outside"))
sys.dont_write_bytecode = True
from gdb_lib import expect, expect_in, gdb, go, go_to_point, main, run, value  # noqa: E402  pylint: disable=wrong-import-position

X86 = os.environ["ARCH"] == "x86"
# QEMU's SVM does not take KVM's intercept of #BP, and no debug registers from a VMCB: what stops a guest there are steps and Ctrl-C.
POINTS = os.environ["HOST"] != "svm"


def at_first_instruction():
    threads = run("info threads")
    expect_in("threads", threads, "CPU 0", "CPU 1")
    run("info registers")
    expect("the first vCPU", gdb.selected_thread().num, 1)


def software_breakpoint():
    run("break at_round")
    run("continue")
    expect("function", gdb.selected_frame().name(), "at_round")
    expect("round", value("round"), 0)
    expect_in("stack", run("backtrace"), "at_round", "guest_main")
    # A breakpoint is not seen in memory.
    code = run("x/4xb at_round")
    run("continue")
    expect("round", value("round"), 1)
    expect("code without the breakpoint", run("x/4xb at_round"), code)


def virtual_memory():
    """The window shows another page each round; what is written through it lands in the page."""
    expect("window in round 1", value("window[0]"), 0x2222222222222222)
    run("continue")
    expect("window in round 2", value("window[0]"), 0x1111111111111111)
    run("set var window[1] = 0xabcdef")
    expect("the page behind it", value("pages[0][1]"), 0xabcdef)
    try:
        run("x/gx 0x600000000000")
        raise AssertionError("memory where nothing is mapped can be read")
    except gdb.MemoryError:
        pass


def physical_memory():
    run("monitor phys on")
    page = value("&pages[0][1]")  # the library maps itself at its own address
    expect("physical memory", value(f"*(unsigned long *){page}"), 0xabcdef)
    run("monitor phys off")
    expect("window again", value("window[0]"), 0x1111111111111111)


def registers():
    system = ("cr0", "cr3", "efer") if X86 else ("sctlr_el1", "ttbr0_el1", "vbar_el1")
    for name in system:
        expect(f"{name} is there", value("$" + name) != 0, True)
    general = "$rbx" if X86 else "$x20"
    old = value(general)
    run(f"set {general} = 0x1234567890abcdef")
    run("flushregs")
    expect("a register that was set", value(general), 0x1234567890abcdef)
    run(f"set {general} = {old}")
    vector = "$xmm3.v2_int64[1]" if X86 else "$v3.d.u[1]"
    run(f"set {vector} = 0x55aa")
    run("flushregs")
    expect("a vector register", value(vector), 0x55aa)


def single_steps():
    run("delete")
    run("break touch_device")
    run("continue")
    run("delete")
    before = value("$pc")
    for _ in range(3):
        run("stepi")
    expect("it moved", value("$pc") != before, True)
    run("finish")  # over the access to the device
    got = value("$rax" if X86 else "$x0")
    expect("what the device answered", got & 0xffff not in (0, 0xffff), True)


def step_into_device():
    """Instruction by instruction through a function that reads a device: the value must arrive."""
    run("break touch_device")
    run("continue")
    run("delete")
    for _ in range(200):
        if gdb.selected_frame().name() == "guest_main":
            break
        run("stepi")
    expect("function", gdb.selected_frame().name(), "guest_main")
    expect("what the device answered", value("$rax" if X86 else "$x0") & 0xffff not in (0, 0xffff), True)


def step_over_sleep():
    """HLT or WFI: the step ends, and the guest goes on when its timer says so."""
    run("break cpu_sleep")
    run("continue")
    run("delete")
    for _ in range(12):
        run("stepi")
    run("break at_round")
    run("continue")
    expect("function", gdb.selected_frame().name(), "at_round")
    run("delete")


def hardware_breakpoint():
    run("hbreak bump")
    run("continue")
    expect("function", gdb.selected_frame().name(), "bump")
    run("delete")


def watchpoints():
    before = value("watched")
    run("watch watched")
    go_to_point(gdb.BP_HARDWARE_WATCHPOINT)
    expect("written", value("watched"), before + 1)
    expect("function", gdb.selected_frame().name(), "bump")
    run("delete")
    run("rwatch unwatched")
    go_to_point(gdb.BP_READ_WATCHPOINT)
    run("delete")
    run("awatch unwatched")
    go_to_point(gdb.BP_ACCESS_WATCHPOINT)
    run("delete")


def two_vcpus():
    run("break other_turn")
    run("continue")
    expect("the second vCPU", gdb.selected_thread().num, 2)
    turns = value("turns")
    run("delete")
    # Stepping one vCPU: the other stays where it is.
    run("set scheduler-locking on")
    run("thread 1")
    where = value("$pc")
    run("thread 2")
    for _ in range(20):
        run("stepi")
    expect("it took turns", value("turns") >= turns, True)
    run("thread 1")
    expect("the first stood still", value("$pc"), where)
    run("set scheduler-locking off")


def monitor():
    expect_in("monitor help", run("monitor help"), "regs", "exits", "reset", "nmi", "phys")
    expect_in("monitor regs", run("monitor regs"), "rip" if X86 else "pc")
    expect_in("monitor exits", run("monitor exits"), "vcpu")
    try:
        text = run("monitor nonsense")
    except gdb.error as error:
        text = str(error)
    expect("an unknown command is said to be one", bool(text), True)


def interrupt():
    """Ctrl-C while the guest runs."""
    threading.Timer(2.0, lambda: os.kill(os.getpid(), signal.SIGINT)).start()
    event = go()
    expect("signal", event.stop_signal, "SIGINT")
    expect("program counter", value("$pc") != 0, True)


def step_at_random():
    """Wherever it is: a hundred instructions, and the counters that bump() keeps agree."""
    run("thread 1")
    for _ in range(100):
        run("stepi")
    expect("what the guest counts", value("watched") + 1 - value("unwatched") in (0, 1), True)


def software_watchpoint():
    """GDB steps and looks itself."""
    run("set can-use-hw-watchpoints 0")
    run("set scheduler-locking on")
    run("thread 2")
    before = value("turns")
    run("watch turns")
    go_to_point(gdb.BP_WATCHPOINT)
    expect("turns", value("turns"), before + 1)
    run("delete")
    run("set scheduler-locking off")


def memory_by_address():
    """The page in the window is one of the two, and is written through it."""
    expect("window", value("window[0]") in (0, 0x1111111111111111, 0x2222222222222222), True)
    run("set var pages[0][1] = 0xabcdef")
    run("monitor phys on")
    expect("physical memory", value("pages[0][1]"), 0xabcdef)
    run("monitor phys off")


def end():
    run("set var stop = 1")
    event = go()
    expect("the end", isinstance(event, gdb.ExitedEvent) and event.exit_code, 0)


if POINTS:
    main(at_first_instruction, software_breakpoint, virtual_memory, physical_memory, registers, single_steps, step_into_device,
         step_over_sleep, hardware_breakpoint, watchpoints, two_vcpus, monitor, interrupt, end)
else:
    main(at_first_instruction, interrupt, registers, step_at_random, memory_by_address, software_watchpoint, monitor, end)
