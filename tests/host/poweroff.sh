# A guest that powers itself off: status 0, exit.json says why, and nothing of the VM is left behind.

. "$LIB"

start_linux vm skep.do=poweroff -m 256M
wait_exit vm 50 0
expect "$(rundir vm)/exit.json" '"cause"[^,]*power'
[ ! -S "$(rundir vm)/control" ] || fail "the control socket outlives skep"
# The name is free again.
start_linux vm skep.do=poweroff -m 256M
wait_exit vm 50 0
