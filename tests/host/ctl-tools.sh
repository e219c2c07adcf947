# The command line's side of control, with a Linux guest: list, top, ctl in all its forms, bhyvectl by its name; machines that hang, end
# and are killed; what nobody is told twice.
# timeout: 200
# hosts: svm gicv3

. "$LIB"

ln -s "$SKEP" bhyvectl
new_disk a.img 4194304
start_linux vm skep.do=wait-power -c 2 -m 256M --disk a.img
wait_for vm.out 'WAIT-POWER ready' 70

say "list"
expect_status 0 "$SKEP" list
expect cmd.out "^vm +$(cat vm.pid) +(x86|arm64) +running +2 +[0-9]+% +256M +[0-9]+M 00:0[0-9]:"
expect_status 0 "$SKEP" list --json
expect cmd.out '"state": "running"'
expect cmd.out '"rss_bytes": [0-9]{8}'
expect_status 0 "$SKEP" list --names
equal "list --names" "$(cat cmd.out)" vm

say "ctl"
expect_status 0 "$SKEP" ctl vm
expect cmd.out '^  console-history '
expect_status 0 "$SKEP" ctl vm regs 1
equal "vCPUs of regs 1" "$(grep '^vcpu' cmd.out)" 'vcpu 1'
expect cmd.out '(rip|pc) +0x[0-9a-f]+( |$)'
expect_status 0 "$SKEP" ctl vm console-history
expect cmd.out 'WAIT-POWER ready'
expect_status 0 "$SKEP" ctl vm metrics
equal "last line of the metrics" "$(tail -n 1 cmd.out)" '# EOF'
"$SKEP" ctl vm events >events.out 2>&1 &
events=$!
poll 10 [ -e events.out ] || fail "no events.out"
# It listens once a change of ours has come to it.
poll 20 sh -c "'$SKEP' ctl vm pause && '$SKEP' ctl vm wait paused timeout_ms=10000 && '$SKEP' ctl vm resume &&
	'$SKEP' ctl vm wait running timeout_ms=10000 && grep -q 'state=paused' events.out" || fail "no event of a pause"
expect_status 1 "$SKEP" ctl vm wait paused timeout_ms=200
expect_status 1 "$SKEP" ctl nobody status
expect cmd.out "no machine 'nobody'"

say "top"
expect_status 0 "$SKEP" top -b -n 2 -d 0.5
expect cmd.out '^vm +[0-9]+ running '
expect cmd.out '^  exits/s +[a-z]'
expect cmd.out '^  disk pci\.0\.'

say "bhyvectl"
expect_status 0 ./bhyvectl --vm=vm --cpu=1 --get-all
expect cmd.out '^(rip|pc)\[1\]	+0x[0-9a-f]{16}$'
expect cmd.out '^vcpu1 stats:$'
expect_status 0 ./bhyvectl --vm=vm --get-stats
expect_status 1 ./bhyvectl --vm=vm --suspend=file
expect cmd.out 'not there yet'
expect_status 1 ./bhyvectl --vm=nobody --get-all
expect cmd.out '^VM:nobody is not created\.$'
if [ "$HOSTKIND" = svm ] || [ "$HOSTKIND" = vtx ]; then
	expect_status 0 ./bhyvectl --vm=vm --get-rip --get-rflags --get-cr3 --get-cs --get-tr --get-desc-gdtr --get-efer
	expect cmd.out '^cs\[0\]		0x0010$'
	expect cmd.out '^gdtr\[0\]		0x[0-9a-f]{16}/0x0000007f$'
else
	expect_status 0 ./bhyvectl --vm=vm --get-pc --get-x0
fi

say "a machine that hangs"
kill -STOP "$(cat vm.pid)"
expect_status 0 timeout 30 "$SKEP" list
expect cmd.out "^vm +$(cat vm.pid) +(x86|arm64) +- +2 "
kill -CONT "$(cat vm.pid)"

say "the end"
"$SKEP" ctl vm wait exited >wait.out 2>&1 &
waiter=$!
expect_status 0 "$SKEP" ctl vm poweroff
wait_exit vm 60 0
wait $waiter || fail "wait exited: $(cat wait.out)"
wait $events || fail "events ended with a failure: $(cat events.out)"
expect events.out 'state=exited'
expect_status 0 "$SKEP" ctl vm wait exited
expect_status 0 ./bhyvectl --vm=vm --destroy
expect_status 1 ./bhyvectl --vm=vm --destroy
expect cmd.out '^VM:vm is not created\.$'

say "destroy a machine that runs; clean up after a killed one"
start_linux two skep.do=wait-power -m 256M
wait_for two.out 'WAIT-POWER ready' 70
expect_status 0 ./bhyvectl --vm=two --destroy
poll 20 [ -e two.status ] || fail "two survives its destruction"
[ ! -e "$(rundir two)/exit.json" ] || fail "two has left its exit.json"
start_vm three --kernel "$GUEST/vmlinuz" --initrd "$GUEST/initrd" -m 256M
wait_vm three 20 "$SKEP" ctl three status
kill -KILL "$(cat three.pid)"
poll 20 [ -e three.status ] || fail "three survives SIGKILL"
expect_status 0 "$SKEP" list
expect_not cmd.out three
[ ! -e "$(rundir three)/control" ] || fail "list has left what a killed machine left"
