# SPDX-License-Identifier: GPL-2.0-or-later
#
# Two hosts on one machine: state roots in network namespaces of their own. Host `a` is the one that
# lib.bash knows; `b` is the other one. The remote shell is a script that runs its command on the host
# that it is given.

# Makes both, and the remote shell $RSH.
hosts_new() {
	root_new
	net_new
	A_ROOT=$VPS_ROOT A_NET=$VPS_NET A_TAG=$VPS_TAG
	B_ROOT=$(realpath "$(mktemp -d "${TMPDIR:-/tmp}/vt.XXXXXX")")
	chmod 755 "$B_ROOT"
	B_TAG=$(root_tag "$B_ROOT") B_NET=$B_ROOT.net
	[ -z "${VPS_TEST_ROOTS-}" ] || echo "$B_ROOT" >>"$VPS_TEST_ROOTS"
	touch "$B_NET"
	unshare --net="$B_NET" ip link set lo up
	RSH=$A_ROOT.rsh
	cat >"$RSH" <<-RSH
		#!/bin/sh
		host=\$1
		shift
		case \$host in
		*a) root=$A_ROOT net=$A_NET ;;
		*b) root=$B_ROOT net=$B_NET ;;
		*) echo "no route to \$host" >&2; exit 255 ;;
		esac
		exec nsenter --net="\$net" -- env PATH="$VPS_BUILD:\$PATH" VPS_ROOT="\$root" ${B_ENV-} "\$@"
	RSH
	chmod 755 "$RSH"
	export A_ROOT A_NET A_TAG B_ROOT B_NET B_TAG RSH
	# The template is made once.
	vps create seed
	vps destroy seed
}

# on a|b CMD...: with that host's state root.
on() {
	local host=$1
	shift
	case $host in
	a) VPS_ROOT=$A_ROOT VPS_NET=$A_NET VPS_TAG=$A_TAG "$@" ;;
	b) VPS_ROOT=$B_ROOT VPS_NET=$B_NET VPS_TAG=$B_TAG "$@" ;;
	esac
}

hosts_done() {
	local left=0
	on b root_done || left=1
	on a root_done || left=1
	rm -f "$RSH"
	return "$left"
}

hosts_clean() {
	on a vps_clean
	on b vps_clean
}

# names a|b: those of the host's VPSs.
names() {
	on "$1" vps list --json | jq -r '[.[].name] | join(" ")'
}

# Exactly one host may start it, and it is the one given.
assert_only_on() {
	local host=$1 name=$2 other=a
	[ "$host" = b ] || other=b
	case " $(names "$host") " in
	*" $name "*) ;;
	*) fail "$name is not on $host" ;;
	esac
	case " $(names "$other") " in
	*" $name "*) fail "$name is on $other too" ;;
	esac
}

# no_words a|b: of no migration that is over is anything kept (migrate/record.h).
no_words() {
	[ -z "$(on "$1" sh -c 'ls "$VPS_ROOT/lib/migrations" 2>/dev/null')" ]
}

# worker_hangs a|b: by a fault point, until worker_goes_on.
worker_hangs() {
	local pid
	for pid in $(on "$1" workers); do
		[ "$(cut -d' ' -f3 "/proc/$pid/stat" 2>/dev/null)" != T ] || return 0
	done
	return 1
}

worker_goes_on() {
	local pid
	for pid in $(on "$1" workers); do
		kill -CONT "$pid"
	done
}

worker_hangs_or_ended() { worker_hangs "$1" || process_is_gone "$2"; }

workers() { "$VPS_TOP/tests/pids" "$VPS_ROOT" vps-worker; }

# upper a|b: what web1 has written, there.
upper() { on "$1" eval 'echo "$VPS_ROOT/lib/vps/web1/root/upper"'; }

# While neither copy of web1 runs: the host where it arrives has all. What the host writes into /etc is its own.
assert_same() {
	local other=a
	[ "$1" = b ] || other=b
	python3 "$VPS_TOP/tests/migrate/same.py" "$(upper "$other")" "$(upper "$1")" >"$BATS_TEST_TMPDIR/same"
	! grep -v '^etc' "$BATS_TEST_TMPDIR/same" || fail "they differ"
}

# What a test that failed has left hanging, and vpsds that were told to make something fail, are no matter of the next one.
hosts_unfault() {
	local host pid
	for host in a b; do
		for pid in $(on "$host" workers); do
			kill -KILL "$pid"
		done
		case " ${faulty-} " in
		*" $host "*) on "$host" daemon_stop ;;
		esac
	done
}

# daemon_with_fault a|b FAULT: until hosts_unfault.
daemon_with_fault() {
	on "$1" daemon_stop
	faulty="${faulty-} $1"
	VPS_FAULT=$2 on "$1" vps daemon start >/dev/null
}

# A VPS that counts, in memory and in a file, ten times a second.
make_counter() {
	vps create web1 init='/bin/sh -c "mkdir -p /srv; echo $$ >/srv/pid; echo begins to count; n=0; trap exit TERM; while :; do n=$((n+1)); echo $n >/srv/n; sleep 0.1; done"' stop.signal=SIGTERM
	vps start web1
	wait_until 20 counts a 3
}

count() {
	local n= tries
	# It may be being written just now.
	for tries in 1 2 3 4 5; do
		n=$(on "$1" vps exec web1 -- cat /srv/n 2>/dev/null) || n=
		[ -z "$n" ] || break
	done
	echo "${n:-0}"
}

counts() {
	[ "$(count "$1")" -ge "$2" ]
}
