# virtio-rnd gives random bytes, and the guest's clock is the host's.

. "$LIB"

start_linux vm skep.do=rng,clock,poweroff -m 256M -s 6,virtio-rnd
wait_exit vm 50 0
expect_not vm.out 'RNG-ERROR'
expect vm.out 'RNG source=virtio_rng\.0 bytes=1024 md5='
guest=$(field vm.out CLOCK rtc)
host=$(date +%s)
[ $((host - guest)) -ge -2 ] && [ $((host - guest)) -le 60 ] || fail "the guest's RTC says $guest, the host's clock $host"
