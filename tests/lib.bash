# SPDX-License-Identifier: GPL-2.0-or-later
#
# What the bats files stand on. A file begins with
#
#	load ../lib
#
# and gets: a state root of its own (VPS_ROOT, in the environment of all it runs), `vps` as just
# built, and at its end the proof that nothing is left behind. It may define setup() and teardown();
# if it defines setup_file() or teardown_file() it calls root_new and root_done in them.
# VPSs named in a test are destroyed by it, or by vps_clean in teardown().

bats_require_minimum_version 1.5.0

VPS_TOP=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
VPS_BUILD=${VPS_BUILD:-$VPS_TOP/build}
# How much slower than an ordinary machine this one is; deadlines are multiplied by it.
VPS_TEST_SLOW=${VPS_TEST_SLOW:-1}
export VPS_TOP VPS_BUILD VPS_TEST_SLOW

setup_file() { root_new; }
teardown_file() { root_done; }

# --- the state root -------------------------------------------------------------------------------

# The name that kernel objects of a state root carry (base/hostroot.h).
root_tag() {
	local path=$1 h=2166136261 i c
	for ((i = 0; i < ${#path}; i++)); do
		printf -v c %d "'${path:i:1}"
		h=$((((h ^ c) * 16777619) & 0xffffffff))
	done
	printf 'vps-%08x' "$h"
}

# Makes an empty state root and turns to it.
root_new() {
	VPS_ROOT=$(mktemp -d "${TMPDIR:-/tmp}/vt.XXXXXX")
	VPS_ROOT=$(realpath "$VPS_ROOT")
	chmod 755 "$VPS_ROOT"
	VPS_TAG=$(root_tag "$VPS_ROOT")
	PATH=$VPS_BUILD:$PATH
	VPS_ROOT_BORN=$(cut -d. -f1 /proc/uptime)
	export VPS_ROOT VPS_TAG VPS_ROOT_BORN PATH
	# tests/run removes what is left of roots named here when a file had to be ended.
	[ -z "${VPS_TEST_ROOTS-}" ] || echo "$VPS_ROOT" >>"$VPS_TEST_ROOTS"
}

# Gives the state root a network stack of its own as its host's: vps and vpsd run in it, so no test
# meets the machine's links and addresses, nor the rules of other tests. Call it before the first vps.
net_new() {
	VPS_NET=$VPS_ROOT.net
	touch "$VPS_NET"
	unshare --net="$VPS_NET" ip link set lo up
	export VPS_NET
}

# in_net CMD...: on the host's side of that network.
in_net() {
	nsenter --net="$VPS_NET" -- "$@"
}

# Takes the state root down with vps itself; what vps leaves is an error, and is then removed by
# force so that it harms no other test.
root_done() {
	local left=0
	[ -n "${VPS_ROOT-}" ] || return 0
	vps_clean || left=1
	daemon_stop || left=1
	wait_until 20 assert_nothing_left || left=1
	assert_no_crash || left=1
	[ -z "${VPS_TEST_LOG-}" ] || cp "$VPS_ROOT/run/vpsd.log" "$VPS_TEST_LOG" 2>/dev/null || true
	"$VPS_TOP/tests/left" --remove "$VPS_ROOT"
	unset VPS_NET
	return "$left"
}

# Destroys every VPS of the state root.
vps_clean() {
	local name
	[ -S "$VPS_ROOT/run/vpsd.sock" ] || [ -d "$VPS_ROOT/lib/vps" ] || return 0
	for name in $(vps list --json | jq -r '.[].name'); do
		vps destroy --force "$name" >/dev/null
	done
}

# The pid of the vpsd that serves the state root, which is the one that has its lock; empty when none does. By name alone
# there may be more: one that came second and is leaving, and what vpsd starts until it has its own program.
daemon_pid() {
	local inode pid
	inode=$(stat -c %i "$VPS_ROOT/run/vpsd.lock" 2>/dev/null) || return 0
	for pid in $(awk -v inode="$inode" '$2 == "FLOCK" && $6 ~ ":" inode "$" { print $5 }' /proc/locks); do
		[ "$(cat "/proc/$pid/comm" 2>/dev/null)" != vpsd ] || echo "$pid"
	done
}

daemon_stop() {
	[ -S "$VPS_ROOT/run/vpsd.sock" ] || return 0
	vps daemon stop >/dev/null
	wait_until 20 daemon_is_down
}

daemon_is_down() {
	[ -z "$("$VPS_TOP/tests/pids" "$VPS_ROOT" vpsd)" ]
}

# As a crash would: no clean-up of its own. Returns when the process is gone.
daemon_kill() {
	local pid
	pid=$(daemon_pid)
	[ -n "$pid" ] || fail "no vpsd to kill"
	kill -KILL "$pid"
	wait_until 20 process_is_gone "$pid"
}

process_is_gone() {
	! kill -0 "$1" 2>/dev/null || [ "$(cut -d' ' -f3 "/proc/$1/stat" 2>/dev/null)" = Z ]
}

# Nothing of the state root may be in the kernel or on disk but its templates: no cgroup in any
# hierarchy, mount in any namespace, process, link, namespace, file. A vpsd that still runs is in
# order with --daemon; --keep NAME leaves out what belongs to a VPS that is to be there.
assert_nothing_left() {
	local out
	if ! out=$("$VPS_TOP/tests/left" "$@" "$VPS_ROOT"); then
		echo "left behind by $VPS_ROOT ($VPS_TAG):"
		echo "$out"
		return 1
	fi >&2
}

# The client starts a vpsd that is gone, which would hide that it crashed: the kernel's log and
# vpsd's own (of a build with sanitizers) tell.
assert_no_crash() {
	local out
	out=$(dmesg 2>/dev/null | awk -v born="$VPS_ROOT_BORN" -F'[][ ]+' '
		$2 >= born && / (vpsd|vps|vps-monitor|vps-worker|vps-packer|vps-init)\[[0-9]+\]:? (segfault|general protection|trap|bad frame)/'
	grep -hE -A 20 'ERROR: (Address|Leak)Sanitizer|: runtime error: ' "$VPS_ROOT/run/vpsd.log" 2>/dev/null) || true
	[ -z "$out" ] || { echo "a program of ours crashed:"; echo "$out"; return 1; } >&2
}

# --- running it -----------------------------------------------------------------------------------

# vps with the state root's environment and a limit on its time, so that a hang is a failure of its
# own test. For signals to the client itself, or as a background job, use "$VPS_BUILD/vps".
vps() {
	${VPS_NET:+nsenter "--net=$VPS_NET" --} \
		timeout --foreground -k 5 "$((VPS_TEST_TIMEOUT * VPS_TEST_SLOW))" "$VPS_BUILD/vps" "$@"
}
VPS_TEST_TIMEOUT=${VPS_TEST_TIMEOUT:-60}

# wait_until SECONDS CMD...: until it succeeds; fails at the deadline, with what it printed last.
# Polls every 20 ms; a slower machine less often, as each look takes from what is waited for.
wait_until() {
	local limit=$(($1 * VPS_TEST_SLOW)) start=$SECONDS log=${BATS_FILE_TMPDIR:-/tmp}/wait.$BASHPID
	shift
	until "$@" >"$log" 2>&1; do
		if ((SECONDS - start > limit)); then
			echo "did not come true in $limit s: $*" >&2
			cat "$log" >&2
			rm -f "$log"
			return 1
		fi
		sleep "$VPS_TEST_POLL"
	done
	cat "$log"
	rm -f "$log"
}
printf -v VPS_TEST_POLL '%d.%02d' $((VPS_TEST_SLOW * 2 / 100)) $((VPS_TEST_SLOW * 2 % 100))

# vps_is NAME STATE
vps_is() {
	[ "$(vps list --json | jq -r --arg n "$1" '.[] | select(.name == $n).state')" = "$2" ]
}

# The pid of a VPS' init on the host.
vps_pid() {
	vps list --json | jq -r --arg n "$1" '.[] | select(.name == $n).pid'
}

# A template's busybox init takes signals from when it has begun what its inittab names; one that comes from
# inside before that is lost. (A stop by vps waits for that itself.)
init_is_up() {
	[ -n "$(pgrep -P "$(vps_pid "$1")")" ]
}

# flip FILE OFFSET: the byte there is another one, whatever it was.
flip() {
	local byte
	byte=$(od -An -tu1 -j "$2" -N 1 "$1")
	printf "\\x$(printf %02x $((byte ^ 255)))" | dd of="$1" bs=1 seek="$2" conv=notrunc status=none
}

# --- assertions -----------------------------------------------------------------------------------

fail() {
	printf '%s\n' "$@" >&2
	return 1
}

show_run() {
	echo "status: $status"
	echo "output: $output"
	[ -z "${stderr-}" ] || echo "stderr: $stderr"
}

assert_status() {
	[ "$status" -eq "$1" ] || { echo "status $status, expected $1"; show_run; return 1; } >&2
}

# The whole output, exactly.
assert_output() {
	[ "$output" = "$1" ] || { echo "expected: $1"; show_run; return 1; } >&2
}

# One of the lines, exactly.
assert_line() {
	local l
	for l in "${lines[@]}"; do
		[ "$l" != "$1" ] || return 0
	done
	{ echo "no such line: $1"; show_run; return 1; } >&2
}

# The output matches an extended regular expression.
assert_match() {
	[[ $output =~ $1 ]] || { echo "does not match: $1"; show_run; return 1; } >&2
}

refute_match() {
	[[ ! $output =~ $1 ]] || { echo "matches, and must not: $1"; show_run; return 1; } >&2
}

# succeeds CMD...: status 0; the output is in $output.
succeeds() {
	run "$@"
	assert_status 0
}

# fails STATUS TEXT CMD...: this status, exactly this text on standard error, nothing on standard
# output.
fails() {
	local want=$1 text=$2
	shift 2
	run --separate-stderr "$@"
	assert_status "$want"
	[ "$stderr" = "$text" ] || { echo "expected error: $text"; show_run; return 1; } >&2
	assert_output ""
}

# fails_like STATUS REGEX CMD...: as above for texts with parts that vary.
fails_like() {
	local want=$1 text=$2
	shift 2
	run --separate-stderr "$@"
	assert_status "$want"
	[[ $stderr =~ $text ]] || { echo "error does not match: $text"; show_run; return 1; } >&2
	assert_output ""
}

assert_equal() {
	[ "$1" = "$2" ] || { echo "   got: $1"; echo "wanted: $2"; return 1; } >&2
}

# --- what the machine must have -------------------------------------------------------------------

# group_file NAME CONTROLLER FILE: the path of a VPS's cgroup file where the host has the controller.
group_file() {
	if is_unified; then
		find "$(cgroup_v2_point)" -maxdepth 4 -path "*/$VPS_TAG/$1/$3" | head -n 1
	else
		find "/sys/fs/cgroup/$2/" -maxdepth 4 -path "*/$VPS_TAG/$1/$3" | head -n 1
	fi
}

cgroup_v2_point() {
	awk '$3 == "cgroup2" { print $2; exit }' /proc/self/mounts
}

is_unified() {
	[ "$(cgroup_v2_point)" = /sys/fs/cgroup ]
}

# requires THING [VALUE]...: skips the test, with the reason, where it is not there.
#	root | unified | hybrid | psi | vm | debian | kernel X.Y | command NAME | cap CAP_NAME
requires() {
	while [ $# -gt 0 ]; do
		case $1 in
		root) [ "$(id -u)" -eq 0 ] || skip "needs root" ;;
		unified) is_unified || skip "needs unified cgroup v2" ;;
		hybrid) ! is_unified || skip "needs hybrid cgroups" ;;
		psi) [ -r /proc/pressure/cpu ] || skip "this kernel has no pressure information (PSI)" ;;
		vm) [ -n "${VPS_TEST_VM-}" ] || skip "runs in the virtual machine only" ;;
		debian) debian_tarball >/dev/null || skip "no Debian root tree: $DEBIAN_WHY" ;;
		kernel) shift; kernel_is "$1" || skip "needs Linux $1, this is $(uname -r)" ;;
		command) shift; command -v "$1" >/dev/null || skip "needs the program $1" ;;
		cap) shift; has_cap "$1" || skip "needs $1" ;;
		*) fail "requires: unknown thing $1" ;;
		esac
		shift
	done
}

