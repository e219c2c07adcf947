# SIGTERM presses the guest's power button; the guest powers off by itself and skep exits with 0 and says who asked.

. "$LIB"

start_linux vm skep.do=wait-power -m 256M
wait_for vm.out 'WAIT-POWER ready' 45
poll 1 has vm.out POWER-BUTTON && fail "the power button is pressed before anyone asked"
signal_vm vm TERM
wait_exit vm 20 0
expect vm.out 'POWER-BUTTON'
expect "$(rundir vm)/exit.json" 'SIGTERM|"signal": *15'
