#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
load ../lib
load hosts

# Each step of both ends fails, or its process is killed. Then exactly one host has the VPS, it goes on
# counting there, nothing is left behind on the other, and the next try succeeds.

setup_file() { hosts_new; }
teardown_file() { hosts_done; }
teardown() {
	fault a ""
	fault b ""
	on a vps_clean
	on b vps_clean
}

# A vpsd on the host with this fault; workers and monitors that it starts have it too.
fault() {
	on "$1" daemon_stop
	VPS_FAULT=$2 on "$1" vps daemon start >/dev/null
}

has() {
	case " $(names "$1") " in
	*" web1 "*) ;;
	*) return 1 ;;
	esac
}

state() {
	on "$1" vps list --json | jq -r '.[] | select(.name == "web1") | .state'
}

runs() {
	[ "$(state "$1")" = running ]
}

# Where it runs; both would be the end of the world.
where() {
	local a=no b=no
	! runs a || a=yes
	! runs b || b=yes
	[ "$a$b" != yesyes ] || fail "it runs on both hosts"
	[ "$a" = no ] || echo a
	[ "$b" = no ] || echo b
}

# It moves on from the host where it is: $from and $to.
turn() {
	from=a to=b
	has a || from=b to=a
}

# try POINT source|destination: with the fault there, then without.
try() {
	local point=$1 host from to last
	turn
	host=$from
	[ "$2" = source ] || host=$to
	echo "--- $point on $host, the $2"
	last=$(count "$from")
	fault "$host" "$point"
	on "$from" vps migrate -e "$RSH" web1 "host-$to" && echo "it succeeded all the same"
	where
	fault "$host" ""
	arrives "$last"
}

# arrives COUNT: whatever went wrong, the next tries bring it there, and it has counted on.
arrives() {
	local n
	# A killed vpsd or worker is cleaned up after.
	wait_until 20 settled
	# In doubt, the first asks who has it.
	for n in 1 2 3; do
		has "$from" || break
		on "$from" vps migrate -e "$RSH" web1 "host-$to" || true
		! has "$from" || wait_until 5 settled
	done
	assert_only_on "$to" web1
	runs "$to"
	n=$(count "$to")
	[ "$n" -ge "$1" ] || fail "it counted to $1, then $n"
	wait_until 10 counts "$to" "$((n + 2))"
	wait_until 20 settled
	wait_until 10 on "$from" assert_nothing_left --daemon
}

# Nothing half done: no VPS that starts or is received, no staging.
settled() {
	local r
	for r in "$A_ROOT" "$B_ROOT"; do
		[ -z "$(ls -A "$r/lib/vps" | grep '^\.')" ] || return 1
	done
	case "$(state a)/$(state b)" in
	*starting* | *stopping*) return 1 ;;
	esac
}

@test "the source fails" {
	make_counter
	for point in send.offer send.answer send.template send.sides live.files live.stopped live.round \
		send.live.after send.console send.prepare send.record send.record.after send.commit; do
		try "$point:fail" source
	done
}

@test "the source's worker is killed" {
	make_counter
	for point in send.answer live.files live.stopped live.round send.live.after send.prepare.after \
		send.record.after send.commit send.commit.after; do
		try "$point:kill" source
	done
}

@test "the destination fails" {
	make_counter
	for point in receive.place receive.template receive.root receive.content receive.prepare \
		receive.commit receive.taken receive.taken.after restore.pages restore.commit; do
		try "$point:fail" destination
	done
}

@test "the destination's processes are killed" {
	make_counter
	for point in receive.place.after receive.content receive.content.after receive.prepare.after \
		receive.commit.after receive.taken.after restore.pages resume.prepared; do
		try "$point:kill" destination
	done
}

# hang POINT source|destination: the process stops at the point; then that host's vpsd is killed, and comes
# again.
hang() {
	local point=$1 host from to last pid root
	turn
	host=$from
	[ "$2" = source ] || host=$to
	echo "--- $point on $host, the $2, and its vpsd is killed"
	last=$(count "$from")
	fault "$host" "$point:hang"
	root=$A_ROOT
	[ "$from" = a ] || root=$B_ROOT
	# Its own process group: nothing waits for it but us.
	"$VPS_BUILD/vps" --root "$root" migrate -e "$RSH" web1 "host-$to" >/dev/null 2>&1 &
	pid=$!
	wait_until 30 something_hangs
	on "$host" daemon_kill
	wait "$pid" || true
	fault "$host" ""
	wait_until 20 settled
	where
	arrives "$last"
}

