# EDK2 starts from a disk and from a CD behind virtio-scsi, at the targets that bootindex says.
# hosts: gicv2
# timeout: 900

. "$LIB"
export XDG_STATE_HOME="$PWD/state"
cp /fw/disk.img disk.img

# boot NAME DISKINDEX CDINDEX FROM
boot() {
	start_vm "$1" --firmware uefi -m 512M -o pci.0.4.0.device=virtio-scsi \
		-o pci.0.4.0.target.2.path=disk.img -o "pci.0.4.0.target.2.bootindex=$2" \
		-o pci.0.4.0.target.5.type=cd -o pci.0.4.0.target.5.path=/fw/cd.iso -o "pci.0.4.0.target.5.bootindex=$3"
	wait_exit "$1" 400 0
	expect "$1.out" "FW-UP boot=efi from=$4 "
}
boot disk 1 2 disk
boot cd 2 1 iso
