# Recording the exits of a running machine through its control socket: for a time, until a signal, until the machine ends, with KVM's
# tracepoints; and what show and compare say of the files.
# timeout: 120
# needs: /bm/exits.elf|/bm/exits.img
# hosts: svm gicv3

. "$LIB"

guest=$(ls "$BM"/exits.*)

# More work than this test has time for.
start_busy() {
	start_vm "$1" -m 64M --kernel "$guest" --append "work=mmio count=2000000000" -s 9,virtio-rnd
	wait_vm "$1" 20 [ -S "$(rundir "$1")/control" ]
}

blocks_signals() { grep -q 'SigBlk:.*[1-9a-f]' "/proc/$1/status"; }

start_busy vm
"$SKEP" exits record vm -t 2 -o a.json --label first >rec.out 2>&1 || fail "record: $(cat rec.out)"
[ ! -s rec.out ] || fail "record said: $(cat rec.out)"
expect a.json '"label": "first"'
"$SKEP" exits show a.json >show.out || fail "show"
expect show.out '^mmio +[0-9]{3,} .* [0-9]+$'
expect show.out '^Linux |, Linux '
expect show.out '^REGISTER'
# Of the whole time there is more.
"$SKEP" exits show vm >now.out || fail "show vm"
recorded=$(awk '$1 == "mmio" { print $2 }' show.out) all=$(awk '$1 == "mmio" { print $2 }' now.out)
[ "$all" -gt "$recorded" ] || fail "recorded $recorded of $all exits"

"$SKEP" exits record vm >rec.out 2>&1 &
pid=$!
poll 10 blocks_signals $pid || fail "record does not wait"
kill $pid
wait $pid || fail "record ended with $?: $(cat rec.out)"
expect vm-exits.json '"skep-exits"'

mount -t tracefs tracefs /sys/kernel/tracing 2>/dev/null
"$SKEP" exits record vm -t 1 -o t.json --trace >rec.out 2>&1 || fail "record --trace: $(cat rec.out)"
expect t.json '"reason"'

"$SKEP" exits record vm -o b.json >rec.out 2>&1 &
pid=$!
poll 10 blocks_signals $pid || fail "record does not wait"
kill -9 "$(cat vm.pid)"
if wait $pid; then
	expect rec.out "^skep: machine 'vm' has ended: its last second may be missing"
	expect b.json '"skep-exits"'
else
	expect rec.out 'ended before it told anything'
fi
"$SKEP" exits compare a.json vm-exits.json --html r.html --svg r.svg >cmp.out || fail "compare"
expect cmp.out '^mmio .* (A|B) x|^mmio .* same'
expect r.html '</html>'
expect r.svg '</svg>'
