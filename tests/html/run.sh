#!/bin/bash
# tests/html/run.sh LABEL SKEP...: the page of `skep exits compare --html` in a real browser. SKEP is a command, such as an emulator
# and a binary. Prints 'N passed, N failed'; the screenshots stay in build/html.
set -u
label=$1
shift
here=$(realpath "$(dirname "$0")")
skep=("$@")
skep[-1]=$(realpath "${skep[-1]}")
chromium=$(command -v chromium || command -v chromium-browser || command -v google-chrome) || {
	echo "no Chromium: run 'ci/setup.sh browser'"
	exit 1
}
mkdir -p "$here/../../build/html" && cd "$here/../../build/html" || exit 1
work=$(mktemp -d "${TMPDIR:-/tmp}/skep-html.XXXXXX") || exit 1
trap 'rm -rf "$work"' EXIT
passed=0 failed=0

# t NAME COMMAND...: succeeds, or is reported with what it said.
t() {
	local name=$1
	shift
	if "$@" >"$work/out" 2>&1 </dev/null; then
		passed=$((passed + 1))
		echo "ok   html/$label-$name"
	else
		failed=$((failed + 1))
		echo "FAIL html/$label-$name"
		tail -n 5 "$work/out"
	fi
}

# Nothing is written outside $work, and no network is needed.
browse() {
	HOME=$work timeout 120 "$chromium" --headless --no-sandbox --disable-gpu --hide-scrollbars --disable-dev-shm-usage \
		--user-data-dir="$work/profile" --disable-background-networking --force-device-scale-factor=1 "$@"
}

# shot PAGE WIDTH,HEIGHT PNG [OPTION...]
shot() {
	local page=$1 size=$2 png=$3
	shift 3
	rm -f "$png"
	browse "$@" --window-size="$size" --screenshot="$PWD/$png" "file://$PWD/$page" && [ -s "$png" ]
}

dom() { browse --dump-dom "file://$PWD/$1" >"$2"; }

# Strings of the profiles are not markup: these try to be.
python3 "$here/check.py" hostile "$here/x86.json" "$work/hostile.json" || exit 1

t compare "${skep[@]}" exits compare "$here/x86.json" "$here/arm64.json" --html page.html --svg chart.svg
t compare-hostile "${skep[@]}" exits compare "$work/hostile.json" "$here/arm64.json" --html hostile.html --svg hostile.svg
t screenshot shot page.html 1280,1800 page.png
t page-bars python3 "$here/check.py" bars page.png light
t screenshot-dark shot page.html 1280,1800 dark.png --blink-settings=preferredColorScheme=0
t dark-bars python3 "$here/check.py" bars dark.png dark
t screenshot-svg shot chart.svg 1000,1150 chart.png
t svg-bars python3 "$here/check.py" bars chart.png light
t dom dom page.html "$work/page.dom"
t dom-names python3 "$here/check.py" dom "$work/page.dom" boot-x86 boot-arm64 x86 arm64 lpc.com1 pio mmio 'Neoverse N1' 'AMD EPYC 7B13'
t dom-hostile dom hostile.html "$work/hostile.dom"
t hostile-is-text python3 "$here/check.py" dom "$work/hostile.dom" '<script>document.title="taken"</script>' '<img src=x onerror=alert(1)>'
t hostile-svg dom hostile.svg "$work/hostile-svg.dom"
t hostile-svg-is-text python3 "$here/check.py" dom "$work/hostile-svg.dom" '<script>document.title="taken"</script>'
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
