# GDB itself debugs a bare-metal guest with two vCPUs through skep's debug server, from its first instruction to its end.
# needs: /bm/debug.elf|/bm/debug.img
# hosts: svm vtx gicv3
# outside: 1234
# timeout: 240

. "$LIB"

for guest in "$BM"/debug.*; do
	start_vm vm -c 2 -m 64M -s 0,hostbridge --once -G w0.0.0.0:1234 --console "file=$PWD/console" --kernel "$guest"
	wait_vm vm 20 grep -q 'waits for GDB' "$(rundir vm)/log"
	reach 1234
	outside gdb-guest
	wait_exit vm 30 0
	grep -a -q 'DEBUG ok .*written=abcdef' console || fail "the guest did not get to its end: $(tail -n 2 console)"
	say "$(tr -d '\r' <console | grep -a 'DEBUG ')"
done
