# EDK2 starts from an NVMe disk: bootindex puts it before a CD that could start as well, and after it.
# hosts: gicv2
# timeout: 900

. "$LIB"
export XDG_STATE_HOME="$PWD/state"
cp /fw/disk.img disk.img

# boot NAME DISKINDEX CDINDEX FROM
boot() {
	start_vm "$1" --firmware uefi -m 512M -s "4,nvme,disk.img,bootindex=$2" --cdrom "/fw/cd.iso,bootindex=$3"
	wait_exit "$1" 400 0
	expect "$1.out" "FW-UP boot=efi from=$4 "
}
boot disk 1 2 disk
boot cd 2 1 iso
