"""gdb_guest.py, inside GDB: see gdb-guest. The guest waits at its first instruction, with two vCPUs."""
import os
import sys

sys.path.insert(0, os.path.join(os.environ["TOP"], "tests", "host", "outside"))
sys.dont_write_bytecode = True
from gdb_lib import expect, expect_in, gdb, main, no_breakpoints_in, run, value  # noqa: E402  pylint: disable=wrong-import-position

X86 = os.environ["ARCH"] == "x86"
WATCH_SIZE = 8


def stop_reason():
    return run("info program")


def at_first_instruction():
    no_breakpoints_in(value("(unsigned long)&at_round") & ~0xfff, (value("(unsigned long)&guest_main") | 0xfff) + 1)
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
    run("continue")
    expect("written", value("watched"), before + 1)
    expect("function", gdb.selected_frame().name(), "bump")
    run("delete")
    run("rwatch unwatched")
    run("continue")
    expect("function that reads", gdb.selected_frame().name(), "bump")
    run("delete")
    run("awatch unwatched")
    run("continue")
    expect("function that accesses", gdb.selected_frame().name(), "bump")
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
    run("break at_round")
    run("continue")
    run("delete")
    gdb.post_event(lambda: None)
    # GDB in batch mode has no event loop to press Ctrl-C in: a command of its own sends the byte.
    import threading  # pylint: disable=import-outside-toplevel
    threading.Timer(2.0, lambda: os.kill(os.getpid(), 2)).start()
    text = ""
    try:
        text = run("continue")
    except KeyboardInterrupt:
        pass
    expect("it is stopped", "registers" in run("info registers") or bool(value("$pc")), True)
    print(text)


def end():
    run("set var stop = 1")
    run("continue")
    expect("threads at the end", len(gdb.selected_inferior().threads()), 0)


main(at_first_instruction, software_breakpoint, virtual_memory, physical_memory, registers, single_steps, step_into_device,
     step_over_sleep, hardware_breakpoint, watchpoints, two_vcpus, monitor, interrupt, end)
