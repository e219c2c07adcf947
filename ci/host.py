#!/usr/bin/env python3
"""ci/host.py: boot a test host (an emulated machine with real KVM) once and run scenarios in it.

Hosts: svm (x86, QEMU), vtx (x86 with VT-x and EPT, Bochs), gicv3 and gicv2 (arm64, QEMU). The scenarios are
tests/host/NAME.sh, with --firmware tests/host/firmware/NAME.sh; comment lines at their top say which hosts they are for, and what else the runner must know:
    # hosts: svm gicv3 gicv2      default: all but vtx
    # timeout: 60                 seconds inside the host, default 60
    # needs: /bm/a|/bm/b /bm/c    files that must be there, | between alternatives; skipped otherwise
    # outside: 1234 1235          TCP ports of the host that programs outside of it connect to; for vtx a single one, see reach in
    #                             lib.sh
One line per scenario, a failed one's output below it, and last 'N passed, M failed'. Exit status 0 when at least one
scenario ran and none failed. The whole console is in build/hosts/HOST.log.

Lines a scenario writes to the host's console (lib.sh has functions for them):
    @@ file NAME, base64 lines, @@ endfile      the file becomes build/hosts/HOST/out/NAME
    @@ outside PROGRAM ARGUMENT...              runs tests/host/outside/PROGRAM here, with PORT_1234 and so on, HOST, ARCH and OUT in
                                                its environment; the line "outside STATUS" is then typed on the host's console

A scenario is run once. Only when the emulator itself dies (an assertion or signal of its own) is the scenario that it
took along run again in a new host, and that is said. A host that freezes or panics is a failure of the scenario.
"""
import argparse
import base64
import fcntl
import os
import re
import select
import shlex
import signal
import socket
import subprocess
import sys
import threading
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import cpio  # noqa: E402  (ci/cpio.py)

TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
SCENARIOS = os.path.join(TOP, "tests", "host")
FIRMWARE = os.path.join(SCENARIOS, "firmware")
ARCH = {"svm": "x86", "vtx": "x86", "gicv3": "arm64", "gicv2": "arm64"}
TTY = {"x86": "ttyS0", "arm64": "ttyAMA0"}
# Slowness of a host relative to the others: all time limits are multiplied by it.
SLOWNESS = {"svm": 1, "gicv3": 1, "gicv2": 1, "vtx": 5}
PROTOCOL = re.compile(r"@@ (ready|tick|begin|ok|FAIL|log|endlog|end|broken|exit|file|endfile|outside)\b ?(.*)")
# QEMU's SVM clears a bit of what its CPU has pending without the lock under which another thread sets bits there, and so loses an
# interrupt now and then (about once in 100,000 exits): the emulated CPU sleeps with its timer's interrupt pending. The next
# interrupt of any kind brings both, so the runner types an empty line each second in which the host is silent.
NUDGE_SECONDS = 1


class Trouble(Exception):
    """Something that makes going on pointless; the message says what to do."""


# --- scenarios ---

class Scenario:
    def __init__(self, name):
        self.name = name
        self.path = os.path.join(SCENARIOS, name + ".sh")
        if not os.path.exists(self.path):
            self.path = os.path.join(FIRMWARE, name + ".sh")
        self.hosts, self.timeout, self.needs, self.ports = ["svm", "gicv3", "gicv2"], 60, [], []
        try:
            with open(self.path, encoding="utf-8") as f:
                head = f.read().split("\n\n")[0]
        except FileNotFoundError:
            raise Trouble(f"no scenario '{name}': 'ci/host.py --list' shows them all") from None
        for key, value in re.findall(r"^# (hosts|timeout|needs|outside): *(.*?) *$", head, re.M):
            if key == "hosts":
                self.hosts = value.split()
            elif key == "timeout":
                self.timeout = int(value)
            elif key == "outside":
                self.ports = [int(port) for port in value.split()]
            else:
                self.needs = value.split()


def scripts(directory):
    return sorted(f for f in os.listdir(directory) if f.endswith(".sh"))


def all_scenarios(directory):
    return [Scenario(f[:-3]) for f in scripts(directory) if f != "lib.sh"]


# --- what the host boots ---

