# Debian's installer, kernel and initrd loaded directly, reaches its first dialog on the serial console.
# hosts: svm gicv3
# timeout: 900

. "$LIB"
new_disk disk.img 2147483648
start_vm vm -m 1024M --kernel /fw/di/linux --initrd /fw/di/initrd.gz --append "console=$GUEST_TTY quiet ---" --disk disk.img
wait_for vm.out 'Select a language' 700
signal_vm vm TERM
signal_vm vm TERM
