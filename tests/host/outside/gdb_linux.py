"""gdb_linux.py, inside GDB: see gdb-linux. The guest has two vCPUs and waits at its first instruction."""
import os
import signal
import sys
import threading

sys.path.insert(0, os.path.join(os.environ["TOP"], "tests", "host", "outside"))
sys.dont_write_bytecode = True
from gdb_lib import expect, expect_in, gdb, go, go_to_point, main, run, value  # noqa: E402  pylint: disable=wrong-import-position

NAME = "(char *)$rsi" if os.environ["ARCH"] == "x86" else "(char *)$x1"  # the second argument


def start_of_kernel():
    """The kernel's own addresses are not mapped yet: only the CPU can watch for them."""
    run("hbreak *start_kernel")
    run("continue")
    expect("program counter", value("$pc"), value("(unsigned long)&start_kernel"))
    run("delete")


def kernel_memory():
    """What the kernel's code says at its own address is what it runs: a page apart, so that there is a walk to do."""
    code = run("x/8xw do_sys_openat2")
    expect("code of do_sys_openat2()", "0x00000000" not in code.split(":")[1][:40], True)


def steps():
    before = value("$pc")
    for _ in range(10):
        run("stepi")
    expect("it moved", value("$pc") != before, True)


def software_breakpoint():
    """Every file that is opened: its name is in user space, and mapped once somebody has looked at it."""
    run("break *do_sys_openat2")
    names = []
    for _ in range(60):
        go_to_point(gdb.BP_BREAKPOINT)
        expect("program counter", value("$pc"), value("(unsigned long)&do_sys_openat2"))
        try:
            names.append(run("x/s " + NAME).split('"')[1])
        except (gdb.MemoryError, IndexError):
            pass
        if any(name.startswith("/") for name in names):
            break
    expect("a file's name was read", any(name.startswith("/") for name in names), True)
    expect_in("threads", run("info threads"), "CPU 0", "CPU 1")
    run("delete")


def watch_stack():
    """A word of the kernel's stack, which does not stay as it is for long."""
    address = value("$sp") - 64
    before = value(f"*(unsigned long *){address}")
    run(f"watch *(unsigned long *){address}")
    go_to_point(gdb.BP_HARDWARE_WATCHPOINT)
    expect("it has changed", value(f"*(unsigned long *){address}") != before, True)
    run("delete")


def detach():
    run("detach")


def interrupt():
    """Ctrl-C until the kernel's own addresses are there: without breakpoints (see gdb_guest.py) that is how to come to it."""
    for _ in range(60):
        threading.Timer(1.0, lambda: os.kill(os.getpid(), signal.SIGINT)).start()
        expect("signal", go().stop_signal, "SIGINT")
        if value("$pc") >= value("(unsigned long)&_stext"):
            return
    raise AssertionError("the kernel does not come to its own addresses")


if os.environ["HOST"] != "svm":
    main(start_of_kernel, steps, software_breakpoint, kernel_memory, watch_stack, detach)
else:
    main(interrupt, kernel_memory, steps, detach)
