#!/bin/bash
# Rules of the source tree that a compiler does not check.  One line a rule, then 'N passed, N failed'.
set -u
cd "$(dirname "$0")/.." || exit 1
passed=0 failed=0

rule() {
	local name=$1
	shift
	local found
	found=$("$@")
	if [ -z "$found" ]; then
		passed=$((passed + 1))
		echo "ok   tree/$name"
	else
		failed=$((failed + 1))
		echo "FAIL tree/$name"
		printf '%s\n' "$found" | head -n 20
	fi
}

sources() { find common devices loaders arch tests -name '*.[ch]'; }

arch_conditionals() {
	sources | grep -vE '^(arch|tests/guest)/' | xargs grep -nE '^[[:space:]]*#[[:space:]]*(if|ifdef|ifndef|elif).*(__x86_64__|__aarch64__|__amd64__|CONFIG_(X86|ARM))'
}
kvm_ioctls() { grep -rnE '\bioctl\(.*KVM_' devices loaders common --include='*.c' | grep -vE '^common/(kvm|vcpu)\.c:'; }
kvm_headers() { grep -rln 'linux/kvm.h' devices loaders arch --include='*.[ch]' | grep -vE '^arch/[a-z0-9]+/kvm[_.]'; }
long_files() { sources | xargs wc -l | awk '$2 != "total" && $1 > 800 { print $2": "$1" lines" }'; }
untested() {
	local f t
	for f in common/*.c common/*/*.c devices/*.c devices/*/*.c devices/*/*/*.c loaders/*.c loaders/*/*.c; do
		t=tests/unit/${f%.c}_test.c
		[ -e "$t" ] || grep -qsF " $f" tests/unit/covered-elsewhere || echo "$f has no $t and is not in tests/unit/covered-elsewhere"
	done
}
gone_paths() {
	grep -ohE '`(arch|common|devices|loaders|tests|ci|docs)/[A-Za-z0-9_./-]*`' README.md docs/*.md | tr -d '`' | sort -u | while read -r p; do
		[ -e "$p" ] || echo "documentation names $p, which does not exist"
	done
}
shell_errors() { find ci tests .ci \( -name "*.sh" -o -path .ci/run \) -exec shellcheck -x -S warning {} + 2>&1; }
unfinished() { sources | xargs grep -nE '\b(TODO|FIXME|XXX|HACK)\b'; }

# Citations in comments begin with a tag of docs/SPECS.md; several are separated by ';'.
specs_expanded() {
	local tags cite t
	mapfile -t tags < <(sed -n 's/^| `\([^`]*\)` |.*/\1/p' docs/SPECS.md)
	find common devices loaders arch tests ci ! -path ci/tree.sh \( -name '*.[chS]' -o -name '*.sh' -o -name '*.py' -o -path tests/guest-linux/init \) -exec \
		grep -ohE '(^|[ (*#;])\[[A-Z][A-Za-z0-9-]*[^]_]*(\]|$)' {} + |
		sed -E 's/^[^[]*\[//; s/\]$//' | tr ';' '\n' | sed -E 's/^ +//; s/ +$//' |
		grep -E '^[A-Z][A-Za-z0-9.]*([-0-9]|[a-z][A-Z]| [A-Za-z0-9"])' | grep -vxE 'ADDR6|[A-Z]+ [+*] .*|[A-Z0-9]+\]?' | sort -u |
		while read -r cite; do
			for t in "${tags[@]}"; do
				case $cite in "$t" | "$t"[\ ,:]*) continue 2 ;; esac
			done
			echo "citation [$cite] has no entry in docs/SPECS.md"
		done
}

# systemd's own opinion where it is installed; the form of every line, and what would take /dev/kvm away, everywhere.
service_unit() {
	local in=contrib/skep@.service.in tmp key
	grep -nvE '^(#.*|\[(Unit|Service|Install)\]|[A-Z][A-Za-z]+=[^ ].*)?$' $in
	grep -nE '^(PrivateDevices|PrivateUsers|PrivateTmp|DevicePolicy|DeviceAllow|ProtectClock|ProtectHome|DynamicUser)=' $in
	for key in Type=notify 'ExecStart=@BINDIR@/skep start %i --foreground' 'ExecStop=-@BINDIR@/skep stop %i' KillSignal=SIGQUIT; do
		grep -qxF "$key" $in || echo "$in: '$key' is missing"
	done
	command -v systemd-analyze >/dev/null || return
	tmp=$(mktemp -d)
	sed 's,@BINDIR@/skep,/bin/true,' $in >"$tmp/skep@.service"
	systemd-analyze verify --man=no "$tmp/skep@.service" 2>&1 || echo "systemd-analyze refuses $in"
	rm -r "$tmp"
}

rule no-arch-conditionals arch_conditionals
rule kvm-ioctls-in-place kvm_ioctls
rule kvm-headers-in-place kvm_headers
rule files-below-800-lines long_files
rule every-file-has-its-test untested
rule docs-name-existing-paths gone_paths
rule specs-expanded specs_expanded
rule shellcheck shell_errors
rule nothing-unfinished unfinished
rule service-unit service_unit
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
