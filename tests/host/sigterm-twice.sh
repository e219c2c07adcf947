# A guest that sees its power button pressed and does nothing: the second SIGTERM ends the VM, and the status names the signal.

. "$LIB"

start_linux vm skep.do=ignore-power -m 256M
wait_for vm.out 'WAIT-POWER ready' 45
signal_vm vm TERM
wait_for vm.out 'POWER-BUTTON ignored' 15
[ -e vm.status ] && fail "skep ended at the first SIGTERM, status $(cat vm.status)"
signal_vm vm TERM
wait_exit vm 10 143
