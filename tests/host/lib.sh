# shellcheck shell=sh
# tests/host/lib.sh: what scenarios share. A scenario starts with '. "$LIB"' and runs in an empty directory of a test host.
#
# Set by the host's init: SKEP (the binary), GUEST (vmlinuz and initrd), BM (bare-metal guests), HOSTKIND, GUEST_TTY, SLOW.
# A VM's files here: NAME.out (its console and skep's messages), NAME.pid (skep's), NAME.status (once it has ended).
# Nothing waits by sleeping for a fixed time: wait_for and wait_exit look often and give up at a deadline.

say() { echo "$*"; }

# fail MESSAGE: the scenario has failed. What is still running is ended by the host.
fail() { echo "FAIL: $*"; exit 1; }

# poll SECONDS COMMAND...: run it ten times a second until it succeeds; false when the time is over. Seconds are those of a
# fast host; a slow one (SLOW) gets more.
poll() {
	read -r _now _ </proc/uptime
	_until=$((${_now%.*} + $1 * ${SLOW:-1}))
	shift
	until "$@"; do
		read -r _now _ </proc/uptime
		[ "${_now%.*}" -le $_until ] || return 1
		usleep 100000
	done
}

has() { [ -e "$1" ] && grep -q -E -e "$2" "$1"; }

# expect FILE REGEX: the file has a line that matches (now).
expect() { has "$1" "$2" || fail "$1 has no line matching '$2'"; }

# expect_not FILE REGEX: it has none.
expect_not() { ! has "$1" "$2" || fail "$1 has a line matching '$2': $(grep -m 1 -E -e "$2" "$1")"; }

# expect_status N COMMAND...: the command's output goes to cmd.out.
expect_status() {
	_want=$1
	shift
	_got=0
	"$@" </dev/null >cmd.out 2>&1 || _got=$?
	[ $_got = "$_want" ] || fail "'$*' ended with status $_got, expected $_want: $(tail -n 3 cmd.out)"
}

# equal WHAT GOT WANTED
equal() { [ "$2" = "$3" ] || fail "$1 is '$2', expected '$3'"; }

# wait_for FILE REGEX SECONDS: gives up at once when FILE is the output of a VM that has ended.
wait_for() {
	poll "$3" has_or_ended "$1" "$2" || fail "no '$2' in $1 after $3 s"
	has "$1" "$2" || fail "skep run ${1%.out} ended with status $(cat "${1%.out}.status") before '$2' came"
}

has_or_ended() { [ -e "${1%.out}.status" ] || has "$1" "$2"; }

# wait_vm NAME SECONDS COMMAND...: until the command succeeds; gives up at once when the VM ends.
wait_vm() {
	_vm=$1 _secs=$2
	shift 2
	poll "$_secs" true_or_ended "$_vm" "$@" || fail "not so after $_secs s: $*"
	"$@" || fail "skep run $_vm ended with status $(cat "$_vm.status") before: $*"
}

true_or_ended() {
	[ -e "$1.status" ] && return
	shift
	"$@"
}

# start_vm NAME OPTION...: skep run in the background. VM_INPUT, when set, is the file its standard input comes from.
start_vm() {
	_name=$1
	shift
	rm -f "$_name.out" "$_name.status" "$_name.pid"
	(
		"$SKEP" run "$@" "$_name" <"${VM_INPUT:-/dev/null}" >"$_name.out" 2>&1 &
		echo $! >"$_name.pid"
		_status=0
		wait $! || _status=$?
		echo $_status >"$_name.status.new"
		mv "$_name.status.new" "$_name.status"
	) &
	poll 5 [ -s "$_name.pid" ] || fail "cannot start $_name"
}

# start_linux NAME WORDS OPTION...: boot the Linux guest; WORDS go to its command line, see tests/guest-linux/init.
# GUEST_INITRD and GUEST_KERNEL, when set, are its initramfs and kernel.
start_linux() {
	_linux=$1 _words=$2
	shift 2
	start_vm "$_linux" --kernel "${GUEST_KERNEL:-$GUEST/vmlinuz}" --initrd "${GUEST_INITRD:-$GUEST/initrd}" \
		--append "console=$GUEST_TTY quiet panic=-1 $_words" "$@"
}

# with_disk_drivers: guests started from now on have the drivers of SCSI disks and CDs.
with_disk_drivers() {
	cat "$GUEST/initrd" "$GUEST/disks" >initrd
	GUEST_INITRD=initrd
}

# with_full_kernel: guests started from now on have Debian's general kernel and its drivers; needs /g/full/vmlinuz.
with_full_kernel() {
	GUEST_KERNEL=$GUEST/full/vmlinuz
	GUEST_INITRD=$GUEST/full/initrd
}

# wait_exit NAME SECONDS STATUS: skep ends in time, with that exit status.
wait_exit() {
	poll "$2" [ -e "$1.status" ] || fail "$1 still runs after $2 s"
	_got=$(cat "$1.status")
	[ "$_got" = "$3" ] || fail "skep run $1 ended with status $_got, expected $3"
}

# signal_vm NAME SIGNAL
signal_vm() { kill "-$2" "$(cat "$1.pid")" || fail "$1 is not running"; }

# rundir NAME: where skep keeps this VM's files.
rundir() { echo "${XDG_RUNTIME_DIR:-/run}/skep/$1"; }

# field FILE WORD KEY: the value of KEY=value on the last line with WORD.
field() { tr -d '\r' <"$1" | sed -n "s/.*$2 .*$3=\([^ ]*\).*/\1/p" | tail -n 1; }

# pattern SEED BYTES: the same bytes for the same seed as in the guest (tests/guest-linux/init has it too).
pattern() { seq "${1}0000000" "${1}9999999" | head -c "$2"; }

md5() { md5sum "$@" | cut -d ' ' -f 1; }

# new_disk FILE BYTES [SEED]: a disk image, filled with a pattern when there is a seed.
new_disk() {
	if [ $# = 3 ]; then pattern "$3" "$2" >"$1"; else truncate -s "$2" "$1"; fi
	equal "size of $1" "$(stat -c %s "$1")" "$2"
}

# send_file FILE [NAME]: to the machine the test host runs on, as build/hosts/HOST/out/NAME.
send_file() {
	{
		echo "@@ file ${2:-${1##*/}}"
		base64 "$1" | while read -r _line; do echo "$_line"; done # one at a time: other lines may come between
		echo "@@ endfile"
	} >"/dev/$GUEST_TTY"
}

# reach PORT: let the program outside reach this port, once something listens there. A host without a network has a second serial
# port instead, which carries one connection.
reach() {
	[ "$HOSTKIND" = vtx ] || return 0
	exec 4<>/dev/ttyS1 # stays open, so that nothing which comes early is lost
	stty raw -echo 115200 <&4
	nc 127.0.0.1 "$1" <&4 >&4 &
}

# outside PROGRAM ARGUMENT...: run tests/host/outside/PROGRAM where the test host runs, which reaches the ports that the scenario's
# '# outside:' names. Fails with its status.
outside() {
	echo "@@ outside $*" >"/dev/$GUEST_TTY"
	while read -r _word _verdict; do
		[ "$_word" != outside ] || break
	done <"/dev/$GUEST_TTY"
	[ "$_verdict" = 0 ] || fail "$1 failed outside with status $_verdict"
}
