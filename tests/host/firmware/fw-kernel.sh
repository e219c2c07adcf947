# UEFI in one file and a kernel handed over by fw_cfg; no disk.
# hosts: svm gicv3 gicv2
# timeout: 600

. "$LIB"
export XDG_STATE_HOME="$PWD/state"
case $GUEST_TTY in
ttyS0)
	# With two vCPUs, as far as Linux has both: under the instruction clock the rest would take minutes.
	start_vm vm --firmware /usr/share/ovmf/OVMF.fd -c 2 -m 512M --kernel "$GUEST/vmlinuz" --initrd "$GUEST/initrd" \
		--append "console=ttyS0"
	wait_for vm.out 'smp: Brought up 1 node, 2 CPUs' 300
	expect vm.out 'efi: EFI v2.* by EDK II'
	expect vm.out 'ACPI: SPCR 0x'
	signal_vm vm TERM
	signal_vm vm TERM
	wait_exit vm 60 143 ;;
*)
	start_linux vm 'skep.do=fw skep.from=fwcfg' --firmware /usr/share/qemu-efi-aarch64/QEMU_EFI.fd -m 512M \
		-f opt/org.skep/test,string=hello
	wait_exit vm 200 0
	expect vm.out 'FW-UP boot=efi from=fwcfg count=1 disks=0 cpus=1 fwcfg=hello' ;;
esac
