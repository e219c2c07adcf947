# 'skep nextboot': settings for one start, given before the VM runs and while it does; the start after that is the usual one.
# timeout: 150

. "$LIB"

export XDG_STATE_HOME=$PWD/state
usual="console=$GUEST_TTY quiet panic=-1 skep.do"

# waits NAME: the start has not come yet.  gone NAME: it has.
waits() { [ -e "state/skep/$1/nextboot.conf" ]; }
gone() { ! waits "$1"; }

say "before the VM runs"
expect_status 0 "$SKEP" nextboot --append "$usual=poweroff once" before
expect_status 0 "$SKEP" nextboot before --show
expect cmd.out '^append=.*skep.do=poweroff once$'
start_linux before skep.do=reboot3 -m 256M
wait_exit before 50 0
expect_not before.out 'REBOOT count'
gone before || fail "the settings are still there after the start they were for"

say "a start that fails leaves them"
expect_status 0 "$SKEP" nextboot --append "$usual=poweroff" before
expect_status 1 "$SKEP" run -m 256M --kernel /nowhere before
waits before || fail "the settings are gone, and nothing has started"
expect_status 0 "$SKEP" nextboot --clear before
gone before || fail "--clear left them"

say "while it runs, and again and again resets"
start_linux during skep.do=fastreboot -m 256M
echo "no kernel" >kernel
expect_status 0 "$SKEP" nextboot --kernel kernel during
wait_vm during 60 gone during
wait_for during.out "what 'skep nextboot' left for this start cannot be used; starting as usual" 5
expect_status 0 "$SKEP" nextboot --append "$usual=poweroff" during
wait_exit during 60 0
gone during || fail "the settings are still there after the start they were for"
