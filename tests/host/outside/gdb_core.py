"""gdb_core.py, inside GDB: see gdb-core. The guest was stopped anywhere in its rounds, with two vCPUs."""
import os
import sys

sys.path.insert(0, os.path.join(os.environ["TOP"], "tests", "host", "outside"))
sys.dont_write_bytecode = True
from gdb_lib import expect, expect_in, gdb, main, run, value  # noqa: E402  pylint: disable=wrong-import-position

PAGES = [0x1111111111111111, 0x2222222222222222]


def vcpus():
    """Two, whose program counters lie in functions of the guest's and whose stacks are memory."""
    run("info threads")
    expect("vCPUs", len(gdb.selected_inferior().threads()), 2)
    for number in (1, 2):
        run(f"thread {number}")
        expect_in("program counter", run("info symbol $pc"), "in section .text")
        run("x/4gx $sp")
        run("backtrace")
    expect_in("the second vCPU", run("backtrace"), "other_")


def variables():
    rounds = value("watched")
    expect("rounds", 0 < rounds < 1 << 32, True)
    expect("a round apart", rounds - value("unwatched") & (1 << 64) - 1 in (0, (1 << 64) - 1), True)
    expect("the second vCPU had turns", value("turns") > 0, True)
    expect("pages", [value("pages[0][0]"), value("pages[1][0]")], PAGES)


def page_tables():
    """The window is read as the guest's page tables have it; between two rounds it is nowhere."""
    entry = value("tables[2][0]") & 0x0000fffffffff000
    if not entry:
        try:
            run("x/gx window")
            raise AssertionError("memory where nothing is mapped can be read")
        except gdb.MemoryError:
            return
    page = [value("&pages[0][0]"), value("&pages[1][0]")].index(entry)  # they are mapped to themselves
    expect("window", value("window[0]"), PAGES[page])


def vectors():
    run("info registers")
    run("p $xmm0" if os.environ["ARCH"] == "x86" else "p $v0")


main(vcpus, variables, page_tables, vectors, first=lambda: None)
