#!/bin/bash
# Runs unit test programs, one after the other, through an optional emulator, and adds up what check(3) reports.
# usage: tests/unit/run.sh LABEL [-e EMULATOR] PROGRAM...
set -u
label=$1
shift
emulator=
if [ "$1" = -e ]; then
	emulator=$2
	shift 2
fi
passed=0 failed=0
for t in "$@"; do
	name=${t##*tests/unit/}
	out=$(timeout 120 $emulator "$t" 2>&1 </dev/null)
	status=$?
	line=$(grep -E '^[0-9]+%: Checks: ' <<<"$out" | tail -n 1)
	read -r checks bad < <(sed -E 's/.*Checks: ([0-9]+), Failures: ([0-9]+), Errors: ([0-9]+).*/\1 \2+\3/' <<<"$line")
	bad=$((${bad:-0}))
	if [ -z "$line" ] || { [ $status -ne 0 ] && [ "$bad" -eq 0 ]; }; then
		failed=$((failed + 1))
		echo "FAIL $label/$name: ended with status $status"
		printf '%s\n' "$out" | tail -n 40
		continue
	fi
	passed=$((passed + checks - bad))
	failed=$((failed + bad))
	if [ "$bad" -gt 0 ]; then
		echo "FAIL $label/$name"
		printf '%s\n' "$out" | tail -n 40
	else
		echo "ok   $label/$name ($checks)"
	fi
done
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
