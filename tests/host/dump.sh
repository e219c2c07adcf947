# Core files of running guests: a Linux guest that goes on afterwards, what a failed one leaves, and with real GDB what is in the
# file of a bare-metal guest with two vCPUs.
# hosts: svm gicv3
# needs: /bm/debug.elf|/bm/debug.img
# timeout: 240

. "$LIB"

# both NAME REQUEST REQUEST: at once, so that the second comes while the first is at work; the answers go to NAME.answers.
both() {
	mkfifo "$1.requests"
	unixcat "$(rundir "$1")/control" <"$1.requests" >"$1.answers" &
	exec 8>"$1.requests"
	printf '%s\n%s\n' "{\"jsonrpc\":\"2.0\",\"id\":1,$2}" "{\"jsonrpc\":\"2.0\",\"id\":2,$3}" >&8
	poll 20 has "$1.answers" '"id":1,' || fail "no answer to: $2"
	exec 8>&-
}
dump_to() { echo "\"method\":\"dump\",\"params\":{\"path\":\"$PWD/$1\"}"; }

# refused PATH REGEX: one sentence, and no file where there was none.
refused() {
	expect_status 1 "$SKEP" ctl vm dump "$1"
	equal "lines of the refusal" "$(wc -l <cmd.out)" 1
	expect cmd.out "core file '[^']*$1'.*$2"
}

# Both vCPUs of the guest 'bare' have run for half a second.
both_ran() {
	"$SKEP" ctl bare stats --json >vcpus.out && tr -d ' ,' <vcpus.out | awk -F: '/"cpu_ns"/ { n += $2 > 500000000 } END { exit n < 2 }'
}

states() { sed -n 's/.* state state=\([a-z]*\) .*/\1/p' events.out | tail -n "$1" | tr '\n' ' '; }

start_linux vm "nokaslr skep.do=wait-power" -c 2 -m 128M
wait_for vm.out 'WAIT-POWER ready' 70
"$SKEP" ctl vm events >events.out 2>&1 &
poll 20 sh -c "'$SKEP' ctl vm pause && '$SKEP' ctl vm resume && grep -q 'state=running from=paused' events.out" || fail "no events"

say "a core file of Linux"
expect_status 0 "$SKEP" ctl vm dump core
expect cmd.out "path: $PWD/core"
expect cmd.out "memory: 134217728"
equal mode "$(stat -c %a core)" 600
equal magic "$(head -c 4 core | xxd -p)" 7f454c46
size=$(stat -c %s core)
[ "$size" -gt 134217728 ] && [ "$size" -lt 140000000 ] || fail "the file has $size bytes"
[ "$(du -k core | cut -f 1)" -lt 131072 ] || fail "there are no holes in the file"
[ "$(grep -a -c 'Linux version' core)" -gt 0 ] || fail "the kernel's banner is not in the file"
rm core
poll 10 has events.out 'state=running from=saving' || fail "it does not run again: $(states 3)"
equal states "$(states 4)" 'pausing paused saving running '
expect events.out 'progress method=dump done=134217728 total=134217728'

say "of a paused machine, which stays paused"
expect_status 0 "$SKEP" ctl vm pause
expect_status 0 "$SKEP" ctl vm dump core
rm core
expect_status 0 "$SKEP" ctl vm status
expect cmd.out '^state: paused'
expect_status 0 "$SKEP" ctl vm resume

say "refusals"
echo mine >taken
refused taken 'File exists'
equal "a file that was there" "$(cat taken)" mine
refused none/core 'No such file'
mkdir small
mount -t tmpfs -o size=4m small small
refused small/core 'No space left'
equal "what is left on the full disk" "$(ls small)" ''
mount -o remount,ro small
refused small/core 'Read-only'
umount small
both vm "$(dump_to first)" "$(dump_to second)"
expect vm.answers '"id":2,"error":.*is being written'
expect vm.answers '"id":1,"result":'
[ -s first ] || fail "no file of the first"
[ ! -e second ] || fail "the second left a file"
rm first

say "the guest goes on"
expect_status 0 "$SKEP" ctl vm poweroff
wait_exit vm 60 0
expect vm.out 'POWER-BUTTON'

say "kill during a dump"
start_linux two skep.do=wait-power -m 128M
wait_for two.out 'WAIT-POWER ready' 70
both two "$(dump_to cut)" '"method":"kill"'
wait_exit two 20 143
expect two.answers '"id":1,"error":.*the machine is to end'
[ ! -e cut ] || fail "a core file that was given up is still there"

say "what GDB sees"
for guest in "$BM"/debug.*; do
	start_vm bare -c 2 -m 64M -s 0,hostbridge --console "file=$PWD/console" --kernel "$guest"
	wait_vm bare 20 "$SKEP" ctl bare wait running timeout_ms=20000
	# Some turns of the second vCPU, and rounds of the first.
	wait_vm bare 20 both_ran
	expect_status 0 "$SKEP" ctl bare dump bare.core
	expect_status 0 "$SKEP" ctl bare kill
	wait_exit bare 20 143
	gzip -9 bare.core
	send_file bare.core.gz
	outside gdb-core
done
