# VMs as services: create, start, console, stop, restart; --daemon and --pidfile; what a service manager is told; a killed skep
# leaves nothing that 'skep list' or the next start would trip over.
# hosts: svm gicv3
# timeout: 240

. "$LIB"

append="console=$GUEST_TTY quiet panic=-1"
listening="$append skep.do=wait-power"
conf=/etc/skep/vm1.conf

cleanup() {
	[ -z "$manager" ] || kill "$manager"
	umount /etc/skep 2>/dev/null
	[ ! -e passwd ] || rm -f /etc/passwd
}
manager=
trap cleanup EXIT

# refuse STATUS REGEX ARGUMENT...: skep answers with one sentence and that status.
refuse() {
	_status=$1 _regex=$2
	shift 2
	expect_status "$_status" "$SKEP" "$@"
	expect cmd.out "^skep: $_regex"
	equal "lines of 'skep $*'" "$(grep -vc '^try ' cmd.out)" 1
}

# quietly ARGUMENT...: skep succeeds and says nothing.
quietly() {
	expect_status 0 "$SKEP" "$@"
	equal "what 'skep $*' says" "$(cat cmd.out)" ""
}

# pid_of NAME: of the running VM.
pid_of() { cat "$(rundir "$1")/pid"; }
running() { "$SKEP" list | grep -q "^$1 "; }

# attach NAME FILE: what its console has said and says, into FILE, until the VM ends.
attach() {
	"$SKEP" console "$1" </dev/null >"$2" 2>&1 &
}

# --- create ---
mkdir -p /etc/skep
mount -t tmpfs -o size=4k small /etc/skep
refuse 1 "configuration file '$conf': write: No space left on device" create vm1
equal "files after a full disk" "$(ls /etc/skep)" ""
umount /etc/skep
refuse 2 "VM name 'a/b': " create a/b
refuse 2 "-o: unknown key 'memory.sise'" create vm1 -o memory.sise=1
refuse 1 "VM 'vm1' has no configuration, such as '$conf'; 'skep create vm1' writes one" start vm1
if [ ! -e /etc/passwd ]; then
	echo 'nobody:x:65534:65534::/:/bin/sh' >passwd
	cp passwd /etc/passwd
fi
status=0
mkdir -m 755 home
HOME=$PWD/home start-stop-daemon -S -q -c nobody -p "$PWD/no-such-pid" -x "$SKEP" -- create vm1 </dev/null >cmd.out 2>&1 || status=$?
equal "status of a user without a place" $status 1
expect cmd.out "^skep: directory '$PWD/home/.config': create: Permission denied"
cd "$GUEST" || fail "no guest"
"$SKEP" create vm1 -m 256M --kernel vmlinuz --initrd initrd --append "$listening" --pidfile "$OLDPWD/pidfile" >/tmp/said || fail "create"
cd "$OLDPWD" || fail "no way back"
equal "what create says" "$(cat /tmp/said)" "'$conf' is written: edit it, or start the VM with 'skep start vm1'"
expect $conf "^kernel=$GUEST/vmlinuz"
expect $conf '^memory.size=256M'
expect $conf '^#cpus=1'
refuse 1 "'$conf' exists already: edit it, or replace it with --force" create vm1

# --- start, console, stop ---
quietly start vm1
running vm1 || fail "vm1 is not in the list"
pid=$(pid_of vm1)
equal "the pidfile" "$(cat pidfile)" "$pid"
equal "standard input" "$(readlink "/proc/$pid/fd/0")" /dev/null
equal "standard output" "$(readlink "/proc/$pid/fd/1")" /dev/null
equal "standard error" "$(readlink "/proc/$pid/fd/2")" "$(rundir vm1)/log"
equal "its session" "$(cut -d ' ' -f 6 <"/proc/$pid/stat")" "$pid"
refuse 1 "a VM named 'vm1' is running \(pid $pid\)" start vm1
attach vm1 first.out
wait_for first.out 'WAIT-POWER ready' 60
quietly stop vm1
wait_for first.out 'POWER-BUTTON' 10 # the console's process may be behind
[ ! -e "/proc/$pid" ] || fail "stop has not waited for the end"
[ ! -e pidfile ] || fail "the pidfile is left over"
expect "$(rundir vm1)/exit.json" 'guest-poweroff'
[ ! -e "$(rundir vm1)/control" ] || fail "the control socket is left over"
refuse 1 "VM 'vm1' is not running" stop vm1

