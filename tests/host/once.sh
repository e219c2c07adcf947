# With --once, and with --on-reboot=exit, a reset of the guest ends skep with status 3 instead of starting the guest again.
# timeout: 90

. "$LIB"

start_linux vm1 skep.do=reboot -m 256M --once
wait_exit vm1 40 3
equal "number of boots" "$(grep -c 'GUEST-UP boot' vm1.out)" 1
start_linux vm2 skep.do=reboot -m 256M --on-reboot=exit
wait_exit vm2 40 3
equal "number of boots" "$(grep -c 'GUEST-UP boot' vm2.out)" 1
