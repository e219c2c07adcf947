#!/bin/bash
# tests/img/run.sh LABEL SKEP...: `skep img` against qemu-img and qemu-io. SKEP is a command, such as an emulator and a binary.
# What either writes the other must read as the same bytes and find without fault. Prints 'N passed, N failed'.
set -u
label=$1
shift
skep=("$@")
skep[-1]=$(realpath "${skep[-1]}")
command -v qemu-img >/dev/null || { echo "qemu-img is missing: run 'ci/setup.sh test'"; exit 1; }
work=$(mktemp -d "${TMPDIR:-/tmp}/skep-img.XXXXXX") || exit 1
trap 'rm -rf "$work"' EXIT
cd "$work" || exit 1
passed=0 failed=0

img() { "${skep[@]}" img "$@"; }

# t NAME COMMAND...: succeeds or is reported with what it said.
t() {
	st "$1" 0 "${@:2}"
}

# st NAME STATUS COMMAND...
st() {
	local name=$1 want=$2 got=0
	shift 2
	"$@" >out 2>&1 </dev/null || got=$?
	if [ $got = "$want" ]; then
		passed=$((passed + 1))
	else
		failed=$((failed + 1))
		echo "FAIL $label/$name: '$*' ended with status $got, not $want"
		tail -n 5 out
	fi
}

# says REGEX: about the output of the last t or st.
says() {
	if grep -qE -e "$1" out; then
		passed=$((passed + 1))
	else
		failed=$((failed + 1))
		echo "FAIL $label: no '$1' in: $(tail -n 3 out)"
	fi
}

one_sentence() {
	if [ "$(wc -l <out)" = 1 ] && grep -q '^skep: ' out; then
		passed=$((passed + 1))
	else
		failed=$((failed + 1))
		echo "FAIL $label: not one sentence: $(cat out)"
	fi
}

# same A FMT B FMT: both programs find them identical; and each alone finds nothing to repair.
same() {
	t "same $1 $3 (qemu)" qemu-img compare -f "$2" -F "$4" "$1" "$3"
	t "same $1 $3 (skep)" img compare -f "$2" -F "$4" "$1" "$3"
}

sound() {
	case $2 in
	qcow2)
		t "check $1 (qemu)" qemu-img check -f "$2" "$1"
		t "check $1 (skep)" img check -f "$2" "$1" ;;
	vdi | vhdx | vmdk) t "check $1 (qemu)" qemu-img check -f "$2" "$1" ;;
	esac
}