# --- restart; a guest that does not listen ---
quietly restart vm1
attach vm1 second.out
wait_for second.out 'WAIT-POWER ready' 60
pid=$(pid_of vm1)
echo 'memory.sise=1' >>$conf
refuse 2 "$conf:[0-9]*: unknown key 'memory.sise'" restart vm1
equal "the VM that could not be restarted" "$(pid_of vm1)" "$pid"
sed -i -e '/sise/d' -e "s/skep.do=wait-power/skep.do=shell/" $conf
quietly restart vm1
wait_for second.out 'POWER-BUTTON' 10 # the console's process may be behind
[ "$(pid_of vm1)" != "$pid" ] || fail "restart has not started anew"
attach vm1 third.out
wait_for third.out 'guest# ' 60
refuse 1 "the guest does not listen to its power button" stop vm1
quietly stop vm1 --force
running vm1 && fail "vm1 is still there"
expect "$(rundir vm1)/exit.json" '"signal"'
[ ! -e pidfile ] || fail "the pidfile is left over"

# --- --daemon: what is refused is refused here, with its status ---
refuse 1 "kernel '/no/kernel': No such file or directory" run --daemon --kernel /no/kernel bad
refuse 2 "--console: a VM in the background has no terminal for stdio" run --daemon --console stdio --kernel "$GUEST/vmlinuz" bad
echo 'not a number' >other
refuse 1 "pidfile 'other': there is something else of that name" run --daemon --pidfile other --kernel "$GUEST/vmlinuz" bad
equal "the file" "$(cat other)" 'not a number'
mv /dev/kvm /dev/kvm.away
expect_status 1 "$SKEP" run --daemon --kernel "$GUEST/vmlinuz" bad
mv /dev/kvm.away /dev/kvm
expect cmd.out '^skep: .*/dev/kvm'
running bad && fail "a refused VM runs"

# --- killed ---
quietly run --daemon --pidfile pidfile --log log -m 256M --kernel "$GUEST/vmlinuz" --initrd "$GUEST/initrd" --append "$listening" vm2
pid=$(pid_of vm2)
equal "standard error" "$(readlink "/proc/$pid/fd/2")" "$PWD/log"
refuse 1 "pidfile 'pidfile': process $pid, which it names, is alive" run --daemon --pidfile pidfile --kernel "$GUEST/vmlinuz" bad
kill -9 "$pid"
poll 10 [ ! -e "/proc/$pid" ] || fail "it does not die"
[ -e "$(rundir vm2)/control" ] || fail "a killed skep has cleaned up"
quietly list
equal "what is left of vm2" "$(ls "$(rundir vm2)")" lock
equal "the stale pidfile" "$(cat pidfile)" "$pid"
quietly run --daemon --pidfile pidfile -m 256M --kernel "$GUEST/vmlinuz" --initrd "$GUEST/initrd" --append "$listening" vm2
equal "the new pidfile" "$(cat pidfile)" "$(pid_of vm2)"
kill -9 "$(pid_of vm2)"
poll 10 [ ! -e "/proc/$(pid_of vm2)" ] || fail "it does not die"

# --- the service manager, and the next of that name takes over ---
notified @skep-manager notes &
manager=$!
poll 10 [ -e notes ] || fail "no manager"
NOTIFY_SOCKET=@skep-manager "$SKEP" run --daemon -m 256M --kernel "$GUEST/vmlinuz" --initrd "$GUEST/initrd" --append "$listening" vm2 ||
	fail "vm2 does not start again"
pid=$(pid_of vm2)
wait_for notes "^from=$pid READY=1 MAINPID=$pid STATUS=" 10
attach vm2 fourth.out
wait_for fourth.out 'WAIT-POWER ready' 60
wait_for notes "^from=$pid STATUS=running" 10
quietly stop vm2
wait_for fourth.out 'POWER-BUTTON' 10 # the console's process may be behind
wait_for notes "^from=$pid STOPPING=1 STATUS=stopping" 10
rm notes
kill $manager
notified "$PWD/manager" notes &
manager=$!
poll 10 [ -S manager ] || fail "no manager"
sed -i 's/skep.do=shell/skep.do=wait-power/' $conf
NOTIFY_SOCKET=$PWD/manager "$SKEP" start vm1 --foreground </dev/null >vm1.out 2>&1 &
pid=$!
wait_for vm1.out 'WAIT-POWER ready' 60
wait_for notes "^from=$pid READY=1 MAINPID=$pid STATUS=running" 10
quietly stop vm1
wait $pid || fail "skep start --foreground ended with status $?"
wait_for notes "^from=$pid STOPPING=1 STATUS=stopping" 10
equal "what the manager has heard of others" "$(grep -vc "^from=$pid " notes)" 0
