# What kgdb needs of COM2: bytes of all values pass in both directions, through a unix socket and a null modem, with a Linux guest that
# sends back what comes.
# hosts: svm gicv3
# timeout: 150

. "$LIB"

case $HOSTKIND in
gic*) com2=ttyAMA1 ;;
*) com2=ttyS1 ;;
esac

# Twice, the second time downwards: 512 bytes.
i=0
while [ $i -lt 512 ]; do
	printf '%b' "\\0$(printf %o $((i < 256 ? i : 511 - i)))"
	i=$((i + 1))
done >all
equal "values" "$(xxd -p -c 1 all | sort | uniq -c | awk '{ print $1 }' | sort -u)" 2

echoed() { [ "$(wc -c <got)" -ge 512 ]; }

# guest NAME: its shell listens at COM2 when it says so.
guest() {
	mkfifo "$1.keys"
	"$SKEP" console "$1" <"$1.keys" >"$1.session" 2>&1 &
	exec 9>"$1.keys"
	poll 70 has "$1.session" 'guest# ' || fail "no shell"
	echo "stty -F /dev/$com2 115200 raw -echo && exec 3<>/dev/$com2 && { cat <&3 >&3 & echo 'LISTENS'-now; }" >&9
	poll 20 has "$1.session" 'LISTENS-now' || fail "the guest does not listen at $com2"
}

# ends NAME
ends() {
	poll 60 echoed || fail "$1: $(wc -c <got) bytes of 512 came back: $(xxd -p got | tail -n 3)"
	cmp all got || fail "$1: other bytes came back than were sent: $(xxd -p got)"
	expect_status 0 "$SKEP" ctl "$1" kill
	wait_exit "$1" 20 143
}

start_linux sock skep.do=shell -m 256M --console unix="$PWD/con" -l com2,unix="$PWD/com2"
wait_vm sock 20 [ -S com2 ]
guest sock
mkfifo bytes
unixcat com2 <bytes >got &
exec 8>bytes
cat all >&8
ends sock
exec 8>&-

start_linux null skep.do=shell -m 256M --console unix="$PWD/con" -l com2,nmdm=kgdb
other=$(dirname "$(rundir x)")/.nmdm/kgdb-B
wait_vm null 20 [ -e "$other" ]
guest null
# As GDB does with a serial line; not in this shell, whose terminal it would become.
rm got
(
	exec 7<>"$other"
	stty raw -echo <&7
	cat all >&7
	exec cat <&7 >got
) 2>cat.out &
poll 20 [ -e got ] || fail "nothing can be sent: $(cat cat.out)"
ends null
