# SCSI disks and CD drives behind virtio-scsi under Linux: several targets on two controllers, sectors of 512 and 4096 bytes, a
# read-only disk, a CD image that ends within a block, an empty drive. The images must hold what the guest wrote where it wrote
# it, and nothing else; what it unmapped is gone from the file.
# hosts: svm gicv3
# timeout: 240

. "$LIB"

new_disk a.img 8388608
new_disk b.img 8388608
new_disk ro.img 1048576 9
new_disk cd.img 1049276 7 # 512 blocks of 2048 bytes and 700 bytes
ro=$(md5 ro.img) cd=$(md5 cd.img)

with_disk_drivers
start_linux vm 'skep.do=scsi,poweroff skep.units=5' -c 2 -m 256M \
	-s 3,virtio-scsi,hd:a.img,ser=ALPHA,cd:cd.img,hd:ro.img,ro,ser=LOCKED -s 4,virtio-scsi,target.17.path=b.img,target.17.sectorsize=4096,target.17.ser=beta-2,target.3.type=cd
wait_exit vm 220 0
tr -d '\r' <vm.out >console
expect_not console 'BLK-ERROR|SCSI-ERROR'
expect_not console 'SCSI-LOG .*([Tt]imeout|[Ff]ailed|[Ee]rror|[Aa]bort|missing|[Ii]nvalid)'
expect console 'SCSI-END disks=3'

# disk_of SERIAL: its name in the guest, where probing has no fixed order.
disk_of() { sed -n "s/^SCSI \([^ ]*\) .*serial=$1 *$/\1/p" console; }

# check_disk IMAGE SERIAL TARGET BLOCK CACHE
check_disk() {
	name=$(disk_of "$2")
	equal "target of $1 in the guest" "$(field console "SCSI $name" target)" "$3"
	equal "block size of $1 in the guest" "$(field console "SCSI $name" logical)" "$4"
	equal "rotation of $1 in the guest" "$(field console "SCSI $name" rotational)" 0
	equal "cache of $1 in the guest" "$(field console "SCSI $name" cache)" "$5"
	equal "content of $1 as the guest read it" "$(field console "BLK $name" md5)" "$(md5 "$1")"
	areas=0
	grep "^BLK-AREA $name " console | tr '=' ' ' >areas
	while read -r _ _ _ off _ len _ seed _; do
		areas=$((areas + 1))
		[ "$len" != 1572864 ] || continue       # of that one part was unmapped
		got=$(dd if="$1" bs=512 skip=$((off / 512)) count=$((len / 512)) 2>/dev/null | md5)
		equal "$1 at offset $off, $len bytes" "$got" "$(pattern "$seed" "$len" | md5)"
	done <areas
	if [ "$areas" = 4 ]; then
		expect console "^BLK-DISCARD $name ok md5=$(head -c 1048576 /dev/zero | md5)"
		equal "what $1 unmapped" "$(dd if="$1" bs=65536 skip=49 count=16 2>/dev/null | md5)" "$(head -c 1048576 /dev/zero | md5)"
	fi
}

check_disk a.img ALPHA 0:0:0 512 write-back
equal "areas written on a" "$areas" 4
check_disk b.img beta-2 0:17:0 4096 write-back
equal "areas written on b" "$areas" 4
check_disk ro.img LOCKED 0:2:0 512 write-through # as Linux puts it for what cannot be written
equal "areas written on ro" "$areas" 0
expect console "^BLK-RO $(disk_of LOCKED) refused"
equal "read-only image" "$(md5 ro.img)" "$ro"
equal "image of the CD" "$(md5 cd.img)" "$cd"
truncate -s $((513 * 2048)) cd.img
equal "content of the CD as the guest read it" "$(sed -n 's/^SCSI-CD .*sectors=2052 md5=//p' console)" "$(md5 cd.img)"
