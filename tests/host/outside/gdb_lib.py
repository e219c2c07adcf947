"""gdb_lib.py: what the scripts that run inside GDB share."""
import os
import sys
import traceback

import gdb  # only there inside GDB

PORT = os.environ.get("PORT_1234", "")


def connect():
    for setting in ("confirm off", "pagination off", "remotetimeout 60", "height 0", "width 0"):
        gdb.execute("set " + setting)
    run(f"target remote 127.0.0.1:{PORT}")


def run(command):
    """A command of GDB's; what it printed, which is also shown."""
    print(f"(gdb) {command}", flush=True)
    text = gdb.execute(command, to_string=True)
    print(text, end="", flush=True)
    return text


def go(command="continue"):
    """Lets the guest run; the event that it stopped with: gdb.BreakpointEvent, gdb.SignalEvent, gdb.ExitedEvent ..."""
    seen = []
    gdb.events.stop.connect(seen.append)
    gdb.events.exited.connect(seen.append)
    try:
        run(command)
    finally:
        gdb.events.stop.disconnect(seen.append)
        gdb.events.exited.disconnect(seen.append)
    if not seen:
        raise AssertionError(f"'{command}' ended without an event")
    return seen[-1]


def go_to_point(kind, command="continue"):
    """Lets the guest run to the one breakpoint or watchpoint there is, whose type is `kind`."""
    event = go(command)
    if not isinstance(event, gdb.BreakpointEvent):
        raise AssertionError(f"'{command}' ended with {event!r}")
    expect("what stopped it", event.breakpoints[0].type, kind)


def value(expression):
    """As an unsigned number of 64 bits."""
    return int(gdb.parse_and_eval(expression)) & (1 << 64) - 1


def expect(what, got, wanted):
    if got != wanted:
        raise AssertionError(f"{what} is {got!r}, expected {wanted!r}")


def expect_in(what, text, *wanted):
    for word in wanted:
        if word not in text:
            raise AssertionError(f"{what}: no {word!r} in {text!r}")


def main(*steps, first=connect):
    """Runs the steps; GDB ends with status 1 at the first that fails."""
    try:
        first()
        for step in steps:
            print(f"--- {step.__name__}", flush=True)
            step()
        print("--- all done", flush=True)
    except BaseException:  # pylint: disable=broad-except
        traceback.print_exc()
        sys.stdout.flush()
        gdb.execute("quit 1")
