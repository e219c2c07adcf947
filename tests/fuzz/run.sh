#!/bin/bash
# Replays and mutates the corpus of fuzz targets.
# usage: tests/fuzz/run.sh LABEL [-e EMULATOR] [-n MUTATIONS] PROGRAM...
set -u
corpus=$(dirname "$0")/corpus
label=$1
shift
emulator='' mutations=1000
while getopts e:n: o; do
	case $o in
	e) emulator=$OPTARG ;;
	n) mutations=$OPTARG ;;
	*) exit 2 ;;
	esac
done
shift $((OPTIND - 1))
passed=0 failed=0
for t in "$@"; do
	name=${t##*/fuzz_}
	out=$(timeout 300 $emulator "$t" -n "$mutations" "$corpus/$name" 2>&1 </dev/null)
	status=$?
	n=$(sed -n 's/^\([0-9]*\) inputs$/\1/p' <<<"$out" | tail -n 1)
	if [ $status -eq 0 ] && [ "${n:-0}" -gt 0 ]; then
		passed=$((passed + 1))
		echo "ok   $label/$name ($n inputs)"
	else
		failed=$((failed + 1))
		echo "FAIL $label/$name: ended with status $status"
		printf '%s\n' "$out" | tail -n 40
	fi
done
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