def payload_files(args, arch, scenarios=None):
    """(path in the host, path here) of all that may change from run to run; with scenarios, only what these want."""
    cache = os.path.join(TOP, "build", "cache", arch)
    skep = args.skep or os.path.join(TOP, "build", arch, "skep")
    if not os.path.exists(skep):
        raise Trouble(f"{os.path.relpath(skep)} is missing: run 'make ARCH={arch}'")
    files = [("bin/skep", skep), ("g/vmlinuz", f"{cache}/vmlinuz"), ("g/initrd", f"{cache}/guest.cpio.gz"),
             ("g/disks", f"{cache}/disks.cpio.gz")]
    if scenarios is None or any("/g/full/" in need for s in scenarios for need in s.needs):
        files += [("g/full/vmlinuz", f"{cache}/full/vmlinuz"), ("g/full/initrd", f"{cache}/full.cpio.gz")]
    files += [(f"t/{f}", os.path.join(SCENARIOS, f)) for f in scripts(SCENARIOS)]
    if args.firmware:
        files += [(f"t/{f}", os.path.join(FIRMWARE, f)) for f in scripts(FIRMWARE)] + firmware_files(cache)
    guests = os.path.join(TOP, "build", arch, "tests", "guest")
    if os.path.isdir(guests):
        files += [(f"bm/{f}", os.path.join(guests, f)) for f in sorted(os.listdir(guests))
                  if os.path.isfile(os.path.join(guests, f)) and not f.endswith((".o", ".d"))]
        for folder, _, names in os.walk(os.path.join(guests, "fbsd-root")):
            files += [(os.path.relpath(os.path.join("bm", os.path.relpath(folder, guests), f)), os.path.join(folder, f))
                      for f in sorted(names)]
    for item in args.add:
        source, colon, target = item.partition(":")
        if not colon or not os.path.isfile(source):
            raise Trouble(f"--add {item}: want SOURCE:PATH-IN-HOST, SOURCE a file")
        files.append((target.lstrip("/"), source))
    return files


def firmware_files(cache):
    """Packaged firmware where its packages install it; disks and installers in /fw."""
    top, files = os.path.join(cache, "firmware"), []
    for folder, _, names in os.walk(top):
        for name in sorted(names):
            path = os.path.relpath(os.path.join(folder, name), top)
            if path.startswith("usr/"):
                files.append((path, os.path.join(top, path)))
            elif path.startswith("di/") or path in ("disk.img", "cd.iso"):
                files.append((f"fw/{path}", os.path.join(top, path)))
    return sorted(files)


def write_initrd(out, arch, files, scenarios, slow, command):
    archive = cpio.Archive()
    for target, source in files:
        archive.source(target, source)
    archive.file("t/list", "".join(f"{s.name} {s.timeout * slow}\n" for s in scenarios).encode())
    if command:
        archive.file("t/exec", command.encode() + b"\n")
    with open(os.path.join(TOP, "build", "cache", arch, "host.cpio.gz"), "rb") as f:
        base = f.read()
    with open(out, "wb") as f:
        f.write(base)
        f.write(archive.bytes())


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def qemu_command(args, arch, initrd, append, ports):
    if arch == "x86":
        command = ["qemu-system-x86_64", "-M", "q35", "-cpu", "max"]
    else:
        cpu = {"gicv3": "neoverse-n1", "gicv2": "cortex-a72"}[args.host]
        command = ["qemu-system-aarch64", "-M", f"virt,virtualization=on,gic-version={args.host[-1]}", "-cpu", cpu]
    # One CPU where SVM is emulated: with two, guests and host see memory of the past now and then (a lock that stays taken, a
    # corrupted stack), with one emulator thread even more often than with two.  Guests still get several vCPUs.
    cpus = "1" if arch == "x86" else "2"
    if args.icount:
        cpus = "1"  # with two, the x86 machine hangs in SeaBIOS (seen with QEMU 7.2)
        command += ["-accel", "tcg,thread=single", "-icount", "shift=0,sleep=off"]
    else:
        command += ["-accel", "tcg"]
    command += ["-smp", cpus, "-m", str(args.memory or 2048), "-nodefaults", "-nographic", "-no-reboot",
                "-kernel", os.path.join(TOP, "build", "cache", arch, "vmlinuz"), "-initrd", initrd, "-append", append]
    if ports:
        forward = "".join(f",hostfwd=tcp:127.0.0.1:{here}-10.0.2.15:{there}" for there, here in ports.items())
        command += ["-netdev", "user,id=outside,restrict=on" + forward, "-device", "virtio-net-pci,netdev=outside,romfile="]
    if args.interactive:
        # Ctrl-] instead of Ctrl-A, which is skep's own escape.
        return command + ["-echr", "0x1d", "-serial", "mon:stdio"]
    return command + ["-serial", "stdio"]


