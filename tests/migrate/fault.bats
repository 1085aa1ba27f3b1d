#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
load ../lib
load hosts
load faults

# Each step of both ends fails, or its process is killed. Then exactly one host has the VPS, it goes on
# counting there, nothing is left behind on the other, and the next try succeeds.

setup_file() { pairs_new; }
teardown_file() { pairs_done; }
setup() { pair_use 1; }
teardown() { pairs_clean; }

# try source|destination fail|kill POINT: with the fault there, then without.
try() {
	begin "$1" "$3:$2"
	! move_on || echo "it succeeded all the same"
	look
	fault "$host" ""
	arrives
}

@test "the source fails" {
	each try source fail -- send.offer send.answer send.template send.sides live.files live.stopped live.round \
		send.live.after send.console send.prepare send.record send.record.after send.commit
}

@test "the source's worker is killed" {
	each try source kill -- send.answer live.files live.stopped live.round send.live.after send.prepare.after \
		send.record.after send.commit send.commit.after
}

@test "the destination fails" {
	each try destination fail -- receive.place receive.template receive.root receive.content receive.prepare \
		receive.commit receive.taken receive.taken.after restore.pages restore.commit
}

@test "the destination's processes are killed" {
	each try destination kill -- receive.place.after receive.content receive.content.after receive.prepare.after \
		receive.commit.after receive.taken.after restore.pages resume.prepared
}

# hang source|destination POINT: the process stops at the point; then that host's vpsd is killed, and comes again.
hang() {
	begin_to_hang "$1" "$2"
	on "$host" daemon_kill
	ends
	fault "$host" ""
	wait_until 20 settled
	arrives
}

@test "a vpsd is killed" {
	each hang source -- live.stopped send.prepare send.record.after send.commit.after
	pairs_clean
	each hang destination -- receive.root receive.content.after receive.prepare.after receive.taken receive.taken.after
}

# cut_link source|destination POINT: while the process hangs there the remote shell's command, vps receive, is killed.
cut_link() {
	begin_to_hang "$1" "$2"
	kill -KILL $(pgrep -P "$client")
	goes_on
	arrives
}

@test "the link is cut at the source" {
	each cut_link source -- live.round send.commit
}

@test "the link is cut at the destination" {
	each cut_link destination -- receive.prepare.after
}

# What b has of templates, whole or not.
templates_of_b() { ls -A "$B_ROOT/lib/templates" 2>/dev/null || true; }

@test "the link is cut while the template comes" {
	make_counter
	for name in $(templates_of_b); do
		on b vps template remove "$name"
	done
	begin_to_hang destination receive.template
	kill -KILL $(pgrep -P "$client")
	goes_on
	at a running
	assert_equal "$(templates_of_b)" ""
	arrives
	[ -n "$(templates_of_b)" ]
}

@test "the link is cut in the pause" {
	make_counter
	begin_to_hang source send.record.after
	# The remote shell's command, vps receive on b.
	kill -KILL $(pgrep -P "$client")
	wait_until 20 not_on_b
	worker_goes_on a
	wait "$client" || true
	assert_equal "$(state a)" paused
	fails_like 5 'it may have moved to host-b' vps resume web1
	fails_like 5 'it may have moved to host-b' vps stop --force web1
	fails_like 5 'it may have moved to host-b' vps destroy --force web1
	# The operator's word, as the other host will never answer again.
	vps migrate --resolve web1 source
	wait_until 20 counts a "$((last + 2))"
}

not_on_b() {
	[ -z "$(state b)" ]
}

# lose MONITOR source|destination POINT: while the process hangs there the monitor of the one, from|to, is killed, and
# its VPS with it.
lose() {
	local -n where=$1
	begin_to_hang "$2" "$3"
	echo "the monitor on $where is killed"
	kill -KILL "$(monitor_of "$where")"
	goes_on
}

@test "the destination's monitor is killed: what it had is not taken for there" {
	make_counter
	lose to source send.prepare
	arrives
	lose to destination receive.commit
	arrives
}

@test "the source's monitor is killed: its VPS ends with it, and is nowhere else" {
	make_counter
	lose from source live.stopped
	grep -q "vps: migrate web1: its monitor died" "$out"
	assert_only_on a web1
	assert_equal "$(state a)" stopped
	# Its worker has let go of what died.
	! grep -q 'its worker does not end' "$A_ROOT/run/vpsd.log"
}
