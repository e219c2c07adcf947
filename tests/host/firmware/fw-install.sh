# UEFI from packages, twice: an empty disk starts the installation medium, the installed disk starts by itself after the guest's
# reset, and variables written in one boot are there in the next, in this process and in another one.
# hosts: svm gicv3
# timeout: 900

. "$LIB"
export XDG_STATE_HOME="$PWD/state"
# One vCPU where the clock counts instructions: two of them waiting for each other on one CPU take minutes there.
case $GUEST_TTY in
ttyS0) cpus=1 code=/usr/share/OVMF/OVMF_CODE_4M.fd template=/usr/share/OVMF/OVMF_VARS_4M.fd acpi=APIC,DSDT,FACP,FACS,MCFG,SPCR ;;
*) cpus=2 code=/usr/share/AAVMF/AAVMF_CODE.fd template=/usr/share/AAVMF/AAVMF_VARS.fd acpi=APIC,DSDT,FACP,GTDT,IORT,MCFG,SPCR ;;
esac
private=state/skep/vm/${template##*/}
shipped=$(md5 $template)
new_disk target.img "$(stat -c %s /fw/disk.img)"

# --install without --kernel means --firmware uefi.
start_vm vm -c $cpus -m 512M --disk target.img,serial=target --disk /fw/disk.img,ro,serial=source --install /fw/cd.iso \
	-f opt/org.skep/test,string=hello
wait_for vm.out "FW-UP boot=efi from=iso count=1 disks=3 cpus=$cpus fwcfg=hello" 400
expect vm.out "tables=$acpi"
wait_for vm.out 'FW-INSTALLED vd' 60
wait_exit vm 400 0
expect vm.out "FW-UP boot=efi from=disk count=2 disks=3 cpus=$cpus fwcfg=hello"
equal "installed disk" "$(md5 target.img)" "$(md5 /fw/disk.img)"
equal "mode of the private variables" "$(stat -c %a $private)" 600
equal "the package's template" "$(md5 $template)" "$shipped"

# Another process, and a file of variables of the operator's own: it is written, and has what was in the first one's. Both disk
# and medium could start now.
cp $private own.fd
before=$(md5 own.fd)
start_vm vm -m 512M --disk target.img,serial=target --install /fw/cd.iso --force-install -l bootrom,$code,own.fd
wait_exit vm 400 0
expect vm.out 'FW-UP boot=efi from=iso count=3 disks=2 cpus=1 fwcfg=none'
[ "$(md5 own.fd)" != "$before" ] || fail "own.fd has not been written"
equal "the first VM's variables" "$(md5 $private)" "$before"