BOCHSRC = """\
# written by ci/host.py
megs: {memory}
cpu: model=corei7_skylake_x, count=1, ips=50000000, reset_on_triple_fault=0
romimage: file=/usr/share/bochs/BIOS-bochs-latest
vgaromimage: file=/usr/share/bochs/VGABIOS-lgpl-latest
ata0-master: type=cdrom, path={iso}, status=inserted
boot: cdrom
display_library: rfb, options="timeout=0"
com1: enabled=1, mode=socket-client, dev=127.0.0.1:{serial[0].port}
com2: enabled=1, mode=socket-client, dev=127.0.0.1:{serial[1].port}
speaker: enabled=1, mode=none
sound: waveoutdrv=dummy, waveindrv=dummy, midioutdrv=dummy
clock: sync=none
panic: action=fatal
error: action=ignore
info: action=ignore
debug: action=ignore
log: {log}
"""


def bochs_command(args, initrd, append, work, serial):
    """An ISO with isolinux, since Bochs boots no kernel by itself. Returns (command, environment)."""
    tree = os.path.join(work, "iso")
    subprocess.run(["rm", "-rf", tree], check=True)
    os.makedirs(tree)
    for source in ("/usr/lib/ISOLINUX/isolinux.bin", "/usr/lib/syslinux/modules/bios/ldlinux.c32"):
        if not os.path.exists(source):
            raise Trouble("the VT-x host needs Bochs and isolinux: run 'ci/setup.sh vtx'")
        subprocess.run(["cp", source, tree], check=True)
    os.link(initrd, os.path.join(tree, "initrd"))
    subprocess.run(["cp", os.path.join(TOP, "build", "cache", "x86", "vmlinuz"), tree], check=True)
    with open(os.path.join(tree, "isolinux.cfg"), "w", encoding="ascii") as f:
        f.write(f"default host\nprompt 0\nlabel host\n kernel vmlinuz\n append initrd=initrd {append}\n")
    iso = os.path.join(work, "host.iso")
    subprocess.run(["xorriso", "-report_about", "SORRY", "-as", "mkisofs", "-o", iso, "-b", "isolinux.bin", "-c", "boot.cat",
                    "-no-emul-boot", "-boot-load-size", "4", "-boot-info-table", tree], check=True,
                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    rc, script = os.path.join(work, "bochsrc"), os.path.join(work, "debugger")
    with open(rc, "w", encoding="ascii") as f:
        f.write(BOCHSRC.format(memory=args.memory or 1024, iso=iso, serial=serial, log=os.path.join(work, "bochs.log")))
    with open(script, "w", encoding="ascii") as f:
        f.write("c\n")
    env = dict(os.environ, LTDL_LIBRARY_PATH="/usr/lib/x86_64-linux-gnu/bochs/plugins", BXSHARE="/usr/share/bochs")
    return ["bochs", "-q", "-f", rc, "-rc", script, "-unlock"], env


class SerialPort:
    """A serial port of Bochs: a connection that it makes when it starts."""

    def __init__(self):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.listener.settimeout(1)
        self.port = self.listener.getsockname()[1]
        self.socket = None

    def connect(self, process):
        while not self.socket:
            try:
                self.socket, _ = self.listener.accept()
            except TimeoutError:
                if process.poll() is not None:
                    raise Trouble("Bochs ended before it had serial ports: its log is in build/hosts/vtx/bochs.log") from None
        self.listener.close()
        # Bochs sends each byte by itself, and the second only once the first is acknowledged.
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)

    def recv(self):
        """Some bytes, b'' when Bochs has ended."""
        try:
            data = self.socket.recv(65536)
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)  # holds for a while only
            return data
        except ConnectionError:
            return b""

    def send(self, data):
        try:
            self.socket.sendall(data)
        except ConnectionError:
            pass  # it has ended, which the reader sees

    def carry(self, listener):
        """Let programs that connect talk over the line, one after the other, until Bochs ends."""
        with listener:
            while True:
                ready, _, _ = select.select([listener, self.socket], [], [])
                if self.socket in ready and not self.recv():  # what the last program did not wait for
                    return
                if listener in ready:
                    with listener.accept()[0] as program:
                        self.carry_one(program)

    def carry_one(self, program):
        while True:
            ready, _, _ = select.select([program, self.socket], [], [])
            try:
                if self.socket in ready:
                    data = self.recv()
                    program.sendall(data)
                    if not data:
                        return
                if program in ready:
                    data = program.recv(65536)
                    self.send(data)
                    if not data:
                        return
            except ConnectionError:  # the program has ended
                return


