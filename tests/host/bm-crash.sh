# Guests that end in what no hypervisor can go on with: status 4; cause, registers and the decoded last exits on standard
# error and in exit.json.
# hosts: svm gicv3 gicv2 vtx
# needs: /bm/crash.elf|/bm/crash.img
# timeout: 90

. "$LIB"

# crash KIND: standard error goes to KIND.err, the console to KIND.con
crash() {
	status=0
	timeout 60 "$SKEP" run -m 64M --console "file=$PWD/$1.con" --kernel "$guest" \
		--append "kind=$1" "vm-$1" </dev/null 2>"$1.err" || status=$?
	cat "$1.err" >"$1.out"
	equal "status after kind=$1" $status 4
	expect "$1.con" 'CRASH (x86|arm64)'
	expect "$1.err" 'guest crashed'
	expect "$1.err" '(rip|pc) *[:=]? *(0x)?[0-9a-f]+'
	expect "$1.err" 'last [0-9]+ of [0-9]+ exits'
	json=$(rundir "vm-$1")/exit.json
	expect "$json" '"cause": *"guest-crash"'
	expect "$json" '"(rip|pc)"'
}

# decoded KIND: the accesses crash.c makes before its end: console, PCI configuration both ways, a hole.
decoded() {
	expect "$1.err" ' write .*com1.* (.*THR.*|UARTDR|DR)$'
	expect "$1.err" ' read .*pci-ecam'
	expect "$1.err" ' write .*= 0x5a .*pci-ecam'
	expect "$1.err" ' read .*= 0xffffffff .*unclaimed'
	expect "$(rundir "vm-$1")/exit.json" '"pci-ecam"'
}

for guest in "$BM"/crash.*; do
	crash die
	decoded die
	case $guest in
	*.elf) expect die.err 'triple fault' ;;
	*) expect die.err '0x9000000' ;;
	esac
	crash trap
	expect trap.con 'exception .*: crash'
	crash jump
done
