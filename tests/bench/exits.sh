# shellcheck shell=sh disable=SC2154
# Runs in a test host (ci/exits.sh cost): what counting exits costs.  A guest that does nothing but leave, by its own clock, with
# exits.count on and off in turn; the smallest of $runs figures each.  Ends with status 1 when the cost is above 2 %.
runs=${runs:-3}
kernel=$(ls /bm/exits.*)
status=0

# once WORK COUNT VALUE: microseconds of the guest's loop.
once() {
	"$SKEP" run -m 64M -s 9,virtio-rnd --kernel "$kernel" --append "work=$1 count=$2" -o exits.count="$3" bench \
		</dev/null >out 2>&1
	tr -d '\r' <out | sed -n "s/.*WORK $1 count=$2 ok us=//p"
}

# cost WORK COUNT
cost() {
	: >on
	: >off
	i=0
	while [ $i -lt "$runs" ]; do
		once "$1" "$2" false >>off
		once "$1" "$2" true >>on
		i=$((i + 1))
	done
	on=$(sort -n on | head -n 1) off=$(sort -n off | head -n 1)
	if [ -z "$on" ] || [ -z "$off" ]; then
		echo "BENCH-ERROR exits $1: the guest did not say how long it took"
		tail -n 3 out
		status=1
		return
	fi
	set -- "$1" "$2" $(((on - off) * 10000 / off))
	echo "BENCH exits $1 count=$2 us_without=$off us_with=$on cost_percent=$(awk "BEGIN { printf \"%.2f\", $3 / 100 }")"
	[ "$3" -le 200 ] || { echo "BENCH-ERROR exits $1: counting costs more than 2 %"; status=1; }
}

cost mmio 20000
cost uart 10000
(exit $status)
