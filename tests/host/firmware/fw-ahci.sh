# UEFI starts from a CD in a SATA drive, then from the SATA disk beside it: bootindex names the port. arm64's packaged EDK2 has no
# AHCI driver.
# hosts: svm
# timeout: 900

. "$LIB"
export XDG_STATE_HOME="$PWD/state"
cp /fw/disk.img disk.img
start_vm vm --firmware uefi -m 512M -s 3,ahci,hd:disk.img,bootindex=2,cd:/fw/cd.iso,bootindex=1
wait_exit vm 400 0
expect vm.out 'FW-UP boot=efi from=iso'
start_vm vm --firmware uefi -m 512M -s 3,ahci,cd:/fw/cd.iso,bootindex=2,hd:disk.img,bootindex=1
wait_exit vm 400 0
expect vm.out 'FW-UP boot=efi from=disk'
