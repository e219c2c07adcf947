# Malformed virtqueues of every kind, on every queue of every virtio device: after a reset the device must work.  skep must
# neither crash nor hang, and its sanitizer build (SKEP_SAN) must have nothing to report.
# needs: /bm/virtq.elf|/bm/virtq.img
# timeout: 420

. "$LIB"

SKEP=${SKEP_SAN:-$SKEP}
new_disk disk.img 1048576 1

for guest in "$BM"/virtq.*; do
	start_vm vm -m 64M --once --console "file=$PWD/console" --kernel "$guest" \
		--disk disk.img --net null -s 8,virtio-console,port="file=$PWD/port" -s 9,virtio-rnd
	poll 400 [ -e vm.status ] || { tail -n 3 console; fail "no end after 400 s"; }
	expect_not console 'VIRTQ FAIL'
	wait_exit vm 1 0
	expect_not vm.out 'AddressSanitizer|LeakSanitizer|runtime error'
	for device in net/0 net/1 blk/0 console/0 console/1 console/2 console/3 rnd/0; do
		expect console "VIRTQ $device rings-moved ok"
	done
	expect console 'VIRTQ done [1-9][0-9]+ cases'
	# The proofs of the console's data queue came out at its back end.
	expect port '^proof'
done
