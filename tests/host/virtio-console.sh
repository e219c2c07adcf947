# virtio-console: what goes into the socket of a port comes to the guest, and the guest's answer comes back.

. "$LIB"

start_linux vm skep.do=console,poweroff -m 256M -s 5,virtio-console,org.skep.test="$PWD/port"
wait_vm vm 10 [ -S port ]
mkfifo lines
unixcat port <lines >answers.out 2>unixcat.out &
exec 9>lines
wait_for vm.out 'CONSOLE ready' 45
echo 'hello, port' >&9
wait_for answers.out 'ECHO hello, port' 10
i=0
while [ $i -lt 50 ]; do
	echo "line $i of some more" >&9
	i=$((i + 1))
done
wait_for answers.out 'ECHO line 49 of' 10
equal "answers" "$(grep -c '^ECHO ' answers.out)" 51
echo quit >&9
wait_exit vm 20 0
expect vm.out 'CONSOLE-END'
