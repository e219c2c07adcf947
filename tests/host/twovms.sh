# Two VMs at a time under two names; the same name a second time is refused before anything happens.
# timeout: 90

. "$LIB"

start_linux one skep.do=wait-power -m 256M
start_linux two skep.do=wait-power -m 256M
wait_for one.out 'WAIT-POWER ready' 70
wait_for two.out 'WAIT-POWER ready' 70
expect_status 1 "$SKEP" run -m 256M --kernel "$GUEST/vmlinuz" --initrd "$GUEST/initrd" one
expect cmd.out "one"
[ -e one.status ] && fail "the refused start ended the running VM"
signal_vm one TERM
wait_exit one 20 0
[ -e two.status ] && fail "ending one VM ended the other"
signal_vm two TERM
wait_exit two 20 0
