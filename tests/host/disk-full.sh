# The host's file system is full when the guest writes: the guest is paused, one line says what to do, and with space and
# SIGCONT it goes on as if nothing had been. SIGTERM ends a paused machine at once. With werror=report the guest sees an error.
# hosts: svm gicv3
# timeout: 150

. "$LIB"

mkdir small
mount -t tmpfs -o size=64k small small
new_disk ro.img 1048576 9
truncate -s 8388608 small/a.img
start_linux vm skep.do=blk,poweroff -c 2 -m 256M --disk small/a.img --disk ro.img,ro
wait_for vm.out 'the machine is paused' 100
expect vm.out "disk 'small/a.img' \(pci\.0\.[0-9]+\.0\): a write at byte [0-9]+ failed: No space left on device.*free space.*kill -CONT $(cat vm.pid)"
equal "lines about it" "$(grep -c 'No space left' vm.out)" 1
mount -o remount,size=16m small
signal_vm vm CONT
wait_exit vm 100 0
tr -d '\r' <vm.out >console
expect_not console 'BLK-ERROR'
expect console 'BLK-END disks=2'
grep "^BLK-AREA vda " console | tr '=' ' ' >areas
while read -r _ _ _ off _ len _ seed _; do
	got=$(dd if=small/a.img bs=512 skip=$((off / 512)) count=$((len / 512)) 2>/dev/null | md5)
	equal "the image at offset $off, $len bytes" "$got" "$(pattern "$seed" "$len" | md5)"
done <areas
equal "areas written" "$(wc -l <areas)" 4

rm small/a.img
mount -o remount,size=64k small
truncate -s 8388608 small/a.img
start_linux stuck skep.do=blk,poweroff -m 256M --disk small/a.img,werror=stop --disk ro.img,ro
wait_for stuck.out 'the machine is paused' 100
signal_vm stuck TERM
wait_exit stuck 20 143
umount small
