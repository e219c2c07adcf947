# bootindex decides between a disk and a CD that could both start; EDK2 on GICv2.
# hosts: gicv2
# timeout: 600

. "$LIB"
export XDG_STATE_HOME="$PWD/state"
cp /fw/disk.img disk.img
start_vm vm --firmware uefi -m 512M --disk disk.img,bootindex=2 --cdrom /fw/cd.iso,bootindex=1
wait_exit vm 400 0
expect vm.out 'FW-UP boot=efi from=iso count=1 disks=2'
