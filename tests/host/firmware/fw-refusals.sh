# What cannot be is refused in one sentence before anything is changed; a full disk leaves nothing behind.
# timeout: 120

. "$LIB"
export XDG_STATE_HOME="$PWD/state"
case $GUEST_TTY in
ttyS0) code=/usr/share/OVMF/OVMF_CODE_4M.fd template=/usr/share/OVMF/OVMF_VARS_4M.fd ;;
*) code=/usr/share/AAVMF/AAVMF_CODE.fd template=/usr/share/AAVMF/AAVMF_VARS.fd ;;
esac

# refused TEXT OPTION...: status 1, one line that has the text.
refused() {
	_text=$1
	shift
	expect_status 1 timeout 20 "$SKEP" run "$@" vm
	equal "lines of the refusal of $*" "$(wc -l <cmd.out)" 1
	expect cmd.out "$_text"
	[ ! -e state ] || fail "$* has left $(find state)"
}

truncate -s 1M disk.img
truncate -s 64K small.fd
: >empty.fd
refused "'gone.fd': no such file" --firmware gone.fd
refused "'empty.fd': 0 bytes" --firmware empty.fd
refused 'a directory' --firmware /usr
refused "'small.fd': 65536 bytes, but this firmware's have [0-9]* as in '$template'" -l bootrom,$code,small.fd
refused "variables 'gone.fd': no such file" -l bootrom,$code,gone.fd
refused 'both choose firmware' --firmware uefi -l bootrom,$code
refused 'bootindex 1 is given to both pci.0.2.0 and pci.0.3.0' --firmware uefi --disk disk.img,bootindex=1 --disk disk.img,ro,bootindex=1
refused 'no disk to install on' --install /fw/cd.iso
refused 'no installation medium' --firmware uefi --force-install --disk disk.img
if [ $GUEST_TTY = ttyS0 ]; then
	refused 'System Management Mode' --firmware /usr/share/OVMF/OVMF_CODE_4M.secboot.fd
	refused 'is it for arm64' --firmware /fw/disk.img
else
	printf 'bootrom' >short.fd
	refused 'short.fd' --firmware short.fd
fi
mv $code $code.away
[ $GUEST_TTY = ttyS0 ] || mv /usr/share/qemu-efi-aarch64/QEMU_EFI.fd QEMU_EFI.fd
refused 'install the package' --firmware uefi
[ $GUEST_TTY = ttyS0 ] || mv QEMU_EFI.fd /usr/share/qemu-efi-aarch64/QEMU_EFI.fd
mv $code.away $code

# A full disk: one sentence, and neither half a file nor an empty directory.
mkdir full
mount -t tmpfs -o size=64k full full
XDG_STATE_HOME="$PWD/full" expect_status 1 timeout 20 "$SKEP" run --firmware uefi vm
equal "lines" "$(wc -l <cmd.out)" 1
expect cmd.out 'No space left on device'
equal "left behind" "$(find full -type f)" ""
[ ! -d full/skep/vm ] || fail "full/skep/vm is still there"
umount full
