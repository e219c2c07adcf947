# Every controller under load at the same time, on several queues, over several formats: what the guest's operations must leave
# on the disks is computed in the host by the same program on plain files, and the images hold just that. The guest checks
# what it reads.
# hosts: svm gicv3
# timeout: 300
# needs: /g/full/vmlinuz

. "$LIB"

# image NAME FORMAT MEGABYTES [OPTIONS]: all of different sizes, which are the seeds.
images=
image() {
	# shellcheck disable=SC2086
	"$SKEP" img create -q -f "$2" ${4:+-o $4} "$1" "${3}M" || fail "img create $1"
	images="$images $1:$3"
}
image vb.raw raw 16
image vb.qcow2 qcow2 17
image vb-ext.qcow2 qcow2 18 extended_l2=on,cluster_size=64k
image ah0.raw raw 19
image ah1.qcow2 qcow2 20 cluster_size=4k,lazy_refcounts=on
image nv.qcow2 qcow2 21
image nv4k.raw raw 22
image sc0.qcow2 qcow2 23 compat=0.10
image sc1.vdi vdi 24

with_full_kernel
start_linux vm 'skep.do=load,poweroff skep.units=9' -c 2 -m 384M --disk vb.raw --disk vb.qcow2,queues=2 --disk vb-ext.qcow2,cachesize=64K \
	-s 10,ahci,hd:ah0.raw,hd:ah1.qcow2 -s 11,nvme,nv.qcow2 -s 12,nvme,nv4k.raw,sectorsize=4096 \
	-s 13,virtio-scsi,hd:sc0.qcow2,hd:sc1.vdi
wait_exit vm 280 0
tr -d '\r' <vm.out >console
expect_not console 'IOLOAD-ERROR'
expect console '^LOAD-END'
equal "disks that were loaded" "$(grep -c '^IOLOAD ' console)" 9

for i in $images; do
	name=${i%:*} mb=${i#*:}
	unit=512
	[ "$name" != nv4k.raw ] || unit=4096
	truncate -s "${mb}M" shadow
	ioload shadow $((mb * 2048)) 4 300 $unit >/dev/null || fail "the copy of $name"
	"$SKEP" img compare -q "$name" shadow || fail "$name differs from what the guest wrote"
	case $name in *.qcow2) expect_status 0 "$SKEP" img check "$name" ;; esac
	rm shadow
done
