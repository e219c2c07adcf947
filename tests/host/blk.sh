# Two writable disks and a read-only one. What the guest wrote must be in the images at the offsets where it wrote it, what
# the guest read must be what is there, and nothing else may change. The second image ends in the middle of a sector, which
# the guest's write completes.
# timeout: 120

. "$LIB"

new_disk a.img 8388608
new_disk b.img 5247077 # 5 MB + 4 KB + 101 bytes: 10248 sectors and a rest, which makes 10249
new_disk ro.img 1048576 9
ro=$(md5 ro.img)

start_linux vm skep.do=blk,poweroff -c 2 -m 256M --disk a.img,ser=ALPHA --disk b.img,ser=beta-2 --disk ro.img,ro
wait_exit vm 110 0
tr -d '\r' <vm.out >console
expect_not console 'BLK-ERROR'
expect console 'BLK-END disks=3'

# check_disk GUESTNAME IMAGE SECTORS SERIAL
check_disk() {
	equal "sectors of $2 in the guest" "$(field console "BLK $1" sectors)" "$3"
	equal "serial of $2 in the guest" "$(field console "BLK $1" serial)" "$4"
	equal "content of $2 as the guest read it" "$(field console "BLK $1" md5)" "$(head -c $(($3 * 512)) "$2" | md5)"
	areas=0
	grep "^BLK-AREA $1 " console | tr '=' ' ' >areas
	while read -r _ _ _ off _ len _ seed _; do
		got=$(dd if="$2" bs=512 skip=$((off / 512)) count=$((len / 512)) 2>/dev/null | md5)
		equal "$2 at offset $off, $len bytes" "$got" "$(pattern "$seed" "$len" | md5)"
		areas=$((areas + 1))
	done <areas
}

check_disk vda a.img 16384 ALPHA
equal "areas written on a" "$areas" 4
check_disk vdb b.img 10249 beta-2
equal "areas written on b" "$areas" 4
check_disk vdc ro.img 2048 "$(field console 'BLK vdc' serial)"
# Without a serial number of its own a disk has a stable one.
expect console '^BLK vdc .*serial=SKEP[0-9A-F]{16} '
expect console '^BLK-RO vdc refused'
equal "size of b" "$(stat -c %s b.img)" $((10249 * 512))
equal "read-only image" "$(md5 ro.img)" "$ro"
