# shellcheck shell=sh disable=SC2154
# Runs in a test host (ci/bench.sh): disk I/O of one guest under $who (skep or qemu) with images of format $fmt, nanoseconds as
# the guest sees them. The images are in memory, so that what is measured is the way from the guest to the host's file system.
# QEMU has what its users say is best: an I/O thread, io_uring, one queue for the one vCPU, writes through the page cache as a
# tmpfs has nothing else. $try makes no difference but to the count of instructions.
append="console=$GUEST_TTY quiet panic=-1 skep.try=$try skep.do=iobench,poweroff"
dir=/tmp/disks
mkdir -p $dir
mount -t tmpfs -o size=400m tmpfs $dir

# fresh FORMAT: images with nothing in them; the first gets everything the sequential pass writes.
fresh() {
	rm -f $dir/*
	"$SKEP" img create -q -f "$1" $dir/a.img 48M
	"$SKEP" img create -q -f "$1" $dir/b.img 48M
}

# show WHO FORMAT: the guest's figures as lines of the benchmark; firmware may have left something on the line.
show() {
	tr -d '\r' <out | sed -n "s,^.*IOBENCH /dev/\(vd.\) kind=\(..\) block=\([0-9]*\) depth=[0-9]* ops=\([0-9]*\) ns=\([0-9]*\)\$,\1 \2 \3 \4 \5,p" |
		while read -r disk kind block ops ns; do
			if [ "$disk" = vdb ]; then kind="$kind-fresh"; fi
			echo "BENCH disk $1 $2 $kind block=$block ops=$ops us_per_op=$((ns / ops / 1000)).$((ns / ops / 100 % 10))"
		done
}

fresh "$fmt"
if [ "$who" = skep ]; then
	"$SKEP" run -m 256M --kernel "$GUEST/vmlinuz" --initrd "$GUEST/initrd" --append "$append" --once \
		--disk $dir/a.img,format="$fmt" --disk $dir/b.img,format="$fmt" bench </dev/null >out 2>&1 || { echo "BENCH-ERROR skep"; tail -n 5 out; }
else
	qemu=$(ls /qemu/qemu-system-*)
	case $(uname -m) in aarch64) machine=virt,gic-version=3 ;; *) machine=q35 ;; esac
	$qemu -L /qemu -M $machine -accel kvm -cpu host -m 256M -nodefaults -no-user-config -nographic -no-reboot \
		-serial stdio -kernel "$GUEST/vmlinuz" -initrd "$GUEST/initrd" -append "$append" -object iothread,id=io \
		-blockdev driver="$fmt",node-name=a,file.driver=file,file.filename=$dir/a.img,file.aio=io_uring \
		-blockdev driver="$fmt",node-name=b,file.driver=file,file.filename=$dir/b.img,file.aio=io_uring \
		-device virtio-blk-pci,drive=a,iothread=io,num-queues=1,disable-legacy=on \
		-device virtio-blk-pci,drive=b,iothread=io,num-queues=1,disable-legacy=on </dev/null >out 2>&1 || { echo "BENCH-ERROR qemu"; tail -n 5 out; }
fi
show "$who" "$fmt"
