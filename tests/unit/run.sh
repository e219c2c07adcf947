#!/bin/bash
# Runs unit test programs, through an optional emulator, and adds up what check(3) reports.
# usage: tests/unit/run.sh LABEL [-e EMULATOR] PROGRAM...
set -u
label=$1
shift
emulator=
if [ "$1" = -e ]; then
	emulator=$2
	shift 2
fi
out=$(mktemp -d) || exit 1
trap 'rm -rf "$out"' EXIT

# As many at a time as there are CPUs: some wait for the disk more than they compute.
running=0 n=0
for t in "$@"; do
	n=$((n + 1))
	(
		timeout 120 $emulator "$t" >"$out/$n" 2>&1 </dev/null
		echo $? >"$out/$n.status"
	) &
	running=$((running + 1))
	[ $running -lt "$(nproc)" ] || { wait -n; running=$((running - 1)); }
done
wait

passed=0 failed=0 n=0
for t in "$@"; do
	n=$((n + 1))
	name=${t##*tests/unit/}
	status=$(cat "$out/$n.status")
	line=$(grep -aE '^[0-9]+%: Checks: ' "$out/$n" | tail -n 1)
	read -r checks bad < <(sed -E 's/.*Checks: ([0-9]+), Failures: ([0-9]+), Errors: ([0-9]+).*/\1 \2+\3/' <<<"$line")
	bad=$((${bad:-0}))
	if [ -z "$line" ] || { [ "$status" -ne 0 ] && [ "$bad" -eq 0 ]; }; then
		failed=$((failed + 1))
		echo "FAIL $label/$name: ended with status $status"
		tail -n 40 "$out/$n"
		continue
	fi
	passed=$((passed + checks - bad))
	failed=$((failed + bad))
	if [ "$bad" -gt 0 ]; then
		echo "FAIL $label/$name"
		tail -n 40 "$out/$n"
	else
		echo "ok   $label/$name ($checks)"
	fi
done
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
