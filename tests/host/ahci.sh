# SATA disks and CD drives behind AHCI under Linux's full kernel: several ports of one controller and a second controller, sectors of
# 512 and 4096 bytes, a CD image, an empty drive. The images must hold what the guest wrote where it wrote it, and nothing else;
# what it trimmed is gone from the file. Linux must have seen no error and have used NCQ.
# hosts: svm gicv3
# timeout: 300
# needs: /g/full/vmlinuz

. "$LIB"

new_disk a.img 8388608
new_disk b.img 8388608
new_disk cd.img 1048576 7
cd=$(md5 cd.img)

with_full_kernel
start_linux vm 'skep.do=sata,scsi,poweroff skep.units=4' -c 2 -m 256M \
	-s 3,ahci,hd:a.img,ser=ALPHA,cd:cd.img,cd: -s 4,ahci-hd,b.img,sectorsize=4096,ser=beta-2
wait_exit vm 280 0
tr -d '\r' <vm.out >console
expect_not console 'BLK-ERROR'
expect_not console 'SCSI-ERROR'
expect_not console 'SCSI-LOG .*(exception|failed command|[Tt]imeout|hard resetting|SError|Buffer I/O)'
expect console 'SCSI-LOG .*NCQ \(depth 32\)'
expect console 'SCSI-END disks='

# disk_of SERIAL: its name in the guest, where probing has no fixed order.
disk_of() { sed -n "s/^SCSI \([^ ]*\) .*serial=$1 *$/\1/p" console; }

# check_disk IMAGE SERIAL BLOCK AREAS
check_disk() {
	name=$(disk_of "$2")
	equal "block size of $1 in the guest" "$(field console "SCSI $name" logical)" "$3"
	equal "rotation of $1 in the guest" "$(field console "SCSI $name" rotational)" 0
	equal "cache of $1 in the guest" "$(field console "SCSI $name" cache)" write-back
	equal "content of $1 as the guest read it" "$(field console "BLK $name" md5)" "$(md5 "$1")"
	areas=0
	grep "^BLK-AREA $name " console | tr '=' ' ' >areas
	while read -r _ _ _ off _ len _ seed _; do
		areas=$((areas + 1))
		[ "$len" != 1572864 ] || continue       # of that one part was trimmed
		got=$(dd if="$1" bs=512 skip=$((off / 512)) count=$((len / 512)) 2>/dev/null | md5)
		equal "$1 at offset $off, $len bytes" "$got" "$(pattern "$seed" "$len" | md5)"
	done <areas
	equal "areas written on $1" "$areas" "$4"
}

check_disk a.img ALPHA 512 4
equal "what a.img trimmed" "$(dd if=a.img bs=65536 skip=49 count=16 2>/dev/null | md5)" "$(head -c 1048576 /dev/zero | md5)"
check_disk b.img beta-2 4096 4
equal "image of the CD" "$(md5 cd.img)" "$cd"
equal "content of the CD as the guest read it" "$(sed -n 's/^SCSI-CD .*sectors=2048 md5=//p' console)" "$cd"
