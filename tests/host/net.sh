# virtio-net on a tap that skep creates: ping, and 1 MB in each direction, compared by checksum.
# timeout: 120

. "$LIB"

mkdir www
pattern 6 1048576 >www/blob
httpd -p 8080 -h "$PWD/www"

start_linux vm skep.do=net,poweroff\ skep.ip=192.168.77.2/24,192.168.77.1 -m 256M --net tap=skep0
wait_vm vm 20 [ -e /sys/class/net/skep0 ]
ip addr add 192.168.77.1/24 dev skep0 || fail "cannot give the tap an address"
ip link set skep0 up

wait_for vm.out 'NET-TX ready|NET-ERROR' 80
tr -d '\r' <vm.out >console
expect_not console 'NET-ERROR'
expect console 'NET-PING ok'
expect console 'NET-PING big ok'
equal "1 MB to the guest" "$(field console NET-RX md5)" "$(md5 www/blob)"
wget -q -O received http://192.168.77.2/blob || fail "cannot download from the guest"
equal "1 MB from the guest" "$(md5 received)" "$(pattern 5 1048576 | md5)"
touch www/done
wait_exit vm 30 0
expect vm.out 'NET-END'
expect_not vm.out 'NET-ERROR'
poll 5 [ ! -e /sys/class/net/skep0 ] || fail "the tap that skep created is still there"
