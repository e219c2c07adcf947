# NVMe disks under Linux: large transfers from two CPUs, each with its queue, read back from the other one; 512 and 4096 byte
# blocks, a read-only disk, one in memory. The images must hold what the guest wrote where it wrote it, and nothing else.
# timeout: 240

. "$LIB"

new_disk a.img 8388608
new_disk b.img 8388608
new_disk ro.img 1048576 9
ro=$(md5 ro.img)

start_linux vm skep.do=nvme,poweroff -c 2 -m 256M -s 3,nvme,a.img,ser=ALPHA -s 4,nvme,b.img,ser=beta-2,sectsz=4096,maxq=1 \
	-s 5,nvme,ro.img,ro,ser=LOCKED -s 6,nvme,ram=8,ser=MEMORY
wait_exit vm 220 0
tr -d '\r' <vm.out >console
expect_not console 'BLK-ERROR'
expect_not console 'NVME-LOG .*([Tt]imeout|[Ff]ailed|[Ee]rror|[Aa]bort|missing|[Ii]nvalid)'
expect console 'BLK-END disks=4'

# disk_of SERIAL: its name in the guest, where probing has no fixed order.
disk_of() { sed -n "s/^BLK \([^ ]*\) .*serial=$1 .*/\1/p" console; }

# check_disk IMAGE SERIAL BLOCK QUEUES
check_disk() {
	name=$(disk_of "$2")
	equal "block size of $1 in the guest" "$(field console "BLK $name" logical)" "$3"
	equal "queues of $1 in the guest, with the admin queue" "$(field console "BLK $name" queues)" "$4"
	equal "content of $1 as the guest read it" "$(field console "BLK $name" md5)" "$(md5 "$1")"
	areas=0
	grep "^BLK-AREA $name " console | tr '=' ' ' >areas
	while read -r _ _ _ off _ len _ seed _; do
		got=$(dd if="$1" bs=512 skip=$((off / 512)) count=$((len / 512)) 2>/dev/null | md5)
		equal "$1 at offset $off, $len bytes" "$got" "$(pattern "$seed" "$len" | md5)"
		areas=$((areas + 1))
	done <areas
}

check_disk a.img ALPHA 512 3
equal "areas written on a" "$areas" 4
check_disk b.img beta-2 4096 2
equal "areas written on b" "$areas" 4
check_disk ro.img LOCKED 512 3
expect console "^BLK-RO $(disk_of LOCKED) refused"
equal "read-only image" "$(md5 ro.img)" "$ro"
name=$(disk_of MEMORY)
equal "sectors of the disk in memory" "$(field console "BLK $name" sectors)" 16384
equal "areas written in memory" "$(grep -c "^BLK-AREA $name " console)" 4
expect console "^BLK-DISCARD $name ok md5=$(head -c 524288 /dev/zero | md5)"
# Each has names of its own.
equal "different identifiers" "$(sed -n 's/^BLK .* wwid=\([^ ]*\).*/\1/p' console | sort -u | wc -l)" 4
