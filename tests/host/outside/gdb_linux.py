"""gdb_linux.py, inside GDB: see gdb-linux. The guest has two vCPUs and waits at its first instruction."""
import os
import sys

sys.path.insert(0, os.path.join(os.environ["TOP"], "tests", "host", "outside"))
sys.dont_write_bytecode = True
from gdb_lib import expect, expect_in, gdb, main, run, value  # noqa: E402  pylint: disable=wrong-import-position


def start_of_kernel():
    """The kernel's own addresses are not mapped yet: only the CPU can watch for them."""
    run("hbreak *start_kernel")
    run("continue")
    expect("program counter", value("$pc"), value("(unsigned long)&start_kernel"))
    run("delete")


def read_by_virtual_address():
    expect_in("banner", run("x/s (char *)&linux_banner"), "Linux version")


def steps():
    before = value("$pc")
    for _ in range(10):
        run("stepi")
    expect("it moved", value("$pc") != before, True)


def software_breakpoint():
    run("break *do_sys_openat2")
    run("continue")
    expect("program counter", value("$pc"), value("(unsigned long)&do_sys_openat2"))
    expect_in("threads", run("info threads"), "CPU 0", "CPU 1")
    run("delete")


def watch_ticks():
    """A variable that the timer's interrupt counts up."""
    before = value("*(unsigned long *)&jiffies_64")
    run("watch *(unsigned long *)&jiffies_64")
    expect_in("watchpoint", run("continue"), "Old value", "New value")
    expect("ticks", value("*(unsigned long *)&jiffies_64") > before, True)
    run("delete")


def detach():
    run("detach")


main(start_of_kernel, read_by_virtual_address, steps, software_breakpoint, watch_ticks, detach)