# Bytes of every kind: random, repeated, zeroes long and short, and an end in the middle of a cluster.
python3 - <<'PY'
import random
r = random.Random(4)
with open('src.raw', 'wb') as f:
    for i in range(75):
        kind = r.randrange(4)
        n = r.choice([512, 4096, 12288, 65536, 131072])
        if kind == 0:
            f.write(r.randbytes(n))
        elif kind == 1:
            f.write(bytes([i + 1]) * n)
        elif kind == 2:
            f.seek(n, 1)
        else:
            f.write(b'skep img ' * (n // 9 + 1))
    f.seek((f.tell() + 511) // 512 * 512)
    f.truncate(f.tell() + 3 * 512)
PY
size=$(stat -c %s src.raw)

# --- Every format and option: made by one, read by the other ---
variants() {
	cat <<'END'
raw
qcow2
qcow2 compat=0.10
qcow2 cluster_size=512
qcow2 cluster_size=2M
qcow2 cluster_size=4k,refcount_bits=1
qcow2 refcount_bits=64
qcow2 refcount_bits=8,lazy_refcounts=on
qcow2 extended_l2=on
qcow2 extended_l2=on,cluster_size=16k
qcow2 preallocation=metadata
qcow2 preallocation=full
vmdk
vmdk subformat=monolithicFlat
vmdk subformat=twoGbMaxExtentSparse
vmdk subformat=twoGbMaxExtentFlat
vmdk subformat=streamOptimized
vdi
vdi static=on
vpc subformat=dynamic,force_size=on
vpc subformat=fixed,force_size=on
vhdx subformat=dynamic
vhdx subformat=fixed
vhdx block_size=2M
END
}

while read -r fmt opts; do
	n=${fmt}-$(tr -c 'a-zA-Z0-9\n' _ <<<"$opts")
	o=()
	[ -z "$opts" ] || o=(-o "$opts")
	t "skep converts to $n" img convert -f raw -O "$fmt" "${o[@]}" src.raw "s-$n"
	same src.raw raw "s-$n" "$fmt"
	sound "s-$n" "$fmt"
	t "qemu converts to $n" qemu-img convert -f raw -O "$fmt" "${o[@]}" src.raw "q-$n"
	same src.raw raw "q-$n" "$fmt"
	t "skep reads $n" img convert -O raw "q-$n" back.raw
	t "back from $n" cmp -n "$size" src.raw back.raw
	rm -f "s-$n"* "q-$n"* back.raw
done < <(variants)

# Compressed, by both.
t "qemu compresses" qemu-img convert -c -O qcow2 src.raw z.qcow2
same src.raw raw z.qcow2 qcow2
t "qemu compresses with zstd" qemu-img convert -c -O qcow2 -o compression_type=zstd src.raw zs.qcow2
same src.raw raw zs.qcow2 qcow2
t "skep compresses" img convert -c -O qcow2 src.raw sz.qcow2
same src.raw raw sz.qcow2 qcow2
sound sz.qcow2 qcow2
t "it is smaller" test "$(stat -c %b sz.qcow2)" -lt "$(stat -c %b src.raw)"

# --- Written by one, then by the other, against a raw shadow ---
writes() {
	python3 - "$1" "$size" <<'PY'
import random, sys
r = random.Random(int(sys.argv[1])); size = int(sys.argv[2])
for i in range(40):
    off = r.randrange(size // 512) * 512
    n = min(r.choice([512, 1024, 4096, 30720, 65536, 200704]), size - off)
    k = r.randrange(8)
    print(f"write -z {'-u ' if k & 1 else ''}{off} {n}" if k < 2 else "flush" if k == 2 else f"write -P {i + 1} {off} {n}")
PY
}

while read -r fmt opts; do
	n=w-${fmt}-$(tr -c 'a-zA-Z0-9\n' _ <<<"$opts")
	o=()
	[ -z "$opts" ] || o=(-o "$opts")
	cp src.raw shadow.raw
	t "copy for $n" img convert -O "$fmt" "${o[@]}" src.raw "$n"
	writes "${#n}" >cmds
	qemu-io -f "$fmt" "$n" <cmds >/dev/null 2>&1
	qemu-io -f raw shadow.raw <cmds >/dev/null 2>&1
	same shadow.raw raw "$n" "$fmt"
	sound "$n" "$fmt"
	rm -f "$n"*
done < <(variants | grep -v streamOptimized)

# --- Chains ---
t "base" img convert -O qcow2 src.raw base.qcow2
t "middle" img create -f qcow2 -b base.qcow2 -F qcow2 mid.qcow2
t "top" img create -f qcow2 -b mid.qcow2 top.qcow2
t "middle's size" test "$(img info --json mid.qcow2 | python3 -c 'import json,sys; print(json.load(sys.stdin)["virtual-size"])')" = "$size"
cp src.raw shadow.raw
for i in mid:7 top:8; do
	writes "${i#*:}" >cmds
	qemu-io -f qcow2 "${i%:*}.qcow2" <cmds >/dev/null 2>&1
	qemu-io -f raw shadow.raw <cmds >/dev/null 2>&1
done
same shadow.raw raw top.qcow2 qcow2
t "info of the chain" img info --backing-chain top.qcow2
says '^image: .*base.qcow2'
t "map" img map --json top.qcow2
says '"depth": 2'
cp top.qcow2 keep.qcow2
t "rebase" img rebase -b base.qcow2 -F qcow2 top.qcow2
same shadow.raw raw top.qcow2 qcow2
sound top.qcow2 qcow2
t "rebase to none" img rebase -b '' top.qcow2
same shadow.raw raw top.qcow2 qcow2
t "no backing file is left" test -z "$(img info top.qcow2 | grep backing)"
cp keep.qcow2 top.qcow2
t "commit" img commit top.qcow2
same shadow.raw raw mid.qcow2 qcow2
same shadow.raw raw top.qcow2 qcow2
sound top.qcow2 qcow2
sound mid.qcow2 qcow2
t "commit to the base" img commit -b base.qcow2 top.qcow2
same shadow.raw raw base.qcow2 qcow2
sound base.qcow2 qcow2
t "over raw" img create -f qcow2 -b src.raw -F raw overraw.qcow2
same src.raw raw overraw.qcow2 qcow2

# --- Snapshots inside, taken by one and used by the other ---
t "disk with snapshots" img convert -O qcow2 src.raw snap.qcow2
t "skep takes one" img snapshot create snap.qcow2 first
qemu-io -f qcow2 -c 'write -P 77 0 300k' snap.qcow2 >/dev/null 2>&1
t "qemu takes one" qemu-img snapshot -c second snap.qcow2
qemu-io -f qcow2 -c 'write -P 78 100k 300k' snap.qcow2 >/dev/null 2>&1
sound snap.qcow2 qcow2
t "list" img snapshot list snap.qcow2
says second
t "qemu's list" qemu-img snapshot -l snap.qcow2
says first
t "skep goes back" img snapshot apply snap.qcow2 first
same src.raw raw snap.qcow2 qcow2
sound snap.qcow2 qcow2
t "qemu goes on" qemu-img snapshot -a second snap.qcow2
sound snap.qcow2 qcow2
t "delete" img snapshot delete snap.qcow2 first
sound snap.qcow2 qcow2
t "qemu deletes" qemu-img snapshot -d second snap.qcow2
sound snap.qcow2 qcow2
st "no such snapshot" 1 img snapshot apply snap.qcow2 third
one_sentence

# --- Checkpoints of a disk that is off ---
t "disk" img convert -O qcow2 src.raw ck.qcow2
t "inside" img checkpoint create ck.qcow2 one
t "it is a snapshot" img snapshot list ck.qcow2
says one
t "drop" img checkpoint drop ck.qcow2 one
t "nothing is left of it" test -z "$(img snapshot list ck.qcow2)"
t "raw disk" cp src.raw ck.raw
t "overlay" img checkpoint create --store overlay ck.raw two
same src.raw raw ck.two.qcow2 qcow2
qemu-io -f qcow2 -c 'write -P 9 0 64k' ck.two.qcow2 >/dev/null 2>&1
t "the base stays" cmp src.raw ck.raw
t "another way on" img checkpoint branch ck.two.qcow2 two ck.b.qcow2
same src.raw raw ck.b.qcow2 qcow2
st "no such store" 1 img checkpoint create --store tape ck.raw three
one_sentence
st "name with a slash" 1 img checkpoint create ck.raw a/b
one_sentence

# --- Sizes ---
for f in raw qcow2; do
	t "disk to resize" img convert -O $f src.raw r.$f
	t "larger" img resize r.$f +3M
	sound r.$f $f
	t "qemu sees it" test "$(qemu-img info --output=json -f $f r.$f | python3 -c 'import json,sys; print(json.load(sys.stdin)["virtual-size"])')" = $((size + 3145728))
	st "smaller needs a word" 1 img resize r.$f -3M
	one_sentence
	t "smaller" img resize --shrink r.$f -3M
	same src.raw raw r.$f $f
	sound r.$f $f
done

# --- Repair: what a qemu-io that died leaves ---
t "lazy disk" img create -f qcow2 -o lazy_refcounts=on lazy.qcow2 8M
sh -c "qemu-io -f qcow2 -c 'write -P 5 0 1M' -c flush -c abort lazy.qcow2; :" >/dev/null 2>&1
t "info of a dirty image" img info lazy.qcow2
says 'cleanly shut down: no'
t "repair" img check -r all lazy.qcow2
sound lazy.qcow2 qcow2
t "nothing lost" qemu-io -f qcow2 -c 'read -P 5 0 1M' lazy.qcow2
t "disk" img convert -O qcow2 src.raw leak.qcow2
# A cluster that is counted and belongs to nothing, in the middle of a file that goes on behind it.
python3 - <<'PY'
import struct
with open('leak.qcow2', 'r+b') as f:
    h = f.read(104)
    table, = struct.unpack('>Q', h[48:56])
    f.seek(table); block, = struct.unpack('>Q', f.read(8))
    f.seek(0, 2); end = f.tell() // 65536
    f.seek(block + 2 * (end + 3)); f.write(b'\0\1')
    f.truncate((end + 5) * 65536)
PY
st "a leak is found" 3 img check leak.qcow2
st "qemu agrees" 3 qemu-img check leak.qcow2
t "a leak is repaired" img check -r leaks leak.qcow2
sound leak.qcow2 qcow2
same src.raw raw leak.qcow2 qcow2

# --- What must not be done, and what must come out right at odd places ---
python3 - <<'PY'
import random
r = random.Random(11)
open('odd1', 'wb').write(r.randbytes(100 * 1024 + 100))
open('odd2', 'wb').write(b'xyz' * 50000)
open('odd3', 'wb').write(bytes(70000) + b'q' * 3)
PY
t "odd inputs, qemu" qemu-img convert -f raw -O raw odd1 odd2 odd3 odd.raw
for o in qcow2 vhdx vmdk; do
	t "odd inputs, $o" img convert -f raw -O $o odd1 odd2 odd3 odd.$o
	same odd.raw raw odd.$o $o
done
t "odd inputs, compressed" img convert -c -f raw -O qcow2 odd1 odd2 odd3 oddc.qcow2
same odd.raw raw oddc.qcow2 qcow2
sound oddc.qcow2 qcow2
t "one odd input, compressed" img convert -c -f raw -O qcow2 odd1 oddc.qcow2
same odd1 raw oddc.qcow2 qcow2
cp src.raw loop.raw
ln -sf loop.raw loop-link.raw
st "its own base" 1 img create -f qcow2 -b loop.raw -F raw ./loop.raw
one_sentence
st "its own base, by a link" 1 img convert -O qcow2 -B loop.raw -F raw src.raw loop-link.raw
one_sentence
st "onto itself, unlocked" 1 img convert -U -f raw -O qcow2 loop.raw loop-link.raw
one_sentence
qemu-img create -q -f qcow2 -b loop.raw -F raw loop.qcow2
st "onto its base, unlocked" 1 img convert -U -O raw loop.qcow2 loop.raw
one_sentence
st "no compression" 1 img convert -c -O raw src.raw loop.raw
one_sentence
st "nonsense about zeroes" 1 img convert -S 1 -O raw src.raw loop.raw
one_sentence
st "larger than any file" 1 img create loop.raw 9223372036854775808
one_sentence
t "none of them did anything" cmp src.raw loop.raw
st "repair of an image in use" 1 img check -U -r all snap.qcow2
st "snapshot of an image in use" 1 img snapshot -U -c x snap.qcow2
# Only what differs from the base is written.
t "base" img convert -O qcow2 src.raw diff.qcow2
t "overlay" qemu-img create -q -f qcow2 -b diff.qcow2 -F qcow2 over-diff.qcow2 16M
qemu-io -f qcow2 -c 'write -P 5 1M 64k' -c 'write -z 2M 128k' -c 'write -P 7 14M 64k' over-diff.qcow2 >/dev/null 2>&1
for o in '' -c; do
	t "onto a base $o" img convert $o -O qcow2 -B diff.qcow2 -F qcow2 over-diff.qcow2 thin.qcow2
	same over-diff.qcow2 qcow2 thin.qcow2 qcow2
	sound thin.qcow2 qcow2
	t "and thin $o" test "$(stat -c %s thin.qcow2)" -lt 700000
done
# A middle image that is shorter hides what is below it with zeroes.
qemu-img create -q -f raw tall.raw 4M && qemu-io -f raw -c 'write -P 3 0 4M' tall.raw >/dev/null 2>&1
qemu-img create -q -f qcow2 -b tall.raw -F raw short.qcow2 2M
qemu-img create -q -f qcow2 -b short.qcow2 -F qcow2 tall-top.qcow2 4M
t "as seen from above" qemu-img convert -O raw tall-top.qcow2 seen.raw
t "commit past a short one" img commit -b tall.raw tall-top.qcow2
t "is what was seen" cmp seen.raw tall.raw
# Bases of other lengths.
for n in 2M 6M; do
	qemu-img create -q -f raw len.raw $n && qemu-io -f raw -c "write -P 4 0 $n" len.raw >/dev/null 2>&1
	qemu-img create -q -f qcow2 -b seen.raw -F raw len.qcow2 5M && qemu-io -f qcow2 -c 'write -P 6 100k 9k' len.qcow2 >/dev/null 2>&1
	t "before" qemu-img convert -O raw len.qcow2 before.raw
	t "rebase to $n" img rebase -b len.raw -F raw len.qcow2
	same before.raw raw len.qcow2 qcow2
	sound len.qcow2 qcow2
	t "commit to $n" img commit len.qcow2
	t "its base has it" cmp -n 5242880 before.raw len.raw
	same before.raw raw len.qcow2 qcow2
done
long=$(printf 'd%.0s' $(seq 4096))
st "a path too long" 1 img info "$long"
one_sentence
says 'too long'
mkfifo fifo
mkdir adir
for bad in fifo adir; do
	st "$bad is no image" 1 img info $bad
	one_sentence
	st "$bad is no target" 1 img convert -O qcow2 src.raw $bad
	one_sentence
done

# --- Mistakes: one sentence, a status, nothing left behind ---
st "no file" 1 img info nothere.qcow2
one_sentence
st "backing file gone" 1 img create -f qcow2 -b gone.qcow2 x.qcow2
one_sentence
mkdir -p other && cp src.raw other/
ln -sf ../src.raw other/out-link.raw
t "overlay elsewhere" qemu-img create -q -f qcow2 -b "$work/src.raw" -F raw other/over.qcow2
st "backing file outside" 1 img convert -O raw other/over.qcow2 x.raw
one_sentence
says 'backing-dir'
st "through a link" 2 bash -c "qemu-img create -q -f qcow2 -b out-link.raw -F raw other/l.qcow2 && ${skep[*]} img compare other/l.qcow2 src.raw"
t "allowed" img convert --backing-dir "$work" -O raw other/over.qcow2 x.raw
t "same bytes" cmp x.raw src.raw
qemu-img create -q -f qcow2 -b src.raw -F raw l1.qcow2
qemu-img create -q -f qcow2 -b l1.qcow2 -F qcow2 l2.qcow2
qemu-img rebase -u -b l2.qcow2 -F qcow2 l1.qcow2
st "a loop" 2 img compare l2.qcow2 src.raw
one_sentence
st "a loop, converted" 1 img convert -O raw l2.qcow2 x2.raw
one_sentence
t "no half copy" test ! -e x2.raw
st "damaged" 1 bash -c "head -c 70000 sz.qcow2 >cut.qcow2; ${skep[*]} img convert -O raw cut.qcow2 cut.raw"
t "no half copy of it" test ! -e cut.raw
st "unknown format" 1 img convert -O qcow3 src.raw x3
one_sentence
st "unknown option" 1 img create -f qcow2 -o cluster=4k x4 1M
one_sentence
st "different" 1 img compare src.raw shadow.raw
says 'Content mismatch at offset [0-9]+!'
st "not comparable" 2 img compare src.raw nothere.raw
st "nothing to check" 63 img check src.raw
st "output closed" 1 bash -c "${skep[*]} img info src.raw >/dev/full"

# Ctrl-C in the middle: the target is slow because it is a pipe's worth of zeroes to compress.
python3 - <<'PY'
import random
r = random.Random(9)
with open('big.raw', 'wb') as f:
    for i in range(96):
        f.write(r.randbytes(1 << 20))
PY
"${skep[@]}" img convert -c -O qcow2 big.raw big.qcow2 >/dev/null 2>&1 &
pid=$!
while [ ! -e big.qcow2 ] && kill -0 $pid 2>/dev/null; do :; done
# A shell's background command ignores SIGINT.
kill -TERM $pid
wait $pid
t "interrupted" test $? = 143
t "its copy is gone" test ! -e big.qcow2

# A full disk.
if [ "$(id -u)" = 0 ] && mkdir full && mount -t tmpfs -o size=4m tmpfs full 2>/dev/null; then
	st "full disk" 1 img convert -O qcow2 big.raw full/big.qcow2
	one_sentence
	says 'No space left'
	t "nothing is left on it" test ! -e full/big.qcow2
	umount full
fi

echo "ok   $label/img ($passed checks)"
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
