# The control socket of a running Linux guest, in its own words (docs/CONTROL.md): pause and resume stop and start the vCPUs, events
# come in order, wait, registers, counters, an NMI, a break with a SysRq command behind it, the cable, reset and kill; strangers,
# half-open clients and a hundred at once get nowhere.
# hosts: svm gicv3
# timeout: 240

. "$LIB"

# connect NAME: lines written to descriptor 8 go to the VM, its lines to ctl.out.
connect() {
	rm -f requests ctl.out
	mkfifo requests
	unixcat "$(rundir "$1")/control" <requests >ctl.out &
	exec 8>requests
}

# call METHOD [PARAMS]: the answer is in $answer.
id=0
call() {
	id=$((id + 1))
	echo "{\"jsonrpc\":\"2.0\",\"id\":$id,\"method\":\"$1\",\"params\":${2:-{\}}}" >&8
	poll 20 has ctl.out "\"id\":$id," || fail "no answer to $1"
	answer=$(grep "\"id\":$id," ctl.out)
}

# ok METHOD [PARAMS], refused METHOD PARAMS REGEX
ok() {
	call "$@"
	case $answer in *'"result":'*) ;; *) fail "$1: $answer" ;; esac
}
refused() {
	call "$1" "$2"
	echo "$answer" | grep -q -E "\"error\":.*$3" || fail "$1 was not refused with '$3': $answer"
}

# value NAME: of the last answer.
value() { echo "$answer" | sed -n "s/.*\"$1\":\"\{0,1\}\([^\",}]*\).*/\1/p"; }

vcpu_time() {
	ok status
	cpu=$(value cpu_ns)
}
runs_on() {
	vcpu_time
	[ "$cpu" -gt "$1" ]
}

start_linux vm skep.do=shell -c 2 -m 256M --console unix="$PWD/con" --net null
wait_vm vm 20 [ -S "$(rundir vm)/control" ]
connect vm
ok wait '{"state":"running","timeout_ms":60000}'
ok events '{"since":0}'
poll 5 has ctl.out '"event":"state"' || fail "no events"
expect ctl.out '"state":"allocating"'
expect ctl.out '"state":"running"'

mkfifo keys
"$SKEP" console vm <keys >session.out 2>&1 &
exec 9>keys
poll 60 has session.out 'guest# ' || fail "no shell"
expect ctl.out '"event":"console-attached"'

# A paused guest computes nothing, and goes on afterwards.
echo 'while :; do i=$((i+1)); done &' >&9
ok status
equal state "$(value state)" running
equal cpus "$(value cpus)" 2
ok pause
expect ctl.out '"state":"paused","from":"pausing"'
vcpu_time
stands=$cpu
refused poweroff '{}' "'resume'"
refused wait '{"state":"running","timeout_ms":1500}' "'paused'"
vcpu_time
equal "CPU time of a paused guest" "$cpu" "$stands"
ok resume
poll 20 runs_on "$stands" || fail "the guest does not go on after resume"
refused resume '{}' 'not paused'
grep -n '"event":"state"' ctl.out | sed -n 's/.*"state":"\([a-z]*\)","from".*/\1/p' | tail -n 3 | tr '\n' ' ' >order
equal "last states" "$(cat order)" "pausing paused running "

# What can be looked at.
ok regs
case $answer in *'"vcpu":1,"registers":{"'*) ;; *) fail "no registers of vCPU 1" ;; esac
ok regs '{"vcpu":0}'
refused regs '{"vcpu":2}' '0 to 1'
ok stats
expect ctl.out '"exits":{"'
ok exit-ring '{"count":5}'
ok exits
expect ctl.out '"format":"skep-exits"'
ok metrics
expect ctl.out 'skep_vcpu_seconds_total'
ok nets
equal link "$(value link)" true
device=$(value device)
ok set-link "{\"device\":\"$device\",\"state\":\"off\"}"
expect ctl.out '"event":"link"'
ok nets
equal link "$(value link)" false
ok console-history
case $answer in *'guest# '*) ;; *) fail "the console's history has no prompt" ;; esac
refused screen '{}' 'console-history'
ok log-level '{"level":"debug"}'

# The line is held low; what comes next is a SysRq command.
ok break
printf h >&9
poll 20 has session.out 'sysrq: HELP' || fail "the guest does not take the break"
case $HOSTKIND in
svm)
	ok nmi '{"vcpu":1}'
	poll 20 has session.out 'NMI received|unknown NMI|NMI: ' || fail "the guest saw no NMI"
	;;
*) refused nmi '{}' 'arm64' ;;
esac

# Nobody else: neither where files keep others out, nor where they do not.  Its input never ends: it is the server that hangs up.
expect_status 1 unixcat -u 1234 "$(rundir vm)/control"
chmod 755 "$(rundir vm)" "$(dirname "$(rundir vm)")"
chmod 666 "$(rundir vm)/control"
mkfifo strange
exec 6<>strange
echo '{"jsonrpc":"2.0","id":1,"method":"kill"}' >&6
timeout 20 unixcat -u 1234 "$(rundir vm)/control" <&6 >stranger.out || fail "a stranger is not hung up on"
exec 6>&-
expect stranger.out "another user's"
expect "$(rundir vm)/log" 'of user 1234 was refused'

# A hundred that send half a line and stay: those who ask are served all the same.
mkfifo never
(
	i=0
	while [ $i -lt 100 ]; do
		(printf '{"jsonrpc":'; exec cat) <never | unixcat "$(rundir vm)/control" >>half.out 2>&1 &
		i=$((i + 1))
	done
	wait
) &
exec 7>never
ok status
expect_status 0 "$SKEP" ctl vm status
ok status
exec 7>&-

# A reset starts the guest anew, in the same process; a paused one stays paused.
ok status
equal boots "$(value boots)" 1
ok pause
ok reset
poll 30 has ctl.out '"event":"reset"' || fail "no event of the reset"
ok wait '{"state":"paused","timeout_ms":60000}'
ok status
equal boots "$(value boots)" 2
equal state "$(value state)" paused
ok resume
poll 60 has ctl.out '"state":"running","from":"paused"' || fail "it does not run after the reset"

ok kill
wait_exit vm 20 143
poll 5 has ctl.out '"state":"exited"' || fail "the last event did not come"
expect ctl.out '"event":"exit".*"status":143'
