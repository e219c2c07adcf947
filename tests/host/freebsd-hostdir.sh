# A FreeBSD system's directory as host0:, with what its own loader would read there: loader.conf and its relatives, modules to
# load, nextboot.conf; and the name bhyveload. The guest is the stand-in of freebsd.sh.
# timeout: 240
# needs: /bm/fbsd-root/boot/kernel/kernel

. "$LIB"

export XDG_STATE_HOME=$PWD/state
cp -r "$BM/fbsd-root" root
mkdir -p root/boot/defaults root/boot/loader.conf.d root/etc

# boot FILES OPTION...: the guest finds everything in order, that many files included.
boot() {
	_files=$1
	shift
	start_vm vm -m 64M "$@"
	wait_exit vm 40 0
	expect_not vm.out 'FBSD bad'
	expect vm.out "FBSD ok (x86|arm64) files=$_files"
}
env_is() { expect vm.out "FBSD env $1.?$"; }
env_not() { expect_not vm.out "FBSD env $1="; }

say "the directory alone, named relatively"
boot 1 -h root
env_is 'kernelname=/boot/kernel/kernel'
env_is 'boot_serial=YES'
env_is 'console=comconsole'

say "loader.conf and its relatives, a module with what it needs, a root image"
echo 'entropy_cache_load="YES"' >root/boot/defaults/loader.conf
echo 'hint.acpi.0.oem="x"' >root/boot/device.hints
printf 'mod2_load="YES"\nmdroot_load="YES"\nmdroot_type="md_image"\nmdroot_name="/boot/mfsroot"\na="conf"\nb="conf"\n' >root/boot/loader.conf
echo 'b="local" # last' >root/boot/loader.conf.local
echo 'c="${a}.d"' >root/boot/loader.conf.d/c.conf
seq 1 5000 | gzip >root/boot/mfsroot.gz
printf '/dev/vtbd0p2\t/\tufs\trw\t1\t1\n' >root/etc/fstab
boot 4 -h root -e a=mine
env_is 'a=mine'
env_is 'b=local'
env_is 'c=conf.d'
env_is 'hint.acpi.0.oem=x'
env_is 'vfs.root.mountfrom=ufs:/dev/vtbd0p2'
env_not mod2_load
expect vm.out 'FBSD file /boot/kernel/mod1.ko '
expect vm.out "FBSD raw /boot/mfsroot type=md_image size=$(seq 1 5000 | wc -c)"

say "nextboot.conf counts once, and not for a plan or a start that is refused"
cp -r root/boot/kernel root/boot/kernel.test
rm root/boot/loader.conf root/boot/loader.conf.d/c.conf
printf 'nextboot_enable="YES"\nkernel="kernel.test"\nkernel_options="-v"\n' >root/boot/nextboot.conf
expect_status 0 "$SKEP" plan -m 64M -h root vm
expect_status 1 "$SKEP" run -m 64M -h root --module host0:/gone vm
expect root/boot/nextboot.conf '^nextboot_enable="YES"$'
boot 1 -h root
env_is 'kernelname=/boot/kernel.test/kernel'
env_is 'boot_verbose=YES'
expect root/boot/nextboot.conf '^nextboot_enable="NO" $'
boot 1 -h root
env_is 'kernelname=/boot/kernel/kernel'
env_not boot_verbose

say "nothing outside of the directory"
ln -s /etc/passwd root/boot/out
expect_status 1 "$SKEP" run -m 64M -h root --module host0:/boot/out,type=md_image vm
expect cmd.out "host0:/boot/out': No such file or directory"
expect_status 1 "$SKEP" run -m 64M -h root --module host0:/../../etc/passwd,type=md_image vm
expect cmd.out 'No such file or directory'

say "bhyveload, then bhyve, as its scripts do it"
ln -s "$SKEP" bhyveload
ln -s "$SKEP" bhyve
expect_status 4 ./bhyve -m 64M -l com1,stdio vm
expect_status 0 ./bhyveload -c stdio -m 64M -h root -e foo=bar vm
expect_status 1 ./bhyve -A -H -P -m 64M -s 0,hostbridge -l com1,stdio vm
expect cmd.out 'FBSD ok (x86|arm64) files=1'
expect cmd.out 'FBSD env foo=bar.?$'
expect_status 4 ./bhyve -m 64M -l com1,stdio vm
expect cmd.out 'nothing to boot'
expect_status 1 ./bhyveload -d disk.img vm
expect cmd.out 'skep does not load from disks'
