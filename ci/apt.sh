# shellcheck shell=sh
# ci/apt.sh: sourced by setup.sh and assets.sh. Downloads Debian packages of any architecture without installing them.
#
# apt is given package lists and a cache of its own under build/cache/apt/, so this needs no root, changes nothing on the
# machine (no dpkg --add-architecture) and never waits for another apt. Only the machine's package sources are shared.

top=$(cd "$(dirname "$0")/.." && pwd)

die() { echo "${0##*/}: $*" >&2; exit 1; }

# deb_arch NAME: skep's name of an architecture (x86, arm64) to Debian's.
deb_arch() {
	case $1 in
	x86) echo amd64 ;;
	arm64) echo arm64 ;;
	*) die "unknown architecture '$1': use x86 or arm64" ;;
	esac
}

# host_arch: skep's name of the architecture of this machine.
host_arch() {
	case $(uname -m) in
	x86_64) echo x86 ;;
	aarch64) echo arm64 ;;
	*) die "this machine is $(uname -m); skep needs x86-64 or arm64" ;;
	esac
}

# private_apt DEBARCH TOOL ARGS...: run an apt tool that believes it is on a DEBARCH machine with nothing installed.
private_apt() {
	_dir=$top/build/cache/apt/$1 _arch=$1 _tool=$2
	shift 2
	mkdir -p "$_dir/lists/partial" "$_dir/archives/partial"
	set -- -o APT::Architecture="$_arch" -o APT::Architectures="$_arch" -o APT::Sandbox::User=root \
		-o Dir::State::lists="$_dir/lists" -o Dir::State::status=/dev/null -o Dir::Cache="$_dir" \
		-o Acquire::Languages=none -o Acquire::Retries=3 "$@"
	"$_tool" -q "$@"
}

# apt_refresh DEBARCH: fetch the package lists. A third party's source that fails (many serve one architecture only) does
# not matter here; that a package is missing is found out, and said, when it is asked for.
apt_refresh() {
	private_apt "$1" apt-get update >"$top/build/cache/apt/$1.log" 2>&1 || :
}

# apt_unpack DEBARCH DIR PACKAGE...: download the packages and unpack them into DIR. Fetches the lists when there are none
# yet, or when they are older than the archive (a package is unknown or gone).
apt_unpack() {
	_deb=$1 _into=$2
	shift 2
	_tmp=$top/build/cache/apt/$_deb.deb.$$
	rm -rf "$_tmp"
	mkdir -p "$_tmp" "$_into"
	if ! (cd "$_tmp" && private_apt "$_deb" apt-get download "$@") >"$_tmp/log" 2>&1; then
		apt_refresh "$_deb"
		if ! (cd "$_tmp" && private_apt "$_deb" apt-get download "$@") >"$_tmp/log" 2>&1; then
			grep -E '^[EW]:' "$_tmp/log" >&2 || cat "$_tmp/log" >&2
			rm -rf "$_tmp"
			die "cannot download Debian packages for $_deb: $*"
		fi
	fi
	for _f in "$_tmp"/*.deb; do
		dpkg -x "$_f" "$_into" || die "cannot unpack $_f"
	done
	rm -rf "$_tmp"
}
