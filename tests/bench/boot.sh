# shellcheck shell=sh disable=SC2154
# Runs in a test host (ci/bench.sh): process start to exit of VMMs booting the same kernel and initrd, whose init resets
# the machine at once.  1 vCPU, 256 MiB, quiet serial console.  shellcheck shell=sh
runs=${1:-3}
append="console=$GUEST_TTY quiet panic=-1 skep.do=fastreboot"
timed skep "$runs" "$SKEP" run -m 256M --kernel "$GUEST/vmlinuz" --initrd "$GUEST/initrd" --append "$append" --once bench
if [ -x /qemu/qemu-system-x86_64 ]; then
	timed qemu-microvm "$runs" /qemu/qemu-system-x86_64 -L /qemu -M microvm -accel kvm -cpu host -m 256M -nodefaults \
		-no-user-config -nographic -no-reboot -serial stdio -kernel "$GUEST/vmlinuz" -initrd "$GUEST/initrd" -append "$append reboot=t"
fi
