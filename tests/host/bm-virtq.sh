# Malformed virtqueues of every kind, on every queue of every virtio device: after a reset the device must work.  skep must
# neither crash nor hang, and its sanitizer build (SKEP_SAN) must have nothing to report.  Characters and packets keep coming
# in all the time.
# needs: /bm/virtq.elf|/bm/virtq.img
# timeout: 420

. "$LIB"

SKEP=${SKEP_SAN:-$SKEP}
new_disk disk.img 1048576 1

for guest in "$BM"/virtq.*; do
	start_vm vm -m 64M --once --console "file=$PWD/console" --kernel "$guest" \
		--disk disk.img --net tap=skep0 -s 8,virtio-console,port="unix=$PWD/port" -s 9,virtio-rnd
	poll 20 [ -e /sys/class/net/skep0 ] || fail "skep did not create the tap"
	ip addr add 192.168.77.1/24 dev skep0
	ip link set skep0 up
	arp -i skep0 -s 192.168.77.2 02:00:00:00:00:77
	ping -q -i 0.004 192.168.77.2 >/dev/null 2>&1 &
	poll 10 [ -S port ] || fail "skep did not create the socket of the port"
	while usleep 20000; do echo input; done | unixcat port >received 2>unixcat.log &

	poll 400 [ -e vm.status ] || { tail -n 3 console; fail "no end after 400 s"; }
	tail -n 1 console
	expect_not console 'VIRTQ FAIL'
	wait_exit vm 1 0
	expect_not vm.out 'AddressSanitizer|LeakSanitizer|runtime error'
	for queue in net/0 net/1 net/2 blk/0 console/0 console/1 console/2 console/3 rnd/0; do
		expect console "VIRTQ $queue rings-moved ok"
		# Each queue is looked at, or it would not matter what is in it.
		expect console "VIRTQ $queue next-self ok needs-reset"
	done
	expect console 'VIRTQ done [1-9][0-9]+ cases'
	# What the proofs sent came out at the back end.
	expect received '^proof'
done