kernel_is() {
	[ "$(printf '%s\n%s\n' "$1" "$(uname -r)" | sort -V | head -n 1)" = "$1" ]
}

has_cap() {
	local -A bit=([CAP_SYS_RESOURCE]=24 [CAP_SYS_ADMIN]=21 [CAP_NET_ADMIN]=12 [CAP_SYS_PTRACE]=19
		[CAP_SYS_TIME]=25 [CAP_MKNOD]=27 [CAP_SYS_MODULE]=16)
	local eff
	eff=$(sed -n 's/^CapEff:[[:space:]]*//p' /proc/self/status)
	(((0x$eff >> ${bit[$1]}) & 1))
}

# debian_tree NAME PACKAGE...: prints the path of a tarball of a Debian with these packages. Built once
# by mmdebstrap and kept in build/cache; the virtual machine is given the same file (tests/vm/lane
# reads such lines).
debian_tree() {
	local tar=${VPS_TEST_FILES:-$VPS_BUILD/cache}/debian-$1.tar
	shift
	[ -s "$tar" ] || {
		[ -z "${VPS_TEST_FILES-}" ] && "$VPS_TOP/tests/debian" "$tar" "$@" >/dev/null
	} || return 1
	echo "$tar"
}

# The same for a small one with systemd.
debian_tarball() {
	local tar=${VPS_TEST_DEBIAN:-$VPS_BUILD/cache/debian.tar}
	mkdir -p "${tar%/*}"
	[ -s "$tar" ] || "$VPS_TOP/tests/debian" "$tar" >/dev/null 2>"$tar.log" || {
		DEBIAN_WHY=$(tail -n 1 "$tar.log" 2>/dev/null)
		return 1
	}
	echo "$tar"
}
