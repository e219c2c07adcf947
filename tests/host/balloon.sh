# A Linux guest gives memory back, by the balloon and by reporting what is free, and gets it again; its statistics; what is refused.
# hosts: svm gicv3
# timeout: 200

. "$LIB"

MIB=1048576

# number NAME [MEMORY]: a number of what `balloon` answers, 0 without.
number() {
	"$SKEP" ctl vm balloon ${2:+memory="$2"} --json >balloon.json || fail "ctl vm balloon ${2:-}"
	_number=$(sed -n "s/^ *\"$1\": \([0-9]*\),\{0,1\}$/\1/p" balloon.json)
	echo "${_number:-0}"
}
is() { [ "$(number "$1")" = "$2" ]; }
resident() { "$SKEP" ctl vm status --json | sed -n 's/^ *"resident": \([0-9]*\),\{0,1\}$/\1/p'; }
below() { [ "$(resident)" -lt "$1" ]; }

mkfifo keys
start_linux vm skep.do=shell -m 256M -s 6,virtio-balloon --console unix="$PWD/con"
wait_vm vm 20 [ -S con ]
"$SKEP" console vm <keys >session.out 2>&1 &
exec 9>keys
poll 70 has session.out 'guest# ' || fail "no shell"
"$SKEP" ctl vm events >events.out 2>&1 &
equal memory "$(number memory)" $((256 * MIB))
equal "given back" "$(number given-back)" 0
expect balloon.json '"driver": true'
# It has told before, and again each time.
poll 20 sh -c "'$SKEP' ctl vm balloon | grep -q ' total: 2[0-9]*'" || fail "no statistics: $(cat balloon.json)"
total=$(number total)
[ "$total" -gt $((150 * MIB)) ] && [ "$total" -lt $((256 * MIB)) ] || fail "the guest says that it has $total bytes"

say "pages that become free are given back unasked, in blocks of 2 MiB on x86: not all of them"
echo 'seq 1000000 2000000 | head -c 1048576 >/tmp/mib; fill() { for i in $(seq 90); do cat /tmp/mib; done >/tmp/fill; md5sum </tmp/fill; }' >&9
# fill WORD: the guest writes 90 MiB and says so; what is typed is shown as well, but reads otherwise.
fill() {
	echo "fill; echo 'FILLED'-$1" >&9
	poll 60 has session.out "FILLED-$1" || fail "the guest does not fill its memory"
}
fill one
full=$(resident)
[ "$full" -gt $((90 * MIB)) ] || fail "skep has $full bytes with a guest that has written 90 MiB"
echo 'rm /tmp/fill' >&9
poll 30 below $((full - 40 * MIB)) || fail "skep has $(resident) bytes, and had $full when the guest used them"

say "the balloon"
fill two
full=$(resident)
[ "$full" -gt $((90 * MIB)) ] || fail "skep has $full bytes with a guest that has written 90 MiB again"
echo 'rm /tmp/fill' >&9
equal target "$(number target 128)" $((128 * MIB))
poll 30 is given-back $((128 * MIB)) || fail "given back: $(number given-back)"
below $((full - 40 * MIB)) || fail "skep has $(resident) bytes, and had $full before the balloon"
poll 10 has events.out "balloon device=pci.0.6.0 given-back=$((128 * MIB))" || fail "no event of the balloon"

say "across a pause, and back"
expect_status 0 "$SKEP" ctl vm pause
equal "given back" "$(number given-back)" $((128 * MIB))
expect_status 0 "$SKEP" ctl vm resume
equal target "$(number target 256)" $((256 * MIB))
poll 30 is given-back 0 || fail "given back: $(number given-back)"
poll 10 has events.out 'balloon device=pci.0.6.0 given-back=0' || fail "no event of the empty balloon"
fill three
tr -d '\r' <session.out | sed -n 's/^\([0-9a-f]\{32\}\)  -$/\1/p' | sort | uniq -c >sums
equal "contents of three times the same" "$(awk '{ print $1 }' sums | tr '\n' ' ')" '3 '

say "refusals"
for memory in 0 257; do
	expect_status 1 "$SKEP" ctl vm balloon memory=$memory
	equal "the refusal" "$(cat cmd.out)" "skep: memory: the guest can keep 1 to 256 MiB"
done
expect_status 0 "$SKEP" ctl vm kill
wait_exit vm 20 143
start_linux none skep.do=wait-power -m 128M
wait_for none.out 'WAIT-POWER ready' 70
expect_status 1 "$SKEP" ctl none balloon memory=64
equal "lines of the refusal" "$(wc -l <cmd.out)" 1
expect cmd.out "no balloon: start it with '-s SLOT,virtio-balloon'"
