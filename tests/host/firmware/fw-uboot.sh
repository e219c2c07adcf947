# U-Boot of Debian's package for the virt machine: booti by hand, an environment that survives, and EFI by itself.
# hosts: gicv3
# timeout: 600

. "$LIB"
export XDG_STATE_HOME="$PWD/state"
mkfifo keys
exec 9<>keys
export VM_INPUT=keys
cp /fw/disk.img disk.img

# command TEXT REGEX: type a line at the prompt, wait for what it says, and for the next prompt.
command() {
	printf '%s\n' "$1" >&9
	wait_for vm.out "$2" 120
	prompts=$((prompts + 1))
	wait_vm vm 120 prompted
}
prompted() { [ "$(grep -o '=> ' vm.out | wc -l)" -ge $prompts ]; }

# start: to the prompt, by stopping the countdown.
start() {
	start_vm vm --firmware u-boot -m 512M --disk disk.img
	wait_for vm.out 'Hit any key' 200
	echo >&9
	wait_for vm.out '=> ' 60
	prompts=1
}

start
command 'setenv skep survives; saveenv' 'OK'
command 'virtio scan; load virtio 0:1 ${kernel_addr_r} vmlinuz; load virtio 0:1 ${ramdisk_addr_r} initrd.gz' 'bytes read.*|[0-9]+ bytes'
echo 'setenv bootargs console=ttyAMA0 quiet panic=-1 skep.do=fw skep.from=booti' >&9
echo 'booti ${kernel_addr_r} ${ramdisk_addr_r}:${filesize} ${fdt_addr}' >&9
wait_exit vm 200 0
expect vm.out 'FW-UP boot=direct from=booti count=none disks=1 cpus=1 fwcfg=none tables=fdt'
mv vm.out first.log

start
command 'echo it $skep' 'it survives'
echo boot >&9
wait_exit vm 300 0
expect vm.out 'FW-UP boot=efi from=disk count=ro disks=1 cpus=1'
