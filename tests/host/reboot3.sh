# The guest resets itself three times and then powers off, all in one process. It counts on its disk.
# timeout: 120

. "$LIB"

new_disk disk.img 1048576
start_linux vm skep.do=reboot3 -m 256M --disk disk.img
wait_for vm.out 'REBOOT count=1' 60
kill -0 "$(cat vm.pid)" || fail "skep is gone after the first reset"
wait_exit vm 110 0
for n in 0 1 2 3; do
	equal "boots that counted $n" "$(grep -c "REBOOT count=$n" vm.out)" 1
done
equal "counter on the disk" "$(head -n 1 disk.img)" 3
