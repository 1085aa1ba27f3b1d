# SPDX-License-Identifier: GPL-2.0-or-later
#
# A VPS `web1` that counts moves to and fro between the hosts of hosts.bash, while something fails. Two pairs of hosts,
# so that one pair works while the other one waits.

PAIR_KEEPS="VPS_ROOT VPS_NET VPS_TAG A_ROOT A_NET A_TAG B_ROOT B_NET B_TAG RSH"

pairs_new() {
	local n name
	for n in 1 2; do
		hosts_new
		for name in $PAIR_KEEPS; do
			printf 'export %s=%q\n' "$name" "${!name}"
		done >"$BATS_FILE_TMPDIR/pair.$n"
	done
}

pair_use() {
	. "$BATS_FILE_TMPDIR/pair.$1"
	out=$BATS_FILE_TMPDIR/out.$1
}

pairs_done() {
	local n left=0
	for n in 1 2; do
		pair_use "$n"
		hosts_done || left=1
	done
	return "$left"
}

# After a test: what it has left hanging, and told to fail.
pairs_clean() {
	local n host pid
	for n in 1 2; do
		pair_use "$n"
		for host in a b; do
			for pid in $(on "$host" workers); do
				kill -KILL "$pid"
			done
			fault "$host" ""
			on "$host" vps_clean
		done
	done
}

# each CMD... -- POINT...: `CMD... POINT` for all of them, every other one on the second pair.
each() {
	local cmd=() mine=() others=() pid n bad=0
	while [ "$1" != -- ]; do
		cmd+=("$1")
		shift
	done
	shift
	while [ $# -gt 0 ]; do
		mine+=("$1")
		[ $# -eq 1 ] || others+=("$2")
		shift $(($# == 1 ? 1 : 2))
	done
	lane 1 "${mine[@]}" >"$BATS_TEST_TMPDIR/lane.1" 2>&1 &
	pid=$!
	lane 2 "${others[@]}" >"$BATS_TEST_TMPDIR/lane.2" 2>&1 &
	for n in "$pid" $!; do
		wait "$n" || bad=1
	done
	cat "$BATS_TEST_TMPDIR"/lane.*
	return "$bad"
}

lane() {
	local point
	pair_use "$1"
	shift
	[ $# -eq 0 ] || make_counter
	for point in "$@"; do
		"${cmd[@]}" "$point"
	done
}

# fault a|b POINT: a vpsd with this fault; workers and monitors that it starts have it too.
fault() {
	on "$1" daemon_stop
	VPS_FAULT=$2 on "$1" vps daemon start >/dev/null
}

state() {
	on "$1" vps list --json | jq -r '.[] | select(.name == "web1") | .state'
}

# Its state on the two hosts, "" where it is not; running on both would be the end of the world.
look() {
	at_a=$(state a) at_b=$(state b)
	[ "$at_a/$at_b" != running/running ] || fail "it runs on both hosts"
}

# at a|b STATE, as it was seen last
at() {
	[ "$1" = a ] && set -- "$at_a" "$2" || set -- "$at_b" "$2"
	[ "$1" = "$2" ]
}

# Nothing half done: no VPS that starts or is received, no staging.
settled() {
	local r
	for r in "$A_ROOT" "$B_ROOT"; do
		[ -z "$(ls -A "$r/lib/vps" | grep '^\.')" ] || return 1
	done
	look
	case "$at_a/$at_b" in
	*starting* | *stopping*) return 1 ;;
	esac
}

# begin source|destination POINT:ACTION: it is to move on, $from where it is $to the other host, and the fault is set on
# one of them, $host. It had counted to $last.
begin() {
	look
	from=a to=b
	! at a "" || from=b to=a
	host=$from
	[ "$1" = source ] || host=$to
	echo "--- $2 on $host, the $1"
	last=$(count "$from")
	fault "$host" "$2"
}

move_on() {
	on "$from" vps migrate -e "$RSH" web1 "host-$to"
}

# The move begins, and its worker on $host hangs. Its client is $client, and nobody waits for that but us.
begin_to_hang() {
	local root=$A_ROOT
	begin "$1" "$2:hang"
	[ "$from" = a ] || root=$B_ROOT
	"$VPS_BUILD/vps" --root "$root" migrate -e "$RSH" web1 "host-$to" >"$out" 2>&1 &
	client=$!
	wait_until 30 worker_hangs "$host"
}

# The worker goes on, and the move ends as it may.
goes_on() {
	worker_goes_on "$host"
	ends
	wait_until 20 settled
	fault "$host" ""
	wait_until 20 settled
}

ends() {
	wait "$client" && echo "it succeeded all the same"
	cat "$out"
}

# Whatever went wrong, the next tries bring it there, and it has counted on.
arrives() {
	local n
	# A killed vpsd or worker is cleaned up after.
	wait_until 20 settled
	# In doubt, the first asks who has it.
	for n in 1 2 3; do
		! at "$from" "" || break
		move_on || true
		look
		at "$from" "" || wait_until 20 settled
	done
	assert_only_on "$to" web1
	at "$to" running
	n=$(count "$to")
	[ "$n" -ge "$last" ] || fail "it counted to $last, then $n"
	wait_until 20 counts "$to" "$((n + 2))"
	wait_until 20 settled
	wait_until 20 on "$from" assert_nothing_left --daemon
}

# monitor_of a|b: that of web1, not the spare one
monitor_of() {
	local root=$A_ROOT pid
	[ "$1" = a ] || root=$B_ROOT
	for pid in $("$VPS_TOP/tests/pids" "$root" vps-monitor); do
		! tr '\0' ' ' <"/proc/$pid/cmdline" | grep -q web1 || echo "$pid"
	done
}