# A worker of ours that is stopped (state T, not t: that is a tracer's doing).
something_hangs() {
	local root pid
	for root in "$A_ROOT" "$B_ROOT"; do
		for pid in $("$VPS_TOP/tests/pids" "$root" vps-worker); do
			[ "$(cut -d' ' -f3 "/proc/$pid/stat" 2>/dev/null)" != T ] || return 0
		done
	done
	return 1
}

@test "a vpsd is killed" {
	make_counter
	for point in live.stopped send.prepare send.record.after send.commit.after; do
		hang "$point" source
	done
	for point in receive.root receive.content.after receive.prepare.after receive.taken receive.taken.after; do
		hang "$point" destination
	done
}

# cut POINT source|destination: while the process hangs there the remote shell's command, vps receive, is killed.
cut_link() {
	local point=$1 host from to last pid root
	turn
	host=$from
	[ "$2" = source ] || host=$to
	echo "--- $point on $host, the $2, and the link is cut"
	last=$(count "$from")
	fault "$host" "$point:hang"
	root=$A_ROOT
	[ "$from" = a ] || root=$B_ROOT
	"$VPS_BUILD/vps" --root "$root" migrate -e "$RSH" web1 "host-$to" >"$BATS_TEST_TMPDIR/out" 2>&1 &
	pid=$!
	wait_until 30 something_hangs
	kill -KILL $(pgrep -P "$pid")
	worker_goes_on "$host"
	wait "$pid" && echo "it succeeded all the same"
	cat "$BATS_TEST_TMPDIR/out"
	wait_until 20 settled
	where
	fault "$host" ""
	arrives "$last"
}

@test "the link is cut" {
	make_counter
	for point in live.round send.commit; do
		cut_link "$point" source
	done
	cut_link receive.prepare.after destination
}

# lose POINT source|destination source|destination: while the process of the one hangs there, the monitor of the other's,
# or its own, is killed, and its VPS with it. It was at $from, and had counted to $last.
lose() {
	local point=$1 host mon pid root
	turn
	last=$(count "$from")
	host=$from mon=$from
	[ "$2" = source ] || host=$to
	[ "$3" = source ] || mon=$to
	echo "--- $point on $host, and the monitor on $mon, the $3, is killed"
	fault "$host" "$point:hang"
	root=$A_ROOT
	[ "$from" = a ] || root=$B_ROOT
	"$VPS_BUILD/vps" --root "$root" migrate -e "$RSH" web1 "host-$to" >"$BATS_TEST_TMPDIR/out" 2>&1 &
	pid=$!
	wait_until 30 something_hangs
	kill -KILL "$(monitor_of "$mon")"
	worker_goes_on "$host"
	wait "$pid" && echo "it succeeded all the same"
	cat "$BATS_TEST_TMPDIR/out"
	wait_until 20 settled
	where
	fault "$host" ""
	wait_until 20 settled
}

monitor_of() { # not the spare one
	local root=$A_ROOT pid
	[ "$1" = a ] || root=$B_ROOT
	for pid in $("$VPS_TOP/tests/pids" "$root" vps-monitor); do
		! tr '\0' ' ' <"/proc/$pid/cmdline" | grep -q web1 || echo "$pid"
	done
}

@test "the link is cut in the pause" {
	make_counter
	last=$(count a)
	fault a send.record.after:hang
	"$VPS_BUILD/vps" --root "$A_ROOT" migrate -e "$RSH" web1 host-b >/dev/null 2>&1 &
	pid=$!
	wait_until 30 something_hangs
	# The remote shell's command, vps receive on b.
	kill -KILL $(pgrep -P "$pid")
	wait_until 20 not_on_b
	kill -CONT $("$VPS_TOP/tests/pids" "$A_ROOT" vps-worker)
	wait "$pid" || true
	assert_equal "$(state a)" paused
	fails_like 5 'it may have moved to host-b' vps resume web1
	fails_like 5 'it may have moved to host-b' vps stop --force web1
	fails_like 5 'it may have moved to host-b' vps destroy --force web1
	# The operator's word, as the other host will never answer again.
	vps migrate --resolve web1 source
	wait_until 10 counts a "$((last + 2))"
}

not_on_b() {
	! has b
}

@test "the destination's monitor is killed: what it had is not taken for there" {
	make_counter
	lose send.prepare source destination
	arrives "$last"
	lose receive.commit destination destination
	arrives "$last"
}

@test "the source's monitor is killed: its VPS ends with it, and is nowhere else" {
	make_counter
	lose live.stopped source source
	assert_only_on a web1
	assert_equal "$(state a)" stopped
}
