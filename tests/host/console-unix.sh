# The guest's console on a Unix socket, driven through 'skep console': a shell session that computes and ends the guest.

. "$LIB"

start_linux vm skep.do=shell -m 256M --console unix="$PWD/con"
wait_vm vm 10 [ -S con ]
mkfifo keys
"$SKEP" console vm <keys >session.out 2>&1 &
exec 9>keys
wait_for session.out 'guest# ' 45
echo 'echo RESULT-$((6 * 7))' >&9
wait_for session.out 'RESULT-42' 10
echo 'exit' >&9
wait_exit vm 15 0
expect_not vm.out 'GUEST-UP'
