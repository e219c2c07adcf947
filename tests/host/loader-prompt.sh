# The FreeBSD loader's prompt on a console: on standard input and output, on a Unix socket, again at every start, left in every way.
# timeout: 240
# needs: /bm/fbsd-root/boot/kernel/kernel

. "$LIB"

ROOT=$BM/fbsd-root
n=0

# enter OUTPUT LINE: type it and wait until it has been executed.
enter() {
	n=$((n + 1))
	printf '%s\r' "$2" "echo done-$n" >&9
	wait_for "$1" "^done-$n.?$" 20
}

say "standard input and output"
mkfifo keys
exec 9<>keys
VM_INPUT=keys start_vm vm -m 64M --loader-prompt -h "$ROOT" -o on_poweroff=restart
wait_for vm.out '^OK ' 20
enter vm.out 'ls /boot'
expect vm.out '^ d  kernel.?$'
enter vm.out 'load nothing'
enter vm.out 'ls /../../../etc'
expect vm.out '/../../../etc: No such file'
enter vm.out 'load kernel'
expect vm.out '^/boot/kernel/kernel .elf kernel, 0x'
enter vm.out 'load mod2'
expect vm.out '^/boot/kernel/mod1.ko .elf '
enter vm.out 'lsmod'
expect vm.out '^  modules: kernel\.'
enter vm.out 'set foo="two words"'
expect_not vm.out 'FBSD'
printf 'boot -s\n' >&9
wait_for vm.out 'FBSD ok' 40
expect vm.out 'FBSD ok (x86|arm64) files=3'
expect vm.out 'FBSD env foo=two words.?$'
expect vm.out 'FBSD env boot_single=YES.?$'
expect vm.out 'FBSD called /boot/kernel/mod2.ko'

say "again at the next start, as if nothing had been typed"
enter vm.out 'show foo'
expect vm.out "variable 'foo' not found"
enter vm.out 'set bar=1'
printf 'reboot\n' >&9
enter vm.out 'show bar'
expect vm.out "variable 'bar' not found"
signal_vm vm INT
wait_exit vm 10 130

say "SIGTERM does not wait for a guest; neither does quit"
VM_INPUT=keys start_vm vm -m 64M --loader-prompt -h "$ROOT"
wait_for vm.out '^OK ' 20
signal_vm vm TERM
wait_exit vm 10 143
VM_INPUT=keys start_vm vm -m 64M --loader-prompt -h "$ROOT"
wait_for vm.out '^OK ' 20
printf 'quit\r' >&9
wait_exit vm 10 0
exec 9>&-

say "a kernel from the command line, on a Unix socket"
start_vm vm -m 64M --loader-prompt -h "$ROOT" --kernel host0:/boot/kernel/kernel --module host0:/boot/kernel/mod1.ko \
	--console unix="$PWD/con"
wait_vm vm 20 [ -S con ]
mkfifo typed
"$SKEP" console vm <typed >session.out 2>&1 &
exec 9>typed
wait_for session.out '^OK ' 20
enter session.out 'lsmod -v'
expect session.out '^ /boot/kernel/mod1.ko '
enter session.out 'unload'
enter session.out 'more /big'
expect session.out '/big: No such file'
printf 'boot\r' >&9
wait_exit vm 40 0
wait_for session.out 'FBSD ok (x86|arm64) files=1' 10
exec 9>&-

say "what is refused"
expect_status 1 "$SKEP" run -m 64M --loader-prompt vm
expect cmd.out 'loader-prompt: nothing to load from; give -h DIR'
for guest in "$BM"/hello.*; do
	expect_status 1 "$SKEP" run -m 64M --loader-prompt --kernel "$guest" vm
	expect cmd.out "loader-prompt: '$guest' is no FreeBSD kernel"
	equal "the number of lines skep says" "$(wc -l <cmd.out)" 1
done