# --- one life of one host ---

class Host:
    """A running emulator and the lines of its console."""

    def __init__(self, args, scenarios, log):
        arch = ARCH[args.host]
        self.args, self.log = args, log
        self.ports = {port: free_port() for scenario in scenarios for port in scenario.ports}
        self.typed = args.host == "svm" and not args.icount and not args.interactive
        self.work = os.path.join(TOP, "build", "hosts", args.host)
        initrd = os.path.join(self.work, "initrd")
        write_initrd(initrd, arch, payload_files(args, arch, scenarios), scenarios, args.slow, args.exec)
        append = f"console={TTY[arch]} panic=-1 quiet skep.host={args.host} skep.slow={args.slow}"
        if args.shell:
            append += " skep.shell"
        env, self.serial = None, ()
        if args.host == "vtx":
            self.serial = SerialPort(), SerialPort()
            command, env = bochs_command(args, initrd, append, self.work, self.serial)
        else:
            command = qemu_command(args, arch, initrd, append, self.ports)
        self.log.write(f"### {shlex.join(command)}\n".encode())
        self.log.flush()
        out = self.log if self.serial else subprocess.PIPE
        try:
            self.process = subprocess.Popen(  # pylint: disable=consider-using-with
                command, env=env, cwd=self.work, stdout=out, stderr=None if args.interactive else self.log,
                stdin=None if args.interactive else subprocess.PIPE)
        except FileNotFoundError:
            raise Trouble(f"{command[0]} is missing: run 'ci/setup.sh {'vtx' if self.serial else 'hosts'}'") from None
        for port in self.serial:
            port.connect(self.process)
        if self.serial and self.ports:
            self.carry()
        self.buffer = b""
        self.verdict = []  # last lines of the last program outside

    def carry(self):
        """The VT-x host has no network: its second serial port is the way to the one port of a scenario."""
        listener = socket.create_server(("127.0.0.1", 0))
        self.ports = dict.fromkeys(self.ports, listener.getsockname()[1])
        threading.Thread(target=self.serial[1].carry, args=[listener], daemon=True).start()

    def read(self, seconds):
        """Console bytes, b'' when the emulator has ended, None when it is silent for so long."""
        deadline = time.monotonic() + seconds
        console = self.serial[0].socket if self.serial else self.process.stdout
        while True:
            left = max(0, deadline - time.monotonic())
            ready, _, _ = select.select([console], [], [], min(left, NUDGE_SECONDS) if self.typed else left)
            if ready:
                break
            if left <= NUDGE_SECONDS or not self.typed:
                return None
            self.type_line("")
        data = self.serial[0].recv() if self.serial else os.read(console.fileno(), 65536)
        self.log.write(data)
        self.log.flush()
        return data

    def type_line(self, text):
        if self.serial:
            self.serial[0].send(text.encode() + b"\n")
            return
        try:
            self.process.stdin.write(text.encode() + b"\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            pass  # it has ended, which the reader sees

    def outside(self, words):
        """Run a program outside of the host, in a thread of its own, and type its verdict."""
        out = os.path.join(self.work, "out")
        env = dict(os.environ, HOST=self.args.host, ARCH=ARCH[self.args.host], OUT=out, TOP=TOP)
        env.update({f"PORT_{there}": str(here) for there, here in self.ports.items()})

        def run():
            with open(os.path.join(out, words[0] + ".log"), "wb") as log:
                program = os.path.join(SCENARIOS, "outside", words[0])
                done = subprocess.run([program] + words[1:], env=env, cwd=out, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                      timeout=self.args.timeout * 3, check=False)
            with open(log.name, "rb") as text:
                self.verdict = [line.decode(errors="replace") for line in text.read().splitlines()[-40:]]
            self.type_line(f"outside {done.returncode}")
        os.makedirs(out, exist_ok=True)
        threading.Thread(target=run, daemon=True).start()

    def lines(self, silence):
        """Yield the console's lines; ends with the emulator. Raises TimeoutError after so many seconds of silence."""
        while True:
            data = self.read(silence)
            if data is None:
                raise TimeoutError
            if not data:
                return
            *done, self.buffer = (self.buffer + data).split(b"\n")
            for line in done:
                yield line.decode(errors="replace").rstrip("\r")

    def stop(self):
        """End the emulator, if it has not ended by itself; its exit status."""
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(5)
            except subprocess.TimeoutExpired:
                self.process.kill()
        return self.process.wait()


class Run:
    """All scenarios of one invocation, over as many lives of the host as it takes."""

    def __init__(self, args, scenarios, log):
        self.args, self.log = args, log
        self.todo = list(scenarios)
        self.died_in = set()
        self.passed = self.failed = 0

    def report(self, ok, name, text, excerpt=()):
        self.passed += ok
        self.failed += not ok
        print(f"{'ok  ' if ok else 'FAIL'} {self.args.host}/{name} {text}", flush=True)
        for line in excerpt:
            print("    | " + line)
        sys.stdout.flush()

    def note(self, text):
        print(f"note {self.args.host}: {text}", flush=True)

    def one_life(self):
        """Boot the host, go through the list, and find out how it ended. True when something was achieved."""
        host = Host(self.args, self.todo, self.log)
        started, before = time.monotonic(), len(self.todo)
        running, ready, ended, excerpt, recent, frozen, sent = None, False, False, None, [], False, None
        try:
            for line in host.lines(self.args.timeout):
                recent = (recent + [line])[-30:]
                found = PROTOCOL.search(line)
                if not found:
                    if sent:
                        sent[1].append(line)
                    elif excerpt is not None:
                        excerpt.append(line)
                    continue
                word, rest = found.groups()
                if word == "file":
                    sent = (rest, [])
                elif word == "endfile":
                    receive(os.path.join(host.work, "out", os.path.basename(sent[0])), sent[1])
                    sent = None
                elif word == "outside":
                    host.outside(rest.split())
                if word == "ready":
                    ready = True
                    if self.args.verbose:
                        self.note(f"up after {time.monotonic() - started:.1f} s")
                elif word == "begin":
                    running = self.todo[0]
                elif word == "ok":
                    self.todo.pop(0)
                    self.report(True, running.name, f"({rest.split()[-1]} s)")
                    running = None
                elif word == "FAIL":
                    verdict = rest.split(" ", 2)
                elif word == "log":
                    excerpt = []
                elif word == "endlog":
                    self.todo.pop(0)
                    if host.verdict:
                        excerpt += ["--- last program outside"] + host.verdict
                    self.report(False, running.name, f"({verdict[1]} s) {verdict[2]}", excerpt)
                    running, excerpt = None, None
                elif word == "broken":
                    raise Trouble(f"host {self.args.host}: {rest}; see {self.log.name}")
                elif word == "end":
                    ended = True
        except TimeoutError:
            frozen = True
        finally:
            frozen = frozen and host.process.poll() is None
            status = host.stop()
        if ended:
            if self.args.verbose:
                self.note(f"whole run {time.monotonic() - started:.1f} s")
            return True
        if self.args.host == "vtx" and status == 1:
            status = 0  # the guest's power-off ends Bochs through its panic handler, with status 1
        if frozen:
            how = f"no sign of life from the host for {self.args.timeout} s"
        elif status == 0:
            how = "the host went down"
        else:
            how = f"emulator died ({describe(status)})"
        self.blame(running, frozen or status == 0, how, recent)
        return ready and len(self.todo) < before or running is not None

    def blame(self, running, host_down, how, recent):
        """The host is gone before its list was done."""
        if not running:
            self.note(f"{how} between scenarios; last lines:")
            for line in recent:
                print("    | " + line)
        elif host_down or running.name in self.died_in:
            self.todo.pop(0)
            self.report(False, running.name, how, recent)
        else:
            self.died_in.add(running.name)
            self.note(f"{how} during {running.name}, which is run again in a new host")

    def all(self):
        idle = 0
        while self.todo:
            idle = 0 if self.one_life() else idle + 1
            if idle == 2:
                for scenario in self.todo:
                    self.report(False, scenario.name, "the host does not come up")
                break
        print(f"{self.passed} passed, {self.failed} failed", flush=True)
        return 0 if self.passed and not self.failed else 1


def receive(path, lines):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as file:
        file.write(base64.b64decode("".join(lines)))


def describe(status):
    if status < 0:
        return signal.Signals(-status).name
    return f"exit status {status}"


# --- developers ---

def interactive(args, log):
    """A shell in the host, or one command whose exit status becomes ours."""
    if args.host == "vtx":
        raise Trouble("the VT-x host has no --shell and no --exec: give it scenarios instead")
    host = Host(args, [], log)
    status, held = None, b""
    try:
        while True:
            data = host.read(3600)
            if not data:
                break
            # Show everything but the protocol, without holding back a prompt.
            held += data if status is None else b""
            while True:
                found = re.search(rb"@@ (ready|exit \d+)\r?\n", held)
                if not found:
                    break
                if found.group(1).startswith(b"exit"):
                    status = int(found.group(1).split()[1])
                    held = held[:found.start()]  # what follows is the host's own power-off
                else:
                    held = held[:found.start()] + held[found.end():]
            cut = held.rfind(b"@")
            keep = held[cut - 1 if cut and held[cut - 1:cut] == b"@" else cut:] if 0 <= cut and len(held) - cut < 14 else b""
            os.write(1, held[:len(held) - len(keep)])
            held = keep
        os.write(1, held)
    finally:
        host.stop()
    if args.exec and status is None:
        raise Trouble(f"the host ended before its command did; see {log.name}")
    return status or 0


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("host", nargs="?", choices=sorted(ARCH), metavar="HOST", help="svm, vtx, gicv3 or gicv2")
    parser.add_argument("scenario", nargs="*", help="names of scenarios (default: all that are for this host)")
    parser.add_argument("--firmware", action="store_true", help="scenarios with firmware and installers, and their files")
    parser.add_argument("--icount", action="store_true", help="the host's clock counts instructions (QEMU hosts)")
    parser.add_argument("--timeout", type=int, default=90, help="seconds of silence that mean a frozen host")
    parser.add_argument("--slow", type=int, default=1, metavar="N", help="multiply all time limits, on a busy machine")
    parser.add_argument("--memory", type=int, help="the host's memory in MB")
    parser.add_argument("--skep", help="the binary to test (default: build/ARCH/skep)")
    parser.add_argument("--add", action="append", default=[], metavar="SRC:DST", help="another file for the host")
    parser.add_argument("--keep-log", metavar="FILE", help="console log (default: build/hosts/HOST.log)")
    parser.add_argument("--shell", action="store_true", help="an interactive host; Ctrl-] x ends it")
    parser.add_argument("--exec", metavar="COMMAND", help="run one command line on the host's console, then power off")
    parser.add_argument("--list", action="store_true", help="show scenarios and their hosts")
    parser.add_argument("-v", "--verbose", action="store_true", help="also say how long the host took")
    args = parser.parse_args()
    args.interactive = args.shell or args.exec is not None
    if not args.host and not args.list:
        parser.error("name a host: svm, vtx, gicv3 or gicv2")
    return args


def choose(args):
    if args.scenario:
        return [Scenario(n) for n in args.scenario]
    arch, chosen = ARCH[args.host], []
    targets = {"/" + target for target, _ in payload_files(args, arch)}
    for scenario in all_scenarios(FIRMWARE if args.firmware else SCENARIOS):
        if args.host not in scenario.hosts:
            continue
        missing = [n for n in scenario.needs if not targets.intersection(n.split("|"))]
        if missing:
            print(f"skip {args.host}/{scenario.name} needs {' '.join(missing)}", flush=True)
        else:
            chosen.append(scenario)
    return chosen


def main():
    args = parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        if args.list:
            for scenario in all_scenarios(SCENARIOS) + all_scenarios(FIRMWARE):
                if not args.host or args.host in scenario.hosts:
                    print(f"{scenario.name:20} {' '.join(scenario.hosts)}")
            return 0
        args.firmware = args.firmware or any(Scenario(n).path.startswith(FIRMWARE) for n in args.scenario)
        for script in ["assets.sh"] + ["firmware.sh"] * args.firmware:
            if subprocess.run([os.path.join(TOP, "ci", script), ARCH[args.host]], check=False).returncode:
                raise Trouble(f"ci/{script} failed")
        args.slow *= SLOWNESS[args.host]
        args.timeout *= args.slow
        log = args.keep_log or os.path.join(TOP, "build", "hosts", args.host + ".log")
        os.makedirs(os.path.dirname(os.path.abspath(log)), exist_ok=True)
        work = os.path.join(TOP, "build", "hosts", args.host)
        os.makedirs(work, exist_ok=True)
        with open(os.path.join(work, "lock"), "wb") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise Trouble(f"another {args.host} host of this tree is running") from None
            with open(log, "wb") as file:
                return interactive(args, file) if args.interactive else Run(args, choose(args), file).all()
    except Trouble as trouble:
        print(f"host.py: {trouble}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("host.py: interrupted", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
